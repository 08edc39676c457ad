"""The entries of threads in the PostgreSQL store, written in batches."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from session_service.errors import ThreadNotFound
from session_service.stores.base import DAY_MS
from session_service.stores.changes import Changes
from session_service.stores.conversations import MESSAGE_KINDS, Item

if TYPE_CHECKING:
    from session_service.stores.postgres_database import Connection

Key = tuple[str, str]
"""Of a thread and of an item in it."""


async def add_items(
    db: "Connection", changes: Changes, rows: Sequence[tuple[str, str, Item]]
) -> Sequence[ThreadNotFound | None]:
    """Adds (user, thread, item), or replaces the items; see `ConversationStore.add_item`."""
    owners = await _lock_threads(db, {thread_id for _, thread_id, _ in rows})
    added = [row for row in rows if owners.get(row[1]) == row[0]]
    kinds = await _kinds(db, {(thread_id, item.id) for _, thread_id, item in added})
    items: dict[Key, Item] = {}
    messages: Counter[str] = Counter()
    used_ms: dict[str, int] = {}
    for user_id, thread_id, item in added:
        key = (thread_id, item.id)
        old_kind = kinds.get(key)
        is_message = item.kind in MESSAGE_KINDS
        messages[thread_id] += is_message - (old_kind in MESSAGE_KINDS)
        kinds[key] = item.kind
        items[key] = item
        if old_kind is not None:
            continue
        used_ms[thread_id] = max(used_ms.get(thread_id, 0), item.created_ms)
        if is_message:
            changes.add_to_day(user_id, item.created_ms // DAY_MS, messages=1)
            changes.add_to_totals(user_id, messages=1)
            changes.active_at(user_id, item.created_ms)
            changes.messages_counted(user_id, item.created_ms)
    await _keep(db, items)
    await db.execute(
        "UPDATE threads SET messages = threads.messages + change.messages,"
        " used_ms = greatest(threads.used_ms, change.used_ms)"
        " FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS change (id, messages, used_ms)"
        " WHERE threads.id = change.id",
        list(messages),
        list(messages.values()),
        [used_ms.get(thread_id) for thread_id in messages],
    )
    return [None if owners.get(row[1]) == row[0] else ThreadNotFound() for row in rows]


async def _lock_threads(db: "Connection", thread_ids: set[str]) -> dict[str, str]:
    """Returns whose they are. Nobody else adds to them, or deletes them, until the commit."""
    rows = await db.fetch(
        "SELECT id, user_id FROM threads WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
        list(thread_ids),
    )
    return {row["id"]: row["user_id"] for row in rows}


async def _kinds(db: "Connection", keys: set[Key]) -> dict[Key, str]:
    rows = await db.fetch(
        "SELECT thread_id, id, kind FROM unnest($1::text[], $2::text[]) AS key (thread_id, id)"
        " JOIN items USING (thread_id, id)",
        [thread_id for thread_id, _ in keys],
        [item_id for _, item_id in keys],
    )
    return {(row["thread_id"], row["id"]): row["kind"] for row in rows}


async def _keep(db: "Connection", items: dict[Key, Item]) -> None:
    await db.execute(
        "INSERT INTO items (thread_id, id, kind, created_ms, data)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[])"
        " ON CONFLICT (thread_id, id) DO UPDATE SET"
        " kind = excluded.kind, created_ms = excluded.created_ms, data = excluded.data",
        [thread_id for thread_id, _ in items],
        [item.id for item in items.values()],
        [item.kind for item in items.values()],
        [item.created_ms for item in items.values()],
        [item.data for item in items.values()],
    )
