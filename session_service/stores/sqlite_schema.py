"""The tables of the SQLite store, as migrations: append to them, never edit a released one."""

import sqlite3

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
)


def migrate(db: sqlite3.Connection) -> None:
    """Brings the database to the newest version, all or nothing.

    Raises sqlite3.DatabaseError for a database that a newer release has written.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise sqlite3.DatabaseError(
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
