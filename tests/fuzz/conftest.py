"""The processes that the fuzzing tests share, in both modes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.e2e import processes
from tests.e2e.processes import Part


@dataclass(frozen=True, slots=True)
class System:
    """A gateway before a session service before the emulator, each a process."""

    directory: Path
    gateway: Part
    service: Part
    emulator: str

    @property
    def url(self) -> str:
        return self.gateway.url

    def files(self) -> set[Path]:
        """Returns the attachments on the disk, those that are still coming too."""
        attachments = self.directory / "data" / "attachments"
        return {path for path in attachments.rglob("*") if path.is_file()}

    def defects(self) -> list[str]:
        """Returns what the logs say of what ought to be impossible."""
        lines = (self.gateway.process.output + self.service.process.output).splitlines()
        return [line for line in lines if '"defect"' in line or "Traceback" in line]


def fuzzing(examples: int) -> settings:
    """Returns the settings of a property that is always tried with the same examples.

    FUZZ=20 tries 20 times as many, and others each time.
    """
    times = int(os.environ.get("FUZZ", "1"))
    return settings(
        max_examples=examples * times,
        deadline=None,
        derandomize=times == 1,
        database=None,
        phases=(Phase.generate,),  # the service has changed: a second try shows something else
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def _system(directory: Path, mode: str) -> Iterator[System]:
    given = {
        "CHATKIT_MODE": mode,
        "CHATKIT_SESSIONS_PER_MINUTE": "0",
        "CHATKIT_REQUESTS_PER_MINUTE": "0",
        "CHATKIT_USAGE_SYNC_SECONDS": "0",
    }
    with (
        processes.emulator(directory) as emulator,
        processes.pair(directory, emulator.url, **given) as (service, gateway),
    ):
        yield System(directory, gateway, service, emulator.url)


@pytest.fixture(scope="session")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with _system(tmp_path_factory.mktemp("hosted"), "hosted") as system:
        yield system


@pytest.fixture(scope="session")
def self_hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with _system(tmp_path_factory.mktemp("self_hosted"), "self_hosted") as system:
        yield system
