"""The processes that tests share; those that stop or break one start their own."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e import processes
from tests.e2e.dashboard import Dashboard, EmulatorControl, open_dashboard
from tests.e2e.processes import System

SESSIONS_PER_MINUTE = 8
TIMEOUT_SECONDS = 2
ADMINISTRATOR = 1000
ORIGIN = "https://dashboard.example.com"


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """What `make run` starts, with the dashboard's secret and limits that can be reached."""
    directory = tmp_path_factory.mktemp("system")
    with processes.make_run(
        directory,
        JWT_SECRET=processes.SECRET,
        ADMIN_USER_IDS=str(ADMINISTRATOR),
        CORS_ALLOW_ORIGINS=ORIGIN,
        CHATKIT_SESSIONS_PER_MINUTE=str(SESSIONS_PER_MINUTE),
        CHATKIT_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS),
        CHATKIT_USAGE_SYNC_SECONDS="1",
    ) as system:
        yield system


@pytest.fixture
def openai(system: System) -> Iterator[EmulatorControl]:
    """The emulator of `system`; whatever a test breaks in it is healed afterwards."""
    control = EmulatorControl(system.emulator)
    yield control
    control.heal()
    control.close()


@pytest.fixture(scope="session")
def own_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an emulator for those who start the other processes themselves."""
    with processes.emulator(tmp_path_factory.mktemp("emulator")) as part:
        yield part.url


@pytest.fixture
def own_openai(own_emulator: str) -> Iterator[EmulatorControl]:
    control = EmulatorControl(own_emulator)
    yield control
    control.heal()
    control.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty working directory: no `.env`, no database."""
    return tmp_path


_users = itertools.count(5000)


@pytest.fixture
def user() -> int:
    """A user whom no other test knows, with all of a minute's sessions to spend."""
    return next(_users)


@pytest.fixture
async def dashboard(system: System, user: int) -> AsyncIterator[Dashboard]:
    """The browser of that user, before `system`."""
    async with open_dashboard(system.url, user) as dashboard:
        yield dashboard
