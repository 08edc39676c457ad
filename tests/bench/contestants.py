"""Who is measured: our chain of two processes, its peers, and the upstream that all of them ask."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jwt

from gateway.documentation.examples import DASHBOARD_REQUEST
from tests.bench import processes, upstream
from tests.bench.processes import Process, free_port

USERS = 300

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
    directory: Path, upstream_port: int, database: Path, name: str = "chain"
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


def _request(method: str, path: str, body: str, token: str | None = None) -> str:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "accept: */*", f"origin: {_ORIGIN}"]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join((*lines, "", body))
