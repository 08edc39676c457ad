"""Conversations in the PostgreSQL store: threads, items, attachments, feedback and turns."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from session_service.errors import AttachmentNotFound, SessionDeleted, ThreadNotFound
from session_service.stores import postgres_sessions as sessions
from session_service.stores.base import DAY_MS
from session_service.stores.changes import EVERYBODY, Changes
from session_service.stores.conversations import (
    ANSWERED,
    BROKEN_OFF,
    MESSAGE_KINDS,
    Attachment,
    Deleted,
    Item,
    Thread,
    Turn,
)
from session_service.stores.deletions import Deletion, Kind
from session_service.stores.postgres_database import Connection, PostgresDatabase
from session_service.stores.postgres_items import add_items
from session_service.stores.postgres_listener import PostgresListener, notify
from session_service.stores.thread_locks import ThreadLocks
from session_service.stores.timed import timed

Order = Literal["asc", "desc"]

NUL = "\0"
"""What no text in PostgreSQL has, and no id; clients may ask for one that has."""

_FOREVER_MS = 2**63 - 1

_THREAD = "id, created_ms, data, messages"
_ITEM = "id, kind, data, created_ms"
_ATTACHMENT = "id, name, mime_type, created_ms, size, uploaded, thread_id, openai_file_id"


@timed("postgresql")
class PostgresConversationStore:
    """See `conversations.ConversationStore`."""

    def __init__(self, database: PostgresDatabase, listener: PostgresListener) -> None:
        self._database = database
        self._listener = listener
        self._locks = ThreadLocks()

    # Threads

    @asynccontextmanager
    async def answering(
        self, user_id: str, thread_id: str, lost: Callable[[], None]
    ) -> AsyncIterator[None]:
        async with (
            self._locks.lock(user_id, thread_id),  # so that one of those who wait here asks
            self._listener.answering(user_id, thread_id, lost),
        ):
            yield

    async def save_thread(self, user_id: str, thread: Thread, root_id: str | None = None) -> None:
        async def work(db: Connection, changes: Changes) -> None:
            if root_id is not None and root_id not in await sessions.lock_roots(db, [root_id]):
                raise SessionDeleted
            saved = await db.fetchval(
                "INSERT INTO threads (id, user_id, created_ms, used_ms, data)"
                " VALUES ($1, $2, $3, $3, $4) ON CONFLICT (id) DO UPDATE"
                " SET created_ms = excluded.created_ms, data = excluded.data"
                " WHERE threads.user_id = excluded.user_id RETURNING 1",
                thread.id,
                user_id,
                thread.created_ms,
                thread.data,
            )
            if not saved:
                raise ThreadNotFound

        await self._database.write(work)

    async def thread(self, user_id: str, thread_id: str) -> Thread | None:
        sql = f"SELECT {_THREAD} FROM threads WHERE id = $1 AND user_id = $2"
        rows = await self._database.fetch(sql, thread_id, user_id)
        return Thread(*rows[0]) if rows else None

    async def threads(
        self, user_id: str, limit: int, after: str | None, order: Order
    ) -> Sequence[Thread]:
        sign, direction = _order(order)
        beyond, parameters = "", [user_id, limit]
        if after is not None:  # nothing is beyond a thread that is not there
            beyond = (
                f" AND (created_ms, id) {sign}"
                " (SELECT created_ms, id FROM threads WHERE id = $3 AND user_id = $1)"
            )
            parameters.append(after)
        rows = await self._database.fetch(
            f"SELECT {_THREAD} FROM threads WHERE user_id = $1{beyond}"
            f" ORDER BY created_ms {direction}, id {direction} LIMIT $2",
            *parameters,
        )
        return [Thread(*row) for row in rows]

    async def delete_thread(self, user_id: str, thread_id: str) -> Sequence[Attachment]:
        return await self.delete_idle_thread(user_id, thread_id, _FOREVER_MS) or ()

    async def delete_idle_thread(
        self, user_id: str, thread_id: str, before_ms: int
    ) -> Sequence[Attachment] | None:
        async def work(db: Connection, changes: Changes) -> Sequence[Attachment] | None:
            if not await _lock_thread(db, user_id, thread_id, "UPDATE", before_ms):
                return None
            attachments = await db.fetch(
                f"DELETE FROM attachments WHERE thread_id = $1 RETURNING {_ATTACHMENT}", thread_id
            )
            await db.execute("DELETE FROM threads WHERE id = $1", thread_id)
            await notify(db, Deletion(Kind.THREAD, thread_id))
            return [Attachment(*row) for row in attachments]

        return await self._database.write(work)

    async def idle_threads(self, before_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        sql = "SELECT user_id, id FROM threads WHERE used_ms < $1 ORDER BY used_ms LIMIT $2"
        return [(user, id_) for user, id_ in await self._database.fetch(sql, before_ms, limit)]

    # Items

    async def add_item(self, user_id: str, thread_id: str, item: Item) -> None:
        if NUL in thread_id:
            raise ThreadNotFound
        await self._database.batch(add_items, (user_id, thread_id, item))

    async def item(self, user_id: str, thread_id: str, item_id: str) -> Item | None:
        rows = await self._database.fetch(
            f"SELECT {_ITEM} FROM items WHERE thread_id = $1 AND id = $2"
            " AND EXISTS (SELECT 1 FROM threads WHERE id = $1 AND user_id = $3)",
            thread_id,
            item_id,
            user_id,
        )
        return Item(*rows[0]) if rows else None

    async def items(
        self, user_id: str, thread_id: str, limit: int, after: str | None, order: Order
    ) -> Sequence[Item]:
        sign, direction = _order(order)
        beyond, parameters = "", [thread_id, user_id, limit]
        if after is not None:  # nothing is beyond an item that is not there
            beyond = (
                f" AND number {sign} (SELECT number FROM items WHERE thread_id = $1 AND id = $4)"
            )
            parameters.append(after)
        rows = await self._database.fetch(
            f"SELECT {_ITEM} FROM items WHERE thread_id = $1{beyond}"
            " AND EXISTS (SELECT 1 FROM threads WHERE id = $1 AND user_id = $2)"
            f" ORDER BY number {direction} LIMIT $3",
            *parameters,
        )
        return [Item(*row) for row in rows]

    async def delete_item(self, user_id: str, thread_id: str, item_id: str) -> None:
        async def work(db: Connection, changes: Changes) -> None:
            if NUL in item_id or not await _lock_thread(db, user_id, thread_id, "NO KEY UPDATE"):
                return
            kind = await db.fetchval(
                "DELETE FROM items WHERE thread_id = $1 AND id = $2 RETURNING kind",
                thread_id,
                item_id,
            )
            if kind in MESSAGE_KINDS:
                await db.execute(
                    "UPDATE threads SET messages = messages - 1 WHERE id = $1", thread_id
                )

        await self._database.write(work)

    # Attachments

    async def save_attachment(self, user_id: str, attachment: Attachment) -> None:
        async def work(db: Connection, changes: Changes) -> None:
            thread_id = attachment.thread_id
            if thread_id and not await _lock_thread(db, user_id, thread_id, "KEY SHARE"):
                raise ThreadNotFound
            saved = await db.fetch(
                f"INSERT INTO attachments (user_id, {_ATTACHMENT})"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
                " ON CONFLICT (id) DO UPDATE SET name = $3, mime_type = $4, created_ms = $5,"
                " size = $6, uploaded = $7, thread_id = $8, openai_file_id = $9"
                " WHERE attachments.user_id = $1 RETURNING 1",
                user_id,
                attachment.id,
                attachment.name,
                attachment.mime_type,
                attachment.created_ms,
                attachment.size,
                attachment.uploaded,
                attachment.thread_id,
                attachment.openai_file_id,
            )
            if not saved:
                raise AttachmentNotFound

        await self._database.write(work)

    async def attachment(self, user_id: str | None, attachment_id: str) -> Attachment | None:
        rows = await self._database.fetch(
            f"SELECT {_ATTACHMENT} FROM attachments"
            " WHERE id = $1 AND ($2::text IS NULL OR user_id = $2)",
            attachment_id,
            user_id,
        )
        return Attachment(*rows[0]) if rows else None

    async def owner_of_attachment(self, attachment_id: str) -> str | None:
        sql = "SELECT user_id FROM attachments WHERE id = $1"
        rows = await self._database.fetch(sql, attachment_id)
        return rows[0]["user_id"] if rows else None

    async def delete_attachment(self, user_id: str, attachment_id: str) -> None:
        sql = "DELETE FROM attachments WHERE id = $1 AND user_id = $2"
        await self._database.fetch(sql, attachment_id, user_id)

    async def delete_unsent_attachment(self, user_id: str, attachment_id: str) -> Attachment | None:
        rows = await self._database.fetch(
            "DELETE FROM attachments WHERE id = $1 AND user_id = $2 AND thread_id IS NULL"
            f" RETURNING {_ATTACHMENT}",
            attachment_id,
            user_id,
        )
        return Attachment(*rows[0]) if rows else None

    async def stale_attachments(self, before_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        sql = (
            "SELECT user_id, id FROM attachments WHERE thread_id IS NULL AND created_ms < $1"
            " ORDER BY created_ms LIMIT $2"
        )
        return [(user, id_) for user, id_ in await self._database.fetch(sql, before_ms, limit)]

    # Feedback and turns

    async def save_feedback(
        self, user_id: str, thread_id: str, item_ids: Sequence[str], kind: str, at_ms: int
    ) -> None:
        async def work(db: Connection, changes: Changes) -> None:
            if not await _lock_thread(db, user_id, thread_id, "KEY SHARE"):
                raise ThreadNotFound
            wanted = sorted(set(item_ids))
            if not await _lock_items(db, thread_id, wanted):
                raise ThreadNotFound
            await db.execute(
                "INSERT INTO feedback (thread_id, item_id, kind, at_ms)"
                " SELECT $1, unnest($2::text[]), $3, $4"
                " ON CONFLICT (thread_id, item_id) DO UPDATE"
                " SET kind = excluded.kind, at_ms = excluded.at_ms"
                " WHERE feedback.at_ms <= excluded.at_ms",
                thread_id,
                wanted,
                kind,
                at_ms,
            )

        await self._database.write(work)

    async def count_turn(self, user_id: str, turn: Turn, root_id: str | None = None) -> None:
        await self._database.batch(count_turns, (user_id, turn, root_id))

    # Users

    async def delete_user(self, user_id: str, at_ms: int, cancel_again_ms: int) -> Deleted:
        async def work(db: Connection, changes: Changes) -> Deleted:
            for rows in (  # in the order in which others lock them
                "sessions WHERE user_id = $1 AND refreshed_from IS NULL ORDER BY id",
                "usage_users WHERE user_id = $1",
                "threads WHERE user_id = $1 ORDER BY id",
            ):
                await db.execute(f"SELECT 1 FROM {rows} FOR UPDATE", user_id)
            to_cancel = await sessions.cancel_later(
                db,
                "user_id = $1 AND (deleted_ms IS NULL OR id IN (SELECT session_id FROM cancels))",
                user_id,
                at_ms,
                cancel_again_ms,
            )
            chains = await db.fetchval(
                "SELECT count(*) FROM sessions WHERE user_id = $1 AND refreshed_from IS NULL",
                user_id,
            )
            for table in ("sessions", "usage_users", "usage_threads", "turns"):
                await db.execute(f"DELETE FROM {table} WHERE user_id = $1", user_id)
            attachments = await db.fetch(
                f"DELETE FROM attachments WHERE user_id = $1 RETURNING {_ATTACHMENT}", user_id
            )
            threads = await db.fetch("DELETE FROM threads WHERE user_id = $1 RETURNING 1", user_id)
            # Late, as all who create sessions meanwhile would wait for its row.
            sessions_limit = "name = 'sessions' AND key = $1"
            await db.execute(f"DELETE FROM rate_limits WHERE {sessions_limit}", user_id)
            changes.forget(user_id)
            await notify(db, Deletion(Kind.USER, user_id))
            return Deleted(
                sessions=chains,
                threads=len(threads),
                attachments=[Attachment(*row) for row in attachments],
                to_cancel=to_cancel,
            )

        # As of one moment: if another replica writes something of the user's meanwhile, it is done
        # again, and what comes later is left with counters of its own.
        return await self._database.write(work, "repeatable_read")


async def count_turns(
    db: Connection, changes: Changes, rows: Sequence[tuple[str, Turn, str | None]]
) -> Sequence[None]:
    """Keeps the turns of users, and counts them; see `ConversationStore.count_turn`."""
    there = await sessions.lock_roots(db, [root_id for *_, root_id in rows if root_id is not None])
    gone = [root_id is not None and root_id not in there for *_, root_id in rows]
    kept = [
        (
            user_id,
            turn.thread_id,
            turn.started_ms,
            turn.duration_ms,
            turn.outcome,
            turn.input_tokens,
            turn.output_tokens,
            turn.estimated,
            turn.tool_calls,
        )
        for (user_id, turn, _), is_gone in zip(rows, gone, strict=True)
        if not is_gone
    ]
    if kept:
        await db.execute(
            "INSERT INTO turns (user_id, thread_id, started_ms, duration_ms, outcome,"
            " input_tokens, output_tokens, estimated, tool_calls)"
            " SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[],"
            " $6::bigint[], $7::bigint[], $8::boolean[], $9::bigint[])",
            *zip(*kept, strict=True),
        )
    for (user, turn, _), is_gone in zip(rows, gone, strict=True):
        user_id = EVERYBODY if is_gone else user
        failed = turn.outcome not in (ANSWERED, BROKEN_OFF)
        counts = {
            "turns": 1,
            "failed_turns": int(failed),
            "input_tokens": turn.input_tokens,
            "output_tokens": turn.output_tokens,
            "tool_calls": turn.tool_calls,
        }
        day = (turn.started_ms + turn.duration_ms) // DAY_MS
        changes.add_to_day(user_id, day, **counts)
        changes.add_to_totals(user_id, estimated_turns=int(turn.estimated), **counts)
        if failed:
            changes.add_failure_reason(user_id, day, turn.outcome)
        elif turn.outcome == ANSWERED:
            changes.add_answer_time(user_id, day, turn.duration_ms)
    return [None] * len(rows)


def _order(order: Order) -> tuple[str, str]:
    """Returns what compares with a cursor, and what sorts."""
    return (">", "ASC") if order == "asc" else ("<", "DESC")


async def _lock_thread(
    db: Connection, user_id: str, thread_id: str, strength: str, before_ms: int = _FOREVER_MS
) -> bool:
    """Returns whether there is such a thread of the user's, which stays so until the commit.

    Of `before_ms` on, nothing was added to it.
    """
    if NUL in thread_id:
        return False
    sql = f"SELECT 1 FROM threads WHERE id = $1 AND user_id = $2 AND used_ms < $3 FOR {strength}"
    return await db.fetchval(sql, thread_id, user_id, before_ms) is not None


async def _lock_items(db: Connection, thread_id: str, item_ids: Sequence[str]) -> bool:
    """Returns whether the thread has all of these, which stays so until the commit."""
    if any(NUL in item_id for item_id in item_ids):
        return False
    sql = "SELECT 1 FROM items WHERE thread_id = $1 AND id = ANY($2) FOR KEY SHARE"
    return len(await db.fetch(sql, thread_id, item_ids)) == len(item_ids)
