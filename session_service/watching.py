"""Statistics for those who watch them: read once for all who watch the same, when they may change.

A commit of this process makes a feed look at once, but for a second after its last look. What other
processes commit, and what moves with the clock (sessions end, a day begins), is seen by looking
every two seconds. Where nobody watches nothing is read.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeAlias, TypeVar

from session_service.errors import Unavailable
from session_service.stores.base import Store
from session_service.stores.changes import EVERYBODY

T = TypeVar("T")

Scope: TypeAlias = tuple[str | None, int | None]
"""A user or everybody (None), and the number of days or the usual one (None)."""

MOST_WATCHERS = 1000
"""In one process: each has a call of its own, of some 30 KB."""

_LEAST_SECONDS = 1.0
"""From one look to the next."""
_MOST_SECONDS = 2.0


def _too_many() -> Unavailable:
    return Unavailable(
        "Too many calls watch statistics; try again later", metadata={"cause": "watchers"}
    )


class Watching(Generic[T]):
    """All who watch, in one process."""

    def __init__(
        self, store: Store, read: Callable[[str | None, int | None], Awaitable[T]]
    ) -> None:
        """`read` takes a scope and returns what its watchers get; it tells what is not valid."""
        self._store = store
        self._read = read
        self._feeds: dict[Scope, _Feed[T]] = {}
        self._watchers = 0
        self._draining = False

    @contextlib.contextmanager
    def watch(self, user_id: str | None, days: int | None) -> Iterator["Watcher[T]"]:
        """Lets the caller watch within the block. Raises Unavailable."""
        if self._draining:
            raise Unavailable
        if self._watchers >= MOST_WATCHERS:
            raise _too_many()
        scope = (user_id, days)
        feed = self._feeds.get(scope)
        if feed is None or feed.failure is not None:
            feed = self._feeds[scope] = _Feed(self._store, scope, self._read)
        self._watchers += 1
        feed.watchers += 1
        try:
            yield Watcher(feed)
        finally:
            self._watchers -= 1
            feed.watchers -= 1
            if not feed.watchers:
                feed.close()
                if self._feeds.get(scope) is feed:
                    del self._feeds[scope]

    def drain(self) -> None:
        """Ends what is watched, and takes no more."""
        self._draining = True
        for feed in self._feeds.values():
            feed.end(Unavailable())


class Watcher(Generic[T]):
    """One who watches."""

    def __init__(self, feed: "_Feed[T]") -> None:
        self._feed = feed
        self._seen = 0

    async def next(self) -> T:
        """Waits for what differs from the last; who is slow gets the newest alone.

        Raises what ended it: what `read` raised, or Unavailable.
        """
        newest, self._seen = await self._feed.after(self._seen)
        return newest


class _Feed(Generic[T]):
    """What those share who watch the same."""

    def __init__(
        self,
        store: Store,
        scope: Scope,
        read: Callable[[str | None, int | None], Awaitable[T]],
    ) -> None:
        self.watchers = 0
        self.failure: Exception | None = None
        self._store = store
        self._user_id, self._days = scope
        self._read = read
        self._newest: T | None = None
        self._number = 0
        """Of the newest; the first is 1."""
        self._told = asyncio.Event()
        self._dirty = asyncio.Event()
        # For all who watch: not in the name, and in no trace, of the one who was first.
        self._reading = asyncio.create_task(self._run(), context=contextvars.Context())

    async def after(self, number: int) -> tuple[T, int]:
        """Waits for one with a higher number, and returns the newest and its own."""
        while self.failure is None and self._number <= number:
            await self._told.wait()
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # or it would grow with each who watches
        assert self._newest is not None
        return self._newest, self._number

    def end(self, failure: Exception) -> None:
        self.failure = failure
        self._tell()
        self.close()

    def close(self) -> None:
        self._reading.cancel()

    def _tell(self) -> None:
        told, self._told = self._told, asyncio.Event()
        told.set()

    def _heard(self, scopes: frozenset[str]) -> None:
        if (EVERYBODY if self._user_id is None else self._user_id) in scopes:
            self._dirty.set()

    async def _run(self) -> None:
        try:
            with self._store.counting(self._heard):
                while True:
                    await self._look()
                    await self._pause()
        except Exception as error:  # such as Unavailable: then silence means that nothing changed
            self.end(error)

    async def _look(self) -> None:
        self._dirty.clear()
        found = await self._read(self._user_id, self._days)
        if found != self._newest:
            self._newest = found
            self._number += 1
            self._tell()

    async def _pause(self) -> None:
        await asyncio.sleep(_LEAST_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOST_SECONDS - _LEAST_SECONDS):
                await self._dirty.wait()
