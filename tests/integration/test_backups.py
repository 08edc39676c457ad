"""The commands of docs/operations.md that back up and restore, run as they stand there."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from session_service.stores.base import Store
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.store_values import NOON, add, add_item, add_thread, everything, refresh
from tests.postgres_support import PostgresServer
from tests.reconciliation import reconcile, reconcile_postgres

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"(?s)```bash\n(.*?)```", DOCUMENT)


def block(having: str) -> str:
    (found,) = [code for code in BLOCKS if having in code]
    return str(found)


async def shell(script: str, cwd: Path, **variables: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euc", script],
        cwd=cwd,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def fill(store: Store) -> None:
    await refresh(store, await add(store, "a"), "b", NOON + 1000)
    await add_item(store, await add_thread(store, "t"), "i")


async def sessions(store: Store) -> int:
    return (await everything(store, "7")).totals.sessions


async def test_a_store_of_sqlite_is_saved_while_it_runs_and_restored(tmp_path: Path) -> None:
    data = tmp_path / "data"
    attachment = data / "attachments" / "00" / "atc_1"
    attachment.parent.mkdir(parents=True)
    attachment.write_bytes(b"kept")
    database = str(data / "chatkit.db")
    async with open_sqlite_store(database) as store:
        await fill(store)
        await shell(block("VACUUM INTO"), tmp_path)
        await add(store, "later")
        attachment.write_bytes(b"lost")
    await shell(block("cp backup/chatkit.db"), tmp_path)
    assert reconcile(database, data / "attachments") == []
    assert attachment.read_bytes() == b"kept"
    async with open_sqlite_store(database) as store:
        assert await sessions(store) == 1


async def test_a_store_of_postgres_is_saved_while_it_runs_and_restored(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = await postgres.new_database()
    programs = str(postgres.programs)
    async with open_postgres_store(url) as store:
        await fill(store)
        await shell(f"PATH={programs}:$PATH; {block('pg_dump')}", tmp_path, DATABASE_URL=url)
        await add(store, "later")
        assert await sessions(store) == 2
    await shell(f"PATH={programs}:$PATH; {block('pg_restore')}", tmp_path, DATABASE_URL=url)
    assert await reconcile_postgres(url) == []
    async with open_postgres_store(url) as store:
        assert await sessions(store) == 1
