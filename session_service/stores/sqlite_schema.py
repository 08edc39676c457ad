"""The tables of the SQLite store, as migrations: append to them, never edit a released one."""

import sqlite3

_FIRST_TABLES = {"sessions", "totals", "days", "endings"}
"""Ours since the first release."""

# `scope` is a user id, or '' for everybody (a user id is never empty).
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE sessions (
            id              TEXT PRIMARY KEY,
            root_id         TEXT NOT NULL,
            user_id         TEXT NOT NULL,
            workflow_id     TEXT NOT NULL,
            secret_hash     BLOB NOT NULL UNIQUE,
            state_variables TEXT NOT NULL,
            created_ms      INTEGER NOT NULL,
            expires_ms      INTEGER NOT NULL,
            ends_ms         INTEGER,  -- of the first in a chain: when its newest secret expires
            deleted_ms      INTEGER,
            cancel_ms       INTEGER,  -- when to try again to cancel it at OpenAI
            refreshed_from  TEXT,
            refreshed_to    TEXT
        ) STRICT
        """,
        "CREATE INDEX sessions_of_chain ON sessions (root_id) WHERE refreshed_from IS NOT NULL",
        "CREATE INDEX sessions_by_user ON sessions (user_id, created_ms, id)",
        "CREATE INDEX sessions_by_age ON sessions (created_ms, id)",
        "CREATE INDEX sessions_to_cancel ON sessions (cancel_ms) WHERE cancel_ms IS NOT NULL",
        """
        CREATE TABLE totals (
            scope               TEXT PRIMARY KEY,
            sessions            INTEGER NOT NULL DEFAULT 0,
            messages            INTEGER NOT NULL DEFAULT 0,
            refreshes           INTEGER NOT NULL DEFAULT 0,
            deleted             INTEGER NOT NULL DEFAULT 0,
            failures            INTEGER NOT NULL DEFAULT 0,
            duration_ms         INTEGER NOT NULL DEFAULT 0,
            last_activity_ms    INTEGER,
            messages_updated_ms INTEGER
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE days (
            scope     TEXT NOT NULL,
            day       INTEGER NOT NULL,
            sessions  INTEGER NOT NULL DEFAULT 0,
            messages  INTEGER NOT NULL DEFAULT 0,
            refreshes INTEGER NOT NULL DEFAULT 0,
            failures  INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (scope, day)
        ) STRICT, WITHOUT ROWID
        """,
        # How many sessions end in which second. Secrets live ten minutes, so a scope has at most
        # some 600 rows that are still to come, at any number of sessions: they are what `active`
        # and `remaining_ms` are summed from.
        """
        CREATE TABLE endings (
            scope    TEXT NOT NULL,
            ends_ms  INTEGER NOT NULL,
            sessions INTEGER NOT NULL,
            PRIMARY KEY (scope, ends_ms)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE usage_users (
            user_id         TEXT PRIMARY KEY,
            active_until_ms INTEGER NOT NULL,
            due_ms          INTEGER,
            idle_rounds     INTEGER NOT NULL DEFAULT 0
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX usage_users_due ON usage_users (due_ms) WHERE due_ms IS NOT NULL",
        """
        CREATE TABLE usage_threads (
            user_id         TEXT NOT NULL,
            thread_id       TEXT NOT NULL,
            cursor          TEXT NOT NULL DEFAULT '',
            last_message_ms INTEGER NOT NULL DEFAULT 0,
            checked_ms      INTEGER NOT NULL DEFAULT 0,
            gone            INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (user_id, thread_id)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    # The self-hosted mode.
    (
        "ALTER TABLE sessions ADD COLUMN mode TEXT NOT NULL DEFAULT 'hosted'",
        "ALTER TABLE totals ADD COLUMN turns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE totals ADD COLUMN failed_turns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE totals ADD COLUMN input_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE totals ADD COLUMN output_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE totals ADD COLUMN estimated_turns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE totals ADD COLUMN tool_calls INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE days ADD COLUMN turns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE days ADD COLUMN failed_turns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE days ADD COLUMN input_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE days ADD COLUMN output_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE days ADD COLUMN tool_calls INTEGER NOT NULL DEFAULT 0",
        # Day -1 is all days together, so that totals need no sum over the days.
        """
        CREATE TABLE failures_by_reason (
            scope    TEXT NOT NULL,
            day      INTEGER NOT NULL,
            reason   TEXT NOT NULL,
            failures INTEGER NOT NULL,
            PRIMARY KEY (scope, day, reason)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE answer_times (
            scope  TEXT NOT NULL,
            day    INTEGER NOT NULL,
            bucket INTEGER NOT NULL,
            turns  INTEGER NOT NULL,
            PRIMARY KEY (scope, day, bucket)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE threads (
            id         TEXT PRIMARY KEY,
            user_id    TEXT NOT NULL,
            created_ms INTEGER NOT NULL,
            used_ms    INTEGER NOT NULL,  -- when it was made, or the newest was added to it
            messages   INTEGER NOT NULL DEFAULT 0,
            data       BLOB NOT NULL
        ) STRICT
        """,
        "CREATE INDEX threads_by_age ON threads (user_id, created_ms, id)",
        "CREATE INDEX threads_by_use ON threads (used_ms)",
        # A new item has the highest number of all, so the numbers of a thread have its order. The
        # second index ends, as all do, with the number.
        """
        CREATE TABLE items (
            number     INTEGER PRIMARY KEY,
            thread_id  TEXT NOT NULL,
            id         TEXT NOT NULL,
            kind       TEXT NOT NULL,
            created_ms INTEGER NOT NULL,
            data       BLOB NOT NULL,
            UNIQUE (thread_id, id)
        ) STRICT
        """,
        "CREATE INDEX items_in_order ON items (thread_id)",
        """
        CREATE TABLE attachments (
            id             TEXT PRIMARY KEY,
            user_id        TEXT NOT NULL,
            name           TEXT NOT NULL,
            mime_type      TEXT NOT NULL,
            created_ms     INTEGER NOT NULL,
            size           INTEGER NOT NULL,
            uploaded       INTEGER NOT NULL,
            thread_id      TEXT,
            openai_file_id TEXT
        ) STRICT
        """,
        "CREATE INDEX attachments_by_user ON attachments (user_id)",
        "CREATE INDEX attachments_of_thread ON attachments (thread_id) WHERE thread_id IS NOT NULL",
        "CREATE INDEX attachments_unsent ON attachments (created_ms) WHERE thread_id IS NULL",
        """
        CREATE TABLE feedback (
            thread_id TEXT NOT NULL,
            item_id   TEXT NOT NULL,
            kind      TEXT NOT NULL,
            at_ms     INTEGER NOT NULL,
            PRIMARY KEY (thread_id, item_id)
        ) STRICT, WITHOUT ROWID
        """,
        # Rows are only added: a turn was one, whatever becomes of its thread.
        """
        CREATE TABLE turns (
            user_id       TEXT NOT NULL,
            thread_id     TEXT NOT NULL,
            started_ms    INTEGER NOT NULL,
            duration_ms   INTEGER NOT NULL,
            outcome       TEXT NOT NULL,
            input_tokens  INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL,
            estimated     INTEGER NOT NULL,
            tool_calls    INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX turns_by_user ON turns (user_id, started_ms)",
    ),
    # What OpenAI still has to cancel, also where the session was never kept, or is gone with its
    # user.
    (
        """
        CREATE TABLE cancels (
            session_id TEXT PRIMARY KEY,
            due_ms     INTEGER NOT NULL,
            expires_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX cancels_due ON cancels (due_ms)",
        "INSERT INTO cancels SELECT id, cancel_ms, expires_ms FROM sessions"
        " WHERE cancel_ms IS NOT NULL",
        "DROP INDEX sessions_to_cancel",
        "ALTER TABLE sessions DROP COLUMN cancel_ms",
    ),
    # Finds the living ones, at any number of sessions: new ones are added at its end.
    ("CREATE INDEX sessions_by_expiry ON sessions (expires_ms, user_id)",),
)


class ForeignDatabase(sqlite3.DatabaseError):
    """It is a database, but none of ours."""


class NewerSchema(sqlite3.DatabaseError):
    """A newer release has changed it already."""


def check_is_ours(db: sqlite3.Connection) -> None:
    """Reads, in a transaction. Raises ForeignDatabase for one that somebody else has made."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    names = {name for _, name, *_ in db.execute("PRAGMA table_list")}
    tables = {name for name in names if not name.startswith("sqlite_")}
    if (version == 0 and tables) or (version > 0 and not tables >= _FIRST_TABLES):
        raise ForeignDatabase("it is the database of another program")


def migrate(db: sqlite3.Connection) -> None:
    """Brings the database to the newest version, all or nothing.

    Raises NewerSchema for what must be left as it is.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise NewerSchema(
                f"it was written by a newer release (schema {version},"
                f" this release knows {len(MIGRATIONS)})"
            )
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except sqlite3.Error:
        db.execute("ROLLBACK")
        raise
