"""Starts the processes of the system as a person would, and watches what they print."""

import contextlib
import fcntl
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import leaks

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 60
"""For a machine that is busy with something else; nothing takes that long."""

_RECENT_LINES = 50_000

SECRET = "a-secret-of-the-dashboard-of-these-tests"
WORKFLOW = "wf_e2e"

RUN = str(REPOSITORY / "run.py")
_STARTING = Path(tempfile.gettempdir()) / "chatkit-tests-start-run.lock"
"""Locked while run.py looks for a port for the emulator, as tests run side by side."""

_HAS_ITS_PORTS = r"OpenAI emulator at|Ctrl-C stops everything"

_given_out: set[int] = set()


def free_port() -> int:
    """Returns a port that nobody listens on, and never the same one twice."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given_out:
            _given_out.add(port)
            return port


def environment(**settings: str) -> dict[str, str]:
    """Returns what a process needs to run at all, and nothing else of this machine's."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        "SESSION_SERVICE_METRICS_LISTEN": "off",  # or all but one would warn of its port
        **settings,
    }


class Process:
    """A running process, alone in its process group, and all that it has printed so far."""

    def __init__(
        self, *arguments: str, cwd: Path, program: str = sys.executable, **settings: str
    ) -> None:
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._ended = False
        self._process = subprocess.Popen(
            (program, *arguments),
            cwd=cwd,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as stdout:
            for line in stdout:
                leaks.watch(line)
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self._lines)

    @property
    def pid(self) -> int:
        return self._process.pid

    def then(self, pattern: str, act: Callable[[], None]) -> None:
        """Acts once the output matches, or the process has ended, or nobody can wait for it."""

        def has_come() -> bool:
            return self._ended or re.search(pattern, "".join(self._lines)) is not None

        with self._changed:
            self._changed.wait_for(has_come, PATIENCE_SECONDS)
        act()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until the output matches; fails where the process ends without."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, "".join(self._lines))

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, PATIENCE_SECONDS)
            match = found()
            assert match, f"{pattern!r} is not in:\n{''.join(self._lines)}"
            return match

    def last(self, pattern: str) -> re.Match[str] | None:
        """Returns the match in the newest line that has one, None where no recent line has."""
        with self._changed:
            recent = itertools.islice(reversed(self._lines), _RECENT_LINES)
            return next((match for line in recent if (match := re.search(pattern, line))), None)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """What Ctrl-C in a terminal does: everything in the foreground gets the signal."""
        os.killpg(self._process.pid, number)

    def wait(self) -> int:
        """Returns the exit code, once everything that was printed has been read, too."""
        code = self._process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Ends it and the processes that it has started, at once."""
        for pid in (*children(self).values(), self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()


def _started(*arguments: str, cwd: Path, **settings: str) -> Process:
    if RUN not in arguments:
        return Process(*arguments, cwd=cwd, **settings)
    lock = _STARTING.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    process = Process(*arguments, cwd=cwd, **settings)
    threading.Thread(target=process.then, args=(_HAS_ITS_PORTS, lock.close)).start()
    return process


@contextlib.contextmanager
def running(*arguments: str, cwd: Path, **settings: str) -> Iterator[Process]:
    """Runs Python, or another `program`, with these arguments; kills what is left in the end."""
    process = _started(*arguments, cwd=cwd, **settings)
    try:
        yield process
    finally:
        process.kill()


def children(process: Process) -> dict[str, int]:
    """Returns the running children of a process: the module that each runs, and its id."""
    found = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        for pid in listed.split():
            arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if "-m" in arguments:
                found[arguments[arguments.index("-m") + 1]] = int(pid)
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def has_loaded(pid: int, library: str) -> bool:
    """Tells whether a process has come as far as to load that library."""
    try:
        return library in Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass(frozen=True, slots=True)
class Part:
    """A process and where it listens."""

    process: Process
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}"


_WITH_CLOCK = """
import pathlib, runpy, sys, time, types
from grpc._cython import cygrpc

# The core of gRPC asks the machine itself: the Python side of it must not disagree.
cygrpc.time = types.SimpleNamespace(**vars(time))

module, offset = sys.argv[1], pathlib.Path(sys.argv[2])
real = time.time_ns
time.time_ns = lambda: real() + int(offset.read_text()) * 10**9
time.time = lambda: time.time_ns() / 10**9
sys.argv = [module]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


class Clock:
    """The time of day of processes that are run with its `arguments`; deadlines go on as ever."""

    def __init__(self, directory: Path) -> None:
        self._offset = directory / "clock-offset"
        self.set(0)

    def arguments(self, module: str) -> tuple[str, ...]:
        """Returns what makes Python run a module by this clock."""
        return ("-c", _WITH_CLOCK, module, str(self._offset))

    def set(self, seconds: int) -> None:
        """Sets it so many seconds ahead of ours."""
        new = self._offset.with_suffix(".new")
        new.write_text(str(seconds))
        os.replace(new, self._offset)


@contextlib.contextmanager
def emulator(cwd: Path, listen: str = "127.0.0.1:0") -> Iterator[Part]:
    arguments = ("-m", "session_service.openai_emulator", "--listen", listen)
    with running(*arguments, cwd=cwd) as process:
        yield Part(process, process.wait_for(r"emulator at http://([\d.:]+)/v1")[1])


LISTENS = {
    "session_service": r'session service listening","address":"([\d.:]+)"',
    "gateway": r'gateway listening","address":"http://([\d.:]+)"',
}


def _service_settings(openai: str, settings: dict[str, str]) -> dict[str, str]:
    given = {
        "SESSION_SERVICE_LISTEN": "127.0.0.1:0",
        "OPENAI_BASE_URL": f"{openai}/v1",
        "OPENAI_API_KEY": "sk-e2e-0123456789abcdefghij",
        "OPENAI_CHATKIT_WORKFLOW_ID": WORKFLOW,
        **settings,
    }
    return {name: value for name, value in given.items() if value}


def _gateway_settings(targets: tuple[str, ...], settings: dict[str, str]) -> dict[str, str]:
    return {
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "SESSION_SERVICE_TARGET": ",".join(targets),
        "JWT_SECRET": SECRET,
        **settings,
    }


@contextlib.contextmanager
def session_service(
    cwd: Path, openai: str, *, clock: Clock | None = None, **settings: str
) -> Iterator[Part]:
    """Runs `python -m session_service` against the OpenAI at that address."""
    given = _service_settings(openai, settings)
    arguments = clock.arguments("session_service") if clock else ("-m", "session_service")
    with running(*arguments, cwd=cwd, **given) as process:
        yield Part(process, process.wait_for(LISTENS["session_service"])[1])


@contextlib.contextmanager
def gateway(
    cwd: Path, *targets: str, grace_seconds: float | None = None, **settings: str
) -> Iterator[Part]:
    """Runs `python -m gateway` before the session services at these addresses."""
    given = _gateway_settings(targets, settings)
    arguments = ("-m", "gateway")
    if grace_seconds is not None:
        arguments = ("-c", f"from gateway.__main__ import main; main({grace_seconds})")
    with running(*arguments, cwd=cwd, **given) as process:
        yield Part(process, process.wait_for(LISTENS["gateway"])[1])


@contextlib.contextmanager
def pair(cwd: Path, openai: str, **settings: str) -> Iterator[tuple[Part, Part]]:
    """Runs a session service and a gateway before it; they start at the same time."""
    address = f"127.0.0.1:{free_port()}"
    for_service = _service_settings(openai, {"SESSION_SERVICE_LISTEN": address, **settings})
    for_gateway = _gateway_settings((address,), settings)
    with (
        running("-m", "session_service", cwd=cwd, **for_service) as service,
        running("-m", "gateway", cwd=cwd, **for_gateway) as gateway,
    ):
        service.wait_for(LISTENS["session_service"])
        yield Part(service, address), Part(gateway, gateway.wait_for(LISTENS["gateway"])[1])


@dataclass(frozen=True, slots=True)
class System:
    """What `make run` has started, and what it said."""

    process: Process
    url: str
    token: str
    curl: str
    emulator: str


@contextlib.contextmanager
def make_run(cwd: Path, **settings: str) -> Iterator[System]:
    """Runs run.py in an empty directory, so that there is no `.env` and no database."""
    given = {
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "SESSION_SERVICE_LISTEN": f"127.0.0.1:{free_port()}",
        **settings,
    }
    with running(RUN, cwd=cwd, **given) as process:
        process.wait_for(r"Ctrl-C stops everything\.")
        yield System(
            process,
            url=process.wait_for(r"Address +(http://[\d.:]+)")[1],
            token=process.wait_for(r"Token +(\S+)")[1],
            curl=process.wait_for(r"(?m)^ +(curl .*)$")[1],
            emulator=process.wait_for(r"emulator at (http://[\d.:]+)/v1")[1],
        )
