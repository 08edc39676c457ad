"""A SQLite file that is full, locked, read-only, damaged or another program's: it is said."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from session_service import readiness
from session_service.errors import Unavailable
from session_service.server import LIVENESS, CannotStart
from session_service.stores import sqlite_database, sqlite_file
from session_service.stores.base import Session
from session_service.stores.changes import Changes
from session_service.stores.group_commit import GroupCommitWriter
from session_service.stores.sqlite import SQLiteStore, open_sqlite_store
from tests.integration.store_values import add, everything
from tests.integration.test_session_delete import cancelled
from tests.integration.test_sqlite_store import locked, open_and_close
from tests.reconciliation import reconcile
from tests.support import Emulator, SessionService, eventually, open_session_service, settings_for

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "chatkit.db")


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections that write, of stores that are opened from now on."""
    made: list[sqlite3.Connection] = []
    connect = sqlite_file.connect

    def recording(path: str, busy_seconds: float) -> sqlite3.Connection:
        made.append(connect(path, busy_seconds))
        return made[-1]

    monkeypatch.setattr(sqlite_file, "connect", recording)
    return made


@pytest.fixture
async def store(path: str, writers: list[sqlite3.Connection]) -> AsyncIterator[SQLiteStore]:
    async with open_sqlite_store(path) as opened:
        yield opened


def size(path: str) -> int:
    return Path(path).stat().st_size


def overwrite(path: str, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def write(text: str) -> Callable[[sqlite3.Connection, Changes], Any]:
    return lambda db, _: db.execute(text)


class HangingDisk:
    """Holds up the thread that writes."""

    def __init__(self) -> None:
        self.hangs, self.goes_on = threading.Event(), threading.Event()

    def hang(self, *_: object) -> None:
        self.hangs.set()
        self.goes_on.wait(10)


# While it runs


async def test_a_full_disk_is_said_and_nothing_is_half_stored(
    store: SQLiteStore, path: str, writers: list[sqlite3.Connection]
) -> None:
    (pages,) = writers[0].execute("PRAGMA page_count").fetchone()
    writers[0].execute(f"PRAGMA max_page_count = {pages + 8}")
    with capture_logs() as logged:
        answers = await asyncio.gather(
            *(add(store, f"s{number}", str(number)) for number in range(300)),
            return_exceptions=True,
        )
    stored = {answer.id for answer in answers if isinstance(answer, Session)}
    assert len(stored) < 300
    assert {session.id for session in await store.list(None, 1000, None)} == stored
    assert reconcile(path) == []
    assert {line["error"] for line in logged} == {"OperationalError: database or disk is full"}
    writers[0].execute("PRAGMA max_page_count = 1000000")
    await add(store, "thereafter")
    assert reconcile(path) == []


async def test_where_sqlite_ends_the_transaction_the_whole_group_has_failed(
    store: SQLiteStore, path: str
) -> None:
    # As on a full disk: what came before is undone, what comes after must not be stored alone.
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as db:
        db.execute("CREATE TABLE marks (name TEXT PRIMARY KEY)")
        writer = GroupCommitWriter(db, patience_seconds=10)
        await writer.write(write("INSERT INTO marks VALUES ('before')"))
        fatal = "INSERT OR ROLLBACK INTO marks VALUES ('before')"
        disk = HangingDisk()
        blocking = asyncio.create_task(writer.write(disk.hang))
        await asyncio.to_thread(disk.hangs.wait, 10)
        texts = ["INSERT INTO marks VALUES ('a')", fatal, "INSERT INTO marks VALUES ('b')"]
        group = [asyncio.create_task(writer.write(write(text))) for text in texts]
        await asyncio.sleep(0)  # so that they are queued, and share a transaction
        disk.goes_on.set()
        await blocking
        failures = await asyncio.gather(*group, return_exceptions=True)
        assert [type(failure) for failure in failures] == [sqlite3.IntegrityError] * 3
        await writer.write(write("INSERT INTO marks VALUES ('after')"))
        names = await writer.write(lambda db, _: db.execute("SELECT name FROM marks").fetchall())
        assert names == [("before",), ("after",)]
        await writer.close()


async def test_a_connection_that_is_lost_leaves_nobody_waiting(
    store: SQLiteStore, writers: list[sqlite3.Connection]
) -> None:
    writers[0].close()
    for name in ("a", "b"):  # the second, too: whoever writes goes on
        with pytest.raises(Unavailable):
            await asyncio.wait_for(add(store, name), 5)


async def test_a_disk_that_hangs_holds_nobody_up_and_stores_nothing_later(path: str) -> None:
    async with open_sqlite_store(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as db:
        db.execute("CREATE TABLE marks (name TEXT PRIMARY KEY)")
        writer = GroupCommitWriter(db, patience_seconds=0.2)
        disk = HangingDisk()
        hanging = asyncio.create_task(writer.write(disk.hang))
        await asyncio.to_thread(disk.hangs.wait, 10)
        with pytest.raises(TimeoutError):
            await writer.write(write("INSERT INTO marks VALUES ('late')"))
        with pytest.raises(TimeoutError):
            await hanging
        disk.goes_on.set()

        async def works() -> bool:
            try:
                await writer.write(write("INSERT INTO marks VALUES ('after')"))
            except TimeoutError:
                return False
            return True

        await eventually(works)
        names = await writer.write(lambda db, _: db.execute("SELECT name FROM marks").fetchall())
        assert names == [("after",)]
        await writer.close()


async def test_whoever_waits_behind_a_lock_waits_no_longer_than_for_the_lock(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 1.0)
    monkeypatch.setattr(sqlite_database, "_PATIENCE_SECONDS", 1.2)
    async with open_sqlite_store(path) as store:
        loop = asyncio.get_running_loop()
        with locked(path):
            first = asyncio.create_task(add(store, "first"))
            await asyncio.sleep(0.3)
            began = loop.time()
            with pytest.raises(Unavailable):  # after 0.7 s for the first it would be 1.7
                await add(store, "second")
            assert loop.time() - began < 1.6
            with pytest.raises(Unavailable):
                await first
        await add(store, "third")
        assert [session.id for session in await store.list(None, 10, None)] == ["third"]


async def test_a_database_that_becomes_read_only_is_still_read(
    store: SQLiteStore, path: str, writers: list[sqlite3.Connection]
) -> None:
    session = await add(store, "a")
    writers[0].execute("PRAGMA query_only = ON")
    for attempt in (add(store, "b"), store.check(), store.delete("a", 1, 2)):
        with capture_logs() as logged, pytest.raises(Unavailable):
            await attempt
        assert [line["error"] for line in logged] == [
            "OperationalError: attempt to write a readonly database"
        ]
    assert await store.get("a") == session
    writers[0].execute("PRAGMA query_only = OFF")
    await store.check()
    assert reconcile(path) == []


async def test_damage_while_it_runs_is_no_data(path: str) -> None:
    async with open_sqlite_store(path) as store:
        for number in range(50):
            await add(store, f"s{number}")
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite(path, PAGE, b"\xff" * (size(path) - PAGE))  # all but the schema
        with capture_logs() as logged:
            for question in (
                store.get("s1"),
                store.list(None, 10, None),
                everything(store, None),
                store.conversations.threads("7", 10, None, "asc"),
            ):
                with pytest.raises(Unavailable):
                    await question
        assert all("malformed" in line["error"] for line in logged)
        assert len(logged) == 4


# At start


def filled(path: str) -> None:
    async def fill() -> None:
        async with open_sqlite_store(path) as store:
            for number in range(100):
                await add(store, f"s{number}", str(number))

    asyncio.run(fill())


def crashed(path: str) -> None:
    """Leaves what a kill -9 leaves: a database with its WAL."""

    async def run() -> None:
        async with open_sqlite_store(f"{path}.running") as store:
            await add(store, "a")
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}.running{suffix}", f"{path}{suffix}")

    asyncio.run(run())
    assert size(f"{path}-wal") > PAGE


def header(path: str) -> None:
    filled(path)
    overwrite(path, 0, b"\0" * 100)


def page_in_the_middle(path: str) -> None:
    filled(path)
    overwrite(path, size(path) // PAGE // 2 * PAGE, b"\xff" * PAGE)


def cut_off(path: str) -> None:
    filled(path)
    with open(path, "r+b") as file:
        file.truncate(5 * PAGE)


def garbage_in_the_wal(path: str) -> None:
    crashed(path)
    overwrite(f"{path}-wal", 0, b"garbage!" * 8)


def cut_off_to_nothing(path: str) -> None:
    crashed(path)
    with open(path, "r+b") as file:
        file.truncate(0)


def a_letter(path: str) -> None:
    Path(path).write_text("Dear Sir or Madam, " * 1000)


def somebody_elses(path: str, version: int = 0) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()


def somebody_elses_with_a_version(path: str) -> None:
    somebody_elses(path, 2)


def newer(path: str) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


UNUSABLE: dict[Callable[[str], None], str] = {
    header: "restore a backup",
    page_in_the_middle: "malformed.*restore a backup",
    cut_off: "restore a backup",
    garbage_in_the_wal: "-wal file is damaged.*restore a backup",
    cut_off_to_nothing: "cut off.*restore a backup",
    a_letter: "not a database.*restore a backup",
    somebody_elses: "another program.*DATABASE_URL",
    somebody_elses_with_a_version: "another program.*DATABASE_URL",
    newer: "newer release.*run that release",
}


def start(directory: Path) -> None:
    async def run() -> None:
        async with open_session_service(settings_for(directory, "http://127.0.0.1:9/v1")):
            raise AssertionError("it started")

    asyncio.run(run())


@pytest.mark.parametrize("make", UNUSABLE, ids=lambda make: make.__name__)
def test_a_file_that_cannot_be_used_is_named_with_a_remedy_and_left_alone(
    make: Callable[[str], None], path: str, tmp_path: Path
) -> None:
    make(path)
    before = Path(path).read_bytes()
    with pytest.raises(CannotStart, match=UNUSABLE[make]) as caught:
        start(tmp_path)
    assert path in str(caught.value)
    assert Path(path).read_bytes() == before


def test_a_locked_file_stops_the_start_with_a_remedy(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    with locked(path), pytest.raises(CannotStart, match=r"locked.*another process has locked it"):
        start(tmp_path)


def sessions_in(path: str) -> list[str]:
    async def run() -> list[str]:
        async with open_sqlite_store(path) as store:
            return [session.id for session in await store.list(None, 1000, None)]

    return asyncio.run(run())


def test_what_a_crash_leaves_is_used(path: str) -> None:
    crashed(path)
    assert sessions_in(path) == ["a"]
    assert reconcile(path) == []


def test_an_empty_file_is_used_but_not_without_a_word(path: str) -> None:
    Path(path).touch()
    with capture_logs() as logged:
        for _ in range(2):
            assert sessions_in(path) == []
    assert [line["path"] for line in logged if "empty" in line["event"]] == [path]


def test_a_check_that_takes_too_long_does_not_hold_up_the_start(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    overwrite(path, size(path) - PAGE, b"\xff" * PAGE)
    with pytest.raises(CannotStart, match="malformed"):
        start(tmp_path)
    monkeypatch.setattr(sqlite_file, "_CHECK_SECONDS", -1.0)
    monkeypatch.setattr(sqlite_file, "_CHECK_STEPS", 1)
    asyncio.run(open_and_close(path))


# The service around it


async def health(service: SessionService, name: str = "") -> int:
    stub = cast(Any, health_pb2_grpc).HealthStub(service.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    return int(answer.status)


async def test_a_service_whose_store_can_store_nothing_is_not_ready_until_it_can(
    tmp_path: Path,
    emulator: Emulator,
    writers: list[sqlite3.Connection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "_EVERY_SECONDS", 0.02)
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:

        async def says(status: int) -> None:
            async def it_does() -> bool:
                return await health(service) == status

            await eventually(it_does)

        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        assert await health(service) == serving
        with capture_logs() as logged:
            writers[0].execute("PRAGMA query_only = ON")
            await says(not_serving)
            assert await health(service, LIVENESS) == serving
            writers[0].execute("PRAGMA query_only = OFF")
            await says(serving)
        events = [line["event"] for line in logged if "ready" in line["event"]]
        assert events == ["not ready: the store can store nothing; trying again", "ready again"]


async def test_a_caller_who_leaves_while_the_store_fails_leaves_no_session_at_openai(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.5)
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        with locked(str(tmp_path / "chatkit.db")):
            leaving = asyncio.create_task(service.create())

            async def issued() -> bool:
                requests = await emulator.requests("sessions.create")
                return [request["status"] for request in requests] == [200]

            await eventually(issued)
            leaving.cancel()
            assert len(await cancelled(emulator)) == 1
        assert (await service.stats()).total_sessions == 0
