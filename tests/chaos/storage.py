"""What can happen to a database file: another process locks it, or the disk is full."""

import asyncio
import contextlib
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path


@contextlib.asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """Holds the write lock within the block, as a backup or a curious person would."""
    db = sqlite3.connect(database, isolation_level=None, timeout=20, check_same_thread=False)
    with contextlib.closing(db):
        await asyncio.to_thread(db.execute, "BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


@contextlib.contextmanager
def full_disk(pid: int, database: Path) -> Iterator[None]:
    """Lets no file of a process grow within the block; its writes fail with EFBIG."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    # Pages at the beginning of the log could still be written after a checkpoint.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
