"""The recount that other tests rely on: it notices every counter that is wrong, and only those."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from session_service.stores.base import Store
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.store_values import NOON, add, add_item, add_thread, refresh, turn
from tests.postgres_support import PostgresServer, connected
from tests.reconciliation import reconcile, reconcile_postgres

WRONG = (
    "UPDATE totals SET sessions = sessions + 1 WHERE scope = '7'",
    "UPDATE totals SET deleted = deleted - 1 WHERE scope = ''",
    "UPDATE totals SET duration_ms = duration_ms + 1 WHERE scope = ''",
    "UPDATE totals SET messages = 0 WHERE scope = '7'",
    "UPDATE totals SET failures = failures + 1 WHERE scope = ''",
    "UPDATE totals SET estimated_turns = estimated_turns + 1 WHERE scope = '7'",
    "UPDATE days SET refreshes = refreshes + 1 WHERE scope = '7'",
    "UPDATE days SET turns = turns + 1 WHERE scope = ''",
    "UPDATE days SET messages = -1 WHERE scope = ''",
    "UPDATE endings SET sessions = sessions + 1 WHERE scope = ''",
    "UPDATE failures_by_reason SET failures = failures + 1 WHERE scope = ''",
    "UPDATE answer_times SET bucket = bucket + 1",
    "UPDATE threads SET messages = messages + 1",
    "UPDATE sessions SET deleted_ms = 1 WHERE refreshed_from IS NOT NULL",
    "UPDATE sessions SET refreshed_to = NULL",
    "UPDATE sessions SET ends_ms = ends_ms + 1 WHERE id = 'a'",
    "DELETE FROM sessions WHERE id = 'c'",
    "DELETE FROM items",
    "DELETE FROM threads",
    "DELETE FROM turns",
)


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[str]:
    """A store with something of everything."""
    path = f"{tmp_path}/chatkit.db"
    async with open_sqlite_store(path) as store:
        await fill(store)
        yield path


async def fill(store: Store) -> None:
    await refresh(store, await add(store, "a"), "b", NOON + 1000)
    await add(store, "c")
    await store.delete("c", NOON + 2000, NOON + 3000)
    await store.count_failure("7", "UPSTREAM_TIMEOUT", NOON)
    await add_item(store, await add_thread(store, "t"), "i")
    await store.conversations.count_turn("7", turn())


async def test_a_store_that_is_right_reconciles(path: str) -> None:
    assert reconcile(path) == []


@pytest.mark.parametrize("change", WRONG)
async def test_whatever_is_wrong_is_named(change: str, path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(change)
    assert reconcile(path) != []


async def test_a_store_on_postgres_is_recounted_too(postgres: PostgresServer) -> None:
    url = await postgres.clean_database()
    async with open_postgres_store(url) as store, connected(url) as db:
        await fill(store)
        assert await reconcile_postgres(url) == []
        await db.execute("DELETE FROM sessions WHERE id = 'c'")
        assert await reconcile_postgres(url) != []


async def test_attachments_are_held_against_their_bytes(path: str, tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "00").mkdir()
    assert reconcile(path, tmp_path) == []
    (tmp_path / "incoming" / "atc_1.0").touch()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO attachments VALUES ('atc_2', '7', '', '', 0, 3, 1, NULL, NULL)")
    assert len(reconcile(path, tmp_path)) == 2
    (tmp_path / "00" / "atc_2").write_bytes(b"abc")
    assert len(reconcile(path, tmp_path)) == 1
