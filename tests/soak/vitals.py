"""What a process holds: memory, descriptors, threads and tasks, sampled while it runs."""

import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.stage import Restartable

_VITALS = r'"event":"vitals".*?"tasks":(\d+)'
"""What every process logs about itself at debug level."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process."""

    at: float
    """In seconds of `time.monotonic`."""
    memory_mib: float
    """Of its own: what other processes share with it does not count."""
    descriptors: int
    threads: int
    tasks: int | None
    """Of asyncio, as it has logged them last; None before it has."""


def sample(process: Restartable) -> Sample:
    proc = Path(f"/proc/{process.pid}")
    logged = process.last(_VITALS)
    return Sample(
        at=time.monotonic(),
        memory_mib=_private_kib(proc) / 1024,
        descriptors=sum(1 for _ in (proc / "fd").iterdir()),
        threads=sum(1 for _ in (proc / "task").iterdir()),
        tasks=int(logged[1]) if logged else None,
    )


def _private_kib(proc: Path) -> int:
    lines = (proc / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
