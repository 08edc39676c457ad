"""The counters of the SQLite store, per user and for everybody: written with what they count."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from session_service.stores.base import (
    Day,
    Distributions,
    Rollup,
    Totals,
    answer_time_bucket,
)

EVERYBODY = ""
"""The scope that counts all users; others are user ids, which are never empty."""

_ALL_DAYS = -1
"""In the tables of distributions, the day that counts all days."""

_KEEP_ENDINGS_MS = 25 * 60 * 60 * 1000
"""Endings of the past are of no use, but a clock that was a day ahead may be set back."""


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
        total=distributions.pop(_ALL_DAYS, Distributions()),
        by_day=distributions,
    )


def _by_day(
    db: sqlite3.Connection, table: str, columns: str, scope: str, first_day: int
) -> dict[int, dict[Any, int]]:
    # Two ranges of the primary key: with OR it would be all days of the scope.
    one = f"SELECT day, {columns} FROM {table} WHERE scope = ?1 AND day"
    found: dict[int, dict[Any, int]] = {}
    for day, key, number in db.execute(
        f"{one} = ?2 UNION ALL {one} >= ?3", (scope, _ALL_DAYS, max(0, first_day))
    ):
        found.setdefault(day, {})[key] = number
    return found


def add_to_day(db: sqlite3.Connection, user_id: str, day: int, **changes: int) -> None:
    _add(db, "days", user_id, {"day": day}, changes)


def add_to_totals(db: sqlite3.Connection, user_id: str, **changes: int) -> None:
    _add(db, "totals", user_id, {}, changes)


def add_failure_reason(db: sqlite3.Connection, user_id: str, day: int, reason: str) -> None:
    for at in (day, _ALL_DAYS):
        _add(db, "failures_by_reason", user_id, {"day": at, "reason": reason}, {"failures": 1})


def add_answer_time(db: sqlite3.Connection, user_id: str, day: int, duration_ms: int) -> None:
    bucket = answer_time_bucket(duration_ms)
    for at in (day, _ALL_DAYS):
        _add(db, "answer_times", user_id, {"day": at, "bucket": bucket}, {"turns": 1})


def _add(
    db: sqlite3.Connection,
    table: str,
    user_id: str,
    keys: Mapping[str, int | str],
    changes: Mapping[str, int],
) -> None:
    columns = ", ".join(("scope", *keys, *changes))
    marks = ", ".join("?" * (1 + len(keys) + len(changes)))
    sums = ", ".join(f"{column} = {column} + excluded.{column}" for column in changes)
    db.executemany(
        f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO UPDATE SET {sums}",
        [(scope, *keys.values(), *changes.values()) for scope in {user_id, EVERYBODY}],
    )


def active_at(db: sqlite3.Connection, user_id: str, at_ms: int) -> None:
    db.execute(
        "UPDATE totals SET last_activity_ms = max(coalesce(last_activity_ms, 0), ?)"
        " WHERE scope IN (?, ?)",
        (at_ms, user_id, EVERYBODY),
    )


def messages_counted(db: sqlite3.Connection, user_id: str, at_ms: int) -> None:
    db.executemany(
        "INSERT INTO totals (scope, messages_updated_ms) VALUES (?1, ?2) ON CONFLICT DO UPDATE"
        " SET messages_updated_ms = max(coalesce(messages_updated_ms, 0), ?2)",
        [(user_id, at_ms), (EVERYBODY, at_ms)],
    )


def add_ending(db: sqlite3.Connection, user_id: str, ends_ms: int, now_ms: int) -> None:
    scopes = (user_id, EVERYBODY)
    db.executemany(
        "INSERT INTO endings (scope, ends_ms, sessions) VALUES (?, ?, 1)"
        " ON CONFLICT DO UPDATE SET sessions = sessions + 1",
        [(scope, ends_ms) for scope in scopes],
    )
    db.execute(
        "DELETE FROM endings WHERE scope IN (?, ?) AND ends_ms < ?",
        (*scopes, now_ms - _KEEP_ENDINGS_MS),
    )


def remove_ending(db: sqlite3.Connection, user_id: str, ends_ms: int) -> None:
    db.execute(
        "UPDATE endings SET sessions = sessions - 1"
        " WHERE ends_ms = ? AND scope IN (?, ?) AND sessions > 0",
        (ends_ms, user_id, EVERYBODY),
    )


def forget(db: sqlite3.Connection, user_id: str) -> None:
    """Deletes the counters of a user, and leaves everybody's exactly as they are.

    Their living sessions go on counting there as active until they would have ended: a total that
    holds a session until its end must keep that end, or the average would run ahead of the clock.
    """
    if user_id == EVERYBODY:
        raise ValueError("a user has an id")
    for table in ("totals", "days", "endings", "failures_by_reason", "answer_times"):
        db.execute(f"DELETE FROM {table} WHERE scope = ?", (user_id,))
