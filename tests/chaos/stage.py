"""The system on which faults are played: real processes that can be stopped and started again."""

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tests.chaos.proxy import Proxy, open_proxy
from tests.e2e import processes
from tests.e2e.dashboard import EmulatorControl
from tests.e2e.processes import Part, free_port
from tests.postgres_support import PostgresServer, running_postgres
from tests.reconciliation import reconcile, reconcile_postgres

TIMEOUT_SECONDS = 5.0
"""`CHATKIT_TIMEOUT_SECONDS`: so that what is stalled ends within a row."""

POSTGRES_DATABASE = "postgres"

SETTINGS = {
    "CHATKIT_TIMEOUT_SECONDS": f"{TIMEOUT_SECONDS:g}",
    "CHATKIT_SESSIONS_PER_MINUTE": "0",
    "CHATKIT_REQUESTS_PER_MINUTE": "0",
    "CHATKIT_USAGE_SYNC_SECONDS": "1",
}


class Restartable:
    """A process at an address of its own, and what all of its lives have printed."""

    def __init__(self, start: Callable[[], AbstractContextManager[Part]]) -> None:
        self._start = start
        self._lives: list[Part] = []
        self._running: AbstractContextManager[Part] | None = None

    @property
    def url(self) -> str:
        return self._lives[-1].url

    @property
    def address(self) -> str:
        return self._lives[-1].address

    @property
    def pid(self) -> int:
        return self._lives[-1].process.pid

    def last(self, pattern: str) -> re.Match[str] | None:
        """Returns the match in the newest line that it has printed and that has one."""
        return self._lives[-1].process.last(pattern)

    @property
    def output(self) -> str:
        return "".join(life.process.output for life in self._lives)

    async def start(self) -> None:
        """Returns once it listens."""
        self._running = self._start()
        self._lives.append(await asyncio.to_thread(self._running.__enter__))

    async def kill(self) -> None:
        if self._running is not None:
            await asyncio.to_thread(self._running.__exit__, None, None, None)
            self._running = None

    async def terminate(self) -> int:
        """Sends SIGTERM, and returns the exit code."""
        code = await asyncio.to_thread(self._lives[-1].process.stop)
        await self.kill()
        return code

    def send(self, number: signal.Signals) -> None:
        self._lives[-1].process.send(number)


@dataclass(frozen=True, slots=True)
class Stage:
    """One system: an upstream, session services on one database, and gateways before them."""

    openai: Restartable
    services: list[Restartable]
    gateways: list[Restartable]
    database: Path | None
    """Of SQLite; None where it is PostgreSQL's."""
    postgres: PostgresServer | None = None
    is_self_hosted: bool = False
    proxy: Proxy | None = None
    """Between the gateway and the service, where there is one."""
    control: EmulatorControl = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "control", EmulatorControl(self.openai.url))

    @property
    def gateway(self) -> Restartable:
        return self.gateways[0]

    async def reconcile(self) -> list[str]:
        """Returns what counters and rows of the database do not agree in."""
        if self.postgres is not None:
            return await reconcile_postgres(self.postgres.url(POSTGRES_DATABASE))
        assert self.database is not None
        return await asyncio.to_thread(reconcile, self.database)

    def channel(self) -> grpc.aio.Channel:
        """Opens a channel to the first of the services, as internal callers do."""
        return grpc.aio.insecure_channel(self.services[0].address)

    async def heal(self) -> None:
        await asyncio.to_thread(self.control.heal)

    async def fail(self, **failure: object) -> None:
        """Lets all sessions fail at OpenAI so, until `heal`."""
        await asyncio.to_thread(self.control.fail, times=None, **failure)


class Stages:
    """Those that have been opened; all of them ask one emulator."""

    def __init__(
        self, directory: Path, settings: dict[str, str], stack: contextlib.AsyncExitStack
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._stack = stack
        self._open: dict[str, asyncio.Task[Stage]] = {}
        self._openai = asyncio.create_task(self._emulator())

    async def get(self, name: str) -> Stage:
        if name not in self._open:
            self._open[name] = asyncio.create_task(self._make(name))
        return await self._open[name]

    async def _make(self, name: str) -> Stage:
        stage = await _OPEN[name](self, self._directory / name)
        self._stack.callback(stage.control.close)
        return stage

    async def hosted(self, directory: Path) -> Stage:
        return await self._simple(directory)

    async def self_hosted(self, directory: Path) -> Stage:
        patient = {"CHATKIT_TIMEOUT_SECONDS": "30"}  # a whole answer takes long on a busy machine
        return await self._simple(directory, CHATKIT_MODE="self_hosted", **patient)

    async def proxied(self, directory: Path) -> Stage:
        service = await self._service(directory)
        proxy = await self._stack.enter_async_context(open_proxy(service.address))
        gateway = await self._gateway(directory, proxy.address)
        return Stage(await self._openai, [service], [gateway], _database(directory), proxy=proxy)

    async def scaled(self, directory: Path) -> Stage:
        """Three session services on PostgreSQL, and two gateways."""
        # It sets up an event loop of its own for a moment.
        start = self._stack.enter_context
        postgres = await asyncio.to_thread(start, running_postgres())
        # Patient, as so many processes that start keep a small machine busy.
        settings = {"CHATKIT_TIMEOUT_SECONDS": "15"}
        database = {"DATABASE_URL": postgres.url(POSTGRES_DATABASE), **settings}
        rooms = [directory / name for name in ("a", "b", "c")]
        services = await asyncio.gather(*(self._service(room, **database) for room in rooms))
        targets = [service.address for service in services]
        gateways = await asyncio.gather(
            *(self._gateway(directory, *targets, **settings) for _ in range(2))
        )
        return Stage(await self._openai, services, gateways, None, postgres)

    async def _simple(self, directory: Path, **settings: str) -> Stage:
        service = await self._service(directory, **settings)
        gateway = await self._gateway(directory, service.address)
        database = _database(directory)
        return Stage(
            await self._openai, [service], [gateway], database, is_self_hosted=bool(settings)
        )

    async def _emulator(self) -> Restartable:
        address = f"127.0.0.1:{free_port()}"
        return await self._start(lambda: processes.emulator(self._directory, address))

    async def _service(self, directory: Path, **settings: str) -> Restartable:
        await asyncio.to_thread(directory.mkdir, parents=True)
        openai = await self._openai
        listen = {"SESSION_SERVICE_LISTEN": f"127.0.0.1:{free_port()}"}
        given = {**self._settings, **listen, **settings}
        return await self._start(
            lambda: processes.session_service(directory, openai.url, clock=None, **given)
        )

    async def _gateway(self, directory: Path, *targets: str, **settings: str) -> Restartable:
        listen = {"GATEWAY_LISTEN": f"127.0.0.1:{free_port()}"}
        given = {**self._settings, **listen, **settings}
        return await self._start(
            lambda: processes.gateway(directory, *targets, grace_seconds=None, **given)
        )

    async def _start(self, start: Callable[[], AbstractContextManager[Part]]) -> Restartable:
        process = Restartable(start)
        self._stack.push_async_callback(process.kill)
        await process.start()
        return process


_OPEN = {
    "hosted": Stages.hosted,
    "self_hosted": Stages.self_hosted,
    "proxied": Stages.proxied,
    "scaled": Stages.scaled,
}


def _database(directory: Path) -> Path:
    return directory / "data" / "chatkit.db"


@contextlib.asynccontextmanager
async def open_stages(directory: Path, settings: dict[str, str]) -> AsyncIterator[Stages]:
    """Stops all that was started, in the end."""
    async with contextlib.AsyncExitStack() as stack:
        yield Stages(directory, settings, stack)
