"""A closed-loop load generator that costs little: `python -m tests.bench.load`, orders on stdin.

Every connection sends a request, waits for its answer, checks it and sends the next one. One wrong
answer ends the run.
"""

import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

_LAST_ANSWERS_SECONDS = 60.0
_LEAST_PER_CONNECTION = 1
"""Answers: who needs longer for so many is measured for longer."""
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Orders:
    """What to send where, how often at once, and for how long."""

    port: int
    connections: int
    warm_up_seconds: float
    seconds: float
    expected: str
    """What every body must contain."""
    requests: Sequence[str]
    """Whole HTTP requests, sent in turn."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was seen after the warm-up, but for `answered`."""

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answered: int
    """Everything, the warm-up included: what the contestant's CPU time was spent on."""


class WrongAnswer(Exception):
    """Not 200, not what was expected, or none at all."""


class Load:
    """One run."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._expected = orders.expected.encode()
        self._requests = itertools.cycle([request.encode() for request in orders.requests])
        self._latencies: list[float] = []
        self._ended: float | None = None
        self._answered = 0
        self._least = orders.connections * _LEAST_PER_CONNECTION
        self._open = orders.connections
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Figures:
        """Raises WrongAnswer."""
        loop = asyncio.get_running_loop()
        orders = self._orders
        connections = [
            (await loop.create_connection(lambda: Connection(self), "127.0.0.1", orders.port))[1]
            for _ in range(orders.connections)
        ]
        self._from = time.perf_counter() + orders.warm_up_seconds
        self._until = self._from + orders.seconds
        for connection in connections:
            connection.send(next(self._requests))
        try:
            async with asyncio.timeout(
                orders.warm_up_seconds + orders.seconds + _LAST_ANSWERS_SECONDS
            ):
                await self._done
        except TimeoutError:
            raise WrongAnswer("no answer at all") from None
        assert self._ended is not None
        self._latencies.sort()
        return Figures(
            per_second=len(self._latencies) / (self._ended - self._from),
            p50_ms=self._percentile(50),
            p95_ms=self._percentile(95),
            p99_ms=self._percentile(99),
            answered=self._answered,
        )

    def next_request(self, sent: float, status_line: bytes, body: bytes) -> bytes | None:
        """Takes an answer, and returns the next request to send, None at the end."""
        now = time.perf_counter()
        if not status_line.startswith(b"HTTP/1.1 200 ") or self._expected not in body:
            self.fail((status_line + b" " + body).decode(errors="replace"))
            return None
        self._answered += 1
        if self._ended is None:
            if now >= self._from:
                self._latencies.append(now - sent)
            if now < self._until or len(self._latencies) < self._least:
                return next(self._requests)
            self._ended = now
        self._open -= 1
        if self._open == 0 and not self._done.done():
            self._done.set_result(None)
        return None

    def fail(self, answer: str) -> None:
        if not self._done.done():
            self._done.set_exception(WrongAnswer(answer[:500]))

    def _percentile(self, percent: int) -> float:
        return self._latencies[len(self._latencies) * percent // 100] * 1000


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self._received + data if self._received else data
        head_end = answer.find(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(answer, 0, head_end + 2) if head_end >= 0 else None
        if length is None or len(answer) < head_end + 4 + int(length[1]):
            self._received = answer
            return
        self._received = b""
        status_line = answer[: answer.find(b"\r\n")]
        request = self._load.next_request(self._sent, status_line, answer[head_end + 4 :])
        if request is not None:
            self.send(request)
        else:
            self._finished = True
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self._finished:
            self._load.fail("the connection was closed")


async def main() -> None:
    orders = Orders(**json.load(sys.stdin))
    try:
        figures = await Load(orders).run()
    except (WrongAnswer, OSError) as error:
        sys.exit(str(error) or type(error).__name__)
    json.dump(asdict(figures), sys.stdout)


if __name__ == "__main__":
    uvloop.run(main())
