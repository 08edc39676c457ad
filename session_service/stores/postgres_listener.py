"""One connection beside the pool, for what lasts: what was deleted, and who answers in a thread.

Notifications and advisory locks belong to a connection. So locks end with the process that holds
them, however it ends; and when the connection ends before its process, the next one takes them
again, and may find that another process was faster. What was deleted meanwhile nobody was told.
"""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import asyncpg
import structlog

from session_service.errors import store_failed
from session_service.stores.deletions import Deletion, Deletions, Kind
from session_service.stores.postgres_database import (
    DRIVER_ERRORS,
    Connection,
    connect,
    description,
)

T = TypeVar("T")
_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_CHANNEL = "chatkit_deleted"

_POLL_SECONDS = (0.1, 0.2)
"""How often to look whether another process has finished: a notification of each answer would make
all commits wait for each other (https://www.postgresql.org/docs/current/sql-notify.html)."""
_PATIENCE_SECONDS = 5.0
"""How long an answer waits for a connection, and we for what it says."""
_LOOK_SECONDS = 5.0
"""How often to see whether a silent connection is still there."""
_PAUSE_SECONDS = (0.05, 2.0)
"""Before the next try to connect, at first and at most."""

_KEEPALIVE = {
    # The server's default is two hours: so long would a machine that lost its power answer.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

log = structlog.get_logger()


async def notify(db: Connection, deletion: Deletion) -> None:
    """Tells all processes, once the transaction is committed."""
    await db.execute("SELECT pg_notify($1, $2)", _CHANNEL, f"{deletion.kind} {deletion.id}")


@dataclass(eq=False, slots=True)
class _Lock:
    """A thread in which this process answers."""

    key: int
    lost: Callable[[], None]


class PostgresListener:
    """Connects when it is first needed, and again whenever its connection ends."""

    def __init__(self, url: str, deletions: Deletions) -> None:
        self._url = url
        self._deletions = deletions
        self._connection: _Connection | None = None
        self._connected = asyncio.Event()
        self._asking = asyncio.Lock()
        self._backend: asyncpg.Record | None = None
        self._held: set[_Lock] = set()
        self._releases: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connects, if that has not been asked for before."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, *self._releases, return_exceptions=True)

    @asynccontextmanager
    async def answering(
        self, user_id: str, thread_id: str, lost: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Keeps other processes from answering in a thread. Raises Unavailable.

        `lost` is called where another has come between.
        """
        self.start()
        lock = _Lock(_key(user_id, thread_id), lost)
        try:
            await self._take(lock)
            yield
        finally:
            release = asyncio.create_task(self._release(lock))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)

    async def _take(self, lock: _Lock) -> None:
        while True:
            if await self._try(lock):
                return
            await asyncio.sleep(random.uniform(*_POLL_SECONDS))

    async def _try(self, lock: _Lock) -> bool:
        async def work(connection: _Connection) -> bool:
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock.key):
                self._held.add(lock)
            return lock in self._held

        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._connected.wait()
        except TimeoutError:
            raise store_failed() from None
        # Not to be interrupted: or nobody would know whether it is locked.
        return bool(await asyncio.shield(asyncio.create_task(self._ask(work))))

    async def _release(self, lock: _Lock) -> None:
        async def work(connection: _Connection) -> None:
            if lock in self._held:
                self._held.discard(lock)
                await connection.execute("SELECT pg_advisory_unlock($1)", lock.key)

        await self._ask(work)
        self._held.discard(lock)  # there is no connection, and with it no lock

    async def _ask(self, work: Callable[[_Connection], Awaitable[T]]) -> T | None:
        """Does what is asked of the connection in turn; None where there is none."""
        async with self._asking:
            connection = self._connection
            if connection is None:
                return None
            try:
                return await work(connection)
            except DRIVER_ERRORS:
                self._connected.clear()
                connection.terminate()
                return None

    async def _run(self) -> None:
        pause, most = _PAUSE_SECONDS
        failing = False
        while True:
            try:
                async with self._opened() as ended:
                    if failing:
                        log.info("the database answers again")
                    pause, failing = _PAUSE_SECONDS[0], False
                    self._deletions.tell(None)
                    await self._watch(ended)
                log.warning("the database has ended a connection; connecting again")
            except DRIVER_ERRORS as error:
                if not failing:
                    log.error("store failed; trying again", error=description(error))
                failing = True
            except Exception:  # as nobody would listen any more
                log.exception("defect", method="listen")
                failing = True
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, most)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[asyncio.Event]:
        """Connects, with the locks that are held here; yields what is set when that ends."""
        connection = await connect(self._url, _PATIENCE_SECONDS, **_KEEPALIVE)
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            await connection.add_listener(_CHANNEL, self._heard)
            async with self._asking:
                await self._end_previous(connection)
                await self._take_again(connection)
                self._connection = connection
            self._connected.set()
            yield ended
        finally:
            self._connection = None
            self._connected.clear()
            connection.terminate()

    async def _end_previous(self, connection: _Connection) -> None:
        """Where the network ended it, the server may not know yet, and keeps its locks."""
        if self._backend is not None:
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
                " WHERE (pid, backend_start) = ($1, $2)",
                *self._backend,
            )
        self._backend = await connection.fetchrow(
            "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )

    async def _take_again(self, connection: _Connection) -> None:
        for lock in tuple(self._held):
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock.key):
                self._held.discard(lock)
                lock.lost()

    async def _watch(self, ended: asyncio.Event) -> None:
        """Returns when the connection has ended, though nobody may have said so."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await ended.wait()
                return
            except TimeoutError:
                await self._ask(lambda connection: connection.execute("SELECT 1"))

    def _heard(self, _: object, __: int, ___: str, payload: object) -> None:
        kind, _, id_ = str(payload).partition(" ")
        with contextlib.suppress(ValueError):  # of a newer release, which may delete other things
            self._deletions.tell(Deletion(Kind(kind), id_))


def _key(user_id: str, thread_id: str) -> int:
    name = f"{user_id}\0{thread_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)
