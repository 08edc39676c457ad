"""Answers on their way: an inner task writes each, an RPC reads it, and others may end it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from session_service.errors import (
    ServiceError,
    SessionDeleted,
    ThreadNotFound,
    Unavailable,
)
from session_service.stores.base import Store
from session_service.stores.deletions import Deletion, Kind

_ROOM_BYTES = 256 * 1024
"""So much may wait for a reader; then the writer, and with it the model's connection, waits."""

_RETRY_SECONDS = 1.0

_DRAINING = "This service is shutting down; try again"


class Stream:
    """One answer. Frames that are ready together are read together.

    The writer is a task of its own, so that it can be cancelled: never the RPC's handler, which
    would leave its caller without a status.
    """

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._size = 0
        self._readable = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._on_end: Callable[[ServiceError], None] = lambda _: None
        self._failure: ServiceError | None = None

    def start(self, frames: AsyncIterator[bytes], on_end: Callable[[ServiceError], None]) -> None:
        """Begins to write. `on_end` hears why, before `end` breaks the writer off."""
        self._on_end = on_end
        self._writer = asyncio.create_task(self._write(frames))
        self._writer.add_done_callback(self._done)

    def limit(self, seconds: float, failure: ServiceError) -> None:
        """Ends the answer then, instead of at an earlier limit."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end, failure)

    def end(self, failure: ServiceError) -> None:
        """Ends the answer where it is, for that reason; what was written can still be read."""
        writer = self._writer
        if writer is not None and not writer.done() and not writer.cancelling():
            self._failure = failure
            self._on_end(failure)
            writer.cancel()

    async def has_room(self) -> None:
        """Waits until the reader has room for more."""
        await self._has_room.wait()

    async def begun(self) -> None:
        """Waits for the first frame. Raises what went wrong where there is none."""
        await self._readable.wait()
        if not self._frames:
            await self._outcome()

    async def read(self) -> AsyncIterator[bytes]:
        """Yields what is ready, until the end. Raises what ended it."""
        while True:
            await self._readable.wait()
            if not self._frames:
                await self._outcome()
                return
            ready = b"".join(self._frames)
            self._frames.clear()
            self._size = 0
            self._has_room.set()
            if not self._is_done():
                self._readable.clear()
            yield ready

    async def close(self) -> None:
        """Breaks the answer off, if it is still being written, and waits until it is."""
        if self._writer is not None and not self._writer.done():
            if not self._writer.cancelling():  # else it is about to keep what there is
                self._writer.cancel()
            await asyncio.wait((self._writer,))

    async def done(self) -> None:
        """Waits until the answer is written."""
        if self._writer is not None:
            await asyncio.wait((self._writer,))

    async def _write(self, frames: AsyncIterator[bytes]) -> None:
        async for frame in frames:
            self._frames.append(frame)
            self._size += len(frame)
            if self._size > _ROOM_BYTES:
                self._has_room.clear()
            self._readable.set()

    def _is_done(self) -> bool:
        return self._writer is None or self._writer.done()

    def _done(self, writer: asyncio.Task[None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not writer.cancelled():
            writer.exception()  # raised by `_outcome`, if anybody still reads
        self._readable.set()

    async def _outcome(self) -> None:
        """Raises what ended the answer, if it did not end by itself."""
        if self._failure is not None:
            await self.done()
            raise self._failure
        if self._writer is not None:
            await self._writer


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose answer a stream is."""

    user_id: str
    root_id: str
    """The session's chain."""
    thread_id: Callable[[], str | None]
    """Returns the thread, once it is there."""

    def is_of(self, deletion: Deletion) -> bool:
        match deletion.kind:
            case Kind.SESSION:
                return self.root_id == deletion.id
            case Kind.THREAD:
                return self.thread_id() == deletion.id
            case Kind.USER:
                return self.user_id == deletion.id


class Streams:
    """Those that run in this process, by whose they are."""

    def __init__(self) -> None:
        self._running: dict[Stream, Owner] = {}
        self._draining = False
        self.deletions = 0
        """How many were heard of: what was read before the last one may have been deleted."""

    @property
    def running_now(self) -> int:
        """How many are being written."""
        return len(self._running)

    @contextlib.contextmanager
    def running(self, owner: Owner, stream: Stream) -> Iterator[None]:
        """Lets the others here reach the stream, within the block. Raises Unavailable."""
        if self._draining:
            raise Unavailable(_DRAINING)
        self._running[stream] = owner
        try:
            yield
        finally:
            del self._running[stream]

    async def end_deleted(self, store: Store) -> None:
        """Ends what is written for those who are deleted, for as long as the process lives."""
        async for deletion in store.deletions():
            self.deletions += 1
            if deletion is None:
                await self._look(store)
                continue
            failure = ThreadNotFound if deletion.kind is Kind.THREAD else SessionDeleted
            for stream in [s for s, owner in self._running.items() if owner.is_of(deletion)]:
                stream.end(failure())

    async def _look(self, store: Store) -> None:
        """Ends what is written for those who were deleted while nobody could tell us."""
        for stream, owner in list(self._running.items()):
            while True:
                try:
                    if failure := await _fate(store, owner):
                        stream.end(failure)
                    break
                except Unavailable:
                    await asyncio.sleep(_RETRY_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Takes no more, and ends those that are not written by then."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(stream.done() for stream in list(self._running)))
        for stream in list(self._running):
            stream.end(Unavailable(_DRAINING))


async def _fate(store: Store, owner: Owner) -> SessionDeleted | ThreadNotFound | None:
    """Returns what was deleted that an answer belongs to, if anything was."""
    session = await store.get(owner.root_id)
    if session is None or session.deleted_ms is not None:
        return SessionDeleted()
    thread_id = owner.thread_id()
    if thread_id and await store.conversations.thread(owner.user_id, thread_id) is None:
        return ThreadNotFound()
    return None
