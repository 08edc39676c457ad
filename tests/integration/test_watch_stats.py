"""Statistics that are watched, over real gRPC and real databases."""

import asyncio
import contextlib
import functools
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from structlog.testing import capture_logs

from protos.chatkit.v1 import session_service_pb2 as pb
from runtime.admission import Admission
from session_service import server, watching
from session_service.servicers import read_stats
from session_service.sessions import now_ms
from session_service.stores import sqlite_database, sqlite_file
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from session_service.watching import Watching
from tests.integration.store_values import add, new_session, secret_hash
from tests.support import (
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    refused,
    settings_for,
)

Call: TypeAlias = "grpc.aio.UnaryStreamCall[pb.WatchStatsRequest, pb.WatchStatsResponse]"

LEAST, MOST = 0.2, 0.4
WITHIN = 30
"""Seconds: what comes within a second may take longer on a busy machine."""


@pytest.fixture(autouse=True)
def five_times_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LEAST_SECONDS", LEAST)
    monkeypatch.setattr(watching, "_MOST_SECONDS", MOST)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When SQLite stores have looked at statistics."""
    times: list[float] = []

    def looked(statement: str) -> None:
        if "FROM totals" in statement:
            times.append(time.monotonic())

    connect = sqlite_file.connect

    def traced(path: str, busy_seconds: float) -> sqlite3.Connection:
        db = connect(path, busy_seconds)
        db.set_trace_callback(looked)
        return db

    monkeypatch.setattr(sqlite_database, "connect", traced)
    return times


@contextlib.asynccontextmanager
async def watched(service: SessionService, user: str = "7", **more: Any) -> AsyncIterator[Call]:
    call = service.stub.WatchStats(pb.WatchStatsRequest(user_id=user, **more), timeout=WITHIN)
    try:
        yield call
    finally:
        call.cancel()


async def following(call: Call) -> pb.GetStatsResponse:
    message = await call.read()
    if not isinstance(message, pb.WatchStatsResponse):
        raise AssertionError(f"it has ended: {await call.code()}")
    return message.stats


async def until(call: Call, condition: Callable[[pb.GetStatsResponse], bool]) -> None:
    while not condition(await following(call)):
        pass


def has(sessions: int) -> Callable[[pb.GetStatsResponse], bool]:
    return lambda stats: stats.total_sessions == sessions


def feeds() -> list[str]:
    """Names what still looks in this process."""
    names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return [name for name in names if name == "_Feed._run"]


async def none_is_left() -> bool:
    return not feeds()


async def looked_again(looks: list[float], times: int) -> None:
    number = len(looks) + times

    async def has_looked() -> bool:
        return len(looks) >= number

    await eventually(has_looked)


async def test_the_first_answer_is_what_get_stats_says(service: SessionService) -> None:
    await service.delete((await service.create()).session.id)  # nothing moves with the clock
    everybody = pb.GetStatsRequest(all_users=True, days=7)
    async with watched(service) as mine, watched(service, "", all_users=True, days=7) as all_:
        assert await following(mine) == await service.stats()
        assert await following(all_) == await service.stub.GetStats(everybody)


async def test_what_is_counted_is_told_and_nothing_else(
    looks: list[float], service: SessionService
) -> None:
    async with watched(service) as call:
        assert (await following(call)).total_sessions == 0
        following_one = asyncio.create_task(following(call))
        await looked_again(looks, 3)
        assert not following_one.done()
        created = await service.create()
        assert (await following_one).total_sessions == 1
        await service.delete(created.session.id)
        await until(call, lambda stats: stats.deleted_sessions == 1)


async def test_another_users_figures_are_never_seen(service: SessionService) -> None:
    async with watched(service, "7") as call, watched(service, "8") as theirs:
        assert [(await following(c)).total_sessions for c in (call, theirs)] == [0, 0]
        seen = asyncio.create_task(following(call))
        for _ in range(3):
            await service.create("8")
        await until(theirs, has(3))
        assert not seen.done()
        await service.create("7")
        assert (await seen).total_sessions == 1
        assert (await service.stats("8")).total_sessions == 3


async def test_all_who_watch_the_same_cost_one_look_at_a_time(
    looks: list[float], service: SessionService
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(watched(service)) for _ in range(200)]
        for call in calls:
            await following(call)
        before, began = len(looks), time.monotonic()
        for _ in range(5):
            await service.create()
            await looked_again(looks, 1)
        await asyncio.gather(*(until(call, has(5)) for call in calls))
        assert len(looks) - before <= (time.monotonic() - began) / LEAST + 1
        apart = [later - earlier for earlier, later in itertools.pairwise(looks)]
        assert min(apart) > LEAST / 2
    await eventually(none_is_left)


async def test_where_nobody_watches_nothing_looks(service: SessionService) -> None:
    async with watched(service) as call:
        await following(call)
        assert len(feeds()) == 1
    with capture_logs() as logged:
        await eventually(none_is_left)
        await service.create()
    said = [line for line in logged if line.get("method") == "WatchStats"]
    assert [(line["event"], line["log_level"], line["outcome"]) for line in said] == [
        ("rpc", "info", "CANCELLED")
    ]


async def test_a_drain_ends_it_at_once_and_says_so(emulator: Emulator, tmp_path: Path) -> None:
    async with (
        open_session_service(settings_for(tmp_path, emulator.url)) as service,
        contextlib.AsyncExitStack() as stack,
    ):
        calls = [await stack.enter_async_context(watched(service)) for _ in range(20)]
        for call in calls:
            await following(call)
        ends = [asyncio.create_task(told_end(call)) for call in calls]
        async with asyncio.timeout(server.GRACE_SECONDS / 2):
            await service.server.drain()
            await asyncio.gather(*ends)
    assert not feeds()


async def told_end(call: Call) -> None:
    with refused("UNAVAILABLE") as refusal:
        while await call.read() is not grpc.aio.EOF:
            pass
    assert refusal.details.retry_after_seconds


async def test_whoever_is_one_too_many_comes_in_when_another_has_left(
    service: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_WATCHERS", 2)
    async with watched(service, "7") as first, watched(service, "8") as second:
        for call in (first, second):
            await following(call)
        async with watched(service, "9") as third:
            with refused("UNAVAILABLE") as refusal:
                await third.read()
        assert refusal.details.metadata == {"cause": "watchers"}
        assert refusal.details.retry_after_seconds
    await eventually(none_is_left)
    async with watched(service, "9") as call:
        await following(call)


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("user_id", pb.WatchStatsRequest()),
        ("user_id", pb.WatchStatsRequest(user_id="x" * 257)),
        ("days", pb.WatchStatsRequest(user_id="7", days=0)),
        ("days", pb.WatchStatsRequest(all_users=True, days=367)),
    ],
)
async def test_what_is_asked_for_is_checked_as_by_get_stats(
    service: SessionService, field: str, request_: pb.WatchStatsRequest
) -> None:
    with refused("INVALID_ARGUMENT") as refusal:
        await service.stub.WatchStats(request_).read()
    assert list(refusal.details.field_violations) == [field]
    assert not feeds()


async def test_those_who_watch_are_no_work_that_could_be_too_much(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_flight: list[float] = []

    class Recording(Admission):
        def admits(self, in_flight_: float) -> bool:
            in_flight.append(in_flight_)
            return super().admits(in_flight_)

    monkeypatch.setattr(server, "Admission", Recording)
    async with (
        open_session_service(settings_for(tmp_path, emulator.url)) as service,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(20):
            await following(await stack.enter_async_context(watched(service)))
        await service.create()
    assert in_flight == [0] * 21


async def test_a_store_that_fails_ends_it_so_that_silence_means_no_change(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        with contextlib.closing(sqlite3.connect(tmp_path / "chatkit.db")) as other:
            async with watched(service) as call:
                await following(call)
                other.execute("ALTER TABLE totals RENAME TO elsewhere")
                with refused("UNAVAILABLE") as refusal:
                    await following(call)
            assert refusal.details.metadata == {"cause": "store"}
            other.execute("ALTER TABLE elsewhere RENAME TO totals")
        async with watched(service) as call:
            assert await following(call) == await service.stats()


async def test_who_is_slow_gets_the_newest_alone(tmp_path: Path) -> None:
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        hub = Watching(store, functools.partial(read_stats, store))
        with hub.watch("7", 1) as slow, hub.watch("7", 1) as quick:
            await slow.next()
            await quick.next()
            for number in range(1, 4):
                await add(store, f"s{number}")
                while (await quick.next()).total_sessions < number:
                    pass
            assert (await slow.next()).total_sessions == 3
    await eventually(none_is_left)


async def test_what_other_replicas_count_and_what_the_clock_moves_is_told(
    emulator: Emulator, tmp_path: Path, url: str
) -> None:
    settings = settings_for(tmp_path, emulator.url, database_url=url)
    async with (
        open_session_service(settings) as service,
        open_postgres_store(url) as replica,
        watched(service) as call,
    ):
        assert (await following(call)).total_sessions == 0
        now = now_ms()
        await replica.add(new_session("short", "7", now, now + 3000), secret_hash("short"))
        await until(call, lambda stats: (stats.total_sessions, stats.active_sessions) == (1, 1))
        await until(call, lambda stats: (stats.total_sessions, stats.active_sessions) == (1, 0))
        await service.create()
        await until(call, has(2))
