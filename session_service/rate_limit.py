"""So many calls of a user, or of a session, in any 60 s."""

import asyncio
from collections import OrderedDict, deque
from typing import Protocol

from session_service.errors import RateLimited

WINDOW_SECONDS = 60.0


class RateLimit(Protocol):
    """What a store has; it holds for all who use the store together."""

    async def admit(self, key: str) -> None:
        """Counts a call. Raises RateLimited for one too many, which does not count."""


class LocalRateLimit:
    """Where one process is all there is; 0 admits all."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._window = Window(per_minute)

    async def admit(self, key: str) -> None:
        if self._per_minute:
            now = asyncio.get_running_loop().time()
            self._window.check(key, now)
            self._window.add(key, now)


class Window:
    """When calls were admitted, in seconds of a monotonic clock, in the memory of this process."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        # Longest idle key first, so that forgetting them costs nothing.
        self._admitted: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, key: str, now: float) -> None:
        """Raises RateLimited where as many were admitted in the last 60 s as may be."""
        times = self._admitted.get(key)
        if times and len(times) == self._per_minute and times[0] > now - WINDOW_SECONDS:
            raise RateLimited(retry_after_seconds=times[0] + WINDOW_SECONDS - now)

    def add(self, key: str, now: float) -> None:
        """A call was admitted."""
        self._admitted.setdefault(key, deque(maxlen=self._per_minute)).append(now)
        self._admitted.move_to_end(key)
        self._forget_idle(now)

    def fill(self, key: str, until: float) -> None:
        """None is admitted until then, as others have admitted all that may be."""
        for _ in range(self._per_minute):
            self.add(key, until - WINDOW_SECONDS)

    def _forget_idle(self, now: float) -> None:
        while self._admitted:
            key, times = next(iter(self._admitted.items()))
            if times[-1] > now - WINDOW_SECONDS:
                return
            del self._admitted[key]
