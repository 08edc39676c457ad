"""What it costs to find the few sessions that are alive among all that ever were."""

import asyncio
import functools
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from session_service.stores import sqlite_database, sqlite_file
from session_service.stores.base import Store
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.store_values import LIFETIME, NOON, add
from tests.postgres_support import connected


async def add_expired(store: Store, first: int, last: int) -> None:
    await asyncio.gather(
        *(add(store, f"s{n}", "78"[n % 2], NOON - LIFETIME - n) for n in range(first, last))
    )


@pytest.mark.parametrize("user", ["7", None])
async def test_sqlite_looks_at_the_living_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str | None
) -> None:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connect = sqlite_file.connect

    def counting(path: str, busy_seconds: float) -> sqlite3.Connection:
        db = connect(path, busy_seconds)
        db.set_progress_handler(step, 1)  # called for every instruction
        return db

    monkeypatch.setattr(sqlite_database, "connect", counting)
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        living = [await add(store, name, "7") for name in "abc"]

        async def cost() -> int:
            before = steps
            assert await store.list(user, 100, None, NOON) == living[::-1]
            return steps - before

        await cost()  # the first reads the schema, too
        await add_expired(store, 0, 100)
        among_few = await cost()
        await add_expired(store, 100, 2000)
        assert await cost() == among_few


@pytest.mark.parametrize("user", ["7", None])
async def test_postgresql_looks_at_the_living_alone(
    url: str, monkeypatch: pytest.MonkeyPatch, user: str | None
) -> None:
    asked: list[Any] = []

    async def watch(connection: Any) -> None:
        connection.add_query_logger(asked.append)

    create_pool = functools.partial(asyncpg.create_pool, init=watch)
    monkeypatch.setattr(asyncpg, "create_pool", create_pool)
    async with open_postgres_store(url) as store, connected(url) as db:
        await add_expired(store, 0, 3000)
        living = [await add(store, name, "7") for name in "abc"]
        await db.execute("VACUUM ANALYZE sessions")
        assert await store.list(user, 100, None, NOON) == living[::-1]
        plan = await db.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked[-1].query}", *asked[-1].args
        )
    of_all = orjson.loads(plan)[0]["Plan"]
    assert of_all["Shared Hit Blocks"] + of_all["Shared Read Blocks"] < 40  # of more than 100
