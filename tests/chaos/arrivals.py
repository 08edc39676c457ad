"""What arrives at a constant rate, whatever became of those before."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable


class Arrivals:
    """Begins something again and again, each in a task of its own."""

    def __init__(self, most: float = math.inf) -> None:
        """Leaves out what would be more than `most` at a time."""
        self._most = most
        self._running: set[asyncio.Task[None]] = set()
        self._sources: list[asyncio.Task[None]] = []
        self.latest_seconds = 0.0
        """How late one has begun, at worst: this process waits for the machine like all others."""

    def start(self, per_second: float, act: Callable[[], Awaitable[None]]) -> None:
        self._sources.append(asyncio.create_task(self._arrive(per_second, act)))

    async def stop(self) -> None:
        """Begins no more, and waits for what has begun. Raises what that has raised."""
        for source in self._sources:
            source.cancel()
        await asyncio.gather(*self._sources, return_exceptions=True)
        await asyncio.gather(*self._running)

    async def abandon(self) -> None:
        """Leaves off at once."""
        for task in (*self._sources, *self._running):
            task.cancel()
        await asyncio.gather(*self._sources, *self._running, return_exceptions=True)

    async def _arrive(self, per_second: float, act: Callable[[], Awaitable[None]]) -> None:
        due = time.monotonic()
        while True:
            if len(self._running) < self._most:
                task = asyncio.ensure_future(act())
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            self.latest_seconds = max(self.latest_seconds, time.monotonic() - due)
            due += 1 / per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
