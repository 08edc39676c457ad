"""One PostgreSQL database: a pool of connections, transactions, the driver's errors.

Connections end: the server is restarted, another takes over, an administrator ends one. What was
certainly not done is tried once more on another connection; of what may have been done, callers
hear that the store is unavailable, as after every other failure.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, TypeAlias, TypeVar

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from session_service.errors import store_failed
from session_service.stores import postgres_rollups as rollups
from session_service.stores.base import CannotOpenStore
from session_service.stores.changes import Changes
from session_service.stores.counted import Counted
from session_service.stores.postgres_batches import Batches, Kind
from session_service.stores.postgres_schema import migrate

T = TypeVar("T")
Row = TypeVar("Row")

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Isolation = Literal["read_committed", "repeatable_read"]

POOL_SIZE = 8
"""Of one process: PostgreSQL takes a hundred connections by default, so ten replicas fit."""

_CONNECT_SECONDS = 5.0
"""How long to wait for a connection, a new one or one of the pool."""
_LOCK_SECONDS = 5
_STATEMENT_SECONDS = 10
_IDLE_SECONDS = 2
"""How long a transaction may wait for us: it may hold rows that all replicas wait for. If we are
stopped, it ends before they give up."""
_ANSWER_SECONDS = 15.0
"""How long to wait for an answer, should the network lose it."""
_CLOSE_SECONDS = 5.0
_MIGRATION_SECONDS = 600
_TRIES = 5
_PAUSE_SECONDS = 0.02

_SESSION = {"application_name": "chatkit session service"}
_TIMEOUTS = {
    "statement_timeout": f"{_STATEMENT_SECONDS}s",
    "lock_timeout": f"{_LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{_IDLE_SECONDS}s",
}

_Conflict = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""Of two transactions, this one has to be done again."""

_Lost = (
    ConnectionError,
    asyncpg.InterfaceError,  # "connection is closed"
    asyncpg.InternalClientError,  # "another operation is in progress", if it just ends
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # it was the primary before a failover
)
"""The connection is of no more use."""

DRIVER_ERRORS = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresError,
)
_Defect = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""Of ours, not states of the database."""

log = structlog.get_logger()


@asynccontextmanager
async def open_database(
    url: str,
    groups: Sequence[Sequence[Kind[Any, Any]]],
    unlogged: Sequence[Kind[Any, Any]],
) -> AsyncIterator["PostgresDatabase"]:
    """Connects, and migrates where that is needed. Raises CannotOpenStore.

    What may be written in batches comes in groups, each with transactions of its own. The kinds of
    `unlogged` are of one statement, which changes nothing that has to be durable.
    """
    with _cannot_open():
        await _migrate(url)
        pool = await asyncpg.create_pool(
            url,
            min_size=0,
            max_size=POOL_SIZE,
            timeout=_CONNECT_SECONDS,
            command_timeout=_ANSWER_SECONDS,
            server_settings=_SESSION | _TIMEOUTS,
            reset=_nothing_to_reset,
            record_class=asyncpg.Record,
        )
    database = PostgresDatabase(pool, groups, unlogged)
    try:
        yield database
    finally:
        await database.close()


class PostgresDatabase:
    """All calls raise Unavailable where the database fails."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        groups: Sequence[Sequence[Kind[Any, Any]]],
        unlogged: Sequence[Kind[Any, Any]],
    ) -> None:
        self.counted = Counted()
        self._pool = pool
        self._batches: dict[Kind[Any, Any], Batches] = {}
        for kinds in groups:
            self._batches.update(dict.fromkeys(kinds, Batches(self._transaction, kinds)))
        self._batches.update(dict.fromkeys(unlogged, Batches(self._statement, unlogged)))
        self._writes: set[asyncio.Task[Any]] = set()

    @property
    def queued(self) -> int:
        """How many writes wait for those before them."""
        return sum(batches.queued for batches in set(self._batches.values()))

    async def fetch(self, sql: str, *parameters: object) -> list[asyncpg.Record]:
        """Runs one statement that may be run again, should its answer be lost."""
        with _driver_errors(), _logged():
            try:
                return await self._fetch(sql, *parameters)
            except (*_Lost, *_Conflict):
                return await self._fetch(sql, *parameters)
            except asyncpg.CharacterNotInRepertoireError:
                return []  # no key has U+0000, which clients may ask for

    async def _fetch(self, sql: str, *parameters: object) -> list[asyncpg.Record]:
        async with self._connection() as db:
            return await db.fetch(sql, *parameters)

    async def batch(self, kind: Kind[Row, T], row: Row) -> T:
        """Writes a row together with all that wait meanwhile; durable when it returns.

        One that is unlogged waits neither for a disk nor for those who do, and is perhaps written
        twice.
        """
        with _driver_errors():
            result: T = await self._batches[kind].write(kind, row)
            return result

    async def write(
        self,
        work: Callable[[Connection, Changes], Awaitable[T]],
        isolation: Isolation = "read_committed",
    ) -> T:
        """Does all of `work` or, if it raises, nothing of it; durable when it returns.

        It may be run more than once. A caller who leaves does not interrupt it.
        """
        task = asyncio.create_task(self._transaction(work, isolation))
        self._writes.add(task)
        task.add_done_callback(self._written)
        with _driver_errors():
            return await asyncio.shield(task)

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have left

    async def close(self) -> None:
        """Finishes what has begun."""
        await asyncio.gather(*(one.close() for one in self._batches.values()))
        await asyncio.gather(*self._writes, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()

    async def _statement(self, work: Callable[[Connection, Changes], Awaitable[T]]) -> T:
        """Does `work` of one statement. Raises what `work` and the driver raise."""
        with _logged():
            try:
                async with self._connection() as db:
                    return await work(db, Changes())
            except (*_Lost, *_Conflict):
                async with self._connection() as db:
                    return await work(db, Changes())

    async def _transaction(
        self,
        work: Callable[[Connection, Changes], Awaitable[T]],
        isolation: Isolation = "read_committed",
    ) -> T:
        """Raises what `work` and the driver raise."""
        with _logged():
            return await self._tried(work, isolation)

    async def _tried(
        self, work: Callable[[Connection, Changes], Awaitable[T]], isolation: Isolation
    ) -> T:
        lost = False
        for tries_left in reversed(range(_TRIES)):
            committing = False
            try:
                async with self._connection() as db:
                    async with _begun(db, isolation):
                        changes = Changes()
                        result = await work(db, changes)
                        await rollups.write(db, changes)
                    committing = True
                    await db.execute("COMMIT")
                    self.counted.tell(self.counted.scopes(changes))
                    return result
            except _Conflict:
                if not tries_left:
                    raise
                await asyncio.sleep(random.uniform(0, _PAUSE_SECONDS * (_TRIES - tries_left)))
            except _Lost:
                if committing or lost:
                    raise
                lost = True
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._pool.acquire(timeout=_CONNECT_SECONDS) as db:
            try:
                yield db
            except asyncpg.InternalClientError:
                db.terminate()
                raise
            except asyncpg.ReadOnlySQLTransactionError:
                await self._pool.expire_connections()
                raise


@asynccontextmanager
async def _begun(db: Connection, isolation: Isolation) -> AsyncIterator[None]:
    """Begins a transaction, and undoes it if the block raises; the rest is the caller's."""
    await db.execute(f"BEGIN ISOLATION LEVEL {isolation.replace('_', ' ')}")
    try:
        yield
    except BaseException:
        with contextlib.suppress(*DRIVER_ERRORS):
            await db.execute("ROLLBACK")
        raise


async def connect(
    url: str, answer_seconds: float | None, **settings: str
) -> "asyncpg.Connection[asyncpg.Record]":
    """Opens a connection beside the pool, which waits so long for each answer."""
    return await asyncpg.connect(
        url,
        timeout=_CONNECT_SECONDS,
        command_timeout=answer_seconds,
        server_settings=_SESSION | settings,
    )


async def _migrate(url: str) -> None:
    connection = await connect(url, None, statement_timeout=f"{_MIGRATION_SECONDS}s")
    try:
        await migrate(connection)
    finally:
        await connection.close()


async def _nothing_to_reset(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Connections keep no state between transactions; to ask for it costs a round trip each."""


@contextmanager
def _logged() -> Iterator[None]:
    """Logs what the database said: once, for however many callers it fails."""
    try:
        yield
    except DRIVER_ERRORS as error:
        if not isinstance(error, _Defect):
            log.error("store failed", error=description(error))
        raise


@contextmanager
def _driver_errors() -> Iterator[None]:
    """Tells callers no more of what the database said than that it failed."""
    try:
        yield
    except _Defect:
        raise
    except DRIVER_ERRORS as error:
        raise store_failed() from error


@contextmanager
def _cannot_open() -> Iterator[None]:
    try:
        yield
    # The last two are of a wrong option or port in the address.
    except (*DRIVER_ERRORS, ValueError, OverflowError) as error:
        raise CannotOpenStore(description(error)) from error


def description(error: BaseException) -> str:
    """Returns what the driver said, for the log."""
    # Without the details, which may quote rows.
    message = str(error.args[0]) if error.args and not isinstance(error, OSError) else str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
