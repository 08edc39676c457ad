"""The SQLite store: the contract of all stores, and what a file adds to it."""

import asyncio
import os
import sqlite3
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from session_service.errors import Unavailable
from session_service.stores import sqlite_database, sqlite_file, sqlite_schema
from session_service.stores.base import DuplicateSession, Session
from session_service.stores.changes import EVERYBODY, Changes
from session_service.stores.group_commit import GroupCommitWriter
from session_service.stores.sqlite import SQLiteStore, open_sqlite_store
from tests.integration.store_contract import StoreContract
from tests.integration.store_values import (
    NOON,
    add,
    everything,
    found,
    new_session,
    secret_hash,
)

ACKNOWLEDGES = """
import asyncio, itertools, sys
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.store_values import add

async def work(store, numbers):
    for number in numbers:
        session = await add(store, f"s{number}", str(number % 5))
        if number % 7 == 0:
            await store.delete(session.id, session.created_ms + 1, session.created_ms + 2)
        print(session.id, flush=True)

async def main():
    async with open_sqlite_store(sys.argv[1]) as store:
        numbers = itertools.count()
        await asyncio.gather(*(work(store, numbers) for _ in range(20)))

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "data" / "chatkit.db")


@pytest.fixture
async def store(path: str) -> AsyncIterator[SQLiteStore]:
    async with open_sqlite_store(path) as opened:
        yield opened


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections that stores open from now on; a store's first one is its writer's."""
    made: list[sqlite3.Connection] = []
    connect = sqlite_file.connect

    def recording(path: str, busy_seconds: float) -> sqlite3.Connection:
        made.append(connect(path, busy_seconds))
        return made[-1]

    for module in (sqlite_file, sqlite_database):
        monkeypatch.setattr(module, "connect", recording)
    return made


@contextmanager
def locked(path: str) -> Iterator[None]:
    """As another process that writes and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def unprivileged() -> Iterator[None]:
    """File modes mean nothing to root, as whom tests run in containers."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def open_and_close(path: str) -> None:
    async with open_sqlite_store(path):
        pass


class TestContract(StoreContract):
    """The suite of all stores, on a real file."""


async def test_what_was_stored_is_there_after_a_restart(path: str) -> None:
    async with open_sqlite_store(path) as store:
        session = await add(store, "a")
        before = await everything(store, None)
    async with open_sqlite_store(path) as store:
        assert await found(store, "a") == session
        assert await everything(store, None) == before


async def test_whatever_was_acknowledged_survives_kill_9(path: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ACKNOWLEDGES, path, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await asyncio.wait_for(process.stdout.readline(), 20) for _ in range(500)]
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    acknowledged = {line.decode().strip() for line in (*lines, *rest.splitlines(keepends=True))}
    assert len(acknowledged) >= 500
    assert "" not in acknowledged  # it was killed, it did not end
    async with open_sqlite_store(path) as store:
        rows = await store.list(None, 1_000_000, None)
        assert acknowledged <= {row.id for row in rows}
        for user in (None, "0", "1", "2", "3", "4"):
            mine = [row for row in rows if user in (None, row.user_id)]
            totals = (await everything(store, user)).totals
            assert totals.sessions == len(mine)
            assert totals.deleted == sum(row.deleted_ms is not None for row in mine)
            assert totals.duration_ms == sum(
                (row.deleted_ms or row.expires_ms) - row.created_ms for row in mine
            )


async def test_writes_that_come_together_share_commits(
    path: str, connections: list[sqlite3.Connection]
) -> None:
    async with open_sqlite_store(path) as store:
        statements: list[str] = []
        connections[0].set_trace_callback(statements.append)
        await asyncio.gather(*(add(store, f"s{number}") for number in range(500)))
        assert 1 <= statements.count("COMMIT") <= 50
        statements.clear()
        await add(store, "alone")
        assert statements.count("COMMIT") == 1


async def test_every_commit_is_flushed(path: str, connections: list[sqlite3.Connection]) -> None:
    async with open_sqlite_store(path):
        assert connections[0].execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connections[0].execute("PRAGMA synchronous").fetchone() == (2,)


async def test_a_write_is_answered_after_its_own_commit(store: SQLiteStore, path: str) -> None:
    with closing(sqlite3.connect(path)) as other:

        async def add_and_look(name: str) -> bool:
            await add(store, name)
            query = "SELECT 1 FROM sessions WHERE id = ?"
            return other.execute(query, (name,)).fetchone() is not None

        visible = await asyncio.gather(*(add_and_look(f"s{number}") for number in range(300)))
    assert visible == [True] * 300


async def test_a_bad_row_does_not_fail_its_neighbours(store: SQLiteStore) -> None:
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


async def test_a_write_that_fails_half_way_is_undone_alone(path: str) -> None:
    await open_and_close(path)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer = GroupCommitWriter(db, patience_seconds=10)

    def fail(db: sqlite3.Connection, changes: Changes) -> None:
        db.execute("INSERT INTO totals (scope, sessions) VALUES ('bad', 1)")
        changes.add_to_totals("counted", sessions=100)
        raise RuntimeError("half way")

    def succeed(db: sqlite3.Connection, changes: Changes) -> None:
        db.execute(
            "INSERT INTO totals (scope, sessions) VALUES ('good', 1)"
            " ON CONFLICT DO UPDATE SET sessions = sessions + 1"
        )
        changes.add_to_totals("counted", sessions=1)

    works = [fail if number % 3 == 0 else succeed for number in range(30)]
    answers = await asyncio.gather(*(writer.write(w) for w in works), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RuntimeError, type(None), type(None)] * 10
    await writer.close()
    with closing(sqlite3.connect(path)) as reader:
        rows = dict(reader.execute("SELECT scope, sessions FROM totals"))
        assert rows == {"good": 20, "counted": 20, EVERYBODY: 20}


async def test_a_caller_who_leaves_takes_nobody_along(store: SQLiteStore) -> None:
    writes = [asyncio.create_task(add(store, f"s{number}")) for number in range(100)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    assert all(write.cancelled() for write in writes[::2])
    stored = {session.id for session in await store.list(None, 1000, None)}
    assert {f"s{number}" for number in range(1, 100, 2)} <= stored
    assert (await everything(store, None)).totals.sessions == len(stored)


async def test_a_locked_file_makes_writes_unavailable_until_it_is_free(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    async with open_sqlite_store(path) as store:
        await add(store, "before")
        with locked(path):
            failed = await asyncio.gather(
                *(add(store, f"s{number}") for number in range(10)), return_exceptions=True
            )
            assert [type(failure) for failure in failed] == [Unavailable] * 10
            assert not any("locked" in str(failure) for failure in failed)
            assert (await found(store, "before")).user_id == "7"
        await add(store, "after")
        assert (await everything(store, None)).totals.sessions == 2


async def test_a_locked_file_cannot_be_opened(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await open_and_close(path)
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    with locked(path), pytest.raises(sqlite3.OperationalError, match="locked"):
        await open_and_close(path)


async def test_a_read_only_file_cannot_be_opened() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/chatkit.db"
        await open_and_close(path)
        os.chmod(directory, 0o755)
        os.chmod(path, 0o444)
        with unprivileged(), pytest.raises(PermissionError, match=r"chatkit\.db"):
            await open_and_close(path)


async def test_what_is_no_file_or_no_database_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        await open_and_close(str(tmp_path))
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        await open_and_close(str(tmp_path / "letter.txt"))
    with pytest.raises(OSError, match=r"letter\.txt"):
        await open_and_close(str(tmp_path / "letter.txt" / "chatkit.db"))


async def test_a_newer_schema_cannot_be_opened_and_is_left_alone(path: str) -> None:
    async with open_sqlite_store(path) as store:
        await add(store, "a")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(sqlite3.DatabaseError, match="newer release"):
        await open_and_close(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)
        assert db.execute("SELECT id FROM sessions").fetchall() == [("a",)]


async def test_a_migration_is_done_whole_or_not_at_all(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*sqlite_schema.MIGRATIONS, ("CREATE TABLE new (x) STRICT",))
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", broken)
    with pytest.raises(sqlite3.OperationalError):
        await open_and_close(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == []
    monkeypatch.undo()
    async with open_sqlite_store(path) as store:
        await add(store, "a")


async def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = f"{tmp_path}/empty.db"
    os.close(os.open(path, os.O_CREAT))
    async with open_sqlite_store(path) as store:
        await add(store, "a")


async def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    for number in range(20):  # it takes luck to meet: one round in 25 did
        await asyncio.gather(*(open_and_close(f"{tmp_path}/{number}.db") for _ in range(8)))


async def test_a_new_file_that_stays_locked_cannot_be_opened(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.05)
    Path(path).parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await open_and_close(path)


async def test_two_processes_share_a_file(path: str) -> None:
    async with open_sqlite_store(path) as one, open_sqlite_store(path) as other:
        await asyncio.gather(
            *(add(one, f"a{number}") for number in range(100)),
            *(add(other, f"b{number}") for number in range(100)),
        )
        assert (await everything(one, None)).totals.sessions == 200
        assert await everything(other, None, NOON) == await everything(one, None, NOON)


async def test_the_files_are_for_their_owner_alone(path: str) -> None:
    async with open_sqlite_store(path) as store:
        await add(store, "a")
        files = list(Path(path).parent.iterdir())
        assert {file.name for file in files} == {"chatkit.db", "chatkit.db-wal", "chatkit.db-shm"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
