"""A load generator of streamed answers: `python -m tests.bench.stream_load`, orders on stdin.

Every stream asks for an answer, reads it to its end, checks it and asks for the next, until each
has had its number: as all contestants write the same events, the time is what differs. It searches
bytes and parses nothing, so that it costs little.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import cast

import uvloop

_LIMIT_SECONDS = 300.0
_END = b"0\r\n\r\n"
_EVENT_END = b"\n\n"
_DELTA = b'"assistant_message.content_part.text_delta"'
_FAILURE = b'"type":"error"'


@dataclass(frozen=True, slots=True)
class StreamOrders:
    """What to send where, how often at once, and how often in a row."""

    port: int
    streams: int
    answers: int
    """Of each stream."""
    deltas: int
    """In every answer."""
    requests: Sequence[str]
    """Whole HTTP requests, one for each stream at least."""


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """What was seen from the first request to the end of the last answer."""

    per_second: float
    events: int
    first_p50_ms: float
    first_p95_ms: float
    """Until the first bytes of the body."""


class WrongAnswer(Exception):
    """Not 200, a failure, other than so many deltas, or none at all."""


class Load:
    """One run."""

    def __init__(self, orders: StreamOrders) -> None:
        self._orders = orders
        self.events = 0
        self.first_seconds: list[float] = []
        self._open = orders.streams
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> StreamFigures:
        """Raises WrongAnswer."""
        loop = asyncio.get_running_loop()
        orders = self._orders
        started = time.perf_counter()
        for request in orders.requests[: orders.streams]:
            stream = partial(Stream, self, request.encode(), orders.answers)
            await loop.create_connection(stream, "127.0.0.1", orders.port)
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                await self._done
        except TimeoutError:
            raise WrongAnswer("no answer at all, or one without end") from None
        seconds = time.perf_counter() - started
        self.first_seconds.sort()
        return StreamFigures(
            per_second=self.events / seconds,
            events=self.events,
            first_p50_ms=self._first_ms(50),
            first_p95_ms=self._first_ms(95),
        )

    def take(self, answer: bytes) -> None:
        """Counts the events of a whole answer."""
        if (
            not answer.startswith(b"HTTP/1.1 200 ")
            or _FAILURE in answer
            or answer.count(_DELTA) != self._orders.deltas
        ):
            self.fail(f"{answer[:1000]!r} … {answer[-1000:]!r}")
        self.events += answer.count(_EVENT_END)

    def ended(self) -> None:
        self._open -= 1
        if self._open == 0 and not self._done.done():
            self._done.set_result(None)

    def fail(self, answer: str) -> None:
        if not self._done.done():
            self._done.set_exception(WrongAnswer(answer))

    def _first_ms(self, percent: int) -> float:
        return self.first_seconds[len(self.first_seconds) * percent // 100] * 1000


class Stream(asyncio.Protocol):
    """One answer at a time."""

    def __init__(self, load: Load, request: bytes, answers: int) -> None:
        self._load = load
        self._request = request
        self._answers = answers
        self._received: list[bytes] = []
        self._is_finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self._answers -= 1
        self._received.clear()
        self._has_begun = False
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        if not self._has_begun and b"data: " in data:
            self._has_begun = True
            self._load.first_seconds.append(time.perf_counter() - self._asked)
        # The very end may come in pieces.
        if not data.endswith(_END) and not b"".join(self._received[-len(_END) :]).endswith(_END):
            return
        self._load.take(b"".join(self._received))
        if self._answers:
            self._ask()
        else:
            self._is_finished = True
            self._transport.close()
            self._load.ended()

    def connection_lost(self, _: Exception | None) -> None:
        if not self._is_finished:
            self._load.fail("the connection was closed")


async def main() -> None:
    orders = StreamOrders(**json.load(sys.stdin))
    try:
        figures = await Load(orders).run()
    except (WrongAnswer, OSError) as error:
        sys.exit(str(error) or type(error).__name__)
    json.dump(asdict(figures), sys.stdout)


if __name__ == "__main__":
    uvloop.run(main())
