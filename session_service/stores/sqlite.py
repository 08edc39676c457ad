"""The embedded store: sessions, statistics and the use of hosted sessions in one SQLite file."""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager

from session_service.rate_limit import LocalRateLimit
from session_service.stores import sqlite_rollups as rollups
from session_service.stores import sqlite_sessions as sessions
from session_service.stores.base import (
    DAY_MS,
    Rollup,
    Session,
    UsageThread,
    UsageUser,
)
from session_service.stores.changes import EVERYBODY, Changes
from session_service.stores.counted import Heard
from session_service.stores.deletions import Deletion, Deletions, Kind
from session_service.stores.sqlite_conversations import SQLiteConversationStore
from session_service.stores.sqlite_database import SQLiteDatabase, open_database
from session_service.stores.timed import timed


@asynccontextmanager
async def open_sqlite_store(path: str) -> AsyncIterator["SQLiteStore"]:
    """Opens the store in that file. Raises OSError or sqlite3.Error where it cannot be used."""
    async with open_database(path) as database:
        yield SQLiteStore(database)


@timed("sqlite")
class SQLiteStore:
    """See `base.Store`."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._database = database
        self._deletions = Deletions()
        self._conversations = SQLiteConversationStore(database, self._deletions)

    @property
    def conversations(self) -> SQLiteConversationStore:
        return self._conversations

    @property
    def queued(self) -> int:
        return self._database.queued

    def rate_limit(self, name: str, per_minute: int) -> LocalRateLimit:
        return LocalRateLimit(per_minute)  # a file is one process's

    async def check(self) -> None:
        await self._database.check()

    # Sessions

    async def add(self, session: Session, secret_hash: bytes) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            sessions.insert(db, session, secret_hash)
            user_id, now_ms = session.user_id, session.created_ms
            changes.add_to_day(user_id, now_ms // DAY_MS, sessions=1)
            changes.add_to_totals(user_id, sessions=1, duration_ms=session.ends_ms - now_ms)
            changes.active_at(user_id, now_ms)
            changes.add_ending(user_id, session.ends_ms, now_ms)

        await self._database.write(work)

    async def replace(self, session: Session, secret_hash: bytes) -> bool:
        def work(db: sqlite3.Connection, changes: Changes) -> bool:
            root = db.execute(
                "SELECT ends_ms FROM sessions WHERE id = ? AND deleted_ms IS NULL",
                (session.root_id,),
            ).fetchone()
            if root is None:  # deleted, or gone with its user
                return False
            (ends_ms,) = root
            sessions.insert(db, session, secret_hash)
            db.execute(
                "UPDATE sessions SET refreshed_to = ? WHERE id = ?",
                (session.id, session.refreshed_from),
            )
            db.execute(
                "UPDATE sessions SET ends_ms = ? WHERE id = ?",
                (session.ends_ms, session.root_id),
            )
            user_id, now_ms = session.user_id, session.created_ms
            changes.add_to_day(user_id, now_ms // DAY_MS, refreshes=1)
            changes.add_to_totals(user_id, refreshes=1, duration_ms=session.ends_ms - ends_ms)
            changes.active_at(user_id, now_ms)
            changes.remove_ending(user_id, ends_ms)
            changes.add_ending(user_id, session.ends_ms, now_ms)
            return True

        return await self._database.write(work)

    async def delete(self, root_id: str, at_ms: int, cancel_again_ms: int) -> Sequence[str]:
        def work(db: sqlite3.Connection, changes: Changes) -> Sequence[str] | None:
            root = db.execute(
                "SELECT user_id, created_ms, ends_ms FROM sessions"
                " WHERE id = ? AND deleted_ms IS NULL",
                (root_id,),
            ).fetchone()
            if root is None:
                return None
            user_id, created_ms, ends_ms = root
            ended_ms = max(at_ms, created_ms)  # the clock may have been set back
            chain = "(id = ?1 OR (root_id = ?1 AND refreshed_from IS NOT NULL))"
            db.execute(f"UPDATE sessions SET deleted_ms = ?2 WHERE {chain}", (root_id, ended_ms))
            to_cancel = sessions.cancel_later(db, chain, root_id, at_ms, cancel_again_ms)
            changes.add_to_totals(user_id, deleted=1, duration_ms=ended_ms - ends_ms)
            changes.active_at(user_id, at_ms)
            changes.remove_ending(user_id, ends_ms)
            return to_cancel

        deletion = Deletion(Kind.SESSION, root_id)
        return await self._deletions.tell_after(self._database.write(work), deletion) or ()

    def deletions(self) -> AsyncIterator[Deletion | None]:
        return self._deletions.follow()

    async def get(self, session_id: str, user_id: str | None = None) -> Session | None:
        return await self._database.read(lambda db: sessions.select(db, "id", session_id, user_id))

    async def get_by_secret(self, secret_hash: bytes, user_id: str | None = None) -> Session | None:
        return await self._database.read(
            lambda db: sessions.select(db, "secret_hash", secret_hash, user_id)
        )

    async def list(
        self,
        user_id: str | None,
        limit: int,
        before: tuple[int, str] | None,
        active_at_ms: int | None = None,
    ) -> Sequence[Session]:
        index = ""
        conditions: list[str] = []
        parameters: list[str | int] = []
        if active_at_ms is not None:
            # In the order of their age SQLite would look through those of the past, too.
            index = "INDEXED BY sessions_by_expiry"
            conditions += ["expires_ms > ?", "deleted_ms IS NULL", "refreshed_to IS NULL"]
            parameters.append(active_at_ms)
        if user_id is not None:
            conditions.append("user_id = ?")
            parameters.append(user_id)
        if before is not None:
            conditions.append("(created_ms, id) < (?, ?)")
            parameters.extend(before)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = (
            f"SELECT {sessions.COLUMNS} FROM sessions {index} {where}"
            " ORDER BY created_ms DESC, id DESC LIMIT ?"
        )
        return await self._database.read(
            lambda db: [sessions.from_row(row) for row in db.execute(sql, (*parameters, limit))]
        )

    async def cancel_later(self, session_id: str, expires_ms: int, cancel_again_ms: int) -> None:
        await self._database.write(
            lambda db, _: db.execute(
                "INSERT INTO cancels (session_id, due_ms, expires_ms) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (session_id, cancel_again_ms, expires_ms),
            )
        )

    async def claim_cancels(self, now_ms: int, again_ms: int, limit: int) -> Sequence[str]:
        def work(db: sqlite3.Connection, changes: Changes) -> Sequence[str]:
            db.execute("DELETE FROM cancels WHERE expires_ms <= ?", (now_ms,))
            due = db.execute(
                "UPDATE cancels SET due_ms = ? WHERE session_id IN"
                " (SELECT session_id FROM cancels WHERE due_ms <= ? ORDER BY due_ms LIMIT ?)"
                " RETURNING session_id",
                (again_ms, now_ms, limit),
            )
            return [session_id for (session_id,) in due]

        return await self._database.write(work)

    async def cancelled(self, session_id: str) -> None:
        await self._database.write(
            lambda db, _: db.execute("DELETE FROM cancels WHERE session_id = ?", (session_id,))
        )

    # Statistics

    async def count_failure(self, user_id: str, reason: str, at_ms: int) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            day = at_ms // DAY_MS
            changes.add_to_day(user_id, day, failures=1)
            changes.add_to_totals(user_id, failures=1)
            changes.add_failure_reason(user_id, day, reason)

        await self._database.write(work)

    async def rollup(self, user_id: str | None, now_ms: int, first_day: int) -> Rollup:
        scope = EVERYBODY if user_id is None else user_id

        return await self._database.read(lambda db: rollups.read(db, scope, now_ms, first_day))

    def counting(self, heard: Heard) -> AbstractContextManager[None]:
        return self._database.counted.followed_by(heard)

    # Messages at OpenAI

    async def claim_usage(self, now_ms: int, again_ms: int, limit: int) -> Sequence[UsageUser]:
        def work(db: sqlite3.Connection, changes: Changes) -> Sequence[UsageUser]:
            due = db.execute(
                "SELECT user_id, active_until_ms, idle_rounds FROM usage_users"
                " WHERE due_ms <= ? ORDER BY due_ms LIMIT ?",
                (now_ms, limit),
            ).fetchall()
            db.executemany(
                "UPDATE usage_users SET due_ms = ? WHERE user_id = ?",
                [(again_ms, user_id) for user_id, *_ in due],
            )
            return [
                UsageUser(user_id, active_until_ms, idle_rounds, again_ms)
                for user_id, active_until_ms, idle_rounds in due
            ]

        return await self._database.write(work)

    async def usage_interrupted(self, user: UsageUser) -> None:
        await self._database.write(
            lambda db, _: db.execute(
                "UPDATE usage_users SET due_ms = 0 WHERE user_id = ? AND due_ms = ?",
                (user.user_id, user.due_ms),
            )
        )

    async def known_threads(self, user_id: str, thread_ids: Sequence[str]) -> frozenset[str]:
        marks = ", ".join("?" * len(thread_ids))
        sql = f"SELECT thread_id FROM usage_threads WHERE user_id = ? AND thread_id IN ({marks})"
        rows = await self._database.read(
            lambda db: db.execute(sql, (user_id, *thread_ids)).fetchall()
        )
        return frozenset(thread_id for (thread_id,) in rows)

    async def add_threads(self, user_id: str, thread_ids: Sequence[str]) -> None:
        await self._database.write(
            lambda db, _: db.executemany(
                "INSERT INTO usage_threads (user_id, thread_id) VALUES (?, ?)"
                " ON CONFLICT DO NOTHING",
                [(user_id, thread_id) for thread_id in thread_ids],
            )
        )

    async def threads(self, user_id: str, recent: int, stale: int) -> Sequence[UsageThread]:
        sql = (
            "SELECT thread_id, cursor FROM usage_threads WHERE user_id = ?1 AND thread_id IN ("
            " SELECT thread_id FROM (SELECT thread_id FROM usage_threads WHERE user_id = ?1"
            " AND NOT gone ORDER BY last_message_ms DESC LIMIT ?2)"
            " UNION SELECT thread_id FROM (SELECT thread_id FROM usage_threads WHERE user_id = ?1"
            " AND NOT gone ORDER BY checked_ms LIMIT ?3))"
        )
        return await self._database.read(
            lambda db: [UsageThread(*row) for row in db.execute(sql, (user_id, recent, stale))]
        )

    async def unread_threads(self, user_id: str, since_ms: int) -> Sequence[UsageThread]:
        sql = (
            "SELECT thread_id, cursor FROM usage_threads"
            " WHERE user_id = ? AND NOT gone AND checked_ms <= ? ORDER BY checked_ms"
        )
        return await self._database.read(
            lambda db: [UsageThread(*row) for row in db.execute(sql, (user_id, since_ms))]
        )

    async def count_messages(
        self,
        user_id: str,
        thread: UsageThread,
        cursor: str,
        times_ms: Sequence[int],
        at_ms: int,
        has_more: bool = False,
    ) -> bool:
        def work(db: sqlite3.Connection, changes: Changes) -> bool:
            moved = db.execute(
                "UPDATE usage_threads SET cursor = ?, checked_ms = max(checked_ms, ?),"
                " last_message_ms = max(last_message_ms, ?)"
                " WHERE user_id = ? AND thread_id = ? AND cursor = ?",
                (
                    cursor,
                    0 if has_more else at_ms,
                    max(times_ms, default=0),
                    user_id,
                    thread.thread_id,
                    thread.cursor,
                ),
            )
            if not moved.rowcount:
                return False
            for day, number in Counter(time_ms // DAY_MS for time_ms in times_ms).items():
                changes.add_to_day(user_id, day, messages=number)
            if times_ms:
                changes.add_to_totals(user_id, messages=len(times_ms))
                changes.active_at(user_id, max(times_ms))
            return True

        return await self._database.write(work)

    async def thread_is_gone(self, user_id: str, thread_id: str) -> None:
        await self._database.write(
            lambda db, _: db.execute(
                "UPDATE usage_threads SET gone = 1 WHERE user_id = ? AND thread_id = ?",
                (user_id, thread_id),
            )
        )

    async def usage_counted(
        self, user: UsageUser, at_ms: int, next_ms: int | None, idle_rounds: int
    ) -> None:
        def work(db: sqlite3.Connection, changes: Changes) -> None:
            db.execute(
                "UPDATE usage_users SET due_ms = ?, idle_rounds = ?"
                " WHERE user_id = ? AND due_ms = ?",
                (next_ms, idle_rounds, user.user_id, user.due_ms),
            )
            (looked_ms,) = db.execute(
                "SELECT min(checked_ms) FROM usage_threads WHERE user_id = ? AND NOT gone",
                (user.user_id,),
            ).fetchone()
            complete_ms = at_ms if looked_ms is None else min(at_ms, looked_ms)
            if complete_ms:
                changes.messages_counted(user.user_id, complete_ms)

        await self._database.write(work)
