"""The processes that are measured: started, waited for, looked at, and stopped, come what may."""

import asyncio
import contextlib
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PYTHON_MODULE = (sys.executable, "-m")

_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
_PROC = Path("/proc")
_KEPT = ("PATH", "HOME", "LANG")
"""What a process gets of our environment: settings that happen to be there are not the bench's."""


class CannotRun(Exception):
    """A process did not start or has ended; the message holds the end of its output."""


@dataclass(frozen=True, slots=True)
class Process:
    """A running process, with those that it has started."""

    name: str
    output: Path
    _process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises CannotRun."""
        if self._process.returncode is not None:
            tail = self.output.read_text(errors="replace")[-2000:]
            raise CannotRun(f"{self.name} ended with {self._process.returncode}:\n{tail}")

    async def stop(self) -> None:
        """Asks it to end, and does not ask for long."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
                    return


@contextlib.asynccontextmanager
async def running(
    name: str, command: Sequence[str], port: int, settings: Mapping[str, str], directory: Path
) -> AsyncIterator[Process]:
    """Runs a command until the block ends, and yields it once something listens on `port`.

    Raises CannotRun.
    """
    output = directory / f"{name}.log"
    with output.open("wb") as log:
        started = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,  # not where an .env could be
            env={key: os.environ[key] for key in _KEPT if key in os.environ}
            | {"PYTHONPATH": str(ROOT), **settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C is ours, and what it starts ends with it
        )
    process = Process(name, output, started)
    try:
        await _listening(process, port)
        yield process
        process.check()
    finally:
        await process.stop()


async def _listening(process: Process, port: int) -> None:
    try:
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                process.check()
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise CannotRun(f"{process.name} does not listen on port {port}") from None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def cpu_seconds(pids: Sequence[int]) -> float:
    """Returns the CPU time used so far by processes and all they have started, ended ones too.

    NaN where there is no /proc.
    """
    if not _PROC.is_dir():
        return math.nan
    ticks = 0
    for pid in _family(pids):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # utime, stime, and both of children that have ended, see proc_pid_stat(5).
            ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mib(pids: Sequence[int]) -> float:
    """Returns the largest resident sizes, added up; NaN where there is no /proc."""
    if not _PROC.is_dir():
        return math.nan
    kib = 0
    for pid in _family(pids):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                kib += int(line.split()[1])
    return kib / 1024


def _family(pids: Sequence[int]) -> list[int]:
    parents: dict[int, int] = {}
    for path in _PROC.iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                parents[int(path.name)] = int(_stat(int(path.name))[1])
    family = list(pids)
    for pid in family:  # which grows while it is walked
        family += [child for child, parent in parents.items() if parent == pid]
    return family


def _stat(pid: int) -> list[str]:
    # The name of the program, in parentheses, may hold anything.
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
