"""Writes events into many streams at an even pace, each with the time at which it was written."""

import asyncio
import time
from collections.abc import Sequence

from tests.bench.upstream_answer import stamp

EVENTS_PER_SECOND = 50
"""Of each stream."""

_TICK_SECONDS = 0.001
_TURNS = round(1 / _TICK_SECONDS / EVENTS_PER_SECOND)


class Pacer:
    """Streams take turns, some of them each millisecond, so that their events come evenly."""

    def __init__(self) -> None:
        self._turns: list[dict[asyncio.Transport, Sequence[bytes]]] = [{} for _ in range(_TURNS)]

    def add(self, transport: asyncio.Transport, delta: Sequence[bytes]) -> None:
        """Joins `delta` with the time, again and again, until the stream is removed."""
        min(self._turns, key=len)[transport] = delta

    def remove(self, transport: asyncio.Transport) -> None:
        for turn in self._turns:
            turn.pop(transport, None)

    async def run(self) -> None:
        """Runs until it is cancelled. What is late is made up for."""
        tick, started = 0, time.monotonic()
        while True:
            while tick * _TICK_SECONDS <= time.monotonic() - started:
                now = stamp()
                for transport, delta in self._turns[tick % _TURNS].items():
                    transport.write(now.join(delta))
                tick += 1
            # While there are no streams it must not disturb what else is measured.
            await asyncio.sleep(_TICK_SECONDS)
