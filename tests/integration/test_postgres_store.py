"""The PostgreSQL store: the contract of all stores, and what a server and replicas add to it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from session_service.errors import ThreadNotFound, Unavailable
from session_service.stores import postgres_database, postgres_schema
from session_service.stores.base import CannotOpenStore, DuplicateSession, Session
from session_service.stores.conversations import Item
from session_service.stores.postgres import PostgresStore, open_postgres_store
from tests.integration.store_contract import StoreContract
from tests.integration.store_values import (
    NOON,
    add,
    add_attachment,
    add_item,
    add_thread,
    everything,
    found,
    new_session,
    refresh,
    secret_hash,
    turn,
)
from tests.postgres_support import PostgresServer, connected, waits

ACKNOWLEDGES = """
import asyncio, itertools, sys
from session_service.stores.postgres import open_postgres_store
from tests.integration.store_values import add

async def work(store, numbers):
    for number in numbers:
        session = await add(store, f"s{number}", str(number % 5))
        if number % 7 == 0:
            await store.delete(session.id, session.created_ms + 1, session.created_ms + 2)
        print(session.id, flush=True)

async def main():
    async with open_postgres_store(sys.argv[1]) as store:
        numbers = itertools.count()
        await asyncio.gather(*(work(store, numbers) for _ in range(20)))

asyncio.run(main())
"""


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    async with open_postgres_store(url) as opened:
        yield opened


async def open_and_close(url: str) -> None:
    async with open_postgres_store(url):
        pass


async def check_counters(url: str, store: PostgresStore) -> None:
    """The counters say what the rows say."""
    async with connected(url) as db:
        users = [user for (user,) in await db.fetch("SELECT DISTINCT user_id FROM sessions")]
        for user in (None, *users):
            row = await db.fetchrow(
                "SELECT count(*) FILTER (WHERE refreshed_from IS NULL),"
                " count(*) FILTER (WHERE refreshed_from IS NOT NULL),"
                " count(*) FILTER (WHERE refreshed_from IS NULL AND deleted_ms IS NOT NULL),"
                " coalesce(sum(coalesce(deleted_ms, ends_ms) - created_ms)"
                "  FILTER (WHERE refreshed_from IS NULL), 0),"
                " count(*) FILTER (WHERE refreshed_from IS NULL AND deleted_ms IS NULL)"
                " FROM sessions WHERE $1::text IS NULL OR user_id = $1",
                user,
            )
            rollup = await everything(store, user, NOON + 1)
            totals = rollup.totals
            assert [
                totals.sessions,
                totals.refreshes,
                totals.deleted,
                totals.duration_ms,
                rollup.active,
            ] == list(row or ())


class TestContract(StoreContract):
    """The suite of all stores, on a real server."""


async def test_what_was_stored_is_there_after_a_restart(url: str) -> None:
    async with open_postgres_store(url) as store:
        session = await add(store, "a")
        before = await everything(store, None)
    async with open_postgres_store(url) as store:
        assert await found(store, "a") == session
        assert await everything(store, None) == before


async def test_whatever_was_acknowledged_survives_kill_9(url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ACKNOWLEDGES, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(500)]
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    acknowledged = {line.decode().strip() for line in (*lines, *rest.splitlines(keepends=True))}
    assert len(acknowledged) >= 500
    assert "" not in acknowledged  # it was killed, it did not end
    async with open_postgres_store(url) as store:
        rows = await store.list(None, 1_000_000, None)
        assert acknowledged <= {row.id for row in rows}
        await check_counters(url, store)


async def test_writes_that_come_together_share_commits(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []

    async def watch(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        connection.add_query_logger(lambda record: statements.append(record.query))

    create_pool = asyncpg.create_pool

    def watched(*arguments: Any, **options: Any) -> Any:
        return create_pool(*arguments, **options, init=watch)

    monkeypatch.setattr(asyncpg, "create_pool", watched)
    async with open_postgres_store(url) as store:
        thread = await add_thread(store, "t")
        statements.clear()
        await asyncio.gather(
            *(add(store, f"s{number}") for number in range(500)),
            *(add_item(store, thread, f"i{number}") for number in range(500)),
            *(store.conversations.count_turn("7", turn()) for _ in range(500)),
            *(store.count_failure("7", "INTERNAL", NOON) for _ in range(500)),
        )
        assert 1 <= statements.count("COMMIT") <= 20
        statements.clear()
        await add(store, "alone")
        assert statements.count("COMMIT") == 1
        assert len(statements) == 4  # BEGIN, the session, the counters, COMMIT
        totals = (await everything(store, None)).totals
        assert (totals.sessions, totals.messages, totals.turns) == (501, 500, 500)


async def test_a_write_is_answered_after_its_own_commit(store: PostgresStore, url: str) -> None:
    async with connected(url) as other:
        lock = asyncio.Lock()

        async def add_and_look(name: str) -> object:
            await add(store, name)
            async with lock:
                return await other.fetchval("SELECT id FROM sessions WHERE id = $1", name)

        names = [f"s{number}" for number in range(300)]
        assert await asyncio.gather(*map(add_and_look, names)) == names


async def test_a_bad_row_does_not_fail_its_neighbours(store: PostgresStore) -> None:
    names = [f"s{number // 2 if number % 10 == 1 else number}" for number in range(300)]

    async def try_to_add(name: str, secret: int) -> Session | DuplicateSession:
        session = new_session(name)
        try:
            await store.add(session, secret_hash(str(secret)))
        except DuplicateSession as error:
            return error
        return session

    answers = await asyncio.gather(*(try_to_add(name, n) for n, name in enumerate(names)))
    refused = [answer for answer in answers if isinstance(answer, DuplicateSession)]
    assert len(refused) == len(names) - len(set(names)) > 0
    assert {s.id for s in await store.list(None, 1000, None)} == set(names)
    assert (await everything(store, None)).totals.sessions == len(set(names))


async def test_what_cannot_be_written_fails_alone(store: PostgresStore) -> None:
    """PostgreSQL refuses the whole statement for one text with U+0000 in it."""
    users = ["7", "8\0", "9", *map(str, range(100))]
    answers = await asyncio.gather(
        *(add(store, f"s{number}", user) for number, user in enumerate(users)),
        return_exceptions=True,
    )
    refused = [isinstance(answer, Exception) for answer in answers]
    assert refused == [False, True, *[False] * 101]
    assert isinstance(answers[1], asyncpg.DataError)
    assert (await everything(store, None)).totals.sessions == 102


async def test_refreshes_of_one_session_in_one_batch_follow_each_other(
    store: PostgresStore, url: str
) -> None:
    first = await add(store, "a")
    names = [f"b{number}" for number in range(20)]
    await asyncio.gather(*(refresh(store, first, name, NOON + 1) for name in names))
    rows = {row.id: row for row in await store.list("7", 100, None)}
    assert rows["a"].refreshed_to in names
    assert (await everything(store, "7")).totals.refreshes == 20
    await check_counters(url, store)


async def test_a_caller_who_leaves_takes_nobody_along(store: PostgresStore) -> None:
    writes = [asyncio.create_task(add(store, f"s{number}")) for number in range(100)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    assert all(write.cancelled() for write in writes[::2])
    stored = {session.id for session in await store.list(None, 1000, None)}
    assert {f"s{number}" for number in range(1, 100, 2)} <= stored
    assert (await everything(store, None)).totals.sessions == len(stored)


async def test_a_caller_who_leaves_does_not_interrupt_a_delete(url: str) -> None:
    async with open_postgres_store(url) as store:
        await add(store, "a")
        async with connected(url) as other, other.transaction():
            await other.execute("SELECT 1 FROM sessions WHERE id = 'a' FOR UPDATE")
            delete = asyncio.create_task(store.delete("a", NOON + 1, NOON + 5))
            await waits(url)
            delete.cancel()
            await asyncio.wait([delete])
        # To close a store is to finish what has begun.
    async with open_postgres_store(url) as store:
        assert (await found(store, "a")).deleted_ms == NOON + 1
        await check_counters(url, store)


async def test_a_lock_that_is_not_given_up_makes_writes_unavailable_until_it_is(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_database._TIMEOUTS, "lock_timeout", "100ms")
    async with open_postgres_store(url) as store:
        await add(store, "before")
        async with connected(url) as other, other.transaction():
            await other.execute("SELECT 1 FROM totals WHERE scope = '' FOR UPDATE")
            with capture_logs() as logged:
                failed = await asyncio.gather(
                    *(add(store, f"s{number}") for number in range(10)), return_exceptions=True
                )
            assert [line["event"] for line in logged] == ["store failed"]  # once for all
            assert [type(failure) for failure in failed] == [Unavailable] * 10
            assert not any("lock" in str(failure) for failure in failed)
            assert (await found(store, "before")).user_id == "7"
        await add(store, "after")
        assert (await everything(store, None)).totals.sessions == 2


async def test_a_transaction_that_was_left_open_does_not_stop_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a replica whose machine stands still."""
    monkeypatch.setitem(postgres_database._TIMEOUTS, "idle_in_transaction_session_timeout", "200ms")
    async with open_postgres_store(url) as frozen, open_postgres_store(url) as store:
        await add(store, "a")
        with contextlib.suppress(*postgres_database.DRIVER_ERRORS):  # as PostgreSQL cuts it off
            async with frozen._database._connection() as db:
                await db.execute("BEGIN")
                await db.execute("UPDATE totals SET sessions = 99 WHERE scope = ''")
                await add(store, "b")
        assert (await everything(store, None)).totals.sessions == 2
        await add(frozen, "c")


# Opening


async def test_ten_may_open_an_empty_database_at_once(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    await asyncio.gather(*(open_and_close(url) for _ in range(10)))
    async with connected(url) as db:
        assert await db.fetchval("SELECT array_agg(version) FROM schema_version") == [
            len(postgres_schema.MIGRATIONS)
        ]


async def test_a_newer_schema_cannot_be_opened_and_is_left_alone(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    async with open_postgres_store(url) as store:
        await add(store, "a")
    async with connected(url) as db:
        await db.execute("UPDATE schema_version SET version = 99")
        with pytest.raises(CannotOpenStore, match="newer release"):
            await open_and_close(url)
        assert await db.fetchval("SELECT version FROM schema_version") == 99
        assert await db.fetchval("SELECT id FROM sessions") == "a"


async def test_a_migration_is_done_whole_or_not_at_all(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await postgres.new_database()
    broken = (*postgres_schema.MIGRATIONS, ("CREATE TABLE new (x nonsense)",))
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", broken)
    with pytest.raises(CannotOpenStore, match="nonsense"):
        await open_and_close(url)
    async with connected(url) as db:
        assert not await db.fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
    monkeypatch.undo()
    async with open_postgres_store(url) as store:
        await add(store, "a")


async def test_a_database_that_cannot_hold_every_text_is_refused(postgres: PostgresServer) -> None:
    url = await postgres.new_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(CannotOpenStore, match="LATIN1"):
        await open_and_close(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://me:s3cr3t-word@127.0.0.1:1/d", "Connect call failed"),
        ("postgresql://me:s3cr3t-word@name.invalid/d", ""),
        ("postgresql://me:s3cr3t-word@127.0.0.1:1/d?sslmode=maybe", "sslmode"),
        ("postgresql://me:s3cr3t-word@127.0.0.1:99999/d", ""),
    ],
)
async def test_why_a_database_cannot_be_opened_is_said_without_its_password(
    url: str, says: str
) -> None:
    with pytest.raises(CannotOpenStore) as caught:
        await open_and_close(url)
    assert says in str(caught.value)
    assert len(str(caught.value)) > 10
    assert "s3cr3t" not in str(caught.value)


async def test_a_database_that_is_not_there_cannot_be_opened(postgres: PostgresServer) -> None:
    with pytest.raises(CannotOpenStore, match='"nowhere" does not exist'):
        await open_and_close(postgres.url("nowhere"))


async def test_connections_say_whose_they_are_and_how_long_they_wait(store: PostgresStore) -> None:
    for name, value in {
        "application_name": "chatkit session service",
        "statement_timeout": "10s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "2s",
        "transaction_isolation": "read committed",
    }.items():
        ((found_value,),) = await store._database.fetch(f"SHOW {name}")
        assert found_value == value


async def test_a_process_has_eight_connections_at_most(url: str, store: PostgresStore) -> None:
    async def look() -> None:
        await store._database.fetch("SELECT pg_sleep(0.05)")

    await asyncio.gather(*(look() for _ in range(30)), *(add(store, f"s{n}") for n in range(30)))
    async with connected(url) as db:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        assert await db.fetchval(sql, "chatkit session service") == 8


# Ids that nothing has


async def test_what_no_id_can_be_is_not_there(store: PostgresStore) -> None:
    """Clients may ask for anything; PostgreSQL has no U+0000 in a text."""
    await add_item(store, await add_thread(store, "t"), "i")
    nothing = "i\0"
    conversations = store.conversations
    assert await store.get(nothing) is None
    assert await conversations.thread("7", nothing) is None
    assert await conversations.item("7", "t", nothing) is None
    assert await conversations.attachment(None, nothing) is None
    assert await conversations.owner_of_attachment(nothing) is None
    assert not await conversations.items("7", "t", 10, nothing, "asc")
    assert not await conversations.threads("7", 10, nothing, "asc")
    assert not await conversations.delete_thread("7", nothing)
    await conversations.delete_item("7", "t", nothing)
    await conversations.delete_attachment("7", nothing)
    with pytest.raises(ThreadNotFound):
        await conversations.save_feedback("7", "t", [nothing], "positive", NOON)
    with pytest.raises(ThreadNotFound):
        await conversations.add_item("7", nothing, Item("i", "task", b"", NOON))
    with pytest.raises(ThreadNotFound):
        await conversations.save_attachment(
            "7", (await add_attachment(store, "a")).__class__("b", "", "", 0, 0, thread_id=nothing)
        )
