"""What statistics cost as sessions grow: stores of two sizes, asked in turns."""

import asyncio
import contextlib
import itertools
import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from session_service.sessions import now_ms
from session_service.statistics import statistics
from session_service.stores import sqlite_rollups as rollups
from session_service.stores.base import DAY_MS, Session, Store
from session_service.stores.changes import Changes
from session_service.stores.sqlite import open_sqlite_store
from tests.bench.contestants import Contestant, running_chain, stats_request
from tests.bench.creates import Run, run_in_turns
from tests.bench.processes import CannotRun

BUSY_USER = "0"
"""Has half of all sessions: were there a scan, theirs would show it."""

LIVING = 600
"""At either size a session ends in each of the next 600 seconds, the most that has to be summed."""

_HISTORY_DAYS = 90
_SESSIONS_PER_USER = 2_500
_LIFE_MS = 600_000
_ASKED_IN_A_ROW = 50


@dataclass(frozen=True, slots=True)
class StoreTime:
    """How long the statistics of one scope took in the store."""

    sessions: int
    user_id: str | None
    microseconds: float


async def fill(path: Path, sessions: int) -> None:
    """Makes a store of real rows and real counters: old ones in bulk, living ones as in use.

    Raises CannotRun if rows and counters do not agree in the end.
    """
    async with open_sqlite_store(str(path)):
        pass  # made and migrated
    at_ms = now_ms()
    _fill_history(path, sessions - LIVING, at_ms)
    async with open_sqlite_store(str(path)) as store:
        living = (_session(number, at_ms, at_ms + (number + 1) * 1000) for number in range(LIVING))
        await asyncio.gather(*(store.add(session, random.randbytes(32)) for session in living))
        counted = (await statistics(store, None, None)).totals.sessions
    with contextlib.closing(sqlite3.connect(path)) as db:
        (rows,) = db.execute("SELECT count(*) FROM sessions").fetchone()
    if not counted == rows == sessions:
        raise CannotRun(f"of {sessions} sessions there are {rows}, and {counted} were counted")


async def time_in_store(
    small: Path, large: Path, sizes: tuple[int, int], rounds: int
) -> list[StoreTime]:
    """Asks the small, the large, the small … for the busy user and for everybody."""
    times: list[StoreTime] = []
    async with open_sqlite_store(str(small)) as one, open_sqlite_store(str(large)) as other:
        stores = list(zip(sizes, (one, other), strict=True))
        scopes = (BUSY_USER, None)
        for _, user_id, (size, store) in itertools.product(range(rounds), scopes, stores):
            times.append(StoreTime(size, user_id, await _microseconds(store, user_id)))
    return times


async def time_over_http(
    directory: Path,
    upstream_port: int,
    small: Path,
    large: Path,
    rounds: int,
    seconds: float,
) -> list[Run]:
    """Asks two chains in turns over one connection for the statistics of everybody."""
    async with (
        _asked_for_statistics(directory, upstream_port, small) as one,
        _asked_for_statistics(directory, upstream_port, large) as other,
    ):
        return await run_in_turns((one, other), 1, rounds, seconds)


@contextlib.asynccontextmanager
async def _asked_for_statistics(
    directory: Path, upstream_port: int, database: Path
) -> AsyncIterator[Contestant]:
    async with running_chain(directory, upstream_port, database, database.stem) as chain:
        yield Contestant(
            chain.name,
            chain.port,
            chain.processes,
            [stats_request("1", role="admin")],
            expected='"totalSessions":',
        )


async def _microseconds(store: Store, user_id: str | None) -> float:
    started = time.perf_counter()
    for _ in range(_ASKED_IN_A_ROW):
        await statistics(store, user_id, None)
    return (time.perf_counter() - started) / _ASKED_IN_A_ROW * 1_000_000


def _fill_history(path: Path, sessions: int, at_ms: int) -> None:
    """Writes what is over in one transaction, and its counters with the store's own functions."""
    days: Counter[tuple[str, int]] = Counter()

    def rows() -> Iterator[tuple[str | int | bytes, ...]]:
        first_ms = at_ms - _HISTORY_DAYS * DAY_MS
        step_ms = (_HISTORY_DAYS * DAY_MS - 2 * _LIFE_MS) / max(1, sessions)
        for number in range(sessions):
            created_ms = first_ms + int(number * step_ms)
            user_id = _user(number, sessions)
            days[user_id, created_ms // DAY_MS] += 1
            ends_ms = created_ms + _LIFE_MS
            yield f"cksess_{number:032x}", user_id, random.randbytes(32), created_ms, ends_ms

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -400000")
        indexes = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        db.execute("BEGIN")
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        db.executemany(
            "INSERT INTO sessions (id, root_id, user_id, workflow_id, secret_hash,"
            " state_variables, created_ms, expires_ms, ends_ms)"
            " VALUES (?1, ?1, ?2, 'wf_bench', ?3, '{}', ?4, ?5, ?5)",
            rows(),
        )
        totals: Counter[str] = Counter()
        changes = Changes()
        for (user_id, day), number in days.items():
            changes.add_to_day(user_id, day, sessions=number)
            totals[user_id] += number
        for user_id, number in totals.items():
            changes.add_to_totals(user_id, sessions=number, duration_ms=number * _LIFE_MS)
            changes.active_at(user_id, at_ms - _LIFE_MS)
        rollups.write(db, changes)
        for _, sql in indexes:  # sorted at once is quicker than row by row
            db.execute(sql)
        db.execute("COMMIT")


def _user(number: int, sessions: int) -> str:
    if number % 2:
        return BUSY_USER
    return str(1 + number // 2 % max(1, sessions // 2 // _SESSIONS_PER_USER))


def _session(number: int, created_ms: int, ends_ms: int) -> Session:
    id_ = f"cksess_living_{number:025x}"
    return Session(id_, id_, _user(number, LIVING), "wf_bench", created_ms, ends_ms)
