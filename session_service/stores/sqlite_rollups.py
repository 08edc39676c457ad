"""The counters of the SQLite store, per user and for everybody: written with what they count."""

import sqlite3

from session_service.stores.base import Day, Rollup, Totals

EVERYBODY = ""
"""The scope that counts all users; others are user ids, which are never empty."""

_KEEP_ENDINGS_MS = 60 * 60 * 1000
"""Endings of the past are of no use; an hour of them is kept in case the clock is set back."""


def read(db: sqlite3.Connection, scope: str, now_ms: int, first_day: int) -> Rollup:
    totals = db.execute(
        "SELECT sessions, messages, refreshes, deleted, failures, duration_ms, last_activity_ms,"
        " messages_updated_ms FROM totals WHERE scope = ?",
        (scope,),
    ).fetchone()
    active, remaining_ms = db.execute(
        "SELECT coalesce(sum(sessions), 0), coalesce(sum(sessions * (ends_ms - ?1)), 0)"
        " FROM endings WHERE scope = ?2 AND ends_ms > ?1",
        (now_ms, scope),
    ).fetchone()
    days = db.execute(
        "SELECT day, sessions, messages, refreshes, failures FROM days"
        " WHERE scope = ? AND day >= ? ORDER BY day",
        (scope, first_day),
    ).fetchall()
    return Rollup(
        totals=Totals(*totals) if totals else Totals(),
        active=active,
        remaining_ms=remaining_ms,
        days=[Day(*day) for day in days],
    )


def add_to_day(db: sqlite3.Connection, user_id: str, day: int, counter: str, number: int) -> None:
    db.executemany(
        f"INSERT INTO days (scope, day, {counter}) VALUES (?1, ?2, ?3)"
        f" ON CONFLICT DO UPDATE SET {counter} = {counter} + ?3",
        [(scope, day, number) for scope in (user_id, EVERYBODY)],
    )


def add_to_totals(db: sqlite3.Connection, user_id: str, **changes: int) -> None:
    columns = ", ".join(changes)
    marks = ", ".join("?" * len(changes))
    sums = ", ".join(f"{column} = {column} + excluded.{column}" for column in changes)
    db.executemany(
        f"INSERT INTO totals (scope, {columns}) VALUES (?, {marks})"
        f" ON CONFLICT DO UPDATE SET {sums}",
        [(scope, *changes.values()) for scope in (user_id, EVERYBODY)],
    )


def active_at(db: sqlite3.Connection, user_id: str, at_ms: int) -> None:
    db.execute(
        "UPDATE totals SET last_activity_ms = max(coalesce(last_activity_ms, 0), ?)"
        " WHERE scope IN (?, ?)",
        (at_ms, user_id, EVERYBODY),
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
        "UPDATE endings SET sessions = sessions - 1 WHERE ends_ms = ? AND scope IN (?, ?)",
        (ends_ms, user_id, EVERYBODY),
    )
