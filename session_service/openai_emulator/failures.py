"""The emulator's control over the wire: the log of what was asked, and failures on request."""

import asyncio
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar, cast

import orjson
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_service.openai_emulator.errors import JSON, Strict, masked, typical_error

CONTROL = "/_emulator"
_EXCHANGE = "openai_emulator.exchange"
_LOGGED_REQUESTS = 10_000

Operation = Literal[
    "sessions.create",
    "sessions.cancel",
    "threads.list",
    "threads.retrieve",
    "threads.delete",
    "threads.items",
    "responses.create",
    "files.create",
    "files.list",
    "files.retrieve",
    "files.delete",
    "models.retrieve",
    "*",
]
# What happens in the middle of an answer is up to the operation.
_OF_RESPONSES = frozenset(
    {
        "error_event",
        "failed_event",
        "incomplete",
        "broken_stream",
        "silence",
        "drip",
        "stuck_tool",
    }
)


_UP_TO_THE_OPERATION = _OF_RESPONSES | {"delay"}


class Limited(Strict):
    """What holds for the next `times` requests; None is until cleared."""

    times: Annotated[int, Field(ge=1)] | None = 1


class Failure(Limited):
    """What is to happen to the next `times` requests of `operation`."""

    operation: Operation = "*"
    kind: Literal[
        "status",
        "hang",
        "reset",
        "truncate",
        "malformed",
        "huge",
        "delay",
        "error_event",
        "failed_event",
        "incomplete",
        "broken_stream",
        "silence",
        "drip",
        "stuck_tool",
    ] = "status"
    status: Annotated[int, Field(ge=200, le=599)] = 500
    body: Any = None
    raw_body: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    delay_seconds: Annotated[float, Field(ge=0)] = 0
    after_deltas: Annotated[int, Field(ge=0)] = 3
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"] = "server_error"
    reason: Literal["max_output_tokens", "content_filter"] = "max_output_tokens"

    @model_validator(mode="after")
    def _has_a_stream(self) -> Self:
        if self.kind in _OF_RESPONSES and self.operation != "responses.create":
            message = "{kind} needs the operation responses.create"
            raise PydanticCustomError("not_of_this_operation", message, {"kind": self.kind})
        return self


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
    left_early: bool = False
    sent_deltas: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an operation may know of its request, and do to it, besides the usual."""

    seen: SeenRequest
    failure: Failure | None
    """One that is up to the operation."""
    break_connection: Callable[[], None]


def exchange_of(request: Request) -> Exchange:
    exchange: Exchange = request.scope[_EXCHANGE]
    return exchange


L = TypeVar("L", bound=Limited)


def use_up(waiting: list[L], wanted: Callable[[L], bool] = lambda _: True) -> L | None:
    """The first of `waiting` that is `wanted`, used up by that."""
    for entry in waiting:
        if wanted(entry):
            if entry.times is not None:
                entry.times -= 1
                if not entry.times:
                    waiting.remove(entry)
            return entry
    return None


class Control:
    """The failures that are waiting, in their order, and the latest requests."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.requests: deque[SeenRequest] = deque(maxlen=_LOGGED_REQUESTS)

    def take(self, operation: str | None) -> Failure | None:
        """The failure that the next request of `operation` is to meet, used up by that."""
        return use_up(self.failures, lambda failure: failure.operation in (operation, "*"))

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
        matching = (r.name for r in self.routes if r.matches(scope)[0] is Match.FULL)
        seen = _seen(request, next(matching, None))
        is_upload = seen.operation == "files.create"  # long, so the operation reads it by itself
        body = b""
        if not is_upload:
            try:
                body = await request.body()
            except ClientDisconnect:
                return
            seen.body = _json_or_none(body)
        self.control.requests.append(seen)

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-request-id", f"req_{secrets.token_hex(16)}")
                elapsed_ms = int((time.perf_counter() - started) * 1000)
                headers.setdefault("openai-processing-ms", str(elapsed_ms))
            await send(message)

        def break_connection(*, reset: bool = False) -> None:
            _close(cast(Any, send).__self__.transport, reset=reset)

        failure = self.control.take(seen.operation)
        in_its_place = failure and failure.kind not in _UP_TO_THE_OPERATION
        if is_upload and in_its_place:
            await _drain(receive)
        delay = failure.delay_seconds if failure and failure.kind != "drip" else 0
        if is_upload and not in_its_place:
            await asyncio.sleep(delay)  # to look whether the client leaves would read the upload
        elif delay and await client_left(receive, within=delay):
            seen.left_early = True
            return
        if failure is None or not in_its_place:
            scope[_EXCHANGE] = Exchange(seen, failure, break_connection)
            app_receive = receive if is_upload else _again(body, receive)
            await self.app(scope, app_receive, send_identified)
        elif failure.kind in ("hang", "reset", "truncate"):
            if failure.kind == "truncate":
                await _send_half(send_identified)
            if failure.kind != "hang":
                break_connection(reset=failure.kind == "reset")
            # Returning now would make uvicorn answer in our place.
            await client_left(receive)
            seen.left_early = failure.kind == "hang"
        else:
            await _answer(failure)(scope, receive, send_identified)


def _seen(request: Request, operation: str | None) -> SeenRequest:
    headers = dict(request.headers)
    if authorization := headers.get("authorization"):
        scheme, _, key = authorization.partition(" ")
        headers["authorization"] = f"{scheme} {masked(key)}"
    query = dict(request.query_params)
    return SeenRequest(operation, request.method, request.url.path, query, headers, body=None)


def _json_or_none(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives `body` as one message, and then what there is to receive after it."""
    messages = [{"type": "http.request", "body": body}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def _drain(receive: Receive) -> None:
    """Reads the rest of the request: a client that is still sending would not see the answer."""
    while (await receive()).get("more_body"):
        pass


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


async def client_left(receive: Receive, *, within: float | None = None) -> bool:
    """Waits until the connection is gone, at most `within` seconds; whether it is gone."""
    try:
        async with asyncio.timeout(within):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
