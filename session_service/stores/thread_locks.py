"""Locks of threads within one process: one answer at a time is written into each."""

import asyncio
from weakref import WeakValueDictionary


class ThreadLocks:
    """Waiting ones come in turn."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def lock(self, user_id: str, thread_id: str) -> asyncio.Lock:
        """Returns the one lock of a thread, whose holder keeps it."""
        return self._locks.setdefault((user_id, thread_id), asyncio.Lock())
