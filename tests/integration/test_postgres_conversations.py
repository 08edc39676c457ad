"""What PostgreSQL adds to the contract of conversations: costs that do not grow."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import orjson
import pytest

from session_service.stores.base import DAY_MS
from session_service.stores.conversations import Item, Thread
from session_service.stores.postgres import PostgresStore, open_postgres_store
from session_service.stores.postgres_rate_limits import FORGET_IDLE
from tests.integration.store_contract_self_hosted import DeleteUserContract
from tests.integration.store_values import (
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
from tests.postgres_support import connected

SMALL, LARGE = 100, 20_000
MANY_PAGES = 100
"""Each table has more, so that to read all of it would be seen."""
FEW_PAGES = 60
"""Twenty rows in as many places, and the way to them through an index or two."""

Statement = tuple[str, tuple[Any, ...]]
Database = asyncpg.Connection


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """What stores that are opened from now on ask of the database."""
    seen: list[Statement] = []

    def see(record: Any) -> None:
        # The driver asks for types when it meets them first.
        if not re.search("typeinfo|set_config", record.query):
            seen.append((record.query, record.args or ()))

    async def watch(connection: "Database[asyncpg.Record]") -> None:
        connection.add_query_logger(see)

    create_pool: Callable[..., Any] = asyncpg.create_pool

    def watched(*arguments: Any, **options: Any) -> Any:
        return create_pool(*arguments, **options, init=watch)

    monkeypatch.setattr(asyncpg, "create_pool", watched)
    return seen


@pytest.fixture
async def store(url: str, statements: list[Statement]) -> AsyncIterator[PostgresStore]:
    async with open_postgres_store(url) as opened:
        yield opened


async def explained(
    db: "Database[asyncpg.Record]", statement: Statement, options: str
) -> dict[str, Any]:
    sql, parameters = statement
    found = await db.fetchval(f"EXPLAIN ({options}, FORMAT JSON) {sql}", *parameters)
    plan: dict[str, Any] = orjson.loads(found)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def pages(db: "Database[asyncpg.Record]", statements: list[Statement]) -> int:
    """Returns how many pages the statements touch; what they change is undone."""
    number = 0
    transaction = db.transaction()
    await transaction.start()
    for statement in statements:
        if not statement[0].startswith(("BEGIN", "COMMIT")):
            plan = await explained(db, statement, "ANALYZE, BUFFERS")
            number += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    await transaction.rollback()
    return number


async def use_everything(store: PostgresStore) -> None:
    conversations = store.conversations
    thread = await add_thread(store, "t")
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
        for before in (None, (NOON, "x")):
            await store.list(user, 10, before)
    await conversations.owner_of_attachment("a")
    await conversations.save_feedback("7", "t", ["i"], "positive", NOON)
    await conversations.count_turn("7", turn())
    await conversations.count_turn("7", turn("INTERNAL"))
    await conversations.delete_item("7", "t", "j")
    await conversations.delete_attachment("7", "a")
    await conversations.delete_thread("7", "t")
    first = await add(store, "s")
    await refresh(store, first, "s2", NOON + 1)
    await found(store, "s")
    await store.get_by_secret(secret_hash("s"))
    await store.delete("s", NOON + 2, NOON + 3)
    await store.claim_cancels(NOON + 3, NOON + 9, 10)
    await store.cancelled("s")
    await store.claim_usage(NOON + 3, NOON + 9, 10)
    await DeleteUserContract().fill(store, "8")
    await conversations.delete_user("8", NOON, NOON + 20)


async def test_every_statement_finds_its_rows_by_an_index_and_no_list_is_sorted(
    url: str, store: PostgresStore, statements: list[Statement]
) -> None:
    await use_everything(store)
    seen = [s for s in statements if not s[0].startswith(("BEGIN", "COMMIT", "ROLLBACK"))]
    # Once a minute it looks at who came within the minute: an index would cost each of them more.
    seen.remove((FORGET_IDLE, ()))
    assert len({sql for sql, _ in seen}) > 40
    async with connected(url) as db:
        # So few rows would be read as they are; so would a statement without an index for it.
        await db.execute("SET enable_seqscan = off; SET enable_sort = off")
        for statement in seen:
            kinds = {node["Node Type"] for node in nodes(await explained(db, statement, "COSTS"))}
            assert "Seq Scan" not in kinds, statement
            if "LIMIT" in statement[0] and "FOR UPDATE" not in statement[0]:
                assert not {"Sort", "Incremental Sort"} & kinds, statement


async def test_a_plan_with_a_scan_or_a_sort_would_be_seen(url: str, store: PostgresStore) -> None:
    async with connected(url) as db:
        await db.execute("SET enable_seqscan = off; SET enable_sort = off")
        plan = await explained(db, ("SELECT id FROM items ORDER BY created_ms", ()), "COSTS")
        assert [node["Node Type"] for node in nodes(plan)] == ["Sort", "Seq Scan"]


async def fill(url: str) -> None:
    """Two users with many threads each, all but the last of them empty."""
    async with connected(url) as db:
        for size in (SMALL, LARGE):
            names = f"SELECT '{size}-' || to_char(n, 'FM000000'), n FROM generate_series(0, $1) n"
            await db.execute(
                "INSERT INTO threads (id, created_ms, user_id, used_ms, data)"
                f" SELECT *, $2, 0, '' FROM ({names}) AS name",
                size - 1,
                str(size),
            )
            await db.execute(
                "INSERT INTO items (id, created_ms, thread_id, kind, data)"
                f" SELECT *, $2, 'task', '' FROM ({names}) AS name",
                size - 1,
                f"{size}-{size - 1:06}",
            )
        await db.execute(
            "INSERT INTO days SELECT scope::text, day, 1, 1, 1, 1, 1, 1, 1, 1, 1"
            " FROM generate_series(1, 200) scope, generate_series($1 - 100, $1) day",
            TODAY,
        )
        await db.execute("ANALYZE")
        tables = await db.fetch(
            "SELECT relpages FROM pg_class WHERE relname IN ('threads', 'items', 'days')"
        )
        assert all(table["relpages"] > MANY_PAGES for table in tables)


async def test_pages_cost_the_same_in_a_long_thread_and_among_many_threads(
    url: str, store: PostgresStore, statements: list[Statement]
) -> None:
    await fill(url)
    conversations = store.conversations
    async with connected(url) as db:
        for size in (SMALL, LARGE):
            user = str(size)
            middle, last = f"{size}-{size // 2:06}", f"{size}-{size - 1:06}"
            item, thread = Item(middle, "user_message", b"{}", NOON), Thread(last, NOON, b"{}")
            page = await conversations.items(user, last, 20, middle, "asc")
            assert len(page) == len(await conversations.threads(user, 20, middle, "asc")) == 20
            for work in (
                conversations.threads(user, 20, None, "asc"),
                conversations.threads(user, 20, middle, "desc"),
                conversations.items(user, last, 20, None, "desc"),
                conversations.items(user, last, 20, middle, "asc"),
                conversations.item(user, last, middle),
                conversations.add_item(user, last, item),
                conversations.save_thread(user, thread),
                conversations.save_feedback(user, last, [middle], "x", NOON),
                conversations.delete_item(user, last, middle),
                store.rollup(user, NOON, TODAY - 29),
                store.rollup(None, NOON, TODAY - 29),
            ):
                statements.clear()
                await work
                assert 0 < await pages(db, list(statements)) <= FEW_PAGES, statements


async def test_a_statement_that_reads_all_would_be_seen(url: str, store: PostgresStore) -> None:
    await fill(url)
    async with connected(url) as db:
        assert await pages(db, [("SELECT count(kind) FROM items", ())]) > FEW_PAGES


async def test_the_newest_opinion_of_each_item_is_kept_as_long_as_the_item(
    url: str, store: PostgresStore
) -> None:
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
    assert await feedback(url) == [*kept, ("u", "i", "positive"), ("u", "j", "positive")]
    await store.conversations.delete_item("7", "u", "j")
    assert await feedback(url) == [*kept, ("u", "i", "positive")]
    await store.conversations.delete_thread("7", "u")
    assert await feedback(url) == kept


async def feedback(url: str) -> list[tuple[Any, ...]]:
    async with connected(url) as db:
        rows = await db.fetch("SELECT thread_id, item_id, kind FROM feedback ORDER BY 1, 2")
        return [tuple(row.values()) for row in rows]


async def test_no_row_of_a_deleted_user_is_left_in_any_table(
    url: str, store: PostgresStore
) -> None:
    await DeleteUserContract().fill(store, "7")
    filled = await rows_by_table(url)
    assert all(filled.values())  # or the test would not see what is left there
    await store.conversations.delete_user("7", NOON, NOON + 20)
    counters = ("totals", "days", "endings", "failures_by_reason", "answer_times")
    for table, rows in (await rows_by_table(url)).items():
        if table == "cancels":  # ids alone, until OpenAI has understood or they expire
            assert rows == 3
        elif table != "schema_version":
            # Each counter was there for the user and for everybody.
            assert rows == (filled[table] // 2 if table in counters else 0), table


async def rows_by_table(url: str) -> dict[str, int]:
    async with connected(url) as db:
        tables = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name: await db.fetchval(f"SELECT count(*) FROM {name}") for (name,) in tables}


async def test_endings_of_the_past_are_not_kept_for_ever(url: str, store: PostgresStore) -> None:
    for hour in range(30):
        await add(store, f"s{hour}", at=NOON + hour * 3_600_000)
    assert (await rows_by_table(url))["endings"] == 2 * 2
    assert (await everything(store, None, NOON + DAY_MS)).totals.sessions == 30


async def test_nobody_is_not_a_user_who_can_be_deleted(store: PostgresStore) -> None:
    await add(store, "a")
    before = await everything(store, None)
    with pytest.raises(ValueError, match="has an id"):
        await store.conversations.delete_user("", NOON, NOON + 20)
    assert await everything(store, None) == before
