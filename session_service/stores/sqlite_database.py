"""One SQLite file: a writer thread with grouped commits, some readers, the driver's errors."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import structlog

from session_service.errors import store_failed
from session_service.stores.group_commit import GroupCommitWriter
from session_service.stores.sqlite_schema import migrate

T = TypeVar("T")

_BUSY_SECONDS = 5
"""How long to wait for another process that has locked the file."""
_BUSY_PAUSE_SECONDS = 0.005
_READERS = 2

log = structlog.get_logger()


@asynccontextmanager
async def open_database(path: str) -> AsyncIterator["SQLiteDatabase"]:
    """Opens the file, made and migrated where that is needed, readable by this system user alone.

    Raises OSError or sqlite3.Error where it cannot be used.
    """
    db = await asyncio.to_thread(_open, path)
    writer = GroupCommitWriter(db)
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
    try:
        yield SQLiteDatabase(path, writer, readers)
    finally:
        readers.shutdown()
        await writer.close()


class SQLiteDatabase:
    """Runs functions of a connection. Both calls raise Unavailable where the database fails."""

    def __init__(self, path: str, writer: GroupCommitWriter, readers: ThreadPoolExecutor) -> None:
        self._path = path
        self._writer = writer
        self._readers = readers
        self._local = threading.local()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does all of `work` or, if it raises, nothing of it; durable when it returns."""
        with _driver_errors():
            return await self._writer.write(work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Reads in one transaction: all that `work` sees is of one moment."""
        with _driver_errors():
            return await asyncio.get_running_loop().run_in_executor(
                self._readers, lambda: self._as_of_now(work)
            )

    def _as_of_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._reader()
        db.execute("BEGIN")
        try:
            return work(db)
        finally:
            db.execute("COMMIT")

    def _reader(self) -> sqlite3.Connection:
        if not hasattr(self._local, "db"):
            self._local.db = _connect(self._path)
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
    except sqlite3.Error as error:
        log.error("store failed", error=f"{type(error).__name__}: {error}")
        raise store_failed() from error


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def _open(path: str) -> sqlite3.Connection:
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = _connect(path)
    try:
        _switch_to_wal(db)
        db.execute("PRAGMA synchronous = FULL")
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _switch_to_wal(db: sqlite3.Connection) -> None:
    # While another connection switches the same new file, SQLite does not wait for it as it does
    # elsewhere: two that waited for each other would never end (https://sqlite.org/rescode.html#busy).
    give_up = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(_BUSY_PAUSE_SECONDS)
        else:
            return
