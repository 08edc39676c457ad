"""The tables of the PostgreSQL store, as migrations: append to them, never edit a released one.

While replicas are replaced one by one, old ones work on the new tables: a migration adds, and what
nobody needs any more goes with the release after.
"""

from typing import TYPE_CHECKING

from session_service.stores.base import CannotOpenStore

if TYPE_CHECKING:
    import asyncpg

# Keys are compared byte by byte ("C") whatever the locale of the database: so they have SQLite's
# order, and no index depends on the version of a C library.
#
# `scope` is a user id, or '' for everybody (a user id is never empty). The rows of everybody change
# with every write: room in their pages lets PostgreSQL put the new version beside the old one
# (https://www.postgresql.org/docs/current/storage-hot.html).
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE sessions (
            id              text COLLATE "C" PRIMARY KEY,
            root_id         text COLLATE "C" NOT NULL,
            user_id         text COLLATE "C" NOT NULL,
            workflow_id     text NOT NULL,
            secret_hash     bytea NOT NULL UNIQUE,
            state_variables text NOT NULL,  -- not jsonb, which holds neither U+0000 nor 1.0
            created_ms      bigint NOT NULL,
            expires_ms      bigint NOT NULL,
            ends_ms         bigint,  -- of the first in a chain: when its newest secret expires
            deleted_ms      bigint,
            refreshed_from  text COLLATE "C",
            refreshed_to    text COLLATE "C",
            mode            text NOT NULL
        )
        """,
        "CREATE INDEX sessions_of_chain ON sessions (root_id) WHERE refreshed_from IS NOT NULL",
        "CREATE INDEX sessions_by_user ON sessions (user_id, created_ms, id)",
        "CREATE INDEX sessions_by_age ON sessions (created_ms, id)",
        """
        CREATE TABLE totals (
            scope               text COLLATE "C" PRIMARY KEY,
            sessions            bigint NOT NULL,
            messages            bigint NOT NULL,
            refreshes           bigint NOT NULL,
            deleted             bigint NOT NULL,
            failures            bigint NOT NULL,
            duration_ms         bigint NOT NULL,
            turns               bigint NOT NULL,
            failed_turns        bigint NOT NULL,
            input_tokens        bigint NOT NULL,
            output_tokens       bigint NOT NULL,
            estimated_turns     bigint NOT NULL,
            tool_calls          bigint NOT NULL,
            last_activity_ms    bigint,
            messages_updated_ms bigint
        ) WITH (fillfactor = 80)
        """,
        """
        CREATE TABLE days (
            scope         text COLLATE "C",
            day           bigint,
            sessions      bigint NOT NULL,
            messages      bigint NOT NULL,
            refreshes     bigint NOT NULL,
            failures      bigint NOT NULL,
            turns         bigint NOT NULL,
            failed_turns  bigint NOT NULL,
            input_tokens  bigint NOT NULL,
            output_tokens bigint NOT NULL,
            tool_calls    bigint NOT NULL,
            PRIMARY KEY (scope, day)
        ) WITH (fillfactor = 80)
        """,
        # How many sessions end in which second: see sqlite_schema.py.
        """
        CREATE TABLE endings (
            scope    text COLLATE "C",
            ends_ms  bigint,
            sessions bigint NOT NULL,
            PRIMARY KEY (scope, ends_ms)
        ) WITH (fillfactor = 80)
        """,
        # Day -1 is all days together, so that totals need no sum over the days.
        """
        CREATE TABLE failures_by_reason (
            scope    text COLLATE "C",
            day      bigint,
            reason   text COLLATE "C",
            failures bigint NOT NULL,
            PRIMARY KEY (scope, day, reason)
        )
        """,
        """
        CREATE TABLE answer_times (
            scope  text COLLATE "C",
            day    bigint,
            bucket bigint,
            turns  bigint NOT NULL,
            PRIMARY KEY (scope, day, bucket)
        )
        """,
        """
        CREATE TABLE usage_users (
            user_id         text COLLATE "C" PRIMARY KEY,
            active_until_ms bigint NOT NULL,
            due_ms          bigint,
            idle_rounds     bigint NOT NULL DEFAULT 0
        )
        """,
        "CREATE INDEX usage_users_due ON usage_users (due_ms) WHERE due_ms IS NOT NULL",
        """
        CREATE TABLE usage_threads (
            user_id         text COLLATE "C",
            thread_id       text COLLATE "C",
            cursor          text NOT NULL DEFAULT '',
            last_message_ms bigint NOT NULL DEFAULT 0,
            checked_ms      bigint NOT NULL DEFAULT 0,
            gone            boolean NOT NULL DEFAULT false,
            PRIMARY KEY (user_id, thread_id)
        )
        """,
        # What OpenAI still has to cancel, also where the session was never kept, or is gone with
        # its user.
        """
        CREATE TABLE cancels (
            session_id text COLLATE "C" PRIMARY KEY,
            due_ms     bigint NOT NULL,
            expires_ms bigint NOT NULL
        )
        """,
        "CREATE INDEX cancels_due ON cancels (due_ms)",
        "CREATE INDEX cancels_over ON cancels (expires_ms)",
        """
        CREATE TABLE threads (
            id         text COLLATE "C" PRIMARY KEY,
            user_id    text COLLATE "C" NOT NULL,
            created_ms bigint NOT NULL,
            used_ms    bigint NOT NULL,  -- when it was made, or the newest was added to it
            messages   bigint NOT NULL DEFAULT 0,
            data       bytea NOT NULL
        )
        """,
        "CREATE INDEX threads_by_age ON threads (user_id, created_ms, id)",
        "CREATE INDEX threads_by_use ON threads (used_ms)",
        # A new item has the highest number of its thread: it is drawn while the thread is locked,
        # so that no lower one can become visible later.
        """
        CREATE TABLE items (
            thread_id  text COLLATE "C" REFERENCES threads ON DELETE CASCADE,
            number     bigint GENERATED ALWAYS AS IDENTITY,
            id         text COLLATE "C" NOT NULL,
            kind       text NOT NULL,
            created_ms bigint NOT NULL,
            data       bytea NOT NULL,
            PRIMARY KEY (thread_id, number),
            UNIQUE (thread_id, id)
        )
        """,
        """
        CREATE TABLE attachments (
            id             text COLLATE "C" PRIMARY KEY,
            user_id        text COLLATE "C" NOT NULL,
            name           text NOT NULL,
            mime_type      text NOT NULL,
            created_ms     bigint NOT NULL,
            size           bigint NOT NULL,
            uploaded       boolean NOT NULL,
            thread_id      text COLLATE "C" REFERENCES threads ON DELETE CASCADE,
            openai_file_id text
        )
        """,
        "CREATE INDEX attachments_by_user ON attachments (user_id)",
        "CREATE INDEX attachments_of_thread ON attachments (thread_id) WHERE thread_id IS NOT NULL",
        "CREATE INDEX attachments_unsent ON attachments (created_ms) WHERE thread_id IS NULL",
        """
        CREATE TABLE feedback (
            thread_id text COLLATE "C",
            item_id   text COLLATE "C",
            kind      text NOT NULL,
            at_ms     bigint NOT NULL,
            PRIMARY KEY (thread_id, item_id),
            FOREIGN KEY (thread_id, item_id) REFERENCES items (thread_id, id) ON DELETE CASCADE
        )
        """,
        # Rows are only added: a turn was one, whatever becomes of its thread.
        """
        CREATE TABLE turns (
            number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            user_id       text COLLATE "C" NOT NULL,
            thread_id     text NOT NULL,
            started_ms    bigint NOT NULL,
            duration_ms   bigint NOT NULL,
            outcome       text NOT NULL,
            input_tokens  bigint NOT NULL,
            output_tokens bigint NOT NULL,
            estimated     boolean NOT NULL,
            tool_calls    bigint NOT NULL
        )
        """,
        "CREATE INDEX turns_by_user ON turns (user_id, started_ms)",
    ),
    (
        """
        CREATE UNLOGGED TABLE rate_limits (
            name     text COLLATE "C",
            key      text COLLATE "C",
            most     int NOT NULL,  -- in a minute
            admitted int NOT NULL,  -- by the statement that was the last to ask
            times_ms bigint[] NOT NULL,  -- of those admitted within a minute before the newest
            PRIMARY KEY (name, key)
        ) WITH (fillfactor = 80)
        """,
    ),
    # Finds the living ones, at any number of sessions: new ones are added at its end.
    ("CREATE INDEX sessions_by_expiry ON sessions (expires_ms, user_id)",),
)

_LOCK = 0x63_6861_746B_6974
"""Of those who migrate one database at the same time: 'chatkit', in hexadecimal."""


async def migrate(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Brings the database to the newest version, all or nothing.

    Whoever comes while another process does that waits for it. Raises CannotOpenStore for a
    database that a newer release has written, or that cannot hold every text.
    """
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise CannotOpenStore(f"its encoding is {encoding}: create one with ENCODING 'UTF8'")
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version bigint)")
        version = await connection.fetchval("SELECT version FROM schema_version") or 0
        if version > len(MIGRATIONS):
            raise CannotOpenStore(
                f"it was written by a newer release (schema {version},"
                f" this release knows {len(MIGRATIONS)})"
            )
        if version == len(MIGRATIONS):
            return
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                await connection.execute(statement)
        await connection.execute("DELETE FROM schema_version")
        await connection.execute("INSERT INTO schema_version VALUES ($1)", len(MIGRATIONS))
