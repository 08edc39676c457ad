"""Who is measured: our chain of two processes, its peers, and the upstream that all of them ask."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt

from gateway.documentation.examples import DASHBOARD_REQUEST
from tests.bench import processes, upstream
from tests.bench.processes import ROOT, CannotRun, Process, free_port

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

USERS = 300
MOST_STREAMS = 100

_JWT_SECRET = "a secret for the bench alone, of 32 bytes and more"
_ORIGIN = "https://dashboard.example.com"
_CREATED = f'"client_secret":"{upstream.SECRET_PREFIX}'


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that listens, and what it is asked."""

    name: str
    port: int
    processes: Sequence[Process]
    requests: Sequence[str]
    expected: str = _CREATED


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
    if process.returncode != 0:
        raise CannotRun(f"{contestant.name} answered wrongly: {errors.decode().strip()[-1000:]}")
    figures: dict[str, Any] = json.loads(output)
    return figures


@contextlib.asynccontextmanager
async def running_upstream(directory: Path) -> AsyncIterator[Contestant]:
    """Runs the stand-in for OpenAI; asked directly, it is the floor."""
    port = free_port()
    async with processes.running(
        "upstream", ["tests.bench.upstream", str(port)], port, {}, directory
    ) as process:
        body = json.dumps({"user": "7", "workflow": {"id": "wf_bench"}})
        yield Contestant("upstream alone", port, [process], [_request("POST", upstream.PATH, body)])


@contextlib.asynccontextmanager
async def running_chain(
    directory: Path,
    upstream_port: int,
    database: Path,
    name: str = "chain",
    more_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Contestant]:
    """Runs both of our processes as in production, with all they do and every line they log."""
    service_port, gateway_port = free_port(), free_port()
    logs = {"LOG_LEVEL": "info", "LOG_FORMAT": "json"}
    service_settings = logs | _openai(upstream_port)
    service_settings |= {
        "SESSION_SERVICE_LISTEN": f"127.0.0.1:{service_port}",
        "DATABASE_URL": f"sqlite:///{database}",
        # The users are few and in a hurry; and the upstream has no threads to count messages in.
        "CHATKIT_SESSIONS_PER_MINUTE": "0",
        "CHATKIT_USAGE_SYNC_SECONDS": "0",
    }
    service_settings |= more_settings or {}
    gateway_settings = logs | {
        "GATEWAY_LISTEN": f"127.0.0.1:{gateway_port}",
        "SESSION_SERVICE_TARGET": f"127.0.0.1:{service_port}",
        "JWT_SECRET": _JWT_SECRET,
        "CORS_ALLOW_ORIGINS": _ORIGIN,
    }
    async with (
        processes.running(
            f"{name}-session_service",
            ["session_service"],
            service_port,
            service_settings,
            directory,
        ) as service,
        processes.running(
            f"{name}-gateway", ["gateway"], gateway_port, gateway_settings, directory
        ) as gateway,
    ):
        yield Contestant(name, gateway_port, [gateway, service], create_requests())


@contextlib.asynccontextmanager
async def running_fastapi(
    directory: Path, upstream_port: int, workers: int
) -> AsyncIterator[Contestant]:
    port = free_port()
    name = f"fastapi, {workers} worker{'s' if workers > 1 else ''}"
    app = ["--factory", "tests.bench.peer_fastapi:create_app"]
    options = f"--port {port} --workers {workers} --loop uvloop --http httptools --no-access-log"
    settings = _openai(upstream_port) | {"JWT_SECRET": _JWT_SECRET}
    async with processes.running(
        f"fastapi-{workers}", ["uvicorn", *app, *options.split()], port, settings, directory
    ) as process:
        yield Contestant(name, port, [process], create_requests())


@contextlib.asynccontextmanager
async def running_own_chat(directory: Path, upstream_port: int) -> AsyncIterator[Contestant]:
    """Runs both of our processes in self-hosted mode, with a session for every stream."""
    settings = {
        "CHATKIT_MODE": "self_hosted",
        "CHATKIT_REQUESTS_PER_MINUTE": "0",  # the users are in a hurry here too
        "CHATKIT_TIMEOUT_SECONDS": "60",  # as a hundred answers at once take as long as they take
        "CHATKIT_ATTACHMENTS_DIR": str(directory / "attachments"),
    }
    database = directory / "streams.db"
    async with running_chain(directory, upstream_port, database, "chain", settings) as chain:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{chain.port}") as client:
            secrets = [await _client_secret(client, user) for user in range(1, MOST_STREAMS + 1)]
        requests = [_message_request("/api/chatkit", secret) for secret in secrets]
        yield Contestant(chain.name, chain.port, chain.processes, requests)


@contextlib.asynccontextmanager
async def running_official(directory: Path, upstream_port: int) -> AsyncIterator[Contestant]:
    port = free_port()
    app = ["--factory", "tests.bench.peer_chatkit:create_app"]
    options = f"--port {port} --loop uvloop --http httptools --no-access-log"
    async with processes.running(
        "official", ["uvicorn", *app, *options.split()], port, _openai(upstream_port), directory
    ) as process:
        requests = [_message_request("/chatkit")] * MOST_STREAMS
        yield Contestant("official", port, [process], requests)


async def _client_secret(client: httpx.AsyncClient, user: int) -> str:
    answer = await client.post(
        "/api/chatkit/session",
        content=_dashboard_body(user),
        headers={"authorization": f"Bearer {_token(user)}", "content-type": "application/json"},
    )
    if answer.status_code != 200:
        raise CannotRun(f"no session to chat in: {answer.text}")
    secret: str = answer.json()["data"]["client_secret"]
    return secret


def create_requests() -> Sequence[str]:
    """Returns the dashboard's real request, once for each user."""
    return [
        _request("POST", "/api/chatkit/session", _dashboard_body(user), _token(user))
        for user in range(1, USERS + 1)
    ]


def stats_request(user_id: str, role: str) -> str:
    return _request("GET", "/api/chatkit/stats", "", _token(user_id, role))


def _openai(port: int) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "OPENAI_API_KEY": "sk-bench",
        "OPENAI_CHATKIT_WORKFLOW_ID": "wf_bench",
    }


def _token(user_id: int | str, role: str = "user") -> str:
    claims = {"userId": user_id, "role": role, "exp": int(time.time()) + 3600}
    return jwt.encode(claims, _JWT_SECRET, "HS256")


def _dashboard_body(user: int) -> str:
    named = {"userId": user, "username": f"user{user}", "email": f"user{user}@example.com"}
    return json.dumps(DASHBOARD_REQUEST | named, separators=(",", ":"))


def _message_request(path: str, client_secret: str | None = None) -> str:
    """Returns a request that begins a thread, as the web component sends it."""
    content = [{"type": "input_text", "text": "¿Qué proyectos tengo?"}]
    message = {"content": content, "attachments": [], "inference_options": {}}
    body = {"type": "threads.create", "params": {"input": message}}
    return _request("POST", path, json.dumps(body), client_secret)


def _request(method: str, path: str, body: str, token: str | None = None) -> str:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "accept: */*", f"origin: {_ORIGIN}"]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join((*lines, "", body))
