"""What one would write or take instead: each does less than our chain, with as many processes."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.bench import processes
from tests.bench.contestants import Contestant, openai_settings
from tests.bench.http_requests import JWT_SECRET, create_requests, message_request
from tests.bench.processes import PYTHON_MODULE, free_port

OFFICIAL = "official"
FASTAPI = "fastapi"
NODE = "node"
OFFICIAL_CHAT = "official"

_WORKERS = 2
"""Like our two processes they have two cores."""


def running_peers(
    directory: Path, upstream_port: int
) -> Sequence[AbstractAsyncContextManager[Contestant]]:
    """Returns those that are asked for sessions, without Node where there is none."""
    commands = {OFFICIAL: _fastapi("create_official_app"), FASTAPI: _fastapi("create_app")}
    if node := shutil.which("node"):
        script = str(Path(__file__).with_name("peer_node.js"))
        commands[NODE] = lambda port: (node, script, str(port), str(_WORKERS))
    return [_running(name, command, directory, upstream_port) for name, command in commands.items()]


def _fastapi(factory: str) -> Callable[[int], Sequence[str]]:
    return lambda port: _uvicorn(f"tests.bench.peer_fastapi:{factory}", port, _WORKERS)


@contextlib.asynccontextmanager
async def _running(
    name: str, command: Callable[[int], Sequence[str]], directory: Path, upstream_port: int
) -> AsyncIterator[Contestant]:
    port = free_port()
    async with processes.running(
        name, command(port), port, _settings(upstream_port), directory
    ) as process:
        yield Contestant(name, port, [process], create_requests())


@contextlib.asynccontextmanager
async def running_official_chat(
    directory: Path, upstream_port: int, streams: int
) -> AsyncIterator[Contestant]:
    """Runs FastAPI and ChatKitServer in one process, as OpenAI's quickstart has them."""
    port = free_port()
    command = _uvicorn("tests.bench.peer_chatkit:create_app", port, workers=1)
    async with processes.running(
        "official-chat", command, port, openai_settings(upstream_port), directory
    ) as process:
        requests = [message_request("/chatkit")] * streams
        yield Contestant(OFFICIAL_CHAT, port, [process], requests)


def _uvicorn(factory: str, port: int, workers: int) -> Sequence[str]:
    options = f"--port {port} --workers {workers} --loop uvloop --http httptools --no-access-log"
    return [*PYTHON_MODULE, "uvicorn", "--factory", factory, *options.split()]


def _settings(upstream_port: int) -> Mapping[str, str]:
    return {**openai_settings(upstream_port), "JWT_SECRET": JWT_SECRET}
