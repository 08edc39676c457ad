"""Fixtures of tests on PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from session_service.stores.postgres import PostgresStore, open_postgres_store
from tests.postgres_support import PostgresServer


@pytest.fixture
async def url(postgres: PostgresServer) -> str:
    """Of a database with all tables and no row."""
    return await postgres.clean_database()


@pytest.fixture
async def replicas(url: str) -> AsyncIterator[list[PostgresStore]]:
    """Three stores on one database, as three session services have them."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_postgres_store(url)) for _ in range(3)]
