"""Whole HTTP requests as the dashboard sends them, and the tokens in them."""

import json
import time
from collections.abc import Sequence

import httpx
import jwt

from gateway.documentation.examples import DASHBOARD_REQUEST
from tests.bench import upstream
from tests.bench.processes import CannotRun

USERS = 300
JWT_SECRET = "a secret for the bench alone, of 32 bytes and more"
ORIGIN = "https://dashboard.example.com"

_SESSION = "/api/chatkit/session"
_QUESTION = "¿Qué proyectos tengo?"


def create_requests() -> Sequence[str]:
    """Returns the dashboard's real request, once for each user."""
    return [
        _request("POST", _SESSION, _dashboard_body(user), _token(user))
        for user in range(1, USERS + 1)
    ]


def get_request(user: int, session_id: str) -> str:
    return _request("GET", f"{_SESSION}/{session_id}", "", _token(user))


def stats_request(user: int) -> str:
    return _request("GET", "/api/chatkit/stats", "", _token(user))


def upstream_request() -> str:
    """Returns what all contestants ask of the upstream."""
    body = json.dumps({"user": "7", "workflow": {"id": "wf_bench"}})
    return _request("POST", upstream.PATH, body)


async def chat_requests(port: int, users: int, text: str = _QUESTION) -> Sequence[str]:
    """Returns a message to our chat from each user, in a new session. Raises CannotRun."""
    sessions = await open_sessions(port, users)
    return [message_request("/api/chatkit", text, one["client_secret"]) for one in sessions]


def message_request(path: str, text: str = _QUESTION, client_secret: str | None = None) -> str:
    """Returns a request that begins a thread, as the web component sends it."""
    content = [{"type": "input_text", "text": text}]
    message = {"content": content, "attachments": [], "inference_options": {}}
    body = {"type": "threads.create", "params": {"input": message}}
    return _request("POST", path, json.dumps(body), client_secret)


async def open_sessions(port: int, users: int) -> Sequence[dict[str, str]]:
    """Returns the new sessions of the users from 1 on. Raises CannotRun."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        return [await _open_session(client, user) for user in range(1, users + 1)]


async def _open_session(client: httpx.AsyncClient, user: int) -> dict[str, str]:
    answer = await client.post(
        _SESSION,
        content=_dashboard_body(user),
        headers={"authorization": f"Bearer {_token(user)}", "content-type": "application/json"},
    )
    if answer.status_code != 200:
        raise CannotRun(f"no session: {answer.text}")
    session: dict[str, str] = answer.json()["data"]
    return session


def _token(user: int) -> str:
    claims = {"userId": user, "role": "user", "exp": int(time.time()) + 3600}
    return jwt.encode(claims, JWT_SECRET, "HS256")


def _dashboard_body(user: int) -> str:
    named = {"userId": user, "username": f"user{user}", "email": f"user{user}@example.com"}
    return json.dumps(DASHBOARD_REQUEST | named, separators=(",", ":"))


def _request(method: str, path: str, body: str, token: str | None = None) -> str:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "accept: */*", f"origin: {ORIGIN}"]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join((*lines, "", body))
