"""Faults of the machine and of our own processes, as blocks in which they last."""

import contextlib
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.processes import Part


@contextlib.contextmanager
def full_disk(part: Part, file_bytes: int = 0) -> Iterator[None]:
    """No file of the process can be written beyond so many bytes.

    That needs neither a file system of its own nor root, and can begin and end at any time.
    """
    _, most = resource.prlimit(part.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(part.process.pid, resource.RLIMIT_FSIZE, (file_bytes, most))
    try:
        yield
    finally:
        resource.prlimit(part.process.pid, resource.RLIMIT_FSIZE, (most, most))


@contextlib.contextmanager
def locked_database(path: Path) -> Iterator[None]:
    """Another process writes and does not come to an end."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
