"""Messages are counted from OpenAI's threads: exactly, once, and with few calls."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from runtime import log as logs
from session_service import usage
from session_service.circuit import Circuit
from session_service.errors import InvalidAPIKey
from session_service.openai_api import ChatKitAPI
from session_service.openai_client import Client, open_client
from session_service.sessions import now_ms
from session_service.statistics import statistics
from session_service.stores.base import DAY_MS, Session, Store, Totals
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import SQLiteStore, open_sqlite_store
from session_service.usage import UsageSync
from tests.integration.store_values import secret_hash
from tests.postgres_support import PostgresServer
from tests.support import Emulator, eventually, open_session_service, settings_for

USER_MESSAGE = "chatkit.user_message"
ASSISTANT_MESSAGE = "chatkit.assistant_message"
MINUTE = 60_000
HOUR = 60 * MINUTE
INTERVAL_MS = MINUTE


class Clock:
    """The time of the sync, which the tests move."""

    def __init__(self) -> None:
        self.ms = now_ms()

    def __call__(self) -> int:
        return self.ms

    def forward(self, milliseconds: int = INTERVAL_MS) -> None:
        self.ms += milliseconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(usage, "now_ms", clock)
    return clock


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as opened:
        yield opened


@pytest.fixture
async def sync(store: SQLiteStore, emulator: Emulator, clock: Clock) -> AsyncIterator[UsageSync]:
    async with open_client(emulator.url) as client:
        yield sync_of(store, client)


def sync_of(store: Store, client: Client) -> UsageSync:
    api = ChatKitAPI(
        client,
        Circuit("chatkit", 5),
        api_key="sk-test",
        workflow_id="wf_test",
        file_upload=True,
    )
    return UsageSync(store, api, INTERVAL_MS / 1000)


async def add_session(store: Store, user: str = "7", lives_ms: int = 600_000) -> None:
    """One that began a while ago and lives so long from now."""
    name, now = f"{user} {lives_ms}", now_ms()
    session = Session(name, name, user, "wf_test", now - HOUR, now + lives_ms)
    await store.add(session, secret_hash(name))


async def rounds(sync: UsageSync, clock: Clock) -> None:
    """As many as it takes to look at everybody who is not finished, however idle."""
    for _ in range(10):
        await sync.count()
        clock.forward(20 * INTERVAL_MS)


async def totals(store: Store, user: str | None = "7") -> Totals:
    return (await statistics(store, user, None)).totals


async def test_messages_of_the_user_and_of_the_assistant_count_and_nothing_else(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store)
    thread = await emulator.add_thread("7")
    for kind in ("widget", "client_tool_call", "task", "task_group"):
        await emulator.add_items(thread, f"chatkit.{kind}", count=3)
    await emulator.add_items(thread, USER_MESSAGE, count=2)
    await emulator.add_items(thread, ASSISTANT_MESSAGE, count=5)
    other = await emulator.add_thread("7")
    await emulator.add_items(other, USER_MESSAGE)
    theirs = await emulator.add_thread("8")
    await emulator.add_items(theirs, USER_MESSAGE, count=50)
    await sync.count()
    for user in (None, "7"):
        counted = await totals(store, user)
        assert (counted.messages, counted.messages_updated_ms) == (8, clock.ms)
    assert await totals(store, "8") == Totals()


async def test_more_than_a_page_is_counted_exactly(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator
) -> None:
    await add_session(store)
    thread = await emulator.add_thread("7")
    await emulator.add_items(thread, USER_MESSAGE, count=250)
    for _ in range(3):
        empty = await emulator.add_thread("7")
        await emulator.add_items(empty, "chatkit.widget")
    await sync.count()
    assert (await totals(store)).messages == 250
    pages = [r for r in await emulator.requests("threads.items") if thread in r["path"]]
    assert len(pages) == 3


async def test_a_user_with_more_threads_than_a_page_has_all_of_them_found(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store)
    threads = [await emulator.add_thread("7") for _ in range(105)]
    await sync.count()
    assert await store.known_threads("7", threads) == set(threads)
    newer = [await emulator.add_thread("7") for _ in range(3)]
    clock.forward()
    await sync.count()
    assert await store.known_threads("7", newer) == set(newer)
    # Two pages at first, then one, on which are threads that are known.
    assert len(await emulator.requests("threads.list")) == 3


async def test_messages_are_updated_only_when_every_thread_has_been_read(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store)
    for _ in range(133):
        await emulator.add_items(await emulator.add_thread("7"), USER_MESSAGE)
    began_ms = clock.ms
    seen = []
    for _ in range(3):
        await sync.count()
        counted = await totals(store)
        seen.append((counted.messages, counted.messages_updated_ms))
        clock.forward()
    # The second look reads what the first has left; of those read then, some are read again.
    assert seen[0][0] >= 100
    assert seen[0][1] is None
    assert seen[1] == (133, began_ms)
    assert seen[2][0] == 133


async def test_messages_in_a_thread_that_is_not_looked_at_are_not_claimed_to_be_counted(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store, lives_ms=10 * HOUR)
    threads = [await emulator.add_thread("7") for _ in range(60)]
    for thread in threads:
        await emulator.add_items(thread, USER_MESSAGE)
    await sync.count()
    assert (await totals(store)).messages_updated_ms == clock.ms
    chosen = {thread.thread_id for thread in await store.threads("7", 10, 10)}
    clock.forward()
    written_ms = clock.ms - 1000
    await emulator.add_items(
        next(t for t in threads if t not in chosen), USER_MESSAGE, created_at=written_ms // 1000
    )
    for _ in range(8):
        await sync.count()
        counted = await totals(store)
        assert counted.messages_updated_ms is not None
        assert counted.messages == 61 or counted.messages_updated_ms < written_ms
        clock.forward()
    assert counted.messages == 61
    assert (counted.messages_updated_ms or 0) > written_ms


async def test_the_lines_of_one_user_have_the_name_that_openai_gets(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator
) -> None:
    for user in ("7", "8"):
        await add_session(store, user)
    await emulator.fail("threads.list", status=400, times=2)
    names: list[str | None] = []

    def remember(_: object, __: str, event: EventDict) -> EventDict:
        if "not counted" in event["event"]:
            names.append(logs.request_id.get(None))
        return event

    with capture_logs(processors=[remember]):
        await asyncio.create_task(sync.count())
    sent = [r["headers"]["x-client-request-id"] for r in await emulator.requests("threads.list")]
    assert names == sent
    assert len(set(sent)) == 2


async def test_only_what_is_new_is_read_and_nothing_counts_twice(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store)
    thread = await emulator.add_thread("7")
    await emulator.add_items(thread, USER_MESSAGE, count=120)
    seen = []
    for new in (0, 1, 0, 3):
        if new:
            await emulator.add_items(thread, ASSISTANT_MESSAGE, count=new)
        await sync.count()
        clock.forward()
        seen.append((await totals(store)).messages)
    assert seen == [120, 121, 121, 124]
    requests = await emulator.requests("threads.items")
    # Two pages at first, one with a cursor in each of the other rounds.
    assert len(requests) == 5
    assert "after" not in requests[0]["query"]
    cursors = [request["query"]["after"] for request in requests[1:]]
    assert len(set(cursors)) == 3  # the round that found nothing did not move it
    assert (await totals(store, None)).messages == 124


async def test_a_round_in_which_nobody_is_due_asks_nothing(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator
) -> None:
    await add_session(store)
    await sync.count()
    asked = len(await emulator.requests())
    await sync.count()
    assert len(await emulator.requests()) == asked > 0


async def test_messages_count_on_the_day_they_were_written(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store)
    thread = await emulator.add_thread("7")
    midnight = clock.ms // DAY_MS * DAY_MS // 1000
    for at, count in ((midnight - 86_400, 1), (midnight - 1, 2), (midnight, 3)):
        await emulator.add_items(thread, USER_MESSAGE, created_at=at, count=count)
    # A clock that is ahead of ours counts as now.
    ahead = clock.ms // 1000 + 30 * 86_400
    await emulator.add_items(thread, USER_MESSAGE, created_at=ahead)
    await sync.count()
    stats = await statistics(store, "7", 2, clock.ms)
    assert [day.messages for day in stats.daily] == [3, 4]
    assert (stats.today.messages, stats.totals.messages) == (4, 7)
    assert stats.totals.last_activity_ms == clock.ms


async def test_users_who_do_not_write_are_looked_at_ever_less_often(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store, lives_ms=10 * HOUR)
    looks = []
    for round_number in range(52):
        before = len(await emulator.requests())
        await sync.count()
        if len(await emulator.requests()) > before:
            looks.append(round_number)
        clock.forward()
    assert looks == [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 51]


async def test_who_writes_again_is_looked_at_often_again(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store, lives_ms=10 * HOUR)
    for _ in range(12):  # the next look is due in eight rounds
        await sync.count()
        clock.forward()
    await emulator.add_items(await emulator.add_thread("7"), USER_MESSAGE)
    clock.forward(7 * INTERVAL_MS)
    for _ in range(3):
        before = len(await emulator.requests())
        await sync.count()
        assert len(await emulator.requests()) > before
        clock.forward()


async def test_a_user_is_finished_when_no_answer_can_come_any_more(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store, "done", lives_ms=-2 * MINUTE)
    await add_session(store, "answered", lives_ms=-MINUTE // 2)
    await emulator.add_items(await emulator.add_thread("done"), USER_MESSAGE)
    asked = []
    for _ in range(3):
        await sync.count()
        clock.forward(20 * INTERVAL_MS)
        asked.append([r["query"]["user"] for r in await emulator.requests("threads.list")])
    assert sorted(asked[0]) == ["answered", "done"]
    assert sorted(asked[1]) == sorted(asked[2]) == ["answered", "answered", "done"]
    assert (await totals(store, "done")).messages == 1


async def test_a_user_who_is_finished_has_had_every_thread_read(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store, lives_ms=-2 * MINUTE)
    for _ in range(45):
        await emulator.add_items(await emulator.add_thread("7"), USER_MESSAGE)
    await rounds(sync, clock)
    assert (await totals(store)).messages == 45


async def test_the_last_message_before_the_end_counts_in_whatever_thread(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store, lives_ms=4 * MINUTE)
    threads = [await emulator.add_thread("7") for _ in range(45)]
    for thread in threads:
        await emulator.add_items(thread, USER_MESSAGE)
    for _ in range(5):
        await sync.count()
        clock.forward(MINUTE // 2)
    # In one that is neither among the latest nor the next in turn.
    chosen = {thread.thread_id for thread in await store.threads("7", 10, 10)}
    await emulator.add_items(next(t for t in threads if t not in chosen), USER_MESSAGE)
    clock.forward(HOUR)
    await rounds(sync, clock)
    assert (await totals(store)).messages == 46


async def test_the_budget_is_kept_and_the_next_round_begins_with_who_was_left_over(
    store: SQLiteStore,
    sync: UsageSync,
    emulator: Emulator,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usage, "CALLS_PER_ROUND", 5)
    users = [f"u{number}" for number in range(5)]
    for user in users:
        await add_session(store, user)
        await emulator.add_items(await emulator.add_thread(user), USER_MESSAGE)
    counted = []
    for number in range(1, 4):
        await sync.count()
        assert len(await emulator.requests()) <= 5 * number
        counted.append((await totals(store, None)).messages)
        clock.forward()
    assert counted == [2, 4, 5]


@pytest.mark.parametrize("lives_ms", [HOUR, -HOUR])
async def test_a_thread_that_is_longer_than_the_budget_is_counted_over_rounds(
    lives_ms: int,
    store: SQLiteStore,
    sync: UsageSync,
    emulator: Emulator,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usage, "CALLS_PER_ROUND", 3)
    await add_session(store, lives_ms=lives_ms)
    await emulator.add_items(await emulator.add_thread("7"), USER_MESSAGE, count=450)
    seen = []
    for _ in range(4):
        await sync.count()
        seen.append((await totals(store)).messages)
        clock.forward()
    assert seen == [200, 400, 450, 450]


async def test_a_thread_of_which_a_page_fails_is_read_to_its_end_later(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store, lives_ms=-HOUR)
    await emulator.add_items(await emulator.add_thread("7"), USER_MESSAGE, count=150)
    # Each is for one request: the first page as usual, the second one fails.
    await emulator.fail("threads.items", kind="delay")
    await emulator.fail("threads.items", status=400)
    await sync.count()
    assert (await totals(store)).messages == 100
    clock.forward()
    await sync.count()
    assert (await totals(store)).messages == 150


async def test_a_thread_that_is_gone_is_not_asked_for_again_and_its_messages_stay(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store)
    gone = await emulator.add_thread("7")
    stays = await emulator.add_thread("7")
    for thread in (gone, stays):
        await emulator.add_items(thread, USER_MESSAGE, count=2)
    await sync.count()
    await emulator.delete_thread(gone)
    await emulator.add_items(stays, USER_MESSAGE)
    for _ in range(2):
        clock.forward()
        await sync.count()
    assert (await totals(store)).messages == 5
    asked = [r for r in await emulator.requests("threads.items") if gone in r["path"]]
    assert [request["status"] for request in asked] == [200, 404]


async def test_one_users_failure_is_not_anothers(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    for user in ("7", "8"):
        await add_session(store, user)
        await emulator.add_items(await emulator.add_thread(user), USER_MESSAGE)
    await emulator.fail("threads.list", status=400)
    await sync.count()
    assert (await totals(store, None)).messages == 1
    clock.forward()
    await sync.count()
    assert (await totals(store, None)).messages == 2


async def test_a_round_in_which_openai_fails_is_given_up(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator
) -> None:
    for number in range(10):
        await add_session(store, f"u{number}")
    await emulator.fail("threads.list", status=403, times=None)
    await sync.count()
    assert len(await emulator.requests()) == 3
    assert (await totals(store, None)).messages_updated_ms is None


async def test_who_comes_back_during_a_round_is_not_forgotten(
    store: SQLiteStore, sync: UsageSync, emulator: Emulator, clock: Clock
) -> None:
    await add_session(store, lives_ms=-HOUR)
    thread = await emulator.add_thread("7")
    await emulator.fail("threads.items", kind="delay", delay_seconds=0.3)

    async def begun() -> bool:
        return bool(await emulator.requests("threads.items"))

    async with asyncio.TaskGroup() as group:
        group.create_task(sync.count())
        await eventually(begun)
        await add_session(store)
    await emulator.add_items(thread, USER_MESSAGE)
    clock.forward()
    await sync.count()
    assert (await totals(store)).messages == 1


async def test_without_a_key_nobody_is_asked(store: SQLiteStore, emulator: Emulator) -> None:
    await add_session(store)
    async with open_client(emulator.url) as client:
        api = ChatKitAPI(
            client, Circuit("chatkit", 5), api_key=None, workflow_id="wf_1", file_upload=True
        )
        with pytest.raises(InvalidAPIKey):
            await UsageSync(store, api, INTERVAL_MS / 1000).count()
    assert await emulator.requests() == []
    assert len(await store.claim_usage(now_ms(), now_ms(), 10)) == 1  # their turn is not lost


async def test_the_service_counts_by_itself(emulator: Emulator, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, emulator.url, chatkit_usage_sync_seconds=0.1)
    async with open_session_service(settings) as service:
        await service.create()
        await emulator.add_items(await emulator.add_thread("7"), USER_MESSAGE, count=3)

        async def counted() -> bool:
            stats = await service.stats()
            return stats.total_messages == 3 and stats.HasField("messages_updated_at")

        await eventually(counted)
        stats = await service.stats()
        assert (stats.messages_today, stats.daily[-1].messages) == (3, 3)


async def test_two_services_on_one_database_look_at_each_user_once_a_round(
    emulator: Emulator, clock: Clock, postgres: PostgresServer
) -> None:
    url = await postgres.clean_database()
    users = [f"u{number}" for number in range(20)]
    async with (
        open_postgres_store(url) as one,
        open_postgres_store(url) as other,
        open_client(emulator.url) as client,
    ):
        syncs = [sync_of(store, client) for store in (one, other, one, other)]
        threads = []
        for user in users:
            await add_session(one, user)
            threads.append(await emulator.add_thread(user))
            await emulator.add_items(threads[-1], USER_MESSAGE, count=3)
        for number in range(1, 4):
            await asyncio.gather(*(sync.count() for sync in syncs))
            asked = Counter(
                request["query"]["user"] for request in await emulator.requests("threads.list")
            )
            assert asked == dict.fromkeys(users, number)
            assert len(await emulator.requests("threads.items")) == number * len(users)
            assert (await totals(other, None)).messages == len(users) * (2 + number)
            for thread in threads:
                await emulator.add_items(thread, ASSISTANT_MESSAGE)
            clock.forward()
