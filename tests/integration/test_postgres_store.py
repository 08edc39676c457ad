"""The PostgreSQL store: the contract of all stores, and what a server adds to it."""

from collections.abc import AsyncIterator

import pytest

from session_service.stores.postgres import PostgresStore, open_postgres_store
from tests.integration.store_contract import StoreContract
from tests.postgres_support import PostgresServer


@pytest.fixture
async def store(postgres: PostgresServer) -> AsyncIterator[PostgresStore]:
    async with open_postgres_store(await postgres.clean_database()) as opened:
        yield opened


class TestContract(StoreContract):
    """The suite of all stores, on a real server."""
