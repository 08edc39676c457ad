"""What happens to the PostgreSQL store when connections end: restarts, failovers, kill -9."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from session_service.errors import Unavailable
from session_service.stores import postgres_database
from session_service.stores.changes import Changes
from session_service.stores.postgres import PostgresStore, open_postgres_store
from session_service.stores.postgres_database import Connection
from tests.integration.store_values import NOON, add, everything, found
from tests.integration.test_postgres_store import check_counters
from tests.postgres_support import (
    Network,
    PostgresServer,
    connected,
    network_to,
    running_postgres,
    waits,
)

END_ALL = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that may be stopped: others go on with theirs."""
    with running_postgres() as running:
        yield running


@pytest.fixture
async def url(server: PostgresServer) -> str:
    return await server.clean_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    async with open_postgres_store(url) as opened:
        yield opened


class Load:
    """Callers who create sessions for as long as it lasts, each the next when it has an answer."""

    def __init__(self, store: PostgresStore) -> None:
        self.acknowledged: set[str] = set()
        self.failed: list[Exception] = []
        self._store = store
        self._numbers = itertools.count()
        self._more = asyncio.Condition()
        self._stopping = False

    async def run(self) -> None:
        await asyncio.gather(*(self._call() for _ in range(20)))

    async def _call(self) -> None:
        while not self._stopping:
            name = f"s{next(self._numbers)}"
            try:
                await add(self._store, name, name[-1])
                self.acknowledged.add(name)
            except Exception as error:
                self.failed.append(error)
                await asyncio.sleep(0.01)
            async with self._more:
                self._more.notify_all()

    async def more(self, number: int) -> None:
        """Returns when so many more were acknowledged."""
        enough = len(self.acknowledged) + number
        async with asyncio.timeout(60), self._more:
            await self._more.wait_for(lambda: len(self.acknowledged) >= enough)

    def stop(self) -> None:
        self._stopping = True


async def restarted(server: PostgresServer, url: str) -> None:
    await server.restart()


async def killed(server: PostgresServer, url: str) -> None:
    await server.kill()
    await server.start()


async def ended_by_an_administrator(server: PostgresServer, url: str) -> None:
    async with connected(url) as db:
        await db.execute(END_ALL)


Event = Callable[[PostgresServer, str], Awaitable[None]]


@pytest.mark.parametrize("event", [restarted, killed, ended_by_an_administrator])
async def test_what_was_acknowledged_is_there_and_the_next_calls_work(
    event: Event, server: PostgresServer, url: str, store: PostgresStore
) -> None:
    load = Load(store)
    running = asyncio.create_task(load.run())
    await load.more(100)
    await event(server, url)
    await load.more(100)
    load.stop()
    await running
    assert {type(error) for error in load.failed} <= {Unavailable}
    stored = {session.id for session in await store.list(None, 1_000_000, None)}
    assert load.acknowledged <= stored
    await check_counters(url, store)


@pytest.mark.parametrize("event", [restarted, killed, ended_by_an_administrator])
async def test_a_store_that_nobody_uses_meanwhile_does_not_notice(
    event: Event, server: PostgresServer, url: str, store: PostgresStore
) -> None:
    await add(store, "a")
    await asyncio.gather(*(found(store, "a") for _ in range(20)))
    await event(server, url)
    assert (await found(store, "a")).id == "a"
    await add(store, "b")
    assert await store.delete("a", NOON + 1, NOON + 5) == ["a"]
    await check_counters(url, store)


async def test_while_the_server_is_away_calls_are_unavailable(
    server: PostgresServer, url: str, store: PostgresStore
) -> None:
    await add(store, "a")
    await server.kill()
    for call in (
        store.get("a"),
        add(store, "b"),
        store.delete("a", NOON, NOON),
        store.cancelled("a"),
    ):
        with pytest.raises(Unavailable):
            await call
    await server.start()
    assert (await found(store, "a")).deleted_ms is None
    await add(store, "b")


async def test_a_write_that_was_certainly_not_done_is_done_again(
    url: str, store: PostgresStore
) -> None:
    """Its connection ended before the commit was sent."""
    await add(store, "a")
    async with connected(url) as other, other.transaction():
        await other.execute("SELECT 1 FROM totals WHERE scope = '' FOR UPDATE")
        writes = [
            asyncio.create_task(add(store, "b")),
            asyncio.create_task(store.delete("a", NOON + 1, NOON + 5)),
        ]
        await waits(url)
        await other.execute(END_ALL)
        await waits(url)
    await asyncio.gather(*writes)
    assert (await found(store, "a")).deleted_ms == NOON + 1
    assert (await everything(store, None)).totals.sessions == 2
    await check_counters(url, store)


async def test_a_read_is_read_again(url: str, store: PostgresStore) -> None:
    await add(store, "a")
    async with connected(url) as other, other.transaction():
        await other.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
        read = asyncio.create_task(found(store, "a"))
        await waits(url)
        await other.execute(END_ALL)
        await waits(url)
    assert (await read).id == "a"


async def test_a_write_that_may_have_been_done_is_not_done_again(
    url: str, store: PostgresStore
) -> None:
    """The connection ends while the commit is on its way: the caller has to look."""
    await add(store, "a")
    async with connected(url) as db:
        # A constraint that is checked in the commit gives the time to end its connection there.
        await db.execute(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$"
        )
        await db.execute(
            "CREATE CONSTRAINT TRIGGER lingers AFTER INSERT ON sessions"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()"
        )
        try:
            write = asyncio.create_task(add(store, "b"))
            sql = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event = 'PgSleep' AND query = 'COMMIT'"
            )
            async with asyncio.timeout(30):
                while not await db.fetch(sql):
                    await db.execute("SELECT pg_sleep(0.01)")
            with pytest.raises(Unavailable):
                await write
        finally:
            await db.execute("DROP FUNCTION linger CASCADE")
    await add(store, "c")
    assert (await everything(store, None)).totals.sessions == 2


async def test_a_primary_that_became_a_standby_is_left(url: str, store: PostgresStore) -> None:
    """Old connections stay on it and refuse to write, new ones find who has taken over."""
    async with connected(url) as db:
        await db.execute("ALTER DATABASE clean SET default_transaction_read_only = on")
        try:
            await db.execute(END_ALL)
            with pytest.raises(Unavailable):
                await add(store, "a")
            assert await store.get("a") is None
        finally:
            await db.execute("SET default_transaction_read_only = off")
            await db.execute("ALTER DATABASE clean SET default_transaction_read_only = off")
    await asyncio.gather(*(add(store, f"s{number}") for number in range(30)))
    await store.cancel_later("x", NOON + 9, NOON + 5)
    assert (await everything(store, None)).totals.sessions == 30


@pytest.fixture
async def network(url: str) -> AsyncIterator[Network]:
    async with network_to(url) as network:
        yield network


async def test_a_network_that_breaks_is_like_a_connection_that_ends(
    network: Network, url: str
) -> None:
    async with open_postgres_store(network.url) as store:
        load = Load(store)
        running = asyncio.create_task(load.run())
        for _ in range(5):
            await load.more(50)
            network.cut()
        await load.more(50)
        load.stop()
        await running
        assert {type(error) for error in load.failed} <= {Unavailable}
        stored = {session.id for session in await store.list(None, 1_000_000, None)}
        assert load.acknowledged <= stored
        await check_counters(url, store)


async def test_a_network_that_loses_everything_is_not_waited_for_for_ever(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_ANSWER_SECONDS", "_CONNECT_SECONDS"):
        monkeypatch.setattr(postgres_database, name, 1.0)
    async with open_postgres_store(network.url) as store:
        await add(store, "a")
        network.lose()
        async with asyncio.timeout(60):
            for call in (store.get("a"), add(store, "b"), store.delete("a", NOON, NOON)):
                with pytest.raises(Unavailable):
                    await call
        network.mend()
        assert (await found(store, "a")).deleted_ms is None
        await add(store, "c")


async def test_of_two_transactions_that_wait_for_each_other_both_are_done(
    url: str, store: PostgresStore
) -> None:
    """Ours lock in one order; others, such as an administrator's, may not."""
    for name in "ab":
        await add(store, name)

    both = asyncio.Barrier(2)
    numbers: list[int] = []

    async def change(first: str, second: str) -> None:
        tries: list[None] = []

        async def work(db: Connection, changes: Changes) -> None:
            tries.append(None)
            await db.execute("SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE", first)
            if len(tries) == 1:
                await both.wait()
            await db.execute("UPDATE sessions SET mode = mode || '!' WHERE id = $1", second)

        await store._database.write(work)
        numbers.append(len(tries))

    await asyncio.gather(change("a", "b"), change("b", "a"))
    assert sorted(numbers) == [1, 2]
    assert [session.mode for session in await store.list("7", 10, None)] == ["hosted!"] * 2
