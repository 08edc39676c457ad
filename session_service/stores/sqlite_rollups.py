"""The counters of the SQLite store, per user and for everybody: written with what they count."""

import sqlite3
from typing import Any

from session_service.stores.base import Day, Distributions, Rollup, Totals
from session_service.stores.changes import ALL_DAYS, KEYS, NEWEST, SUMS, Changes


def read(db: sqlite3.Connection, scope: str, now_ms: int, first_day: int) -> Rollup:
    totals = db.execute(
        "SELECT sessions, messages, refreshes, deleted, failures, duration_ms, last_activity_ms,"
        " messages_updated_ms, turns, failed_turns, input_tokens, output_tokens, estimated_turns,"
        " tool_calls FROM totals WHERE scope = ?",
        (scope,),
    ).fetchone()
    active, remaining_ms = db.execute(
        "SELECT coalesce(sum(sessions), 0), coalesce(sum(sessions * (ends_ms - ?1)), 0)"
        " FROM endings WHERE scope = ?2 AND ends_ms > ?1",
        (now_ms, scope),
    ).fetchone()
    days = db.execute(
        "SELECT day, sessions, messages, refreshes, failures, turns, failed_turns, input_tokens,"
        " output_tokens, tool_calls FROM days WHERE scope = ? AND day >= ? ORDER BY day",
        (scope, first_day),
    ).fetchall()
    failures = _by_day(db, "failures_by_reason", "reason, failures", scope, first_day)
    times = _by_day(db, "answer_times", "bucket, turns", scope, first_day)
    distributions = {
        day: Distributions(failures.get(day, {}), times.get(day, {}))
        for day in failures.keys() | times.keys()
    }
    return Rollup(
        totals=Totals(*totals) if totals else Totals(),
        active=active,
        remaining_ms=remaining_ms,
        days=[Day(*day) for day in days],
        total=distributions.pop(ALL_DAYS, Distributions()),
        by_day=distributions,
    )


def _by_day(
    db: sqlite3.Connection, table: str, columns: str, scope: str, first_day: int
) -> dict[int, dict[Any, int]]:
    # Two ranges of the primary key: with OR it would be all days of the scope.
    one = f"SELECT day, {columns} FROM {table} WHERE scope = ?1 AND day"
    found: dict[int, dict[Any, int]] = {}
    for day, key, number in db.execute(
        f"{one} = ?2 UNION ALL {one} >= ?3", (scope, ALL_DAYS, max(0, first_day))
    ):
        found.setdefault(day, {})[key] = number
    return found


def write(db: sqlite3.Connection, changes: Changes) -> None:
    """Stores what has been added."""
    added = changes.added()
    if added is None:
        return
    for table in KEYS:
        db.executemany(
            f"DELETE FROM {table} WHERE scope = ?", [(user_id,) for user_id in added.forgotten]
        )
        db.executemany(_UPSERTS[table], added.rows[table])
    if added.endings_until_ms:
        db.executemany(
            "DELETE FROM endings WHERE scope = ? AND ends_ms < ?",
            [(scope, added.endings_until_ms) for scope, *_ in added.rows["totals"]],
        )


def _upsert(table: str) -> str:
    sums, newest = SUMS[table], NEWEST.get(table, ())
    columns = (*KEYS[table], *sums, *newest)
    # With NULL, `max` is NULL.
    later = "{0} = coalesce(max({0}, excluded.{0}), {0}, excluded.{0})"
    changes = [f"{column} = {column} + excluded.{column}" for column in sums]
    changes += [later.format(column) for column in newest]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT DO UPDATE SET {', '.join(changes)}"
    )


_UPSERTS = {table: _upsert(table) for table in KEYS}
