"""Opens SQLite files so that what is wrong with one is found at once, and has a remedy."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import structlog

from session_service.stores.sqlite_schema import (
    ForeignDatabase,
    NewerSchema,
    check_is_ours,
    migrate,
)

_BUSY_PAUSE_SECONDS = 0.005
_CHECK_SECONDS = 1.0
"""How long to look for damage at start: enough for 100 MB, or 300,000 sessions."""
_WAL_HEAD_BYTES = 32
_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""How a WAL begins: https://sqlite.org/fileformat2.html#walformat"""
_CHECK_STEPS = 10_000
"""How many instructions of SQLite's pass between looks at the clock."""

log = structlog.get_logger()


def connect(path: str, busy_seconds: float) -> sqlite3.Connection:
    """Opens a connection that any thread may use, one at a time."""
    db = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA cell_size_check = ON")  # finds damage where it would be read as data
    return db


def open_file(path: str, busy_seconds: float) -> sqlite3.Connection:
    """Returns the one connection that may write, to a file that is whole and of our schema.

    The file is made where there is none, readable by this system user alone, and never replaced.
    Raises OSError or sqlite3.Error; `sqlite_remedy` says what to do then.
    """
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    existed = Path(path).exists()
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    _check_wal(path)
    if existed and not Path(path).stat().st_size:
        log.warning("the database file is empty; it becomes a new database", path=path)
    _check(path, busy_seconds)
    db = connect(path, busy_seconds)
    try:
        _switch_to_wal(db, busy_seconds)
        db.execute("PRAGMA synchronous = FULL")
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def look_into(path: str, busy_seconds: float) -> int:
    """Returns the version of a file's schema, 0 of an empty one, once it is certain that a service
    could use it: it is whole, ours, and can be written.

    Changes nothing, also beside a service that uses it. Raises OSError or sqlite3.Error.
    """
    _check_wal(path)
    _check(path, busy_seconds)
    address = f"file:{quote(path)}?mode=rw"
    with closing(
        sqlite3.connect(address, uri=True, timeout=busy_seconds, isolation_level=None)
    ) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            # SQLite asks the disk only with the first page that changes; which is taken back.
            db.execute(f"PRAGMA user_version = {version}")
        finally:
            db.execute("ROLLBACK")
    return int(version)


def sqlite_remedy(error: OSError | sqlite3.Error) -> str:
    """Returns what an operator can do about a file that cannot be opened."""
    match error:
        case NewerSchema():
            return "run that release, or restore a backup from before it"
        case ForeignDatabase():
            return "choose another file with DATABASE_URL"
        case sqlite3.Error():
            return _REMEDIES.get(error.sqlite_errorcode & 0xFF, _CHECK_DISK)
    return "it must be a file that this system user can read and write, in such a directory"


_RESTORE = (
    "restore a backup, with its -wal file if it has one; only to begin without any data,"
    " move the file and its -wal and -shm away"
)
_CHECK_DISK = "check the disk, and that this system user can write the file and its directory"
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process has locked it: end that, or wait for it",
    sqlite3.SQLITE_CORRUPT: _RESTORE,
    sqlite3.SQLITE_NOTADB: _RESTORE,
}


def _damaged(what: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _check_wal(path: str) -> None:
    """Raises sqlite3.DatabaseError where SQLite would drop what is in the WAL without a word."""
    try:
        with open(f"{path}-wal", "rb") as file:
            head = file.read(_WAL_HEAD_BYTES)
    except FileNotFoundError:
        return
    if not any(head):  # empty, or nothing of it had reached the disk
        return
    if not Path(path).stat().st_size:
        raise _damaged("it is empty, but its -wal file has changes: it was cut off")
    if len(head) == _WAL_HEAD_BYTES and head[:4] not in _WAL_MAGIC:
        raise _damaged("its -wal file is damaged, and with it what was stored last")


def _check(path: str, busy_seconds: float) -> None:
    """Looks whose it is, and for damage as far as it comes in a second.

    Raises sqlite3.DatabaseError, before anything is written.
    """
    give_up = time.monotonic() + _CHECK_SECONDS
    with closing(sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)) as db:
        db.execute("BEGIN")
        check_is_ours(db)
        db.execute("COMMIT")
        db.set_progress_handler(lambda: time.monotonic() > give_up, _CHECK_STEPS)
        try:
            ((said,),) = db.execute("PRAGMA quick_check(1)").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return
            raise
    if said != "ok":
        raise _damaged(f"database disk image is malformed ({' '.join(said.split())})")


def _switch_to_wal(db: sqlite3.Connection, busy_seconds: float) -> None:
    # While another connection switches the same new file, SQLite does not wait for it as it does
    # elsewhere: two that waited for each other would never end (https://sqlite.org/rescode.html#busy).
    give_up = time.monotonic() + busy_seconds
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(_BUSY_PAUSE_SECONDS)
        else:
            return
