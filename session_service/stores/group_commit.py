"""One thread that writes to one SQLite connection, committing together what queued up meanwhile.

A durable commit costs a disk flush, whatever is in it. So while one runs, the next writes queue up
and share the following one; each caller hears of its own write after the commit that holds it.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from session_service.stores import sqlite_rollups as rollups
from session_service.stores.changes import Changes
from session_service.stores.counted import Counted

T = TypeVar("T")

_MAX_GROUP = 512
"""Bounds how long the first of a group waits for the others."""


@dataclass(slots=True)
class _Write:
    work: Callable[[sqlite3.Connection, Changes], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None
    abandoned: bool = False
    """Its caller has been told that it failed."""


class GroupCommitWriter:
    """Runs functions of a connection in transactions, for the event loop that made it."""

    def __init__(
        self, db: sqlite3.Connection, patience_seconds: float, counted: Counted | None = None
    ) -> None:
        """`patience_seconds` is the longest that a caller waits."""
        self._db = db
        self._counted = counted or Counted()
        self._patience_seconds = patience_seconds
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """How many wait for the transaction that runs."""
        return self._queue.qsize()

    async def write(self, work: Callable[[sqlite3.Connection, Changes], T]) -> T:
        """Runs `work` in the next transaction and returns what it returned, once that is committed.

        What `work` raises is raised here and undoes this write alone. A commit that fails fails all
        it held. Raises TimeoutError where the database does not come to an end; what has not begun
        by then is not stored later.
        """
        write = _Write(work, self._loop.create_future())
        self._queue.put(write)
        try:
            async with asyncio.timeout(self._patience_seconds):
                result: T = await write.future
        except TimeoutError:
            write.abandoned = True
            raise
        return result

    async def close(self) -> None:
        """Finishes what is queued."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._db.close()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group = [self._queue.get()]
            while len(group) < _MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get())
            stopping = None in group
            writes = [write for write in group if write is not None and not write.abandoned]
            if writes:
                changes = _commit(self._db, writes)
                self._loop.call_soon_threadsafe(_settle, writes)
                if scopes := self._counted.scopes(changes):
                    self._loop.call_soon_threadsafe(self._counted.tell, scopes)


def _commit(db: sqlite3.Connection, writes: list[_Write]) -> Changes:
    """Stores what succeeds. Whatever happens, each write has its result or its error then."""
    changes = Changes()
    try:
        if db.in_transaction:  # the database was in no state to end the one before
            db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        _attempt(db, changes, writes)
        rollups.write(db, changes)
        db.execute("COMMIT")
    except Exception as error:  # locked, disk full, read-only: nothing of the group is stored
        for write in writes:
            write.error = error
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        return Changes()
    return changes


def _attempt(db: sqlite3.Connection, changes: Changes, writes: list[_Write]) -> None:
    """Does writes, each or its error; one that fails has them all done again, one by one."""
    mark = changes.mark()
    db.execute("SAVEPOINT attempt")
    try:
        for write in writes:
            if not write.abandoned:  # while this waited for a lock
                write.result = write.work(db, changes)
    except Exception as error:
        # A full disk ends the transaction, not the statement alone: what follows would be stored
        # and called a failure, or the other way round (https://sqlite.org/lang_transaction.html).
        if not db.in_transaction:
            raise
        db.execute("ROLLBACK TO attempt")
        changes.undo(mark)
        if len(writes) == 1:
            write.error = error
        else:
            for write in writes:
                _attempt(db, changes, [write])
    db.execute("RELEASE attempt")


def _settle(writes: list[_Write]) -> None:
    for write in writes:
        if write.future.done():  # the caller has gone away
            continue
        if write.error is not None:
            write.future.set_exception(write.error)
        else:
            write.future.set_result(write.result)
