"""The rows of sessions in the PostgreSQL store."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg
import orjson

from session_service.stores.base import DAY_MS, DuplicateSession, Session
from session_service.stores.changes import Changes

if TYPE_CHECKING:
    from session_service.stores.postgres_database import Connection

COLUMNS = (
    "id, root_id, user_id, workflow_id, created_ms, expires_ms, deleted_ms, refreshed_from,"
    " refreshed_to, state_variables, mode"
)

_INSERT = """
WITH kept AS (
    INSERT INTO sessions (id, root_id, user_id, workflow_id, secret_hash, state_variables,
        created_ms, expires_ms, ends_ms, refreshed_from, mode)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[],
        $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::text[])
    ON CONFLICT DO NOTHING
    RETURNING id, secret_hash, user_id, created_ms, expires_ms, mode
), usage AS (
    INSERT INTO usage_users (user_id, active_until_ms, due_ms)
    SELECT user_id, max(expires_ms), max(created_ms) FROM kept
    WHERE mode = 'hosted'  -- messages of others pass through us
    GROUP BY user_id ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET
        active_until_ms = greatest(usage_users.active_until_ms, excluded.active_until_ms),
        due_ms = excluded.due_ms, idle_rounds = 0
)
SELECT id, secret_hash FROM kept
"""

_LINK = """
UPDATE sessions SET
    refreshed_to = coalesce(link.refreshed_to, sessions.refreshed_to),
    ends_ms = coalesce(link.ends_ms, sessions.ends_ms)
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS link (id, refreshed_to, ends_ms)
WHERE sessions.id = link.id
"""


async def keep(
    db: "Connection", changes: Changes, rows: Sequence[tuple[Session, bytes]]
) -> Sequence[bool | DuplicateSession]:
    """Keeps new sessions and refreshes, and counts them; see `Store.add` and `Store.replace`."""
    ends = await _lock_chains(db, {session.root_id for session, _ in rows if _is_refresh(session)})
    possible = [row for row in rows if not _is_refresh(row[0]) or row[0].root_id in ends]
    kept = await _insert(db, possible)
    refreshed_to: dict[str, str] = {}
    new_ends: dict[str, int] = {}
    results: list[bool | DuplicateSession] = []
    for session, secret_hash in rows:
        user_id, now_ms = session.user_id, session.created_ms
        if _is_refresh(session) and session.root_id not in ends:
            results.append(False)  # deleted, or gone with its user
            continue
        if (session.id, secret_hash) not in kept:
            results.append(DuplicateSession(session.id))
            continue
        kept.remove((session.id, secret_hash))
        results.append(True)
        lasted_until_ms = now_ms
        if session.refreshed_from is None:
            changes.add_to_day(user_id, now_ms // DAY_MS, sessions=1)
            changes.add_to_totals(user_id, sessions=1)
        else:
            lasted_until_ms = ends[session.root_id]
            ends[session.root_id] = new_ends[session.root_id] = session.ends_ms
            refreshed_to[session.refreshed_from] = session.id
            changes.add_to_day(user_id, now_ms // DAY_MS, refreshes=1)
            changes.add_to_totals(user_id, refreshes=1)
            changes.remove_ending(user_id, lasted_until_ms)
        changes.add_to_totals(user_id, duration_ms=session.ends_ms - lasted_until_ms)
        changes.active_at(user_id, now_ms)
        changes.add_ending(user_id, session.ends_ms, now_ms)
    if linked := sorted(refreshed_to.keys() | new_ends.keys()):
        await db.execute(
            _LINK, linked, [*map(refreshed_to.get, linked)], [*map(new_ends.get, linked)]
        )
    return results


def _is_refresh(session: Session) -> bool:
    return session.refreshed_from is not None


async def _lock_chains(db: "Connection", root_ids: set[str]) -> dict[str, int]:
    """Returns when the chains that are alive end. Nobody else changes them until the commit."""
    if not root_ids:
        return {}
    roots = await db.fetch(
        "SELECT id, ends_ms FROM sessions WHERE id = ANY($1) AND deleted_ms IS NULL"
        " ORDER BY id FOR NO KEY UPDATE",
        list(root_ids),
    )
    return {root["id"]: root["ends_ms"] for root in roots}


async def lock_roots(db: "Connection", root_ids: Sequence[str]) -> frozenset[str]:
    """Returns those that are there, deleted or not: none goes with its user until the commit."""
    rows = await db.fetch(
        "SELECT id FROM sessions WHERE id = ANY($1) ORDER BY id FOR KEY SHARE", root_ids
    )
    return frozenset(root_id for (root_id,) in rows)


async def _insert(
    db: "Connection", rows: Sequence[tuple[Session, bytes]]
) -> set[tuple[str, bytes]]:
    """Returns id and secret of those whose id and secret were new."""
    values = [
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
        )
        for session, secret_hash in sorted(rows, key=lambda row: row[0].id)
    ]
    if not values:
        return set()
    kept = await db.fetch(_INSERT, *zip(*values, strict=True))
    return {(row["id"], row["secret_hash"]) for row in kept}


async def cancel_later(
    db: "Connection", where: str, value: str, at_ms: int, cancel_again_ms: int
) -> list[str]:
    """Returns the sessions that OpenAI has to cancel, and remembers them; `where` has `$1`."""
    rows = await db.fetch(
        "INSERT INTO cancels (session_id, due_ms, expires_ms)"
        f" SELECT id, $2, expires_ms FROM sessions WHERE {where} AND expires_ms > $3"
        " AND mode = 'hosted' ORDER BY id"
        " ON CONFLICT (session_id) DO UPDATE SET due_ms = excluded.due_ms RETURNING session_id",
        value,
        cancel_again_ms,
        at_ms,
    )
    return [session_id for (session_id,) in rows]


def from_row(row: asyncpg.Record) -> Session:
    *columns, state_variables, mode = row.values()
    columns += (orjson.loads(state_variables), mode)
    return Session(*columns)
