"""Reads many endless answers: `python -m tests.bench.relay_load`, orders on stdin.

Every event of the upstream says when it was written. A few streams begin at a time; once all of
them have, it is measured how long events take to arrive.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import cast

import uvloop

from tests.bench.processes import cpu_seconds

_BEGINNING_AT_A_TIME = 8
_BEGIN_SECONDS = 120.0
_SETTLE_SECONDS = 1.0
_STAMP = re.compile(rb"@(\d{20})")
_STAMP_LENGTH = 21
_PARTS = 4
"""Of the time, of which the first and the last are compared."""


@dataclass(frozen=True, slots=True)
class RelayOrders:
    """What to send where, and for how long to read."""

    port: int
    seconds: float
    pids: Sequence[int]
    """Of whom the CPU time is wanted."""
    requests: Sequence[str]
    """Whole HTTP requests, one for each stream."""


@dataclass(frozen=True, slots=True)
class RelayFigures:
    """What was seen. Delays are from the upstream's writing to our reading, in milliseconds."""

    per_second: float
    first_p50_ms: float
    """In the first quarter of the time."""
    last_p50_ms: float
    """In the last."""
    p99_ms: float
    cpu_us: float
    """Per event."""


class BrokenStream(Exception):
    """One was refused, or has ended."""


class Relay:
    """One run."""

    def __init__(self, orders: RelayOrders) -> None:
        self._orders = orders
        self._from_ns = self._until_ns = sys.maxsize
        self._delays_ns: list[list[int]] = [[] for _ in range(_PARTS)]
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> RelayFigures:
        """Raises BrokenStream."""
        measuring = asyncio.create_task(self._measure())
        await asyncio.wait((measuring, self._broken), return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            self._broken.result()
        return await measuring

    async def _measure(self) -> RelayFigures:
        seconds, pids = self._orders.seconds, self._orders.pids
        try:
            async with asyncio.timeout(_BEGIN_SECONDS):
                await self._begin()
        except TimeoutError:
            raise BrokenStream(f"not all had begun after {_BEGIN_SECONDS:g} s") from None
        await asyncio.sleep(_SETTLE_SECONDS)
        before = cpu_seconds(pids)
        self._from_ns = time.monotonic_ns()
        self._until_ns = self._from_ns + round(seconds * 1e9)
        await asyncio.sleep(seconds)
        used = cpu_seconds(pids) - before
        if not all(self._delays_ns):
            raise BrokenStream("nothing came")
        every = [delay for part in self._delays_ns for delay in part]
        return RelayFigures(
            per_second=len(every) / seconds,
            first_p50_ms=_percentile_ms(self._delays_ns[0], 50),
            last_p50_ms=_percentile_ms(self._delays_ns[-1], 50),
            p99_ms=_percentile_ms(every, 99),
            cpu_us=used / len(every) * 1_000_000,
        )

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        turns = asyncio.Semaphore(_BEGINNING_AT_A_TIME)

        async def begin(request: str) -> None:
            async with turns:
                stream = partial(Stream, self, request.encode())
                _, one = await loop.create_connection(stream, "127.0.0.1", self._orders.port)
                await one.has_begun.wait()

        async with asyncio.TaskGroup() as group:
            for request in self._orders.requests:
                group.create_task(begin(request))

    def arrived(self, written_ns: Sequence[int]) -> None:
        now = time.monotonic_ns()
        if self._from_ns <= now < self._until_ns:
            part = (now - self._from_ns) * _PARTS // (self._until_ns - self._from_ns)
            self._delays_ns[part].extend(now - one for one in written_ns)

    def fail(self, answer: str) -> None:
        if not self._broken.done():
            self._broken.set_exception(BrokenStream(answer))


class Stream(asyncio.Protocol):
    """One answer."""

    def __init__(self, relay: Relay, request: bytes) -> None:
        self._relay = relay
        self._request = request
        self._rest = b""
        self.has_begun = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        # A stamp may come in two pieces; a whole one never fits into what is kept.
        data = self._rest + data
        self._rest = data[1 - _STAMP_LENGTH :]
        written_ns = [int(found) for found in _STAMP.findall(data)]
        if written_ns:
            self.has_begun.set()
            self._relay.arrived(written_ns)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200 "):
            self._relay.fail(data[:500].decode(errors="replace"))

    def connection_lost(self, _: Exception | None) -> None:
        self._relay.fail("an answer has ended")


def _percentile_ms(values: Sequence[int], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100] / 1_000_000


async def main() -> None:
    orders = RelayOrders(**json.load(sys.stdin))
    try:
        figures = await Relay(orders).run()
    except (BrokenStream, OSError) as error:
        sys.exit(str(error) or type(error).__name__)
    json.dump(asdict(figures), sys.stdout)


if __name__ == "__main__":
    uvloop.run(main())
