"""Unary calls that travel together on one stream to a session service.

See protos/chatkit/v1/call_stream_service.proto.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import structlog
from google.rpc import status_pb2

from protos.chatkit.v1 import call_stream_service_pb2 as pb
from protos.chatkit.v1.errors import STATUS_DETAILS_KEY, details_of
from runtime import hops
from runtime.hops import Hop

_MAX_MESSAGE_BYTES = 256 * 1024
"""Of calls that travel together; a single one may be larger. The service takes 1 MiB."""
_MAX_TIMEOUT_MS = 2**32 - 1
_SILENT_BEATS = 3
"""So often in a row asked in vain whether it is there, a service is silent."""
_IDLE_BEATS = 4
"""How long nobody is asked while no call waits; a ping wakes up both sides, at 0.5 ms of CPU."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}

log = structlog.get_logger()


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

    def again(self, not_begun: bool) -> "CallError":
        """Returns the same for another call."""
        return CallError(
            self.code(),
            self.details() or "",
            tuple(self.trailing_metadata()),
            not_begun=not_begun,
        )

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
        self._is_confirmed = False
        self._is_ending = False
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.Future[bytes], bool, Hop | None]] = {}
        """By id: the outcome, whether the call may be made twice, and who is to learn what it
        took."""
        self._unsent: dict[int, pb.Call] = {}
        self._cancelled: list[int] = []
        self._changed = asyncio.Event()
        self._answers_pings = False
        self._heard = False
        """Whether the service has said anything since the last beat."""
        self._quiet_beats = 0
        """In a row, in which it neither said anything nor was asked to."""
        self._pinged = False
        self._is_to_ping = False
        self._is_lost = False
        self.missed_beats = 0
        """How often in a row the service was asked in vain whether it is there."""
        self.left_beats = 0
        """In how many of them another service was there, as whoever counts them says."""
        self._rpc = carry(self._requests())

    @property
    def takes_calls(self) -> bool:
        """Not before the service has said anything: gRPC takes calls from us before it has a
        connection, and then nobody could tell whether they were begun."""
        return self._is_confirmed and not self._is_ending

    @property
    def answers(self) -> bool:
        """Whether it takes calls, and the service has not fallen silent since."""
        return self.takes_calls and not self.is_silent

    @property
    def state(self) -> str:
        """What it is to whoever watches us."""
        if not self.takes_calls:
            return "away"
        return "silent" if self.is_silent else "answers"

    @property
    def calls(self) -> int:
        """How many have no outcome yet."""
        return len(self._waiting)

    @property
    def unsent(self) -> int:
        """How many of them wait to be written."""
        return len(self._unsent)

    @property
    def is_silent(self) -> bool:
        """Whether the service says nothing, though it was asked to: it may be stopped, or gone."""
        return self.missed_beats >= _SILENT_BEATS

    async def call(self, message: pb.Call, deadline: float, *, safe: bool) -> bytes:
        """Returns the serialized response to a call, until a time of the event loop.

        Only while the stream takes calls. Gives the call its id and what time is left. `safe` is
        whether it may be made twice. Raises CallError.
        """
        remaining_ms = (deadline - self._loop.time()) * 1000
        message.timeout_ms = round(min(max(1, remaining_ms), _MAX_TIMEOUT_MS))
        message.id = next(self._ids)
        outcome: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[message.id] = (outcome, safe, hops.current())
        self._unsent[message.id] = message
        self._changed.set()
        limit = self._loop.call_at(deadline, _expire, outcome)
        try:
            return await outcome
        finally:
            limit.cancel()
            nobody_answered = self._waiting.pop(message.id, None)
            if not self._unsent.pop(message.id, None) and nobody_answered:
                self._cancelled.append(message.id)
            self._changed.set()

    async def read(self) -> CallError:
        """Settles calls until the stream ends, and returns what ended it.

        Calls that are left then have failed, too.
        """
        end, is_clean = CallError(grpc.StatusCode.UNAVAILABLE, "The stream has ended"), False
        try:
            async for response in self._rpc:
                self._heard, self._pinged = True, False
                self.missed_beats = self.left_beats = 0
                self._answers_pings = response.answers_pings
                if response.draining:
                    self._is_ending = True
                if not self._is_confirmed:
                    self._is_confirmed = True
                    self._on_confirmed()
                for outcome in response.outcomes:
                    self._settle(outcome)
            is_clean = True  # the service has not even read what it has not answered
        except grpc.aio.AioRpcError as error:
            end = _end(error)
        except asyncio.CancelledError:  # what gRPC raises where it was us who ended the stream
            if not self._is_lost:
                raise
            end = CallError(grpc.StatusCode.UNAVAILABLE, "The service does not answer any more")
        except Exception as error:
            log.exception("defect", method="Carry")
            end = CallError(grpc.StatusCode.UNAVAILABLE, repr(error))
        finally:
            self._is_ending = True
            self._rpc.cancel()
            for call_id, (waiting, _, _) in self._waiting.items():
                if not waiting.done():
                    waiting.set_exception(end.again(is_clean or call_id in self._unsent))
            self._waiting.clear()
        return end.again(not_begun=True)

    def retire(self) -> None:
        """Takes no more calls, and ends the stream with the last of those that there are."""
        self._is_ending = True
        self._changed.set()

    def beat(self) -> None:
        """Asks the service whether it is there, unless it has just said something.

        To be called at even intervals.
        """
        if self._heard:
            self._heard, self._quiet_beats = False, 0
            return
        if self._pinged:
            self.missed_beats += 1
            return
        self._quiet_beats += 1
        is_due = self._waiting or self._quiet_beats >= _IDLE_BEATS
        if is_due and self._answers_pings and not self._is_ending:
            self._pinged = self._is_to_ping = True
            self._changed.set()

    def release(self) -> None:
        """Fails what can be made elsewhere: what may be made twice, and what was not even sent.

        What may have been begun goes on waiting, as a silent service may only be busy.
        """
        for call_id, (waiting, safe, _) in self._waiting.items():
            if waiting.done():
                continue
            # Taken back at once: or it could still be sent before its caller has heard.
            not_begun = self._unsent.pop(call_id, None) is not None
            if safe or not_begun:
                message = "The service does not answer"
                waiting.set_exception(
                    CallError(grpc.StatusCode.UNAVAILABLE, message, not_begun=not_begun)
                )

    def lose(self) -> None:
        """Ends the stream, and fails what still waits for the service."""
        self._is_lost = True
        self._rpc.cancel()

    async def _requests(self) -> AsyncIterator[pb.CarryRequest]:
        while not self._is_ending or self._waiting:
            await self._changed.wait()
            self._changed.clear()
            while self._unsent or self._cancelled or self._is_to_ping:
                # What is asked during a write goes together.
                yield self._next_request()

    def _next_request(self) -> pb.CarryRequest:
        request = pb.CarryRequest(cancelled=self._cancelled, ping=self._is_to_ping)
        self._cancelled.clear()
        self._is_to_ping = False
        size = 0
        for call in self._unsent.values():
            size += call.ByteSize()
            if request.calls and size > _MAX_MESSAGE_BYTES:
                break
            request.calls.append(call)
        for call in request.calls:
            del self._unsent[call.id]
        return request

    def _settle(self, outcome: pb.Outcome) -> None:
        waiting, _, hop = self._waiting.pop(outcome.id, (None, False, None))
        if waiting is None or waiting.done():  # it came too late
            return
        if hop is not None:
            hop.learn(outcome.server_timing)
        if outcome.HasField("response"):
            waiting.set_result(outcome.response)
            return
        status = status_pb2.Status.FromString(outcome.status)
        trailing = ((STATUS_DETAILS_KEY, outcome.status),)
        code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
        error = CallError(code, status.message, trailing, not_begun=outcome.not_begun)
        waiting.set_exception(error)


def _end(error: grpc.aio.AioRpcError) -> CallError:
    """Returns the service's own words, if it has refused the stream, else UNAVAILABLE."""
    if details_of(error) is None:
        said = f"{error.code().name}: {error.details()}"
        return CallError(grpc.StatusCode.UNAVAILABLE, said)
    return CallError(error.code(), error.details() or "", tuple(error.trailing_metadata()))


def _expire(outcome: asyncio.Future[bytes]) -> None:
    if not outcome.done():
        outcome.set_exception(CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
