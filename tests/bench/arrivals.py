"""An open-loop load generator: `python -m tests.bench.arrivals`, orders on stdin.

Requests arrive at a given rate, whether or not those before them have had their answer: who waits
for answers before they ask again never asks for more than a server can do.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from tests.bench.load import CONTENT_LENGTH

_TICK_SECONDS = 0.001
_LAST_ANSWERS_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ArrivalOrders:
    """What to send where, how often, and for how long."""

    port: int
    per_second: float
    connections: int
    """At most; a request waits for a free one, and the wait counts."""
    warm_up_seconds: float
    seconds: float
    requests: Sequence[str]
    """Whole HTTP requests, sent in turn."""


@dataclass(frozen=True, slots=True)
class ArrivalFigures:
    """What became of the requests that were due after the warm-up.

    Latencies count from when a request was due. Rates count answers that came in that time.
    """

    offered_per_second: float
    accepted_per_second: float
    refused_per_second: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    refused_p50_ms: float
    refused_p99_ms: float
    lost: int
    """Without an answer, or with another status than 200 and 503."""


class Arrivals:
    """One run."""

    def __init__(self, orders: ArrivalOrders) -> None:
        self._orders = orders
        self._requests = itertools.cycle([request.encode() for request in orders.requests])
        self._free: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._opening: set[asyncio.Task[object]] = set()
        self._connections = 0
        self._ended = False
        self._all_answered = asyncio.Event()
        self._latencies: dict[bytes, list[float]] = {b"200": [], b"503": []}
        self._in_time = {b"200": 0, b"503": 0}
        self._due = self._lost = self._open = 0

    async def run(self) -> ArrivalFigures:
        orders = self._orders
        started = time.perf_counter()
        self._from = started + orders.warm_up_seconds
        self._until = self._from + orders.seconds
        due = 0
        while (now := time.perf_counter()) < self._until:
            while due < (now - started) * orders.per_second:
                self._arrive(started + due / orders.per_second)
                due += 1
            await asyncio.sleep(_TICK_SECONDS)
        self._ended = True
        self._close(0)
        try:
            async with asyncio.timeout(_LAST_ANSWERS_SECONDS):
                await self._all_answered.wait()
        except TimeoutError:
            self._lost += self._open
        accepted, refused = (sorted(self._latencies[status]) for status in (b"200", b"503"))
        return ArrivalFigures(
            offered_per_second=self._due / orders.seconds,
            accepted_per_second=self._in_time[b"200"] / orders.seconds,
            refused_per_second=self._in_time[b"503"] / orders.seconds,
            accepted_p50_ms=_percentile(accepted, 50),
            accepted_p99_ms=_percentile(accepted, 99),
            refused_p50_ms=_percentile(refused, 50),
            refused_p99_ms=_percentile(refused, 99),
            lost=self._lost,
        )

    def _arrive(self, due: float) -> None:
        counts = due >= self._from
        self._due += counts
        self._open += 1
        if self._free:
            self._free.pop().send(next(self._requests), due)
            return
        self._waiting.append(due)
        if self._connections < self._orders.connections:
            self._connections += 1
            opening = asyncio.create_task(self._open_connection())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open_connection(self) -> None:
        loop, port = asyncio.get_running_loop(), self._orders.port
        await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)

    def answered(self, connection: "Connection", due: float, status: bytes) -> None:
        now = time.perf_counter()
        self._close(1)
        if status not in self._latencies:
            self._lost += 1
        else:
            if due >= self._from:
                self._latencies[status].append(now - due)
            if self._from <= now < self._until:
                self._in_time[status] += 1
        self.free(connection)

    def _close(self, requests: int) -> None:
        self._open -= requests
        if self._ended and self._open == 0:
            self._all_answered.set()

    def free(self, connection: "Connection") -> None:
        if self._waiting:
            connection.send(next(self._requests), self._waiting.popleft())
        else:
            self._free.append(connection)

    def lost(self, connection: "Connection", waits: bool) -> None:
        if waits:
            self._close(1)
            self._lost += 1
        else:
            self._free.remove(connection)  # the server does not keep it for ever
        self._connections -= 1


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._received = b""
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._arrivals.free(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self._received + data if self._received else data
        head_end = answer.find(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(answer, 0, head_end + 2) if head_end >= 0 else None
        if length is None or len(answer) < head_end + 4 + int(length[1]):
            self._received = answer
            return
        self._received = b""
        assert self._due is not None
        due, self._due = self._due, None
        self._arrivals.answered(self, due, answer[9:12])

    def connection_lost(self, _: Exception | None) -> None:
        self._arrivals.lost(self, self._due is not None)


def _percentile(values: Sequence[float], percent: int) -> float:
    return values[len(values) * percent // 100] * 1000 if values else 0.0


async def main() -> None:
    figures = await Arrivals(ArrivalOrders(**json.load(sys.stdin))).run()
    json.dump(asdict(figures), sys.stdout)


if __name__ == "__main__":
    uvloop.run(main())
