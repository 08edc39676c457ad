"""Conversations in the SQLite store: threads, items, attachments, feedback and turns."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from session_service.errors import AttachmentNotFound, SessionDeleted, ThreadNotFound
from session_service.stores import sqlite_sessions as sessions
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
from session_service.stores.deletions import Deletion, Deletions, Kind
from session_service.stores.sqlite_database import SQLiteDatabase
from session_service.stores.thread_locks import ThreadLocks
from session_service.stores.timed import timed

Order = Literal["asc", "desc"]

_FOREVER_MS = 2**63 - 1

_THREAD = "id, created_ms, data, messages"
_ITEM = "id, kind, data, created_ms"
_ATTACHMENT = "id, name, mime_type, created_ms, size, uploaded, thread_id, openai_file_id"


@timed("sqlite")
class SQLiteConversationStore:
    """See `conversations.ConversationStore`."""

    def __init__(self, database: SQLiteDatabase, deletions: Deletions) -> None:
        self._database = database
        self._deletions = deletions
        self._locks = ThreadLocks()

    # Threads

    @asynccontextmanager
    async def answering(
        self, user_id: str, thread_id: str, lost: Callable[[], None]
    ) -> AsyncIterator[None]:
        async with self._locks.lock(user_id, thread_id):  # nobody else has the file
            yield

    async def save_thread(self, user_id: str, thread: Thread, root_id: str | None = None) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            if not sessions.has_root(db, root_id):
                raise SessionDeleted
            saved = db.execute(
                "INSERT INTO threads (id, user_id, created_ms, used_ms, data)"
                " VALUES (?1, ?2, ?3, ?3, ?4)"
                " ON CONFLICT DO UPDATE SET created_ms = ?3, data = ?4 WHERE user_id = ?2",
                (thread.id, user_id, thread.created_ms, thread.data),
            )
            if not saved.rowcount:
                raise ThreadNotFound

        await self._database.write(work)

    async def thread(self, user_id: str, thread_id: str) -> Thread | None:
        sql = f"SELECT {_THREAD} FROM threads WHERE id = ? AND user_id = ?"
        rows = await self._rows(sql, thread_id, user_id)
        return Thread(*rows[0]) if rows else None

    async def threads(
        self, user_id: str, limit: int, after: str | None, order: Order
    ) -> Sequence[Thread]:
        sign, direction = _order(order)

        def work(db: sqlite3.Connection) -> Sequence[Thread]:
            beyond, parameters = "", [user_id]
            if after is not None:
                found = db.execute(
                    "SELECT created_ms, id FROM threads WHERE id = ? AND user_id = ?",
                    (after, user_id),
                ).fetchone()
                if found is None:
                    return ()
                beyond = f" AND (created_ms, id) {sign} (?, ?)"
                parameters += found
            rows = db.execute(
                f"SELECT {_THREAD} FROM threads WHERE user_id = ?{beyond}"
                f" ORDER BY created_ms {direction}, id {direction} LIMIT ?",
                (*parameters, limit),
            )
            return [Thread(*row) for row in rows]

        return await self._database.read(work)

    async def delete_thread(self, user_id: str, thread_id: str) -> Sequence[Attachment]:
        return await self.delete_idle_thread(user_id, thread_id, _FOREVER_MS) or ()

    async def delete_idle_thread(
        self, user_id: str, thread_id: str, before_ms: int
    ) -> Sequence[Attachment] | None:
        def work(db: sqlite3.Connection, changes: Changes) -> Sequence[Attachment] | None:
            deleted = db.execute(
                "DELETE FROM threads WHERE id = ? AND user_id = ? AND used_ms < ?",
                (thread_id, user_id, before_ms),
            )
            if not deleted.rowcount:
                return None
            db.execute("DELETE FROM items WHERE thread_id = ?", (thread_id,))
            db.execute("DELETE FROM feedback WHERE thread_id = ?", (thread_id,))
            attachments = db.execute(
                f"DELETE FROM attachments WHERE thread_id = ? RETURNING {_ATTACHMENT}", (thread_id,)
            )
            return [_attachment(row) for row in attachments]

        deletion = Deletion(Kind.THREAD, thread_id)
        return await self._deletions.tell_after(self._database.write(work), deletion)

    async def idle_threads(self, before_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        sql = "SELECT user_id, id FROM threads WHERE used_ms < ? ORDER BY used_ms LIMIT ?"
        return await self._rows(sql, before_ms, limit)

    # Items

    async def add_item(self, user_id: str, thread_id: str, item: Item) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            _check_thread(db, user_id, thread_id)
            old_kind = _kind(db, thread_id, item.id)
            db.execute(
                "INSERT INTO items (thread_id, id, kind, created_ms, data) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (thread_id, id) DO UPDATE SET"
                " kind = excluded.kind, created_ms = excluded.created_ms, data = excluded.data",
                (thread_id, item.id, item.kind, item.created_ms, item.data),
            )
            is_message = item.kind in MESSAGE_KINDS
            if change := is_message - (old_kind in MESSAGE_KINDS):
                _add_messages(db, thread_id, change)
            if old_kind is not None:
                return
            db.execute(
                "UPDATE threads SET used_ms = ?2 WHERE id = ?1 AND used_ms < ?2",
                (thread_id, item.created_ms),
            )
            if is_message:
                changes.add_to_day(user_id, item.created_ms // DAY_MS, messages=1)
                changes.add_to_totals(user_id, messages=1)
                changes.active_at(user_id, item.created_ms)
                changes.messages_counted(user_id, item.created_ms)

        await self._database.write(work)

    async def item(self, user_id: str, thread_id: str, item_id: str) -> Item | None:
        rows = await self._rows(
            f"SELECT {_ITEM} FROM items WHERE thread_id = ?1 AND id = ?2"
            " AND EXISTS (SELECT 1 FROM threads WHERE id = ?1 AND user_id = ?3)",
            thread_id,
            item_id,
            user_id,
        )
        return Item(*rows[0]) if rows else None

    async def items(
        self, user_id: str, thread_id: str, limit: int, after: str | None, order: Order
    ) -> Sequence[Item]:
        sign, direction = _order(order)

        def work(db: sqlite3.Connection) -> Sequence[Item]:
            if not _has_thread(db, user_id, thread_id):
                return ()
            beyond, parameters = "", [thread_id]
            if after is not None:
                found = db.execute(
                    "SELECT number FROM items WHERE thread_id = ? AND id = ?", (thread_id, after)
                ).fetchone()
                if found is None:
                    return ()
                beyond = f" AND number {sign} ?"
                parameters += found
            rows = db.execute(
                f"SELECT {_ITEM} FROM items WHERE thread_id = ?{beyond}"
                f" ORDER BY number {direction} LIMIT ?",
                (*parameters, limit),
            )
            return [Item(*row) for row in rows]

        return await self._database.read(work)

    async def delete_item(self, user_id: str, thread_id: str, item_id: str) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            if not _has_thread(db, user_id, thread_id):
                return
            key = (thread_id, item_id)
            kind = _kind(db, *key)
            db.execute("DELETE FROM items WHERE thread_id = ? AND id = ?", key)
            db.execute("DELETE FROM feedback WHERE thread_id = ? AND item_id = ?", key)
            if kind in MESSAGE_KINDS:
                _add_messages(db, thread_id, -1)

        await self._database.write(work)

    # Attachments

    async def save_attachment(self, user_id: str, attachment: Attachment) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            if attachment.thread_id is not None:
                _check_thread(db, user_id, attachment.thread_id)
            saved = db.execute(
                f"INSERT INTO attachments (user_id, {_ATTACHMENT})"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                " ON CONFLICT DO UPDATE SET name = ?3, mime_type = ?4, created_ms = ?5, size = ?6,"
                " uploaded = ?7, thread_id = ?8, openai_file_id = ?9 WHERE user_id = ?1",
                (
                    user_id,
                    attachment.id,
                    attachment.name,
                    attachment.mime_type,
                    attachment.created_ms,
                    attachment.size,
                    attachment.uploaded,
                    attachment.thread_id,
                    attachment.openai_file_id,
                ),
            )
            if not saved.rowcount:
                raise AttachmentNotFound

        await self._database.write(work)

    async def attachment(self, user_id: str | None, attachment_id: str) -> Attachment | None:
        sql = (
            f"SELECT {_ATTACHMENT} FROM attachments WHERE id = ?1 AND (?2 IS NULL OR user_id = ?2)"
        )
        rows = await self._rows(sql, attachment_id, user_id)
        return _attachment(rows[0]) if rows else None

    async def owner_of_attachment(self, attachment_id: str) -> str | None:
        sql = "SELECT user_id FROM attachments WHERE id = ?"
        rows = await self._rows(sql, attachment_id)
        return rows[0][0] if rows else None

    async def delete_attachment(self, user_id: str, attachment_id: str) -> None:
        await self._database.write(
            lambda db, _: db.execute(
                "DELETE FROM attachments WHERE id = ? AND user_id = ?", (attachment_id, user_id)
            )
        )

    async def delete_unsent_attachment(self, user_id: str, attachment_id: str) -> Attachment | None:
        def work(db: sqlite3.Connection, changes: Changes) -> Attachment | None:
            row = db.execute(
                "DELETE FROM attachments WHERE id = ? AND user_id = ? AND thread_id IS NULL"
                f" RETURNING {_ATTACHMENT}",
                (attachment_id, user_id),
            ).fetchone()
            return _attachment(row) if row else None

        return await self._database.write(work)

    async def stale_attachments(self, before_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        sql = (
            "SELECT user_id, id FROM attachments WHERE thread_id IS NULL AND created_ms < ?"
            " ORDER BY created_ms LIMIT ?"
        )
        return await self._rows(sql, before_ms, limit)

    # Feedback and turns

    async def save_feedback(
        self, user_id: str, thread_id: str, item_ids: Sequence[str], kind: str, at_ms: int
    ) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            _check_thread(db, user_id, thread_id)
            for item_id in item_ids:
                if _kind(db, thread_id, item_id) is None:
                    raise ThreadNotFound
            db.executemany(
                "INSERT INTO feedback (thread_id, item_id, kind, at_ms) VALUES (?1, ?2, ?3, ?4)"
                " ON CONFLICT DO UPDATE SET kind = ?3, at_ms = ?4 WHERE at_ms <= ?4",
                [(thread_id, item_id, kind, at_ms) for item_id in item_ids],
            )

        await self._database.write(work)

    async def count_turn(self, user_id: str, turn: Turn, root_id: str | None = None) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            scope = EVERYBODY
            if sessions.has_root(db, root_id):
                scope = user_id
                _insert_turn(db, user_id, turn)
            failed = turn.outcome not in (ANSWERED, BROKEN_OFF)
            counts = {
                "turns": 1,
                "failed_turns": int(failed),
                "input_tokens": turn.input_tokens,
                "output_tokens": turn.output_tokens,
                "tool_calls": turn.tool_calls,
            }
            day = (turn.started_ms + turn.duration_ms) // DAY_MS
            changes.add_to_day(scope, day, **counts)
            changes.add_to_totals(scope, estimated_turns=int(turn.estimated), **counts)
            if failed:
                changes.add_failure_reason(scope, day, turn.outcome)
            elif turn.outcome == ANSWERED:
                changes.add_answer_time(scope, day, turn.duration_ms)

        await self._database.write(work)

    # Users

    async def delete_user(self, user_id: str, at_ms: int, cancel_again_ms: int) -> Deleted:
        def work(db: sqlite3.Connection, changes: Changes) -> Deleted:
            to_cancel = sessions.cancel_later(
                db,
                "user_id = ?1 AND (deleted_ms IS NULL OR id IN (SELECT session_id FROM cancels))",
                user_id,
                at_ms,
                cancel_again_ms,
            )
            (chains,) = db.execute(
                "SELECT count(*) FROM sessions WHERE user_id = ? AND refreshed_from IS NULL",
                (user_id,),
            ).fetchone()
            mine = "thread_id IN (SELECT id FROM threads WHERE user_id = ?)"
            for condition in (
                f"items WHERE {mine}",
                f"feedback WHERE {mine}",
                "sessions WHERE user_id = ?",
                "turns WHERE user_id = ?",
                "usage_users WHERE user_id = ?",
                "usage_threads WHERE user_id = ?",
            ):
                db.execute(f"DELETE FROM {condition}", (user_id,))
            threads = db.execute("DELETE FROM threads WHERE user_id = ?", (user_id,))
            attachments = db.execute(
                f"DELETE FROM attachments WHERE user_id = ? RETURNING {_ATTACHMENT}", (user_id,)
            ).fetchall()
            changes.forget(user_id)
            return Deleted(
                sessions=chains,
                threads=threads.rowcount,
                attachments=[_attachment(row) for row in attachments],
                to_cancel=to_cancel,
            )

        deletion = Deletion(Kind.USER, user_id)
        deleted = await self._deletions.tell_after(self._database.write(work), deletion)
        assert deleted is not None
        return deleted

    async def _rows(self, sql: str, *parameters: str | int | None) -> list[tuple[Any, ...]]:
        return await self._database.read(lambda db: db.execute(sql, parameters).fetchall())


def _order(order: Order) -> tuple[str, str]:
    """Returns what compares with a cursor, and what sorts."""
    return (">", "ASC") if order == "asc" else ("<", "DESC")


def _has_thread(db: sqlite3.Connection, user_id: str, thread_id: str) -> bool:
    sql = "SELECT 1 FROM threads WHERE id = ? AND user_id = ?"
    return db.execute(sql, (thread_id, user_id)).fetchone() is not None


def _insert_turn(db: sqlite3.Connection, user_id: str, turn: Turn) -> None:
    db.execute(
        "INSERT INTO turns (user_id, thread_id, started_ms, duration_ms, outcome,"
        " input_tokens, output_tokens, estimated, tool_calls)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        ),
    )


def _check_thread(db: sqlite3.Connection, user_id: str, thread_id: str) -> None:
    if not _has_thread(db, user_id, thread_id):
        raise ThreadNotFound


def _kind(db: sqlite3.Connection, thread_id: str, item_id: str) -> str | None:
    """Returns the kind of an item; None where it is not there."""
    sql = "SELECT kind FROM items WHERE thread_id = ? AND id = ?"
    row = db.execute(sql, (thread_id, item_id)).fetchone()
    return row[0] if row else None


def _add_messages(db: sqlite3.Connection, thread_id: str, number: int) -> None:
    db.execute("UPDATE threads SET messages = messages + ? WHERE id = ?", (number, thread_id))


def _attachment(row: tuple[Any, ...]) -> Attachment:
    id_, name, mime_type, created_ms, size, uploaded, *rest = row
    return Attachment(id_, name, mime_type, created_ms, size, bool(uploaded), *rest)
