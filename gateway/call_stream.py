"""A channel whose unary calls travel together on one stream, see call_stream_service.proto."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from google.rpc import status_pb2

from protos.chatkit.v1 import call_stream_service_pb2 as pb
from protos.chatkit.v1.call_stream_service_pb2_grpc import CallStreamServiceStub
from protos.chatkit.v1.errors import STATUS_DETAILS_KEY

_MAX_MESSAGE_BYTES = 256 * 1024
"""Of calls that travel together; a single one may be larger. The service takes 1 MiB."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallStreamChannel:
    """Takes the place of a `grpc.aio.Channel` in stubs; it has unary calls alone.

    A stream is opened by the first call, and by the next one after it broke. While the service
    cannot be reached a call fails as fast as one by itself.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._carry = CallStreamServiceStub(channel).Carry
        self._streams: set[_Stream] = set()
        self._open: _Stream | None = None

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool = False,
    ) -> Any:
        """Returns what a stub calls. It raises AioRpcError, as that of gRPC's own channel does."""

        async def call(
            request: Any,
            *,
            timeout: float,  # noqa: ASYNC109  # as gRPC's own
            metadata: Sequence[tuple[str, str]] = (),
        ) -> Any:
            message = pb.Call(
                method=method,
                request=request_serializer(request),
                timeout_ms=round(timeout * 1000),
                metadata=dict(metadata),
            )
            return response_deserializer(await self._stream().call(message, timeout))

        return call

    def _stream(self) -> "_Stream":
        if self._open is None or not self._open.takes_calls:
            self._open = stream = _Stream(self._carry)
            self._streams.add(stream)
            stream.reading.add_done_callback(lambda _: self._streams.discard(stream))
        return self._open

    async def aclose(self) -> None:
        """Ends all streams; calls in flight fail as UNAVAILABLE."""
        reading = [stream.reading for stream in self._streams]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


class _Stream:
    def __init__(self, carry: Callable[[AsyncIterator[pb.CarryRequest]], Any]) -> None:
        self.takes_calls = True
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._calls: list[pb.Call] = []
        self._cancelled: list[int] = []
        self._changed = asyncio.Event()
        self._rpc = carry(self._requests())
        self.reading = asyncio.create_task(self._read())

    async def call(self, message: pb.Call, timeout_seconds: float) -> bytes:
        message.id = next(self._ids)
        outcome: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[message.id] = outcome
        self._calls.append(message)
        self._changed.set()
        limit = self._loop.call_later(timeout_seconds, self._expire, outcome)
        try:
            return await outcome
        finally:
            limit.cancel()
            if self._waiting.pop(message.id, None):  # nobody has answered
                self._cancelled.append(message.id)
                self._changed.set()

    @staticmethod
    def _expire(outcome: asyncio.Future[bytes]) -> None:
        if not outcome.done():
            outcome.set_exception(_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    async def _requests(self) -> AsyncIterator[pb.CarryRequest]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._calls or self._cancelled:  # what is asked during a write goes together
                yield self._next_request()

    def _next_request(self) -> pb.CarryRequest:
        size, count = 0, 0
        for call in self._calls:
            size += len(call.request)
            if count and size > _MAX_MESSAGE_BYTES:
                break
            count += 1
        request = pb.CarryRequest(calls=self._calls[:count], cancelled=self._cancelled)
        del self._calls[:count]
        self._cancelled.clear()
        return request

    async def _read(self) -> None:
        code, message = grpc.StatusCode.UNAVAILABLE, "The stream has ended"
        try:
            async for response in self._rpc:
                if response.draining:
                    self.takes_calls = False
                for outcome in response.outcomes:
                    self._settle(outcome)
        except grpc.aio.AioRpcError as error:
            code, message = error.code(), error.details() or message
        finally:
            self.takes_calls = False
            self._rpc.cancel()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(_error(code, message))
            self._waiting.clear()

    def _settle(self, outcome: pb.Outcome) -> None:
        waiting = self._waiting.pop(outcome.id, None)
        if waiting is None or waiting.done():  # it came too late
            return
        if outcome.HasField("response"):
            waiting.set_result(outcome.response)
            return
        status = status_pb2.Status.FromString(outcome.status)
        trailing = ((STATUS_DETAILS_KEY, outcome.status),)
        waiting.set_exception(_error(_CODES[status.code], status.message, trailing))


def _error(
    code: grpc.StatusCode, message: str, trailing: Sequence[tuple[str, str | bytes]] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), message)
