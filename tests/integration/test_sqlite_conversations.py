"""What SQLite adds to the contract of conversations: costs that do not grow, and old databases."""

import asyncio
import re
import sqlite3
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path

import pytest

from session_service.stores import sqlite_database, sqlite_file, sqlite_schema
from session_service.stores.base import Day, Totals
from session_service.stores.conversations import Item, Thread
from session_service.stores.sqlite import SQLiteStore, open_sqlite_store
from tests.integration.store_contract_self_hosted import DeleteUserContract
from tests.integration.store_values import (
    LIFETIME,
    NOON,
    TODAY,
    add,
    add_attachment,
    add_item,
    add_thread,
    everything,
    found,
    refresh,
    secret_hash,
    turn,
)

SMALL, LARGE = 100, 20_000


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "chatkit.db")


class Watch:
    """What the connections of a store do."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self._steps = 0

    def connect(self, path: str, _: float) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.set_trace_callback(self.statements.append)
        db.set_progress_handler(self._step, 1)
        return db

    def _step(self) -> int:
        self._steps += 1
        return 0

    async def steps(self, work: Awaitable[object]) -> int:
        """Returns how many instructions SQLite's machine took (https://sqlite.org/opcode.html)."""
        before = self._steps
        await work
        return self._steps - before


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    for module in (sqlite_file, sqlite_database):
        monkeypatch.setattr(module, "connect", watch.connect)
    monkeypatch.setattr(sqlite_database, "_READERS", 1)
    return watch


async def make(path: str) -> None:
    async with open_sqlite_store(path):
        pass


async def use_everything(store: SQLiteStore) -> None:
    thread = await add_thread(store, "t")
    conversations = store.conversations
    for name in ("i", "j"):
        await add_item(store, thread, name)
    await add_attachment(store, "a", thread=thread)
    await conversations.thread("7", "t")
    await conversations.item("7", "t", "i")
    for after in (None, "t"):
        await conversations.threads("7", 10, after, "asc")
        await conversations.threads("7", 10, after, "desc")
    for after in (None, "i"):
        await conversations.items("7", "t", 10, after, "asc")
        await conversations.items("7", "t", 10, after, "desc")
    await conversations.idle_threads(NOON, 10)
    await conversations.stale_attachments(NOON, 10)
    await conversations.delete_idle_thread("7", "t", NOON)
    await conversations.delete_unsent_attachment("7", "a")
    for user in ("7", None):
        await conversations.attachment(user, "a")
        await everything(store, user)
    await conversations.owner_of_attachment("a")
    await conversations.save_feedback("7", "t", ["i"], "positive", NOON)
    await conversations.count_turn("7", turn())
    await conversations.count_turn("7", turn("INTERNAL"))
    await conversations.delete_item("7", "t", "j")
    await conversations.delete_attachment("7", "a")
    await conversations.delete_thread("7", "t")
    await DeleteUserContract().fill(store, "8")
    await conversations.delete_user("8", NOON, NOON + 20)


async def test_every_statement_finds_its_rows_by_an_index_and_sorts_none(
    path: str, watch: Watch
) -> None:
    await make(path)
    watch.statements.clear()
    async with open_sqlite_store(path) as store:
        await use_everything(store)
    statements = [s for s in watch.statements if re.match("SELECT|INSERT|UPDATE|DELETE", s)]
    tables = {name for s in statements for name in re.findall(r"(?:FROM|INTO|UPDATE) (\w+)", s)}
    assert tables > {"threads", "items", "attachments", "feedback", "turns", "answer_times"}
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            for *_, plan in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
                assert not re.match("SCAN (?!CONSTANT ROW)|USE TEMP B-TREE", plan), statement


def test_a_plan_with_a_scan_or_a_sort_would_be_seen() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        sqlite_schema.migrate(db)
        for sql, seen in (
            ("SELECT id FROM items ORDER BY created_ms", "SCAN items"),
            ("SELECT id FROM items ORDER BY created_ms", "USE TEMP B-TREE FOR ORDER BY"),
        ):
            plans = [plan for *_, plan in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert seen in plans


async def test_pages_cost_the_same_in_a_long_thread_and_among_many_threads(
    path: str, watch: Watch
) -> None:
    await make(path)
    fill_conversations(path)
    async with open_sqlite_store(path) as store:
        conversations = store.conversations
        await everything(store, None)  # a new connection reads the schema first
        costs: dict[str, set[int]] = {}
        for size in (SMALL, LARGE):
            user = str(size)
            middle, last = f"{size}-{size // 2:06}", f"{size}-{size - 1:06}"
            for after in (None, middle):
                for order in ("asc", "desc"):
                    what = f"threads {order} {after is None}"
                    steps = await watch.steps(conversations.threads(user, 20, after, order))
                    costs.setdefault(what, set()).add(steps)
                    what = f"items {order} {after is None}"
                    steps = await watch.steps(conversations.items(user, last, 20, after, order))
                    costs.setdefault(what, set()).add(steps)
            page = await conversations.items(user, last, 20, middle, "asc")
            assert len(page) == len(await conversations.threads(user, 20, middle, "asc")) == 20
            item = Item(middle, "user_message", b"{}", NOON)
            thread = Thread(last, NOON, b"{}")
            for what, work in (
                ("item", conversations.item(user, last, middle)),
                ("replace", conversations.add_item(user, last, item)),
                ("save", conversations.save_thread(user, thread)),
                ("feedback", conversations.save_feedback(user, last, [middle], "x", NOON)),
                ("delete", conversations.delete_item(user, last, middle)),
            ):
                costs.setdefault(what, set()).add(await watch.steps(work))
    assert {what for what, steps in costs.items() if len(steps) != 1 or 0 in steps} == set()


def fill_conversations(path: str) -> None:
    """Two users with many threads each, all but the last of them empty."""
    with closing(sqlite3.connect(path)) as db:
        for size in (SMALL, LARGE):
            names = [f"{size}-{number:06}" for number in range(size)]
            db.executemany(
                "INSERT INTO threads (id, user_id, created_ms, used_ms, data)"
                " VALUES (?, ?, ?, 0, x'')",
                [(name, str(size), number) for number, name in enumerate(names)],
            )
            db.executemany(
                "INSERT INTO items (thread_id, id, kind, created_ms, data)"
                " VALUES (?, ?, 'task', 0, x'')",
                [(names[-1], name) for name in names],
            )
        db.commit()


async def test_statistics_cost_the_same_after_many_days_and_turns(path: str, watch: Watch) -> None:
    async with open_sqlite_store(path) as store:

        async def use(day: int, times: int) -> None:
            at = NOON + (day - TODAY) * 86_400_000
            for _ in range(times):
                await store.conversations.count_turn("7", turn("", at))
                await store.conversations.count_turn("7", turn("INTERNAL", at))

        await use(TODAY, 1)
        await everything(store, None)  # a new connection reads the schema first
        asked = [(user, NOON, TODAY) for user in ("7", None)]
        fresh = [await watch.steps(store.rollup(*question)) for question in asked]
        await asyncio.gather(*(use(day, 3) for day in range(TODAY - 200, TODAY + 1)))
        assert (await everything(store, None)).totals.turns == 2 * (1 + 3 * 201)
        assert [await watch.steps(store.rollup(*question)) for question in asked] == fresh


async def test_the_newest_opinion_of_each_item_is_kept_as_long_as_the_item(path: str) -> None:
    async with open_sqlite_store(path) as store:
        threads = [await add_thread(store, name) for name in ("t", "u")]
        for thread in threads:
            for name in ("i", "j"):
                await add_item(store, thread, name)
        save = store.conversations.save_feedback
        await save("7", "t", ["i", "j"], "positive", NOON)
        await save("7", "t", ["i"], "negative", NOON + 1)
        await save("7", "t", ["i"], "positive", NOON - 1)  # it came late
        await save("7", "u", ["i", "j"], "positive", NOON)
        kept = [("t", "i", "negative"), ("t", "j", "positive")]
        assert feedback(path) == [*kept, ("u", "i", "positive"), ("u", "j", "positive")]
        await store.conversations.delete_item("7", "u", "j")
        assert feedback(path) == [*kept, ("u", "i", "positive")]
        await store.conversations.delete_thread("7", "u")
        assert feedback(path) == kept


def feedback(path: str) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT thread_id, item_id, kind FROM feedback ORDER BY 1, 2").fetchall()


async def test_no_row_of_a_deleted_user_is_left_in_any_table(path: str) -> None:
    async with open_sqlite_store(path) as store:
        await DeleteUserContract().fill(store, "7")
        filled = rows_by_table(path)
        assert all(filled.values())  # or the test would not see what is left there
        await store.conversations.delete_user("7", NOON, NOON + 20)
        counters = ("totals", "days", "endings", "failures_by_reason", "answer_times")
        for table, rows in rows_by_table(path).items():
            if table == "cancels":  # ids alone, until OpenAI has understood or they expire
                assert rows == 3
                continue
            # Each counter was there for the user and for everybody.
            assert rows == (filled[table] // 2 if table in counters else 0), table


def rows_by_table(path: str) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {
            name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in tables
        }


async def test_nobody_is_not_a_user_who_can_be_deleted(path: str) -> None:
    async with open_sqlite_store(path) as store:
        await add(store, "a")
        before = await everything(store, None)
        with pytest.raises(ValueError, match="has an id"):
            await store.conversations.delete_user("", NOON, NOON + 20)
        assert await everything(store, None) == before


FIRST_RELEASE = (
    "INSERT INTO sessions (id, root_id, user_id, workflow_id, secret_hash, state_variables,"
    " created_ms, expires_ms, ends_ms, refreshed_from, refreshed_to)"
    " VALUES ('a', 'a', '7', 'wf_1', ?1, '{\"x\":1}', ?3, ?3 + 600000, ?3 + 600001, NULL, 'b'),"
    " ('b', 'a', '7', 'wf_1', ?2, '{}', ?3 + 1, ?3 + 600001, NULL, 'a', NULL)",
    "INSERT INTO sessions (id, root_id, user_id, workflow_id, secret_hash, state_variables,"
    " created_ms, expires_ms, ends_ms, deleted_ms, cancel_ms)"
    " VALUES ('d', 'd', '7', 'wf_1', x'00', '{}', ?3, ?3 + 600000, ?3 + 1, ?3 + 1, ?3 + 2)",
    "INSERT INTO totals VALUES ('7', 1, 12, 1, 0, 3, 600001, ?3 + 1, ?3 + 9),"
    " ('', 1, 12, 1, 0, 3, 600001, ?3 + 1, ?3 + 9)",
    "INSERT INTO days VALUES ('7', ?4, 1, 12, 1, 3), ('', ?4, 1, 12, 1, 3)",
    "INSERT INTO endings VALUES ('7', ?3 + 600001, 1), ('', ?3 + 600001, 1)",
    "INSERT INTO usage_users VALUES ('7', ?3 + 600001, ?3, 2)",
    "INSERT INTO usage_threads VALUES ('7', 't', 'i9', ?3, ?3, 0)",
)
"""What the first release wrote when a user had a session, refreshed it and wrote messages.

And deleted another, of which OpenAI has not heard.
"""


async def test_a_database_of_the_first_release_is_brought_up_to_date(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in sqlite_schema.MIGRATIONS[0]:
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        values = (secret_hash("a"), secret_hash("b"), NOON, TODAY)
        for statement in FIRST_RELEASE:
            used = max(int(number) for number in re.findall(r"\?(\d)", statement))
            db.execute(statement, values[:used])
    async with open_sqlite_store(path) as store:
        for user in (None, "7"):
            rollup = await everything(store, user, NOON + 1)
            assert rollup.totals == Totals(
                sessions=1,
                messages=12,
                refreshes=1,
                failures=3,
                duration_ms=LIFETIME + 1,
                last_activity_ms=NOON + 1,
                messages_updated_ms=NOON + 9,
            )
            assert rollup.days == [Day(TODAY, sessions=1, messages=12, refreshes=1, failures=3)]
            assert (rollup.active, rollup.remaining_ms) == (1, LIFETIME)
        old = await found(store, "b")
        assert (old.mode, (await found(store, "a")).state_variables) == ("hosted", {"x": 1})
        (due,) = await store.claim_usage(NOON, NOON + 5, 10)
        assert (due.user_id, due.idle_rounds) == ("7", 2)
        assert await store.claim_cancels(NOON + 2, NOON + 900, 10) == ["d"]

        # What it began goes on in the other mode.
        await refresh(store, old, "c", NOON + 2, "self_hosted")
        await add_item(store, await add_thread(store, "t"), "i")
        await store.conversations.count_turn("7", turn())
        totals = (await everything(store, "7")).totals
        assert (totals.sessions, totals.refreshes, totals.messages, totals.turns) == (1, 2, 13, 1)
        assert sorted(await store.delete("a", NOON + 3, NOON + 4)) == ["a", "b"]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
