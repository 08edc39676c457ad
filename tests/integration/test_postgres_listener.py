"""What several processes with one PostgreSQL tell each other, and what they lock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from session_service.errors import Unavailable
from session_service.stores import postgres_listener
from session_service.stores.deletions import Deletion, Kind
from session_service.stores.postgres import PostgresStore, open_postgres_store
from tests.integration.store_contract_self_hosted import never
from tests.integration.store_values import NOON, add
from tests.postgres_support import Network, connected, network_to
from tests.support import eventually

END_LISTENERS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND query ~ 'LISTEN|advisory|backend_start|SELECT 1$'"
    " AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def network(url: str) -> AsyncIterator[Network]:
    async with network_to(url) as network:
        yield network


@pytest.fixture
async def here(network: Network) -> AsyncIterator[PostgresStore]:
    """A store with a network that can break."""
    async with open_postgres_store(network.url) as store:
        yield store


@pytest.fixture
async def there(url: str) -> AsyncIterator[PostgresStore]:
    async with open_postgres_store(url) as store:
        yield store


class Told:
    """What a store tells of deletions."""

    def __init__(self) -> None:
        self.all: list[Deletion | None] = []
        self._more = asyncio.Condition()

    async def listen(self, store: PostgresStore) -> None:
        async for deletion in store.deletions():
            async with self._more:
                self.all.append(deletion)
                self._more.notify_all()

    async def hears(self, deletion: Deletion | None) -> None:
        """Waits for it, and forgets what was told so far."""
        async with asyncio.timeout(60), self._more:
            await self._more.wait_for(lambda: deletion in self.all)
            self.all.clear()


@contextlib.asynccontextmanager
async def listening(store: PostgresStore) -> AsyncIterator[Told]:
    told = Told()
    task = asyncio.create_task(told.listen(store))
    await told.hears(None)  # it is connected
    yield told
    task.cancel()


async def lock(store: PostgresStore, lost: Callable[[], None] = never) -> contextlib.AsyncExitStack:
    """Answers in a thread until the stack is closed."""
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(store.conversations.answering("7", "t", lost))
    return stack


async def is_locked(url: str) -> bool:
    """Looks by a connection of its own, which leaves no lock."""
    async with connected(url) as db, db.transaction():
        key = postgres_listener._key("7", "t")
        return not await db.fetchval("SELECT pg_try_advisory_xact_lock($1)", key)


async def freed(url: str) -> None:
    async def is_free() -> bool:
        return not await is_locked(url)

    await eventually(is_free)


async def test_all_processes_hear_of_a_delete(here: PostgresStore, there: PostgresStore) -> None:
    async with listening(here) as one, listening(there) as other:
        await add(here, "a")
        await here.delete("a", NOON, NOON + 5)
        await there.conversations.delete_user("7é", NOON, NOON + 5)
        for told in (one, other):
            await told.hears(Deletion(Kind.USER, "7é"))


async def test_a_notification_of_a_newer_release_is_passed_over(
    here: PostgresStore, there: PostgresStore, url: str
) -> None:
    async with listening(here) as told:
        async with connected(url) as db:
            await db.execute("SELECT pg_notify('chatkit_deleted', 'workspace 9')")
            await db.execute("SELECT pg_notify('chatkit_deleted', '')")
        await there.conversations.delete_user("7", NOON, NOON + 5)
        await told.hears(Deletion(Kind.USER, "7"))


async def test_processes_answer_in_a_thread_one_after_the_other(
    here: PostgresStore, there: PostgresStore
) -> None:
    inside = 0

    async def answer(store: PostgresStore) -> None:
        nonlocal inside
        async with store.conversations.answering("7", "t", never):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.01)
            inside -= 1

    async with asyncio.timeout(60):
        await asyncio.gather(*(answer(store) for store in (here, there) for _ in range(5)))


async def test_a_process_that_stops_leaves_no_lock(here: PostgresStore, url: str) -> None:
    async with open_postgres_store(url) as stopping:
        answering = await lock(stopping)
        assert await is_locked(url)
    async with asyncio.timeout(30):
        await (await lock(here)).aclose()
    await answering.aclose()


async def test_who_leaves_while_the_database_is_asked_leaves_no_lock(
    here: PostgresStore, network: Network, url: str
) -> None:
    await (await lock(here)).aclose()
    await freed(url)
    network.lose()
    asking = asyncio.create_task(lock(here))
    await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.wait([asking])
    network._carries.set()  # what was lost is only late

    await freed(url)


async def test_what_was_deleted_while_the_connection_was_broken_may_not_have_been_told(
    here: PostgresStore, there: PostgresStore, network: Network, url: str
) -> None:
    async with listening(here) as told:
        network.lose()
        async with connected(url) as db:
            await db.execute(END_LISTENERS)
        await there.conversations.delete_user("8", NOON, NOON + 5)
        network.mend()
        await told.hears(None)
        await there.conversations.delete_user("7", NOON, NOON + 5)
        await told.hears(Deletion(Kind.USER, "7"))


# The driver's, whose connection is not even complete when it is dropped.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_does_not_say_who_it_is_is_asked_again(
    here: PostgresStore, there: PostgresStore, network: Network
) -> None:
    async with listening(here) as told:
        network.nonsense = b"Z\0\0\0\x05I"  # it is ready, and has no version
        network.cut()
        await told.hears(None)
        assert not network.nonsense
        await there.conversations.delete_user("7", NOON, NOON + 5)
        await told.hears(Deletion(Kind.USER, "7"))


async def test_a_lock_outlives_its_connection(
    here: PostgresStore, network: Network, url: str
) -> None:
    async with listening(here) as told:
        answering = await lock(here)
        for breaks in (network.cut, network.leave_the_server_waiting):
            breaks()
            await told.hears(None)
            assert await is_locked(url)
        await answering.aclose()
        await freed(url)


async def test_whose_thread_another_process_has_taken_meanwhile_is_told(
    here: PostgresStore, there: PostgresStore, network: Network, url: str
) -> None:
    lost = asyncio.Event()
    answering = await lock(here, lost.set)
    network.lose()
    async with connected(url) as db:
        await db.execute(END_LISTENERS)
    taken = await lock(there)
    network.mend()
    async with asyncio.timeout(30):
        await lost.wait()
    await answering.aclose()
    assert await is_locked(url)  # by the other
    await taken.aclose()
    await freed(url)


async def test_a_network_that_loses_everything_is_noticed(
    here: PostgresStore, there: PostgresStore, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_listener, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(postgres_listener, "_PATIENCE_SECONDS", 1.0)
    async with listening(here) as told:
        network.lose()

        async def is_noticed() -> bool:
            return not here._listener._connected.is_set()

        await eventually(is_noticed)
        with pytest.raises(Unavailable):
            await lock(here)
        network.mend()
        await told.hears(None)
        await (await lock(here)).aclose()
