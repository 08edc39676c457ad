"""Statistics as server-sent events: what WatchStats says, to those who watch, as it comes."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import orjson
from starlette.types import Receive, Scope, Send

from gateway import messages
from gateway.auth import Caller
from gateway.errors import OVERLOAD, APIError, error_body, from_rpc
from gateway.http_protocol import AT_REST
from gateway.texts import Language
from protos.chatkit.v1 import session_service_pb2 as pb

MOST_SECONDS = 3600.0
"""How long one call lasts: who watches begins anew, perhaps at another session service."""
_HEARTBEAT_SECONDS = 15.0
"""Proxies close what is silent for a minute, and a page knows that we are still there."""
_MOST = 256
"""Each change is sent to all of them: so many take a tenth of a core, at a change a second."""
_MOST_OF_ONE = 8
_RETRY_SECONDS = 10.0
_HEARTBEAT = b": still here\n\n"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the events before it hands them on
)

WatchCall: TypeAlias = "grpc.aio.UnaryStreamCall[pb.WatchStatsRequest, pb.WatchStatsResponse]"


class Watchers:
    """Who watches: not too many, nobody too often, and nobody any more once we drain."""

    def __init__(self, most: int = _MOST, most_of_one: int = _MOST_OF_ONE) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._by_user: Counter[str] = Counter()
        self.draining = asyncio.Event()

    @contextlib.contextmanager
    def place(self, user_id: str) -> Iterator[None]:
        """Takes a place while the block runs. Raises APIError where there is none."""
        if self.draining.is_set():
            raise APIError("UNAVAILABLE", retry_after_seconds=1)
        if self._by_user[user_id] >= self._most_of_one:
            raise APIError("RATE_LIMITED", "watchers", retry_after_seconds=_RETRY_SECONDS)
        if self._by_user.total() >= self._most:
            raise APIError("UNAVAILABLE", OVERLOAD, retry_after_seconds=_RETRY_SECONDS)
        self._by_user[user_id] += 1
        try:
            yield
        finally:
            self._by_user[user_id] -= 1
            if not self._by_user[user_id]:
                del self._by_user[user_id]


@dataclass(frozen=True, slots=True)
class StatsStream:
    """An ASGI response: the events `stats`, and at last perhaps one `error`, with our envelope.

    A failure before there is anything to send is an APIError.
    """

    watch: Callable[[], WatchCall]
    """Begins the call."""
    watchers: Watchers
    caller: Caller
    language: Language
    request_id: str
    first_seconds: float
    """How long the first statistics may take."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.watchers.place(self.caller.user_id):
            call = self.watch()
            try:
                event = _stats_event(await self._first(call))
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                # From here on it waits: who watches takes no place of those who want an answer.
                if AT_REST in scope:
                    scope[AT_REST]()
                if scope["method"] != "HEAD":
                    await _send(send, event)
                    async with contextlib.aclosing(self._events(call)) as events:
                        async for event in events:
                            await _send(send, event)
                await send({"type": "http.response.body"})
            finally:
                call.cancel()

    async def _first(self, call: WatchCall) -> pb.WatchStatsResponse:
        try:
            async with asyncio.timeout(self.first_seconds):
                response = await call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        except TimeoutError:
            raise APIError("UPSTREAM_TIMEOUT") from None
        if not isinstance(response, pb.WatchStatsResponse):
            raise APIError("UNAVAILABLE", retry_after_seconds=1)  # the service ends
        return response

    async def _events(self, call: WatchCall) -> AsyncGenerator[bytes]:
        """Yields until the token expires, we drain, or the service ends or fails."""
        draining = asyncio.create_task(self.watchers.draining.wait())
        reading = asyncio.create_task(_read(call))
        try:
            while True:
                left = self.caller.expires_at - time.time()
                await asyncio.wait(
                    (draining, reading),
                    timeout=min(_HEARTBEAT_SECONDS, max(left, 0)),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if draining.done():
                    return
                if self.caller.expires_at <= time.time():
                    yield self._error_event(APIError("UNAUTHENTICATED"))
                    return
                if not reading.done():
                    yield _HEARTBEAT
                    continue
                response = reading.result()
                if response is None:
                    return
                yield _stats_event(response)
                reading = asyncio.create_task(_read(call))
        except APIError as error:
            yield self._error_event(error)
        finally:
            draining.cancel()
            reading.cancel()

    def _error_event(self, error: APIError) -> bytes:
        return _event("error", error_body(error, self.request_id, self.language))


async def _read(call: WatchCall) -> pb.WatchStatsResponse | None:
    """Returns None at the end, which is also that of the time that a call has. Raises APIError."""
    try:
        response = await call.read()
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return None
        raise from_rpc(error) from error
    return response if isinstance(response, pb.WatchStatsResponse) else None


async def _send(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})


def _stats_event(response: pb.WatchStatsResponse) -> bytes:
    return _event("stats", messages.stats(response.stats))


def _event(name: str, data: dict[str, object]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))
