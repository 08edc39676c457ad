"""The emulator's control over the wire: the log of what was asked, and failures on request."""

import asyncio
import secrets
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import Field
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_service.openai_emulator_errors import JSON, Strict, masked, typical_error

CONTROL = "/_emulator"
_LOGGED_REQUESTS = 10_000

Operation = Literal[
    "sessions.create",
    "sessions.cancel",
    "threads.list",
    "threads.retrieve",
    "threads.delete",
    "threads.items",
    "*",
]


class Failure(Strict):
    """What is to happen to the next `times` requests of `operation`; None is until cleared."""

    operation: Operation = "*"
    kind: Literal["status", "hang", "reset", "truncate", "malformed", "huge", "delay"] = "status"
    times: Annotated[int, Field(ge=1)] | None = 1
    status: Annotated[int, Field(ge=200, le=599)] = 500
    body: Any = None
    raw_body: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    delay_seconds: Annotated[float, Field(ge=0)] = 0


class RequestsQuery(Strict):
    operation: Operation | None = None


@dataclass(slots=True)
class SeenRequest:
    """One request; `status` is None until it is answered, and for ever if it never is."""

    operation: str | None
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    status: int | None = None


class Control:
    """The failures that are waiting, in their order, and the latest requests."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.requests: deque[SeenRequest] = deque(maxlen=_LOGGED_REQUESTS)

    def take(self, operation: str | None) -> Failure | None:
        """The failure that the next request of `operation` is to meet, used up by that."""
        for failure in self.failures:
            if failure.operation in (operation, "*"):
                if failure.times is not None:
                    failure.times -= 1
                    if not failure.times:
                        self.failures.remove(failure)
                return failure
        return None

    def add_failure(self, body: Failure) -> JSON:
        self.failures.append(body)
        return body.model_dump()

    def clear_failures(self) -> JSON:
        self.failures.clear()
        return {"cleared": True}

    def list_requests(self, query: RequestsQuery) -> list[SeenRequest]:
        return [seen for seen in self.requests if query.operation in (None, seen.operation)]

    def clear_requests(self) -> JSON:
        self.requests.clear()
        return {"cleared": True}


class FailureInjection:
    """Logs every request for `routes`, and lets it reach `app` unless it is to fail.

    To be wrapped around everything else: breaking a connection needs uvicorn's own `send`.
    """

    def __init__(self, app: ASGIApp, routes: list[Route], control: Control) -> None:
        self.app = app
        self.routes = routes
        self.control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        matching = (r.name for r in self.routes if r.matches(scope)[0] is Match.FULL)
        seen = _seen(request, next(matching, None), body)
        self.control.requests.append(seen)

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-request-id", f"req_{secrets.token_hex(16)}")
                elapsed_ms = int((time.perf_counter() - started) * 1000)
                headers.setdefault("openai-processing-ms", str(elapsed_ms))
            await send(message)

        async def receive_again() -> Message:
            return {"type": "http.request", "body": body}

        failure = self.control.take(seen.operation)
        delay = failure.delay_seconds if failure else 0
        if delay and await _client_left(receive, within=delay):
            return
        if failure is None or failure.kind == "delay":
            await self.app(scope, receive_again, send_identified)
        elif failure.kind in ("hang", "reset", "truncate"):
            if failure.kind == "truncate":
                await _send_half(send_identified)
            if failure.kind != "hang":
                _close(cast(Any, send).__self__.transport, reset=failure.kind == "reset")
            # Returning now would make uvicorn answer in our place.
            await _client_left(receive)
        else:
            await _answer(failure)(scope, receive, send_identified)


def _seen(request: Request, operation: str | None, body: bytes) -> SeenRequest:
    headers = dict(request.headers)
    if authorization := headers.get("authorization"):
        scheme, _, key = authorization.partition(" ")
        headers["authorization"] = f"{scheme} {masked(key)}"
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    query = dict(request.query_params)
    return SeenRequest(operation, request.method, request.url.path, query, headers, parsed)


def _answer(failure: Failure) -> Response:
    status, headers = 200, failure.headers
    match failure.kind:
        case "malformed":
            content = b'{"id": "cksess_'
        case "huge":
            content = b'{"padding": "%s"}' % (b"x" * (2 * 1024 * 1024))
        case _:
            status = failure.status
            if failure.raw_body is not None:
                content = failure.raw_body.encode()
            elif "body" in failure.model_fields_set:
                content = orjson.dumps(failure.body)
            else:
                content = orjson.dumps(typical_error(status).body)
    return Response(content, status, headers, media_type="application/json")


async def _send_half(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1024")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    body = b'{"id": "cksess_'
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _close(transport: asyncio.Transport, *, reset: bool) -> None:
    if reset:
        # Lingering for no time at all makes the kernel send RST instead of FIN, see socket(7).
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()


async def _client_left(receive: Receive, *, within: float | None = None) -> bool:
    """Waits until the connection is gone, at most `within` seconds; whether it is gone."""
    try:
        async with asyncio.timeout(within):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
