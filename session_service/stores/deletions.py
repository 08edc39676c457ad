"""What was deleted, told to whoever runs answers for it, in whichever process that happens."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")


class Kind(StrEnum):
    """What can be deleted while answers are written for it."""

    SESSION = "session"
    THREAD = "thread"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Deletion:
    """One of them, with all that belongs to it."""

    kind: Kind
    id: str
    """Of a session, the first of its chain."""


class Deletions:
    """Those of one store."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Queue[Deletion | None]] = set()
        self._writes: set[asyncio.Task[Any]] = set()

    async def follow(self) -> AsyncIterator[Deletion | None]:
        """Yields them from now on; None means that some may not have been told."""
        told: asyncio.Queue[Deletion | None] = asyncio.Queue()
        self._followers.add(told)
        try:
            while True:
                yield await told.get()
        finally:
            self._followers.discard(told)

    def tell(self, deletion: Deletion | None) -> None:
        for told in self._followers:
            told.put_nowait(deletion)

    async def tell_after(
        self, write: Coroutine[Any, Any, T | None], deletion: Deletion
    ) -> T | None:
        """Tells of it once it is written, should its caller have left by then, too.

        None is what a write returns that found nothing to delete.
        """

        async def work() -> T | None:
            result = await write
            if result is not None:
                self.tell(deletion)
            return result

        writing = asyncio.create_task(work())
        self._writes.add(writing)
        writing.add_done_callback(self._written)
        return await asyncio.shield(writing)

    def _written(self, writing: asyncio.Task[Any]) -> None:
        self._writes.discard(writing)
        if not writing.cancelled():
            writing.exception()  # its caller has seen it, if there still is one
