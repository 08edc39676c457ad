"""chatkit.v1.CallStreamService: unary calls that travel together on one stream.

Each goes through the same interceptor and servicer as if it had come by itself. What gRPC does for
every call, some 400 µs on both sides together, is done once for as many as come at a time.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from protos.chatkit.v1 import call_stream_service_pb2 as pb
from protos.chatkit.v1 import call_stream_service_pb2_grpc as pb_grpc
from protos.chatkit.v1.errors import STATUS_DETAILS_KEY
from runtime.hops import TIMINGS_KEY
from session_service.errors import Unavailable
from session_service.interceptors import refuse, status_of, write
from session_service.limits import MAX_RESPONSE_BYTES

MAX_MESSAGE_BYTES = 256 * 1024
"""Of outcomes that travel together; a single one may be larger. Far below what clients take."""
_MAX_CALLS = 10_000
"""In flight on one stream or ended and not told; no more are read until some have been told."""

RpcMethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[pb.CarryRequest, pb.CarryResponse]"
Handler: TypeAlias = Callable[[bytes, "_CallContext"], Awaitable[bytes]]

log = structlog.get_logger()


class CallStreamServicer(pb_grpc.CallStreamServiceServicer):
    """Carries calls of `handlers`, by full name such as `/chatkit.v1.SessionService/GetStats`."""

    def __init__(
        self, handlers: Mapping[str, Handler], admits: Callable[[], bool] = lambda: True
    ) -> None:
        """`admits` tells whether to begin one more call now."""
        self._handlers = handlers
        self._admits = admits
        self._streams: set[_Stream] = set()
        self._draining = False

    # Writes by itself, as an async generator would be dropped where it is when a caller goes away.
    async def Carry(  # type: ignore[override]
        self, requests: AsyncIterator[pb.CarryRequest], context: Context
    ) -> None:
        stream = _Stream(self._handlers, self._admits, context)
        self._streams.add(stream)
        if self._draining:
            stream.drain()
        try:
            await stream.run(requests)
        finally:
            self._streams.discard(stream)

    @property
    def calls(self) -> int:
        """How many have no outcome yet."""
        return sum(stream.calls for stream in self._streams)

    @property
    def unsent(self) -> int:
        """How many outcomes wait to be written."""
        return sum(stream.unsent for stream in self._streams)

    def drain(self) -> None:
        """Takes no more calls; each stream ends when it has none left."""
        self._draining = True
        for stream in self._streams:
            stream.drain()


class _Stream:
    def __init__(
        self, handlers: Mapping[str, Handler], admits: Callable[[], bool], context: Context
    ) -> None:
        self._handlers = handlers
        self._admits = admits
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, asyncio.Task[pb.Outcome]] = {}
        self._outcomes: list[pb.Outcome] = []
        self._draining = False
        self._told = False
        """Whether the caller knows that we are there, still there, or draining."""
        self._ended = False
        self._problem = ""
        """With what the caller has sent, for which its stream ends."""
        self._changed = asyncio.Event()
        self._changed.set()
        self._room = asyncio.Event()

    @property
    def calls(self) -> int:
        return len(self._calls)

    @property
    def unsent(self) -> int:
        return len(self._outcomes)

    def drain(self) -> None:
        self._draining, self._told = True, False
        self._changed.set()

    async def run(self, requests: AsyncIterator[pb.CarryRequest]) -> None:
        reading = asyncio.create_task(self._read(requests))
        try:
            while not self._is_over():
                await self._changed.wait()
                self._changed.clear()
                while self._outcomes or not self._told:  # what ends during a write goes together
                    await self._write()
            if self._problem:
                await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, self._problem)
        finally:
            reading.cancel()
            for task in self._calls.values():
                task.cancel()

    def _is_over(self) -> bool:
        return (self._ended or self._draining) and not self._calls

    async def _write(self) -> None:
        size, count = 0, 0
        for outcome in self._outcomes:
            size += len(outcome.response) + len(outcome.status)
            if count and size > MAX_MESSAGE_BYTES:
                break
            count += 1
        message = pb.CarryResponse(
            outcomes=self._outcomes[:count], draining=self._draining, answers_pings=True
        )
        del self._outcomes[:count]
        self._told = True
        self._room.set()
        await write(self._context, message)

    async def _read(self, requests: AsyncIterator[pb.CarryRequest]) -> None:
        try:
            async for request in requests:
                if request.ping:
                    self._told = False
                    self._changed.set()
                for call in request.calls:
                    while len(self._calls) + len(self._outcomes) >= _MAX_CALLS:
                        self._room.clear()
                        await self._room.wait()
                    if call.id in self._calls:
                        self._problem = "Ids of calls must be unique"
                        return
                    self._begin(call)
                for call_id in request.cancelled:
                    if task := self._calls.get(call_id):
                        task.cancel()
        except DecodeError:
            self._problem = "Not a valid protobuf message"
        finally:
            self._ended = True
            self._changed.set()

    def _begin(self, call: pb.Call) -> None:
        task = self._loop.create_task(self._outcome(call))
        self._calls[call.id] = task
        # Not in the task: one that is cancelled before it has begun never runs.
        task.add_done_callback(functools.partial(self._end, call.id))

    def _end(self, call_id: int, task: asyncio.Task[pb.Outcome]) -> None:
        del self._calls[call_id]
        # Every call has an outcome, so that whatever has none was not begun.
        outcome = _failed(call_id, grpc.StatusCode.CANCELLED) if task.cancelled() else task.result()
        self._outcomes.append(outcome)
        self._changed.set()

    async def _outcome(self, call: pb.Call) -> pb.Outcome:
        context = _CallContext(call, self._context)
        try:
            async with asyncio.timeout(call.timeout_ms / 1000 if call.timeout_ms else None):
                response = await self._response(call, context)
                return pb.Outcome(
                    id=call.id, response=response, server_timing=context.server_timing
                )
        except _Aborted as aborted:
            return pb.Outcome(
                id=call.id,
                status=aborted.status,
                not_begun=aborted.before_it_began,
                server_timing=context.server_timing,
            )
        except TimeoutError:
            return _failed(call.id, grpc.StatusCode.DEADLINE_EXCEEDED)
        except Exception:  # around the interceptor, such as a response that cannot be serialized
            log.exception("defect", method=call.method)
            return _failed(call.id, grpc.StatusCode.INTERNAL)

    async def _response(self, call: pb.Call, context: "_CallContext") -> bytes:
        handler = self._handlers.get(call.method)
        if handler is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        if self._draining:
            status = status_of(Unavailable())
            details = dict(status.trailing_metadata or ())[STATUS_DETAILS_KEY]
            assert isinstance(details, bytes)
            raise _Aborted(details, before_it_began=True)
        if not self._admits():
            await refuse(None, cast(Any, context))
        response = await handler(call.request, context)
        if len(response) > MAX_RESPONSE_BYTES - MAX_MESSAGE_BYTES:  # it would end all others
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "The response is too large")
        return response


class _Aborted(Exception):
    def __init__(self, status: bytes, *, before_it_began: bool = False) -> None:
        self.status = status
        """A google.rpc.Status, serialized."""
        self.before_it_began = before_it_began


class _CallContext:
    """What handlers use of a `grpc.aio.ServicerContext`, for one call of a stream."""

    def __init__(self, call: pb.Call, stream: Context) -> None:
        self._call = call
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.server_timing = ""
        """What the call has taken, once it says so."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        # The last of a name counts: who calls, the stream says.
        return (*self._call.metadata.items(), *(self._stream.invocation_metadata() or ()))

    def peer(self) -> str:
        return self._stream.peer()

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return self._stream.auth_context()

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Keeps what the call has taken; the other, the request id, the caller knows."""
        for key, value in metadata:
            if key == TIMINGS_KEY and isinstance(value, str):
                self.server_timing = value

    def time_remaining(self) -> float | None:
        if not self._call.timeout_ms:
            return None
        return self._call.timeout_ms / 1000 - (self._loop.time() - self._began)

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> NoReturn:
        for key, value in trailing_metadata:
            if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
                raise _Aborted(value)
        status = status_pb2.Status(code=code.value[0], message=details)
        raise _Aborted(status.SerializeToString())


def _failed(call_id: int, code: grpc.StatusCode) -> pb.Outcome:
    status = status_pb2.Status(code=code.value[0], message=code.name)
    return pb.Outcome(id=call_id, status=status.SerializeToString())


class Handlers:
    """Takes the place of a server when a servicer is added to it, to get at its unary handlers."""

    def __init__(self, wrap: Callable[[RpcMethodHandler, str], RpcMethodHandler]) -> None:
        self._wrap = wrap
        self.by_name: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, _: object) -> None:
        """Does nothing: the next call brings the same ones, with their names."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, RpcMethodHandler]
    ) -> None:
        for method, handler in handlers.items():
            if not handler.response_streaming:
                name = f"/{service}/{method}"
                self.by_name[name] = on_bytes(self._wrap(handler, name))


def on_bytes(handler: RpcMethodHandler) -> Handler:
    """Returns what a unary handler of gRPC does, from the serialized request to the response."""
    # Not None for a unary handler, and functions of grpc.aio's context on a server of grpc.aio.
    parse: Any = handler.request_deserializer
    answer: Any = handler.unary_unary
    serialize: Any = handler.response_serializer

    async def handle(request: bytes, context: _CallContext) -> bytes:
        response: bytes = serialize(await answer(parse(request), context))
        return response

    return handle
