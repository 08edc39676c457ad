"""Rate limits on PostgreSQL: of several replicas together, by one clock, and without a flood."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from session_service.errors import RateLimited, Unavailable
from session_service.rate_limit import RateLimit
from session_service.stores import postgres_database
from session_service.stores.postgres import PostgresStore, open_postgres_store
from session_service.stores.postgres_database import PostgresDatabase
from tests.integration.store_values import NOON, add, refusals
from tests.postgres_support import PostgresServer, connected, waits
from tests.support import Emulator, open_session_service, refused, settings_for

SHIFT = "UPDATE rate_limits SET times_ms = ARRAY(SELECT t - $1 FROM unnest(times_ms) AS t)"


async def pass_by(url: str, seconds: float) -> None:
    """Lets so much time go by for the database; a negative one sets its clock back."""
    async with connected(url) as db:
        await db.execute(SHIFT, int(seconds * 1000))


async def test_two_services_admit_as_many_as_one(
    emulator: Emulator, url: str, tmp_path: Path
) -> None:
    settings = settings_for(
        tmp_path, emulator.url, database_url=url, chatkit_sessions_per_minute=10
    )
    async with open_session_service(settings) as one, open_session_service(settings) as other:
        answers = await asyncio.gather(
            *(service.create() for service in (one, other) for _ in range(10)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, Exception) for answer in answers) == 10
        for service in (one, other):
            with refused("RATE_LIMITED") as refusal:
                await service.create()
            assert 0 < (refusal.details.retry_after_seconds or 0) <= 60
            await service.create("8")
    assert len(await emulator.requests("sessions.create")) == 12


async def test_while_the_database_is_away_openai_is_not_asked(
    emulator: Emulator, url: str, tmp_path: Path
) -> None:
    settings = settings_for(
        tmp_path, emulator.url, database_url=url, chatkit_sessions_per_minute=10
    )
    async with open_session_service(settings) as service, connected(url) as db:
        await db.execute("ALTER TABLE rate_limits RENAME TO elsewhere")
        try:
            with refused("UNAVAILABLE") as refusal:
                await service.create()
        finally:
            await db.execute("ALTER TABLE elsewhere RENAME TO rate_limits")
        assert refusal.details.metadata == {"cause": "store"}
        assert await emulator.requests("sessions.create") == []
        await service.create()


async def test_replicas_admit_no_more_together_however_they_ask(
    replicas: list[PostgresStore], postgres: PostgresServer
) -> None:
    limits = [store.rate_limit("sessions", 5) for store in replicas]
    keys = [f"u{number}" for number in range(500)]

    async def ask(limit: RateLimit, keys: Sequence[str]) -> int:
        return sum([await refusals(limit, *keys) for _ in range(4)])

    orders = (keys, keys[::-1], random.sample(keys, 500))
    left = await asyncio.gather(*map(ask, limits, orders))
    assert sum(left) == (12 - 5) * 500
    assert "deadlock detected" not in postgres.log()


async def test_no_minute_has_more_than_the_limit_and_a_quiet_one_has_them_all_at_once(
    url: str, replicas: list[PostgresStore]
) -> None:
    store, now, most = replicas[0], 0.0, 4
    times: list[float] = []
    choose = random.Random(5)
    for _ in range(120):
        now += (wait := choose.choice((0, 1, 7, 13, 29, 59, 61)))
        await pass_by(url, wait)
        calls = choose.randint(1, 6)
        recent = [time for time in times if time > now - 60]
        # One that has seen nothing yet: the row alone decides.
        left = await refusals(store.rate_limit("sessions", most), *["7"] * calls)
        assert calls - left == min(calls, most - len(recent))
        times += [now] * (calls - left)
    assert len(times) > most


async def test_the_wait_that_is_named_is_that_of_the_oldest_call(
    url: str, replicas: list[PostgresStore]
) -> None:
    one, other, _ = (store.rate_limit("sessions", 2) for store in replicas)
    await one.admit("7")
    await pass_by(url, 20)
    await one.admit("7")
    await pass_by(url, 10)
    with pytest.raises(RateLimited) as caught:
        await other.admit("7")
    assert 20 < (caught.value.retry_after_seconds or 0) <= 30
    lowered = replicas[0].rate_limit("sessions", 1)  # as after a restart with another setting
    with pytest.raises(RateLimited) as caught:
        await lowered.admit("7")
    assert 40 < (caught.value.retry_after_seconds or 0) <= 50


@pytest.mark.parametrize(("back", "left"), [(30, 3), (3600, 0)])
async def test_a_clock_that_is_set_back_shuts_nobody_out(
    back: int, left: int, url: str, replicas: list[PostgresStore]
) -> None:
    one, other, third = (store.rate_limit("sessions", 3) for store in replicas)
    assert await refusals(one, *["7"] * 3) == 0
    await pass_by(url, -back)
    assert await refusals(other, *["7"] * 3) == left
    await pass_by(url, back + 60)
    assert await refusals(third, *["7"] * 3) == 0


async def test_a_flood_of_one_user_does_not_reach_the_database(
    replicas: list[PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, _ = (store.rate_limit("sessions", 3) for store in replicas)
    assert await refusals(one, *["7"] * 3) == 0
    with pytest.raises(RateLimited):  # it hears that others have admitted all that may be
        await other.admit("7")

    async def is_asked(*_: object) -> object:
        raise AssertionError

    monkeypatch.setattr(PostgresDatabase, "batch", is_asked)
    for limit in (one, other):
        assert await refusals(limit, *["7"] * 1000) == 1000


async def test_a_limit_waits_neither_for_a_disk_nor_for_those_who_do(
    url: str, replicas: list[PostgresStore]
) -> None:
    store, other, _ = replicas
    async with connected(url) as db, db.transaction():
        await db.execute("LOCK TABLE totals")
        write = asyncio.create_task(add(store, "a"))
        await waits(url)
        await store.rate_limit("sessions", 3).admit("7")
        assert not write.done()
    await write
    async with connected(url) as db:
        sql = "SELECT relpersistence FROM pg_class WHERE relname = 'rate_limits'"
        assert await db.fetchval(sql) == b"u"
    assert await other.get("a") is not None


async def test_who_has_been_idle_for_a_minute_is_forgotten(
    url: str, replicas: list[PostgresStore]
) -> None:
    one, other, third = (store.rate_limit("sessions", 3) for store in replicas)
    await refusals(one, *(f"u{number}" for number in range(100)))
    await pass_by(url, 30)
    await refusals(other, "late", "u1")
    await pass_by(url, 31)
    async with connected(url) as db, db.transaction():
        # What somebody is just changing is left to the next.
        await db.execute("SELECT 1 FROM rate_limits WHERE key = 'u2' FOR UPDATE")
        await third.admit("new")
        keys = await db.fetch("SELECT key FROM rate_limits ORDER BY key")
    assert [key for (key,) in keys] == ["late", "new", "u1", "u2"]


async def test_of_a_user_who_is_deleted_nothing_is_left(
    url: str, replicas: list[PostgresStore]
) -> None:
    limit = replicas[0].rate_limit("sessions", 3)
    await refusals(limit, "7", "8")
    await replicas[1].conversations.delete_user("7", NOON, NOON + 20)
    async with connected(url) as db:
        assert await db.fetchval("SELECT array_agg(key) FROM rate_limits") == ["8"]


async def test_a_connection_that_ends_is_not_noticed(
    url: str, replicas: list[PostgresStore]
) -> None:
    limit = replicas[0].rate_limit("sessions", 30)
    await refusals(limit, *["7"] * 3)
    async with connected(url) as db:
        await db.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await refusals(limit, *["7"] * 3) == 0


async def test_a_lock_that_is_not_given_up_makes_it_unavailable(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_database._TIMEOUTS, "lock_timeout", "100ms")
    async with open_postgres_store(url) as store, connected(url) as other, other.transaction():
        await other.execute("LOCK TABLE rate_limits")
        with pytest.raises(Unavailable):
            await store.rate_limit("sessions", 3).admit("7")
