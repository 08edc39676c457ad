"""What the parts of the bench share: each is started when a part first asks for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.bench.contestants import Contestant, running_chain, running_own_chat
from tests.bench.plan import Plan
from tests.postgres_support import PostgresServer, running_postgres

_Started = TypeVar("_Started")


@dataclass
class Bench:
    """What every part is given. All that it starts ends with `stack`."""

    plan: Plan
    directory: Path
    """On a disk, for what is measured and written."""
    upstream: Contestant
    stack: contextlib.AsyncExitStack
    _chain: Contestant | None = field(default=None, init=False)
    _own_chat: Contestant | None = field(default=None, init=False)
    _postgres: PostgresServer | None = field(default=None, init=False)

    async def chain(self) -> Contestant:
        """Returns our two processes in hosted mode, on SQLite. Raises CannotRun."""
        self._chain = await self._started(
            self._chain,
            running_chain(self.directory, self.upstream.port, self.directory / "hosted.db"),
        )
        return self._chain

    async def own_chat(self) -> Contestant:
        """Returns our two processes in self-hosted mode, on SQLite. Raises CannotRun."""
        self._own_chat = await self._started(
            self._own_chat, running_own_chat(self.directory, self.upstream.port)
        )
        return self._own_chat

    async def postgres(self) -> PostgresServer:
        """Returns a PostgreSQL with every commit on the disk, as SQLite's are."""
        self._postgres = await self._started(self._postgres, _running_postgres())
        return self._postgres

    async def _started(
        self, running: _Started | None, start: AbstractAsyncContextManager[_Started]
    ) -> _Started:
        return await self.stack.enter_async_context(start) if running is None else running


@contextlib.asynccontextmanager
async def _running_postgres() -> AsyncIterator[PostgresServer]:
    running = running_postgres(durable=True)
    postgres = await asyncio.to_thread(running.__enter__)
    try:
        yield postgres
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
