"""Who is measured: our chain of two processes, and the upstream that all contestants ask."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import processes, upstream
from tests.bench.http_requests import (
    JWT_SECRET,
    ORIGIN,
    create_requests,
    upstream_request,
)
from tests.bench.processes import PYTHON_MODULE, ROOT, CannotRun, Process, free_port

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHAIN = "chain"
UPSTREAM = "upstream alone"

_CREATED = f'"client_secret":"{upstream.SECRET_PREFIX}'


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that listens, and what it is asked."""

    name: str
    port: int
    processes: Sequence[Process]
    requests: Sequence[str]
    expected: str = _CREATED

    @property
    def pids(self) -> Sequence[int]:
        return [process.pid for process in self.processes]

    def check(self) -> None:
        """Raises CannotRun where one of its processes has ended."""
        for process in self.processes:
            process.check()


async def load(contestant: Contestant, module: str, orders: "DataclassInstance") -> dict[str, Any]:
    """Loads from a process of its own, so that it takes no turns with ours. Raises CannotRun."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate(json.dumps(asdict(orders)).encode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    contestant.check()
    if process.returncode != 0:
        raise CannotRun(f"{contestant.name} answered wrongly: {errors.decode().strip()[-1000:]}")
    figures: dict[str, Any] = json.loads(output)
    return figures


@contextlib.asynccontextmanager
async def running_upstream(directory: Path) -> AsyncIterator[Contestant]:
    """Runs the stand-in for OpenAI; asked directly, it is the floor."""
    port = free_port()
    command = [*PYTHON_MODULE, "tests.bench.upstream", str(port)]
    async with processes.running("upstream", command, port, {}, directory) as process:
        yield Contestant(UPSTREAM, port, [process], [upstream_request()])


@contextlib.asynccontextmanager
async def running_chain(
    directory: Path,
    upstream_port: int,
    database: Path | str,
    name: str = CHAIN,
    more_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Contestant]:
    """Runs both of our processes as in production, with all they do and every line they log.

    `database` is a file of SQLite's or the URL of a database of PostgreSQL's.
    """
    service_port, gateway_port = free_port(), free_port()
    logs = {"LOG_LEVEL": "info", "LOG_FORMAT": "json"}
    service_settings = logs | openai_settings(upstream_port)
    service_settings |= {
        "SESSION_SERVICE_LISTEN": f"127.0.0.1:{service_port}",
        "SESSION_SERVICE_METRICS_LISTEN": "off",
        "DATABASE_URL": f"sqlite:///{database}" if isinstance(database, Path) else database,
        # The users are few and in a hurry; and the upstream has no threads to count messages in.
        "CHATKIT_SESSIONS_PER_MINUTE": "0",
        "CHATKIT_USAGE_SYNC_SECONDS": "0",
    }
    service_settings |= more_settings or {}
    gateway_settings = logs | {
        "GATEWAY_LISTEN": f"127.0.0.1:{gateway_port}",
        "SESSION_SERVICE_TARGET": f"127.0.0.1:{service_port}",
        "JWT_SECRET": JWT_SECRET,
        "CORS_ALLOW_ORIGINS": ORIGIN,
    }
    async with (
        processes.running(
            f"{name}-session_service",
            [*PYTHON_MODULE, "session_service"],
            service_port,
            service_settings,
            directory,
        ) as service,
        processes.running(
            f"{name}-gateway",
            [*PYTHON_MODULE, "gateway"],
            gateway_port,
            gateway_settings,
            directory,
        ) as gateway,
    ):
        yield Contestant(name, gateway_port, [gateway, service], create_requests())


def running_own_chat(
    directory: Path, upstream_port: int
) -> AbstractAsyncContextManager[Contestant]:
    """Runs both of our processes in self-hosted mode; see `http_requests.chat_requests`."""
    settings = {
        "CHATKIT_MODE": "self_hosted",
        "CHATKIT_REQUESTS_PER_MINUTE": "0",  # the users are in a hurry here too
        "CHATKIT_TIMEOUT_SECONDS": "300",  # as many answers at once take as long as they take
        "CHATKIT_ATTACHMENTS_DIR": str(directory / "attachments"),
    }
    return running_chain(directory, upstream_port, directory / "chat.db", "own-chat", settings)


@contextlib.asynccontextmanager
async def all_running(
    starting: Sequence[AbstractAsyncContextManager[Contestant]],
) -> AsyncIterator[Sequence[Contestant]]:
    """Starts them at the same time: each takes a second or more."""
    async with contextlib.AsyncExitStack() as stack:
        # All are waited for, also where one fails: what is started has to be stopped.
        started = await asyncio.gather(
            *map(stack.enter_async_context, starting), return_exceptions=True
        )
        running: list[Contestant] = []
        for one in started:
            if isinstance(one, BaseException):
                raise one
            running.append(one)
        yield running


def openai_settings(port: int) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "OPENAI_API_KEY": "sk-bench",
        "OPENAI_CHATKIT_WORKFLOW_ID": "wf_bench",
    }
