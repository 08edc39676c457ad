"""One SQLite file: a writer thread with grouped commits, some readers, the driver's errors."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import structlog

from session_service.errors import store_failed
from session_service.stores.changes import Changes
from session_service.stores.counted import Counted
from session_service.stores.group_commit import GroupCommitWriter
from session_service.stores.sqlite_file import connect, open_file

T = TypeVar("T")

_BUSY_SECONDS = 5.0
"""How long to wait for another process that has locked the file."""
_PATIENCE_SECONDS = 6.0
"""How long a caller waits for anything, a disk that hangs or a queue behind a lock included."""
_READERS = 2

log = structlog.get_logger()


@asynccontextmanager
async def open_database(path: str) -> AsyncIterator["SQLiteDatabase"]:
    """Opens the file, made and migrated where that is needed, readable by this system user alone.

    Raises OSError or sqlite3.Error where it cannot be used.
    """
    db = await asyncio.to_thread(open_file, path, _BUSY_SECONDS)
    counted = Counted()
    writer = GroupCommitWriter(db, _PATIENCE_SECONDS, counted)
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
    try:
        yield SQLiteDatabase(path, writer, readers, counted)
    finally:
        readers.shutdown()
        await writer.close()


class SQLiteDatabase:
    """Runs functions of a connection. Both calls raise Unavailable where the database fails."""

    def __init__(
        self,
        path: str,
        writer: GroupCommitWriter,
        readers: ThreadPoolExecutor,
        counted: Counted,
    ) -> None:
        self.counted = counted
        self._path = path
        self._writer = writer
        self._readers = readers
        self._local = threading.local()

    @property
    def queued(self) -> int:
        """How many writes wait for those before them."""
        return self._writer.queued

    async def write(self, work: Callable[[sqlite3.Connection, Changes], T]) -> T:
        """Does all of `work` or, if it raises, nothing of it; durable when it returns."""
        with _driver_errors():
            return await self._writer.write(work)

    async def check(self) -> None:
        """Writes to the file without changing it."""
        await self.write(_store_the_same)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Reads in one transaction: all that `work` sees is of one moment."""
        with _driver_errors():
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(
                    self._readers, lambda: self._as_of_now(work)
                )

    def _as_of_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._reader()
        db.execute("BEGIN")
        try:
            return work(db)
        finally:
            if db.in_transaction:  # some failures end it, and theirs is the error to raise
                db.execute("COMMIT")

    def _reader(self) -> sqlite3.Connection:
        if not hasattr(self._local, "db"):
            self._local.db = connect(self._path, _BUSY_SECONDS)
            self._local.db.execute("PRAGMA query_only = ON")
        db: sqlite3.Connection = self._local.db
        return db


@contextmanager
def _driver_errors() -> Iterator[None]:
    """Logs what the database said in full, and tells callers no more than that it failed."""
    try:
        yield
    except sqlite3.IntegrityError:  # a defect of ours, not a state of the database
        raise
    except (sqlite3.Error, TimeoutError) as error:
        log.error("store failed", error=f"{type(error).__name__}: {error or 'it hangs'}")
        raise store_failed() from error


def _store_the_same(db: sqlite3.Connection, _: Changes) -> None:
    # SQLite writes this even where nothing changes: so it tells of a full disk, too.
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")
