"""Unary calls that travel together on one stream to a session service.

See protos/chatkit/v1/call_stream_service.proto.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from google.rpc import status_pb2

from protos.chatkit.v1 import call_stream_service_pb2 as pb
from protos.chatkit.v1.errors import STATUS_DETAILS_KEY

_MAX_MESSAGE_BYTES = 256 * 1024
"""Of calls that travel together; a single one may be larger. The service takes 1 MiB."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallError(grpc.aio.AioRpcError):
    """What a call failed with, as gRPC raises it for one by itself."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        trailing: Sequence[tuple[str, str | bytes]] = (),
        *,
        not_begun: bool = False,
    ) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), message)
        self.not_begun = not_begun
        """Whether it is certain that nothing was done for the call."""

    @property
    def is_broken(self) -> bool:
        """Whether the service has said nothing, as the stream ended before."""
        return self.code() is grpc.StatusCode.UNAVAILABLE and not self.trailing_metadata()


class CallStream:
    """One stream, from when it is opened until it breaks or is retired."""

    def __init__(
        self,
        carry: Callable[[AsyncIterator[pb.CarryRequest]], Any],
        on_confirmed: Callable[[], None],
    ) -> None:
        self._on_confirmed = on_confirmed
        self.takes_calls = True
        self.is_confirmed = False
        """Whether the service has said anything yet. Calls wait for that: gRPC takes them from us
        before it has a connection, and then nobody could tell whether they were begun."""
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._calls: list[pb.Call] = []
        self._cancelled: list[int] = []
        self._changed = asyncio.Event()
        self._rpc = carry(self._requests())

    async def call(self, message: pb.Call, deadline: float) -> bytes:
        """Returns the serialized response to a call, until a time of the event loop.

        Gives the call its id and what time is left. Raises CallError.
        """
        message.timeout_ms = max(1, round((deadline - self._loop.time()) * 1000))
        message.id = next(self._ids)
        outcome: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[message.id] = outcome
        self._calls.append(message)
        self._changed.set()
        limit = self._loop.call_at(deadline, _expire, outcome)
        try:
            return await outcome
        finally:
            limit.cancel()
            if self._waiting.pop(message.id, None):  # nobody has answered
                self._cancelled.append(message.id)
            self._changed.set()

    async def read(self) -> CallError:
        """Settles calls until the stream ends, and returns what ended it.

        Calls that are left then have failed as UNAVAILABLE, whatever gRPC calls it.
        """
        said, is_clean = "The stream has ended", False
        try:
            async for response in self._rpc:
                if not self.is_confirmed:
                    self.is_confirmed = True
                    self._changed.set()
                    self._on_confirmed()
                if response.draining:
                    self.takes_calls = False
                for outcome in response.outcomes:
                    self._settle(outcome)
            is_clean = True  # the service has not even read what it has not answered
        except grpc.aio.AioRpcError as error:
            said = f"{error.code().name}: {error.details()}"
        finally:
            self.takes_calls = False
            self._rpc.cancel()
            unsent = {call.id for call in self._calls}
            for call_id, waiting in self._waiting.items():
                if not waiting.done():
                    waiting.set_exception(_broken(said, not_begun=is_clean or call_id in unsent))
            self._waiting.clear()
        return _broken(said, not_begun=True)

    def retire(self) -> None:
        """Takes no more calls, and ends the stream with the last of those that there are."""
        self.takes_calls = False
        self._changed.set()

    async def _requests(self) -> AsyncIterator[pb.CarryRequest]:
        while self.takes_calls or self._waiting:
            await self._changed.wait()
            self._changed.clear()
            while self.is_confirmed and (self._calls or self._cancelled):
                # What is asked during a write goes together.
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

    def _settle(self, outcome: pb.Outcome) -> None:
        waiting = self._waiting.pop(outcome.id, None)
        if waiting is None or waiting.done():  # it came too late
            return
        if outcome.HasField("response"):
            waiting.set_result(outcome.response)
            return
        status = status_pb2.Status.FromString(outcome.status)
        trailing = ((STATUS_DETAILS_KEY, outcome.status),)
        error = CallError(
            _CODES[status.code], status.message, trailing, not_begun=outcome.not_begun
        )
        waiting.set_exception(error)


def _broken(said: str, *, not_begun: bool) -> CallError:
    return CallError(grpc.StatusCode.UNAVAILABLE, said, not_begun=not_begun)


def _expire(outcome: asyncio.Future[bytes]) -> None:
    if not outcome.done():
        outcome.set_exception(CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
