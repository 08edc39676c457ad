"""A database is looked at without being opened as a store: nothing is made, migrated or changed."""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from session_service.stores import postgres_schema, sqlite_schema
from session_service.stores.inspection import Inspection, inspect
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.test_sqlite_store import unprivileged
from tests.postgres_support import PostgresServer, connected

NEWEST = len(sqlite_schema.MIGRATIONS)
NEWEST_POSTGRES = len(postgres_schema.MIGRATIONS)


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A database that a service has closed."""
    path = tmp_path / "chatkit.db"
    async with open_sqlite_store(str(path)):
        pass
    return path


async def look(file: Path) -> Inspection:
    return await inspect(f"sqlite:///{file}")


def content(file: Path) -> bytes:
    return file.read_bytes()


def write(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = await look(tmp_path / "a" / "b" / "chatkit.db")
    assert found == Inspection(NEWEST)
    assert names_in(tmp_path) == []


async def test_a_whole_database_is_left_byte_for_byte(file: Path) -> None:
    before = content(file)
    assert await look(file) == Inspection(NEWEST, NEWEST)
    assert content(file) == before
    assert names_in(file.parent) == [file.name]


async def test_an_older_schema_is_not_migrated(tmp_path: Path) -> None:
    path = tmp_path / "chatkit.db"
    with closing(sqlite3.connect(path)) as db:
        for statement in sqlite_schema.MIGRATIONS[0]:
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        db.commit()
    assert await look(path) == Inspection(NEWEST, 1)
    assert await look(path) == Inspection(NEWEST, 1)


async def test_a_newer_schema_is_told(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA user_version = {NEWEST + 1}")
    assert (await look(file)).schema == NEWEST + 1


async def test_another_programs_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE cookies (name)")
    assert (await look(path)).problem == "foreign"


async def test_a_damaged_file_is_told(file: Path) -> None:
    damaged = b"no database at all" * 1000
    write(file, damaged)
    assert (await look(file)).problem == "damaged"
    assert content(file) == damaged


async def test_a_cut_off_file_keeps_its_wal(file: Path) -> None:
    write(file, b"")
    wal = Path(f"{file}-wal")
    write(wal, b"\x37\x7f\x06\x82" + bytes(28))
    assert (await look(file)).problem == "damaged"
    assert wal.name in names_in(file.parent)


async def test_a_lock_of_another_program_is_told(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert (await look(file)).problem == "locked"


async def test_beside_a_store_that_is_open_nothing_is_lost(file: Path) -> None:
    async with open_sqlite_store(str(file)) as store:
        assert await look(file) == Inspection(NEWEST, NEWEST)
        await store.check()


@pytest.mark.parametrize("place", ["/proc/chatkit/chatkit.db", "/dev/null/chatkit.db"])
async def test_a_folder_that_cannot_be_written_is_told(place: str) -> None:
    found = await look(Path(place))
    assert found.problem == "unwritable"
    assert found.said


async def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    assert (await look(tmp_path)).problem == "unwritable"


async def test_a_file_that_may_only_be_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "chatkit.db"
        async with open_sqlite_store(str(file)):
            pass
        os.chmod(directory, 0o777)
        file.chmod(0o444)
        with unprivileged():
            assert (await look(file)).problem == "unwritable"


# PostgreSQL


async def test_a_migrated_postgres_is_in_order(url: str) -> None:
    assert await inspect(url) == Inspection(NEWEST_POSTGRES, NEWEST_POSTGRES)


async def test_a_new_postgres_gets_no_tables(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    assert await inspect(url) == Inspection(NEWEST_POSTGRES)
    async with connected(url) as db:
        assert await db.fetchval("SELECT to_regclass('schema_version')") is None
        await db.execute("CREATE TABLE schema_version (version bigint)")
        await db.execute("INSERT INTO schema_version VALUES (1)")
    assert await inspect(url) == Inspection(NEWEST_POSTGRES, 1)


async def test_beside_a_store_that_is_open_postgres_is_in_order(url: str) -> None:
    async with open_postgres_store(url) as store:
        await store.check()
        assert (await inspect(url)).problem is None


async def test_a_postgres_that_is_read_only_is_told(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    await postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert (await inspect(url)).problem == "read_only"


async def test_a_postgres_that_cannot_hold_every_text_is_told(postgres: PostgresServer) -> None:
    url = await postgres.new_database("ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    assert (await inspect(url)).problem == "encoding"


async def test_a_database_that_postgres_does_not_have_is_told(postgres: PostgresServer) -> None:
    assert (await inspect(postgres.url("nowhere"))).problem == "no_database"


async def test_a_user_of_postgres_who_may_not_write_is_told(url: str) -> None:
    async with connected(url) as db:
        await db.execute("DROP ROLE IF EXISTS reader")
        await db.execute("CREATE ROLE reader LOGIN PASSWORD 'secret'")
        try:
            reader = url.replace("postgres:@", "reader:secret@").replace("user=postgres", "")
            found = await inspect(reader)
            assert found.problem == "unwritable", found
        finally:
            await db.execute("DROP ROLE reader")


async def test_where_no_postgres_is_is_told() -> None:
    found = await inspect("postgresql://user:password@127.0.0.1:1/chatkit")
    assert found.problem == "unreachable"
    assert "password" not in found.said
