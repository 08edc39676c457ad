"""Fills stores with millions of sessions: what is over in bulk, what lives as in use.

The rows of the past are made by the databases themselves; their counters are written with the
stores' own functions.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import asyncpg

from session_service.sessions import now_ms
from session_service.statistics import statistics
from session_service.stores import postgres_rollups, sqlite_rollups
from session_service.stores.base import DAY_MS, Session, Store
from session_service.stores.changes import Changes
from session_service.stores.postgres import open_postgres_store
from session_service.stores.postgres_database import Connection
from session_service.stores.sqlite import open_sqlite_store
from tests.bench.processes import CannotRun

BUSY_USER = "0"
"""Has half of all sessions: were there a scan, theirs would show it."""

_LIVING = 600
"""At any size a session ends in each of the next 600 seconds, the most that has to be summed."""
_DAYS = 90
_SESSIONS_PER_USER = 2_500
_LIFE_MS = 600_000

_COLUMNS = (
    "id, root_id, user_id, workflow_id, secret_hash, state_variables, created_ms, expires_ms,"
    " ends_ms, mode"
)
# Ids and hashes ascend, so that an index of ten million is appended to: statistics read neither.
_SQLITE_ROWS = f"""
WITH RECURSIVE numbers (n) AS (
    SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :sessions
), history AS (
    SELECT printf('cksess_%032x', n) AS id, cast(printf('%032x', n) AS BLOB) AS secret_hash,
        iif(n % 2, :busy_user, cast(1 + n / 2 % :users AS TEXT)) AS user_id,
        :first_ms + n * :span_ms / :sessions AS created_ms
    FROM numbers
)
INSERT INTO sessions ({_COLUMNS})
SELECT id, id, user_id, 'wf_bench', secret_hash, '{{}}', created_ms, created_ms + :life_ms,
    created_ms + :life_ms, 'hosted'
FROM history
"""
_POSTGRES_ROWS = f"""
WITH history AS (
    SELECT 'cksess_' || lpad(to_hex(n), 32, '0') AS id,
        convert_to(lpad(to_hex(n), 32, '0'), 'UTF8') AS secret_hash,
        CASE n % 2 WHEN 1 THEN $5 ELSE (1 + n / 2 % $2)::text END AS user_id,
        $3 + n * $4 / $1 AS created_ms
    FROM generate_series(0, $1::bigint - 1) AS numbers (n)
)
INSERT INTO sessions ({_COLUMNS})
SELECT id, id, user_id, 'wf_bench', secret_hash, '{{}}', created_ms, created_ms + $6,
    created_ms + $6, 'hosted'
FROM history
"""
_PER_DAY = f"SELECT user_id, created_ms / {DAY_MS}, count(*) FROM sessions GROUP BY 1, 2"


async def fill_sqlite(path: Path, sessions: int) -> None:
    """Raises CannotRun if rows and counters do not agree in the end."""
    async with open_sqlite_store(str(path)):
        pass  # made and migrated
    await asyncio.to_thread(_sqlite_history, path, sessions - _LIVING, now_ms())
    async with open_sqlite_store(str(path)) as store:
        counted = await _add_living(store)
    with contextlib.closing(sqlite3.connect(path)) as db:
        (rows,) = db.execute("SELECT count(*) FROM sessions").fetchone()
    _check(sessions, rows, counted)


async def fill_postgres(url: str, sessions: int) -> None:
    """Raises CannotRun if rows and counters do not agree in the end."""
    async with open_postgres_store(url):
        pass
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as db:
        await _postgres_history(db, sessions - _LIVING, now_ms())
        async with open_postgres_store(url) as store:
            counted = await _add_living(store)
        await db.execute("VACUUM ANALYZE")  # now, and not while it is measured
        rows = await db.fetchval("SELECT count(*) FROM sessions")
    _check(sessions, rows, counted)


def _sqlite_history(path: Path, sessions: int, at_ms: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -400000")
        indexes = db.execute(
            "SELECT name, sql FROM sqlite_master"
            " WHERE type = 'index' AND tbl_name = 'sessions' AND sql IS NOT NULL"
        ).fetchall()
        db.execute("BEGIN")
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        first_ms, span_ms, users = _scale(sessions, at_ms)
        db.execute(
            _SQLITE_ROWS,
            {
                "sessions": sessions,
                "users": users,
                "first_ms": first_ms,
                "span_ms": span_ms,
                "busy_user": BUSY_USER,
                "life_ms": _LIFE_MS,
            },
        )
        for _, sql in indexes:  # sorted at once is quicker than row by row
            db.execute(sql)
        sqlite_rollups.write(db, _counted(db.execute(_PER_DAY), at_ms))
        db.execute("COMMIT")


async def _postgres_history(db: Connection, sessions: int, at_ms: int) -> None:
    async with db.transaction():
        indexes = await db.fetch(
            "SELECT indexname, indexdef FROM pg_indexes"
            " WHERE tablename = 'sessions' AND indexdef NOT LIKE '%UNIQUE%'"
        )
        for name, _ in indexes:
            await db.execute(f"DROP INDEX {name}")
        first_ms, span_ms, users = _scale(sessions, at_ms)
        await db.execute(_POSTGRES_ROWS, sessions, users, first_ms, span_ms, BUSY_USER, _LIFE_MS)
        for _, sql in indexes:
            await db.execute(sql)
        await postgres_rollups.write(db, _counted(await db.fetch(_PER_DAY), at_ms))


def _counted(per_day: Iterable[Any], at_ms: int) -> Changes:
    changes = Changes()
    for user_id, day, number in per_day:
        changes.add_to_day(user_id, day, sessions=number)
        changes.add_to_totals(user_id, sessions=number, duration_ms=number * _LIFE_MS)
        changes.active_at(user_id, at_ms - _LIFE_MS)
    return changes


def _scale(sessions: int, at_ms: int) -> tuple[int, int, int]:
    """Returns when the first session began, within how long the others, and how many users."""
    span_ms = _DAYS * DAY_MS - 2 * _LIFE_MS
    return at_ms - _DAYS * DAY_MS, span_ms, max(1, sessions // 2 // _SESSIONS_PER_USER)


async def _add_living(store: Store) -> int:
    """Returns how many sessions are counted with these."""
    at_ms = now_ms()
    living = (_living(number, at_ms) for number in range(_LIVING))
    await asyncio.gather(*(store.add(session, random.randbytes(32)) for session in living))
    return (await statistics(store, None, None)).totals.sessions


def _living(number: int, at_ms: int) -> Session:
    id_ = f"cksess_living_{number:025x}"
    user_id = BUSY_USER if number % 2 else "1"
    return Session(id_, id_, user_id, "wf_bench", at_ms, at_ms + (number + 1) * 1000)


def _check(sessions: int, rows: int, counted: int) -> None:
    if not counted == rows == sessions:
        raise CannotRun(f"of {sessions} sessions there are {rows}, and {counted} were counted")
