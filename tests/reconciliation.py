"""Recounts every counter of a store from its rows, and names what does not agree."""

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from session_service.stores.sqlite_schema import migrate
from tests.postgres_support import connected

EVERYBODY, ALL_DAYS = "", -1
_KEPT_ENDINGS_MS = 3_600_000
"""Endings that are older than this before a session of their scope may be gone."""

_HISTORY = """
    SELECT user_id, created_ms / 86400000 AS day, 'sessions' AS counter, 1 AS number
        FROM sessions WHERE refreshed_from IS NULL
    UNION ALL SELECT user_id, created_ms / 86400000, 'refreshes', 1
        FROM sessions WHERE refreshed_from IS NOT NULL
    UNION ALL SELECT user_id, (started_ms + duration_ms) / 86400000, 'turns', 1 FROM turns
    UNION ALL SELECT user_id, (started_ms + duration_ms) / 86400000, 'failed_turns', 1
        FROM turns WHERE outcome NOT IN ('', 'BROKEN_OFF')
    UNION ALL SELECT user_id, (started_ms + duration_ms) / 86400000, 'input_tokens', input_tokens
        FROM turns
    UNION ALL SELECT user_id, (started_ms + duration_ms) / 86400000, 'output_tokens', output_tokens
        FROM turns
    UNION ALL SELECT user_id, (started_ms + duration_ms) / 86400000, 'tool_calls', tool_calls
        FROM turns
"""
_LASTING = """
    SELECT user_id, 'deleted' AS counter, 1 AS number FROM sessions
        WHERE refreshed_from IS NULL AND deleted_ms IS NOT NULL
    UNION ALL SELECT user_id, 'duration_ms', coalesce(deleted_ms, ends_ms) - created_ms
        FROM sessions WHERE refreshed_from IS NULL
    UNION ALL SELECT user_id, 'estimated_turns', estimated FROM turns
"""
_DAILY = (
    "sessions",
    "refreshes",
    "turns",
    "failed_turns",
    "input_tokens",
    "output_tokens",
    "tool_calls",
)
_ADDED_UP = (*_DAILY, "messages", "failures")
"""What the totals have of the days."""

Query: TypeAlias = Callable[..., list[Any]]
Counts: TypeAlias = Counter[tuple[Any, ...]]

# What must not be there, and how to find it.
_IMPOSSIBLE = {
    "a session refreshed from one that is not of its chain": """
        SELECT id FROM sessions AS s WHERE refreshed_from IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM sessions AS p WHERE p.id = s.refreshed_from AND p.root_id = s.root_id
            AND p.user_id = s.user_id AND p.refreshed_to IS NOT NULL)""",
    "a session refreshed to one that was not refreshed from it": """
        SELECT id FROM sessions AS s WHERE refreshed_to IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM sessions AS n WHERE n.id = s.refreshed_to AND n.refreshed_from = s.id)""",
    "a chain that is deleted in part": """
        SELECT root_id FROM sessions GROUP BY root_id
            HAVING count(deleted_ms) NOT IN (0, count(*))""",
    "a chain that ends when none of its secrets expires": """
        SELECT id FROM sessions AS r WHERE refreshed_from IS NULL AND NOT EXISTS (
            SELECT 1 FROM sessions AS s WHERE s.root_id = r.id
            AND max(s.expires_ms, s.created_ms) = r.ends_ms)""",
    "a negative duration": """
        SELECT id FROM sessions WHERE deleted_ms < created_ms OR ends_ms < created_ms
        UNION ALL SELECT thread_id FROM turns WHERE duration_ms < 0""",
    "a negative counter": """
        SELECT scope FROM totals WHERE min(sessions, messages, refreshes, deleted, failures,
            duration_ms, turns, failed_turns, input_tokens, output_tokens, estimated_turns,
            tool_calls) < 0
        UNION ALL SELECT scope FROM days WHERE min(sessions, messages, refreshes, failures, turns,
            failed_turns, input_tokens, output_tokens, tool_calls) < 0
        UNION ALL SELECT scope FROM endings WHERE sessions < 0""",
    "an item without its thread": """
        SELECT id FROM items WHERE thread_id NOT IN (SELECT id FROM threads)""",
    "feedback without its item": """
        SELECT item_id FROM feedback AS f WHERE NOT EXISTS (
            SELECT 1 FROM items AS i WHERE i.thread_id = f.thread_id AND i.id = f.item_id)""",
    "an attachment without its thread": """
        SELECT id FROM attachments WHERE thread_id IS NOT NULL
            AND thread_id NOT IN (SELECT id FROM threads)""",
    "a thread that counts other messages than it has": """
        SELECT id FROM threads AS t WHERE messages != (SELECT count(*) FROM items AS i
            WHERE i.thread_id = t.id AND i.kind IN ('user_message', 'assistant_message'))""",
    "a user with more messages than were counted": """
        SELECT user_id FROM threads AS t GROUP BY user_id HAVING sum(messages) >
            coalesce((SELECT messages FROM totals WHERE scope = user_id), 0)""",
}


def reconcile(database_path: str | Path, attachments: Path | None = None) -> list[str]:
    """Returns what does not agree, one line each: nothing where all is right.

    May be called while a service runs: it reads one moment. `attachments` is the directory of their
    bytes. Users must not have been deleted as a whole: they take their numbers along.
    """
    # Not read-only: the first to open a database after a crash recovers its WAL.
    with closing(sqlite3.connect(database_path, isolation_level=None)) as db:
        db.execute("BEGIN")

        def query(sql: str, *parameters: object) -> list[Any]:
            return db.execute(sql, parameters).fetchall()

        return [*_all(query), *_files(query, attachments)]


async def reconcile_postgres(url: str) -> list[str]:
    """The same of a PostgreSQL store: what it has at one moment is copied into tables of SQLite,
    which have the same names and columns."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        migrate(copy)
        async with (
            connected(url) as db,
            db.transaction(isolation="repeatable_read", readonly=True),
        ):
            for (table,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
                columns = [name for _, name, *_ in copy.execute(f"PRAGMA table_info({table})")]
                rows = await db.fetch(f"SELECT {', '.join(columns)} FROM {table}")
                places = ", ".join("?" * len(columns))
                copy.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",
                    map(tuple, rows),
                )
        return list(_all(lambda sql, *parameters: copy.execute(sql, parameters).fetchall()))


def _all(query: Query) -> Iterator[str]:
    for (said,) in query("PRAGMA integrity_check"):
        if said != "ok":
            yield f"SQLite: {said}"
    for what, sql in _IMPOSSIBLE.items():
        yield from (f"{what}: {name}" for (name,) in query(sql))
    yield from _history(query)
    yield from _lasting(query)
    yield from _endings(query)
    yield from _distributions(query)


def _history(query: Query) -> Iterator[str]:
    """Days are what their rows add up to, and totals what their days do."""
    rows = _counts(
        query(f"SELECT user_id, day, counter, sum(number) FROM ({_HISTORY}) GROUP BY 1, 2, 3")
    )
    days = Counter[tuple[Any, ...]]()
    totals = Counter[tuple[Any, ...]]()
    for counter in _ADDED_UP:
        days.update(_counts(query(f"SELECT scope, day, '{counter}', {counter} FROM days")))
        totals.update(_counts(query(f"SELECT scope, '{counter}', {counter} FROM totals")))
    kept = Counter({key: n for key, n in days.items() if key[2] in _DAILY})
    yield from _differences("days", rows, kept)
    added_up = Counter[tuple[Any, ...]]()
    users = Counter[tuple[Any, ...]]()
    for (scope, day, counter), number in days.items():
        added_up[scope, counter] += number
        if scope != EVERYBODY:
            users[EVERYBODY, day, counter] += number
    everybody = Counter({key: n for key, n in days.items() if key[0] == EVERYBODY})
    yield from _compared("days of everybody", users, everybody)
    yield from _compared("totals", added_up, totals)


def _lasting(query: Query) -> Iterator[str]:
    rows = _counts(query(f"SELECT user_id, counter, sum(number) FROM ({_LASTING}) GROUP BY 1, 2"))
    totals = Counter[tuple[Any, ...]]()
    for counter in ("deleted", "duration_ms", "estimated_turns"):
        totals.update(_counts(query(f"SELECT scope, '{counter}', {counter} FROM totals")))
    yield from _differences("totals", rows, totals)


def _endings(query: Query) -> Iterator[str]:
    alive = "FROM sessions WHERE refreshed_from IS NULL AND deleted_ms IS NULL"
    rows = _counts(query(f"SELECT user_id, ends_ms, count(*) {alive} GROUP BY 1, 2"))
    endings = _counts(query("SELECT scope, ends_ms, sessions FROM endings"))
    # The clock may have been anywhere: what is gone is compared with the newest session there is.
    ((newest,),) = query("SELECT coalesce(max(created_ms), 0) FROM sessions")
    recent = newest - _KEPT_ENDINGS_MS
    yield from _differences(
        "endings",
        Counter({key: number for key, number in rows.items() if key[1] >= recent}),
        Counter({key: number for key, number in endings.items() if key[1] >= recent}),
    )


def _distributions(query: Query) -> Iterator[str]:
    """Failures by reason add up to the failures; answers by time are those of the turns."""
    by_reason = _counts(
        query("SELECT scope, day, sum(failures) FROM failures_by_reason GROUP BY scope, day")
    )
    failures = _counts(query("SELECT scope, day, failures + failed_turns FROM days"))
    failures.update(
        _counts(query(f"SELECT scope, {ALL_DAYS}, failures + failed_turns FROM totals"))
    )
    yield from _compared("failures by reason", failures, by_reason)
    answers = Counter[tuple[Any, ...]]()
    for user, day, duration_ms in query(
        "SELECT user_id, (started_ms + duration_ms) / 86400000, duration_ms FROM turns"
        " WHERE outcome = ''"
    ):
        bucket = next(n for n in itertools.count() if duration_ms <= 1.2**n)
        answers.update([(user, day, bucket), (user, ALL_DAYS, bucket)])
    times = _counts(query("SELECT scope, day, bucket, turns FROM answer_times"))
    yield from _differences("answer times", answers, times)


def _files(query: Query, directory: Path | None) -> Iterator[str]:
    """An attachment that is said to be there is, whole, and nothing is left half done."""
    if directory is None:
        return
    sizes = {p.name: p.stat().st_size for p in directory.glob("*/*") if p.parent.name != "incoming"}
    for name, size in query("SELECT id, size FROM attachments WHERE uploaded"):
        if sizes.get(name) != size:
            yield f"attachment {name}: {size} bytes were stored, {sizes.get(name)} are there"
    yield from (f"half an attachment: {path.name}" for path in directory.glob("incoming/*"))


def _counts(rows: Sequence[tuple[Any, ...]]) -> Counts:
    return Counter({tuple(row[:-1]): row[-1] for row in rows})


def _differences(what: str, rows: Counts, counted: Counts) -> Iterator[str]:
    """Compares what the rows of users add up to with the counters of users and of everybody."""
    expected = Counter(rows)
    for (_, *key), number in rows.items():
        expected[EVERYBODY, *key] += number
    yield from _compared(what, expected, counted)


def _compared(what: str, expected: Counts, counted: Counts) -> Iterator[str]:
    for key in sorted(expected.keys() | counted.keys(), key=str):
        if expected[key] != counted[key]:
            yield f"{what} {key}: counted {counted[key]}, the rows say {expected[key]}"
