"""Fixtures that tests of several parts share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import certifi
import pytest

from tests import before_grpc  # noqa: F401  # first of all that imports gRPC
from tests.leaks import LeakWatch
from tests.postgres_support import PostgresServer, running_postgres
from tests.support import (
    Emulator,
    SessionService,
    open_emulator,
    open_session_service,
    settings_for,
)

pytest.register_assert_rewrite("tests.integration.store_contract", "tests.integration.store_values")
pytest.register_assert_rewrite("tests.e2e.dashboard", "tests.e2e.processes")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeakWatch())


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test speaks TLS with a stranger, and to load all authorities takes 30 ms a client."""
    end = "-----END CERTIFICATE-----\n"
    first = Path(certifi.where()).read_text().partition(end)[0] + end
    file = tmp_path_factory.mktemp("tls") / "authority.pem"
    file.write_text(first)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy this machine uses: the servers of the tests are on it."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with open_emulator() as running:
        yield running


@pytest.fixture
async def service(emulator: Emulator, tmp_path: Path) -> AsyncIterator[SessionService]:
    """A session service against the emulator, without a rate limit and without the usage sync."""
    async with open_session_service(settings_for(tmp_path, emulator.url)) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server
