"""Fixtures of integration tests: PostgreSQL with its tables, and a machine without settings."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import gateway.config
import session_service.config
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


class Machine:
    """What the two processes read their settings from: the environment, and `.env`."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def write(self, **variables: str) -> None:
        """Writes `.env`."""
        lines = [f"{name}={value}\n" for name, value in variables.items()]
        (self.directory / ".env").write_text("".join(lines))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One without any settings, and with its working directory to itself."""
    for settings in (gateway.config.Settings, session_service.config.Settings):
        for name in settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path, monkeypatch)
