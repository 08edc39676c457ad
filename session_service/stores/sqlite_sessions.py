"""The rows of sessions in the SQLite store."""

import sqlite3
from typing import Any

import orjson

from session_service.stores.base import DuplicateSession, Session

COLUMNS = (
    "id, root_id, user_id, workflow_id, created_ms, expires_ms, deleted_ms, refreshed_from,"
    " refreshed_to, state_variables, mode"
)


def insert(db: sqlite3.Connection, session: Session, secret_hash: bytes) -> None:
    try:
        db.execute(
            "INSERT INTO sessions (id, root_id, user_id, workflow_id, secret_hash, state_variables,"
            " created_ms, expires_ms, ends_ms, refreshed_from, mode)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                session.id,
                session.root_id,
                session.user_id,
                session.workflow_id,
                secret_hash,
                orjson.dumps(session.state_variables).decode(),
                session.created_ms,
                session.expires_ms,
                session.ends_ms if session.root_id == session.id else None,
                session.refreshed_from,
                session.mode,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise DuplicateSession(session.id) from error
    if session.mode != "hosted":  # its messages pass through us
        return
    db.execute(
        "INSERT INTO usage_users (user_id, active_until_ms, due_ms) VALUES (?1, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET active_until_ms = max(active_until_ms, ?2), due_ms = ?3,"
        " idle_rounds = 0",
        (session.user_id, session.expires_ms, session.created_ms),
    )


def cancel_later(
    db: sqlite3.Connection, where: str, value: str, at_ms: int, cancel_again_ms: int
) -> list[str]:
    """Returns the sessions that OpenAI has to cancel, and remembers them; `where` has `?1`."""
    rows = db.execute(
        "INSERT INTO cancels (session_id, due_ms, expires_ms)"
        f" SELECT id, ?2, expires_ms FROM sessions WHERE {where} AND expires_ms > ?3"
        " AND mode = 'hosted' ON CONFLICT DO UPDATE SET due_ms = excluded.due_ms"
        " RETURNING session_id",
        (value, cancel_again_ms, at_ms),
    )
    return [session_id for (session_id,) in rows.fetchall()]


def select(
    db: sqlite3.Connection, column: str, value: str | bytes, user_id: str | None
) -> Session | None:
    """Returns the session with that value, of that user if one is named."""
    sql = f"SELECT {COLUMNS} FROM sessions WHERE {column} = ?1 AND (?2 IS NULL OR user_id = ?2)"
    row = db.execute(sql, (value, user_id)).fetchone()
    return from_row(row) if row else None


def has_root(db: sqlite3.Connection, root_id: str | None) -> bool:
    """Tells whether a chain is there, deleted or not; None is where it does not matter."""
    sql = "SELECT 1 FROM sessions WHERE id = ?"
    return root_id is None or db.execute(sql, (root_id,)).fetchone() is not None


def from_row(row: tuple[Any, ...]) -> Session:
    *columns, state_variables, mode = row
    columns += (orjson.loads(state_variables), mode)
    return Session(*columns)
