"""The shared store: sessions, statistics and the use of hosted sessions in a PostgreSQL database.

Any number of session services may use one: nothing is kept in memory, rows are locked by whoever
changes them, and always in the same order: sessions, users, threads, everybody's counters.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager

from session_service.stores import postgres_rollups as rollups
from session_service.stores import postgres_sessions as sessions
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
from session_service.stores.postgres_conversations import (
    PostgresConversationStore,
    count_turns,
)
from session_service.stores.postgres_database import (
    Connection,
    PostgresDatabase,
    open_database,
)
from session_service.stores.postgres_items import add_items
from session_service.stores.postgres_listener import PostgresListener, notify
from session_service.stores.postgres_rate_limits import PostgresRateLimit, admit
from session_service.stores.timed import timed


@asynccontextmanager
async def open_postgres_store(url: str) -> AsyncIterator["PostgresStore"]:
    """Opens the store in the database at `postgresql://…`. Raises CannotOpenStore."""
    groups = (
        (sessions.keep, add_items, _count_failures),
        # By itself: it looks at sessions again, which whoever deletes a user locks before threads.
        (count_turns,),
    )
    async with open_database(url, groups, unlogged=(admit,)) as database:
        deletions = Deletions()
        listener = PostgresListener(url, deletions)
        try:
            yield PostgresStore(database, listener, deletions)
        finally:
            await listener.close()


@timed("postgresql")
class PostgresStore:
    """See `base.Store`."""

    def __init__(
        self, database: PostgresDatabase, listener: PostgresListener, deletions: Deletions
    ) -> None:
        self._database = database
        self._listener = listener
        self._deletions = deletions
        self._conversations = PostgresConversationStore(database, listener)

    @property
    def conversations(self) -> PostgresConversationStore:
        return self._conversations

    @property
    def queued(self) -> int:
        return self._database.queued

    def rate_limit(self, name: str, per_minute: int) -> PostgresRateLimit:
        return PostgresRateLimit(self._database, name, per_minute)

    # Sessions

    async def check(self) -> None:
        async def work(db: Connection, _: Changes) -> None:
            await db.execute("UPDATE schema_version SET version = version")

        await self._database.write(work)

    async def add(self, session: Session, secret_hash: bytes) -> None:
        await self._database.batch(sessions.keep, (session, secret_hash))

    async def replace(self, session: Session, secret_hash: bytes) -> bool:
        return await self._database.batch(sessions.keep, (session, secret_hash))

    async def delete(self, root_id: str, at_ms: int, cancel_again_ms: int) -> Sequence[str]:
        async def work(db: Connection, changes: Changes) -> Sequence[str]:
            root = await db.fetchrow(
                "SELECT user_id, created_ms, ends_ms FROM sessions"
                " WHERE id = $1 AND deleted_ms IS NULL FOR NO KEY UPDATE",
                root_id,
            )
            if root is None:
                return ()
            user_id, created_ms, ends_ms = root
            ended_ms = max(at_ms, created_ms)  # the clock may have been set back
            chain = "(id = $1 OR (root_id = $1 AND refreshed_from IS NOT NULL))"
            await db.execute(
                f"UPDATE sessions SET deleted_ms = $2 WHERE {chain}", root_id, ended_ms
            )
            to_cancel = await sessions.cancel_later(db, chain, root_id, at_ms, cancel_again_ms)
            changes.add_to_totals(user_id, deleted=1, duration_ms=ended_ms - ends_ms)
            changes.active_at(user_id, at_ms)
            changes.remove_ending(user_id, ends_ms)
            await notify(db, Deletion(Kind.SESSION, root_id))
            return to_cancel

        return await self._database.write(work)

    def deletions(self) -> AsyncIterator[Deletion | None]:
        self._listener.start()
        return self._deletions.follow()

    async def get(self, session_id: str, user_id: str | None = None) -> Session | None:
        return await self._session("id = $1", session_id, user_id)

    async def get_by_secret(self, secret_hash: bytes, user_id: str | None = None) -> Session | None:
        return await self._session("secret_hash = $1", secret_hash, user_id)

    async def _session(self, where: str, value: str | bytes, user_id: str | None) -> Session | None:
        sql = f"SELECT {sessions.COLUMNS} FROM sessions WHERE {where}"
        owner = () if user_id is None else (user_id,)
        rows = await self._database.fetch(
            f"{sql} AND user_id = $2" if owner else sql, value, *owner
        )
        return sessions.from_row(rows[0]) if rows else None

    async def list(
        self,
        user_id: str | None,
        limit: int,
        before: tuple[int, str] | None,
        active_at_ms: int | None = None,
    ) -> Sequence[Session]:
        conditions = ["true"]
        parameters: list[str | int] = [limit]
        if active_at_ms is not None:
            parameters.append(active_at_ms)
            conditions.append("expires_ms > $2 AND deleted_ms IS NULL AND refreshed_to IS NULL")
        if user_id is not None:
            parameters.append(user_id)
            conditions.append(f"user_id = ${len(parameters)}")
        if before is not None:
            parameters.extend(before)
            conditions.append(f"(created_ms, id) < (${len(parameters) - 1}, ${len(parameters)})")
        # Living ones are found before they are sorted: in the order of their age it would look
        # through those of the past, too.
        fence = "NOT MATERIALIZED" if active_at_ms is None else "MATERIALIZED"
        sql = (
            f"WITH found AS {fence} (SELECT * FROM sessions WHERE {' AND '.join(conditions)})"
            f" SELECT {sessions.COLUMNS} FROM found ORDER BY created_ms DESC, id DESC LIMIT $1"
        )
        rows = await self._database.fetch(sql, *parameters)
        return [sessions.from_row(row) for row in rows]

    async def cancel_later(self, session_id: str, expires_ms: int, cancel_again_ms: int) -> None:
        await self._database.fetch(
            "INSERT INTO cancels (session_id, due_ms, expires_ms) VALUES ($1, $2, $3)"
            " ON CONFLICT DO NOTHING",
            session_id,
            cancel_again_ms,
            expires_ms,
        )

    async def claim_cancels(self, now_ms: int, again_ms: int, limit: int) -> Sequence[str]:
        # What another replica is just claiming is left to it.
        due = await self._database.fetch(
            "WITH over AS (DELETE FROM cancels WHERE session_id IN (SELECT session_id FROM cancels"
            "  WHERE expires_ms <= $1 FOR UPDATE SKIP LOCKED)),"
            " due AS MATERIALIZED (SELECT session_id FROM cancels WHERE due_ms <= $1"
            "  AND expires_ms > $1 ORDER BY due_ms LIMIT $3 FOR UPDATE SKIP LOCKED)"
            " UPDATE cancels SET due_ms = $2 FROM due WHERE cancels.session_id = due.session_id"
            " RETURNING cancels.session_id",
            now_ms,
            again_ms,
            limit,
        )
        return [session_id for (session_id,) in due]

    async def cancelled(self, session_id: str) -> None:
        await self._database.fetch("DELETE FROM cancels WHERE session_id = $1", session_id)

    # Statistics

    async def count_failure(self, user_id: str, reason: str, at_ms: int) -> None:
        await self._database.batch(_count_failures, (user_id, reason, at_ms))

    async def rollup(self, user_id: str | None, now_ms: int, first_day: int) -> Rollup:
        scope = EVERYBODY if user_id is None else user_id
        (row,) = await self._database.fetch(rollups.READ, scope, now_ms, first_day)
        return rollups.from_row(row)

    def counting(self, heard: Heard) -> AbstractContextManager[None]:
        return self._database.counted.followed_by(heard)

    # Messages at OpenAI

    async def claim_usage(self, now_ms: int, again_ms: int, limit: int) -> Sequence[UsageUser]:
        due = await self._database.fetch(
            "WITH due AS MATERIALIZED (SELECT user_id, due_ms FROM usage_users WHERE due_ms <= $1"
            "  ORDER BY due_ms LIMIT $3 FOR UPDATE SKIP LOCKED),"
            " claimed AS (UPDATE usage_users SET due_ms = $2 FROM due"
            "  WHERE usage_users.user_id = due.user_id RETURNING usage_users.*, due.due_ms AS was)"
            " SELECT user_id, active_until_ms, idle_rounds FROM claimed ORDER BY was",
            now_ms,
            again_ms,
            limit,
        )
        return [
            UsageUser(row["user_id"], row["active_until_ms"], row["idle_rounds"], again_ms)
            for row in due
        ]

    async def usage_interrupted(self, user: UsageUser) -> None:
        await self._database.fetch(
            "UPDATE usage_users SET due_ms = 0 WHERE user_id = $1 AND due_ms = $2",
            user.user_id,
            user.due_ms,
        )

    async def known_threads(self, user_id: str, thread_ids: Sequence[str]) -> frozenset[str]:
        rows = await self._database.fetch(
            "SELECT thread_id FROM usage_threads WHERE user_id = $1 AND thread_id = ANY($2)",
            user_id,
            thread_ids,
        )
        return frozenset(thread_id for (thread_id,) in rows)

    async def add_threads(self, user_id: str, thread_ids: Sequence[str]) -> None:
        await self._database.fetch(
            "INSERT INTO usage_threads (user_id, thread_id) SELECT $1, unnest($2::text[])"
            " ON CONFLICT DO NOTHING",
            user_id,
            sorted(thread_ids),
        )

    async def threads(self, user_id: str, recent: int, stale: int) -> Sequence[UsageThread]:
        rows = await self._database.fetch(
            "(SELECT thread_id, cursor FROM usage_threads WHERE user_id = $1 AND NOT gone"
            "  ORDER BY last_message_ms DESC LIMIT $2)"
            " UNION (SELECT thread_id, cursor FROM usage_threads WHERE user_id = $1 AND NOT gone"
            "  ORDER BY checked_ms LIMIT $3)",
            user_id,
            recent,
            stale,
        )
        return [UsageThread(*row) for row in rows]

    async def unread_threads(self, user_id: str, since_ms: int) -> Sequence[UsageThread]:
        rows = await self._database.fetch(
            "SELECT thread_id, cursor FROM usage_threads"
            " WHERE user_id = $1 AND NOT gone AND checked_ms <= $2 ORDER BY checked_ms",
            user_id,
            since_ms,
        )
        return [UsageThread(*row) for row in rows]

    async def count_messages(
        self,
        user_id: str,
        thread: UsageThread,
        cursor: str,
        times_ms: Sequence[int],
        at_ms: int,
        has_more: bool = False,
    ) -> bool:
        async def work(db: Connection, changes: Changes) -> bool:
            moved = await db.fetch(
                "UPDATE usage_threads SET cursor = $4, checked_ms = greatest(checked_ms, $5),"
                " last_message_ms = greatest(last_message_ms, $6)"
                " WHERE user_id = $1 AND thread_id = $2 AND cursor = $3 RETURNING 1",
                user_id,
                thread.thread_id,
                thread.cursor,
                cursor,
                0 if has_more else at_ms,
                max(times_ms, default=0),
            )
            if not moved:
                return False
            for day, number in Counter(time_ms // DAY_MS for time_ms in times_ms).items():
                changes.add_to_day(user_id, day, messages=number)
            if times_ms:
                changes.add_to_totals(user_id, messages=len(times_ms))
                changes.active_at(user_id, max(times_ms))
            return True

        return await self._database.write(work)

    async def thread_is_gone(self, user_id: str, thread_id: str) -> None:
        await self._database.fetch(
            "UPDATE usage_threads SET gone = true WHERE user_id = $1 AND thread_id = $2",
            user_id,
            thread_id,
        )

    async def usage_counted(
        self, user: UsageUser, at_ms: int, next_ms: int | None, idle_rounds: int
    ) -> None:
        async def work(db: Connection, changes: Changes) -> None:
            await db.execute(
                "UPDATE usage_users SET due_ms = $3, idle_rounds = $4"
                " WHERE user_id = $1 AND due_ms = $2",
                user.user_id,
                user.due_ms,
                next_ms,
                idle_rounds,
            )
            looked_ms = await db.fetchval(
                "SELECT min(checked_ms) FROM usage_threads WHERE user_id = $1 AND NOT gone",
                user.user_id,
            )
            complete_ms = at_ms if looked_ms is None else min(at_ms, looked_ms)
            if complete_ms:
                changes.messages_counted(user.user_id, complete_ms)

        await self._database.write(work)


async def _count_failures(
    db: Connection, changes: Changes, rows: Sequence[tuple[str, str, int]]
) -> Sequence[None]:
    for user_id, reason, at_ms in rows:
        day = at_ms // DAY_MS
        changes.add_to_day(user_id, day, failures=1)
        changes.add_to_totals(user_id, failures=1)
        changes.add_failure_reason(user_id, day, reason)
    return [None] * len(rows)
