"""The processes that the fuzzing tests share, in both modes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import processes
from tests.e2e.processes import Part


@dataclass(frozen=True, slots=True)
class System:
    """A gateway before a session service before the emulator, each a process."""

    mode: str
    gateway: Part
    service: Part
    emulator: str

    @property
    def url(self) -> str:
        return self.gateway.url

    def defects(self) -> list[str]:
        """Returns what the logs say of what ought to be impossible."""
        lines = (self.gateway.process.output + self.service.process.output).splitlines()
        return [line for line in lines if '"defect"' in line or "Traceback" in line]


@contextmanager
def _system(directory: Path, mode: str) -> Iterator[System]:
    settings = {
        "CHATKIT_MODE": mode,
        "CHATKIT_SESSIONS_PER_MINUTE": "0",
        "CHATKIT_REQUESTS_PER_MINUTE": "0",
        "CHATKIT_USAGE_SYNC_SECONDS": "0",
    }
    with (
        processes.emulator(directory) as emulator,
        processes.pair(directory, emulator.url, **settings) as (service, gateway),
    ):
        yield System(mode, gateway, service, emulator.url)


@pytest.fixture(scope="session")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with _system(tmp_path_factory.mktemp("hosted"), "hosted") as system:
        yield system


@pytest.fixture(scope="session")
def self_hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with _system(tmp_path_factory.mktemp("self_hosted"), "self_hosted") as system:
        yield system
