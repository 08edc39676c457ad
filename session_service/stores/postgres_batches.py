"""Writes that queue up while others are on their way, committed together by one transaction.

A commit costs a disk flush and some round trips, whatever is in it, and everybody's counters can be
changed by one transaction at a time. So while one runs the next writes queue up and share the
following one, in which each kind of them is one statement or a few for all of its rows.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import asyncpg

if TYPE_CHECKING:
    from session_service.stores.changes import Changes
    from session_service.stores.postgres_database import Connection

Row = TypeVar("Row", contravariant=True)
Result = TypeVar("Result", covariant=True)

_MAX_BATCH = 512
"""Bounds how long the first of a batch waits for the others."""


class Kind(Protocol[Row, Result]):
    """Writes rows, in their order, and returns what became of each: an exception is raised there.

    A row that has an exception has changed nothing.
    """

    async def __call__(
        self, db: "Connection", changes: "Changes", rows: Sequence[Row], /
    ) -> "Sequence[Result | Exception]": ...


@dataclass(slots=True)
class _Write:
    kind: Kind[Any, Any]
    row: Any
    future: asyncio.Future[Any]


class Batches:
    """Of one process. Replicas have their own, and wait for each other in the database."""

    def __init__(
        self,
        transact: Callable[..., Awaitable[Sequence[Any]]],
        kinds: Sequence[Kind[Any, Any]],
    ) -> None:
        """`kinds` are in the order in which they lock their rows: the same in all replicas."""
        self._transact = transact
        self._kinds = kinds
        self._queue: deque[_Write] = deque()
        self._writing: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """How many wait for the transaction that runs."""
        return len(self._queue)

    async def write(self, kind: Kind[Any, Any], row: Any) -> Any:
        """Raises what `kind` returned for the row, or what failed the transaction."""
        write = _Write(kind, row, asyncio.get_running_loop().create_future())
        self._queue.append(write)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await write.future

    async def close(self) -> None:
        """Finishes what is queued."""
        if self._writing is not None:
            await self._writing

    async def _write_all(self) -> None:
        try:
            while self._queue:
                size = min(_MAX_BATCH, len(self._queue))
                await self._commit([self._queue.popleft() for _ in range(size)])
        finally:
            self._writing = None

    async def _commit(self, writes: Sequence[_Write]) -> None:
        by_kind = [[write for write in writes if write.kind is kind] for kind in self._kinds]

        async def work(db: "Connection", changes: "Changes") -> list[Any]:
            results: list[Any] = []
            for kind, of_kind in zip(self._kinds, by_kind, strict=True):
                if of_kind:
                    results += await kind(db, changes, [write.row for write in of_kind])
            return results

        in_order = [write for of_kind in by_kind for write in of_kind]
        try:
            results = list(zip(in_order, await self._transact(work), strict=True))
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(writes) == 1:
                _settle(writes[0], error)
                return
            for write in writes:  # one of them cannot be written: the others can
                await self._commit([write])
        except Exception as error:
            for write in writes:
                _settle(write, error)
        else:
            for write, result in results:
                _settle(write, result)


def _settle(write: _Write, result: Any) -> None:
    if write.future.done():  # the caller has gone away
        return
    if isinstance(result, Exception):
        write.future.set_exception(result)
    else:
        write.future.set_result(result)
