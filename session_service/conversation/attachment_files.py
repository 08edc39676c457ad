"""The bytes of attachments, on disk: whole or not there, and never named by what a user says.

Each is a file named by the attachment's id, in one of 256 folders. It grows in `incoming/` and is
renamed when it is complete and on the disk.
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

import structlog

from session_service.errors import AttachmentNotFound, attachments_failed

T = TypeVar("T")
_Run: TypeAlias = Callable[..., "asyncio.Future[Any]"]

CHUNK_BYTES = 64 * 1024
"""How much is read at once."""

_WRITE_BYTES = 256 * 1024
"""How much is written at once: a hop to another thread costs as much as writing 64 KiB."""
_THREADS = 4
_INCOMING = "incoming"
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

log = structlog.get_logger()


@asynccontextmanager
async def open_attachment_files(directory: Path) -> AsyncIterator["AttachmentFiles"]:
    """Takes a directory, which is made when it is needed, and clears what crashes left there."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="attachment-files") as threads:
        files = AttachmentFiles(directory, threads)
        await files.remove_leftovers()
        yield files


class AttachmentFiles:
    """Reads, writes and removes; the event loop never waits for the disk.

    Raises Unavailable where the disk is full or cannot be used; the log says why.
    """

    def __init__(self, directory: Path, threads: ThreadPoolExecutor) -> None:
        self._directory = directory
        self._threads = threads

    def path(self, attachment_id: str) -> Path:
        """Returns where the bytes of an attachment are, or would be."""
        if not _ID.fullmatch(attachment_id):
            raise AttachmentNotFound
        folder = hashlib.sha256(attachment_id.encode()).hexdigest()[:2]
        return self._directory / folder / attachment_id

    @asynccontextmanager
    async def incoming(self, attachment_id: str) -> AsyncIterator["IncomingFile"]:
        """Begins a file. What was not kept when the block ends is removed."""
        path = self.path(attachment_id)
        incoming = self._directory / _INCOMING / f"{attachment_id}.{secrets.token_hex(4)}"
        file = _Growing(incoming)
        try:
            await self._run(file.open)
            yield IncomingFile(self._run, file, path)
        finally:
            # Whoever is being cancelled need not wait for it, but it is done.
            await asyncio.shield(self._run(file.close))

    async def chunks(self, attachment_id: str) -> AsyncIterator[bytes]:
        """Returns the bytes, in pieces of 64 KiB. Raises AttachmentNotFound."""
        path = self.path(attachment_id)
        offset = 0
        # Opened each time: that is cheap, and whoever stops reading leaves nothing open.
        while data := await self._run(_read, path, offset):
            yield data
            offset += len(data)

    async def size(self, attachment_id: str) -> int:
        """Returns how many bytes there are. Raises AttachmentNotFound."""
        path = self.path(attachment_id)
        return await self._run(_size, path)

    async def remove(self, attachment_id: str) -> None:
        """Removes the bytes, if there are any."""
        path = self.path(attachment_id)
        await self._run(path.unlink, True)

    async def remove_leftovers(self) -> None:
        """Removes files that a process which is no more has begun."""
        await self._run(_remove_leftovers, self._directory / _INCOMING)

    def _run(self, work: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        """Does something with files in another thread, and says what is wrong with the disk."""

        def guarded() -> T:
            try:
                return work(*arguments)
            except OSError as error:
                cause = errno.errorcode.get(error.errno or 0, "unknown")
                log.error("attachments cannot be kept", error=cause, directory=str(self._directory))
                raise attachments_failed() from error

        return asyncio.get_running_loop().run_in_executor(self._threads, guarded)


class IncomingFile:
    """A file that grows."""

    def __init__(self, run: _Run, file: "_Growing", path: Path) -> None:
        self._run = run
        self._file = file
        self._path = path
        self._buffer = bytearray()
        self.size = 0
        """In bytes, so far."""

    async def write(self, data: bytes) -> None:
        self.size += len(data)
        self._buffer += data
        if len(self._buffer) >= _WRITE_BYTES:
            await self._flush()

    async def keep(self, check: Callable[[BinaryIO], None]) -> None:
        """Makes it the bytes of the attachment, unless `check`, run in another thread, raises."""
        await self._flush()
        await self._run(self._file.keep, self._path, check)

    async def _flush(self) -> None:
        data, self._buffer = self._buffer, bytearray()
        await self._run(self._file.write, data)


class _Growing:
    """Its calls come from several threads: after a cancel, the one before may still be at it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        with self._lock:
            folder = self._path.parent
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            # Tells other processes that it is no leftover; the kernel frees it when we die.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytearray) -> None:
        with self._lock:
            file = self._opened()
            written = 0
            while written < len(data):
                written += file.write(memoryview(data)[written:])

    def keep(self, target: Path, check: Callable[[BinaryIO], None]) -> None:
        with self._lock:
            file = self._opened()
            check(file)
            os.fsync(file.fileno())
            target.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.replace(target)
            try:
                _sync_folder(target.parent)
            except OSError:
                target.unlink(missing_ok=True)
                raise

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
                self._path.unlink(missing_ok=True)  # it is elsewhere if it was kept

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise OSError(errno.EBADF, "closed")
        return self._file


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)
    except FileNotFoundError:
        raise AttachmentNotFound from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise AttachmentNotFound from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(incoming: Path) -> None:
    if not incoming.is_dir():
        return
    for path in incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process of ours was faster
            _remove_leftover(path)


def _remove_leftover(path: Path) -> None:
    with path.open("r+b") as file:  # or NFS would not lock it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process of ours is at it
        path.unlink()
        log.info("half an attachment removed", attachment_id=path.name.partition(".")[0])
