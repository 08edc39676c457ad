"""What goes without being asked."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from structlog.testing import capture_logs

from session_service.circuit import Circuit
from session_service.config import Settings
from session_service.conversation import housekeeping
from session_service.conversation.attachment_files import open_attachment_files
from session_service.conversation.attachments import Attachments
from session_service.conversation.housekeeping import Housekeeping
from session_service.conversation.links import Links
from session_service.conversation.openai_files import OpenAIFiles
from session_service.sessions import now_ms
from session_service.stores.base import DAY_MS
from session_service.stores.conversations import ConversationStore
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.conversation.chat import Chat, message, open_chat, thread_id_of
from tests.postgres_support import PostgresServer
from tests.support import Emulator, eventually

CSV = b"a;b\n"


@dataclass(frozen=True, slots=True)
class House:
    """The stores of a service that has stopped."""

    store: ConversationStore
    attachments: Attachments
    directory: Path

    async def clean(self, days_later: float, retention_days: float) -> None:
        at_ms = time.time_ns() // 1_000_000 + int(days_later * DAY_MS)
        await Housekeeping(self.store, self.attachments, retention_days).clean(at_ms)

    def files(self) -> list[Path]:
        return [path for path in self.directory.rglob("atc_*") if path.is_file()]


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    url = settings.database_url
    path = url.removeprefix("sqlite:///")
    async with (
        open_sqlite_store(path) if path != url else open_postgres_store(url) as store,
        open_attachment_files(settings.chatkit_attachments_dir) as files,
        openai.AsyncOpenAI(api_key="sk-test", base_url=settings.openai_base_url) as client,
    ):
        attachments = Attachments(
            store.conversations,
            files,
            Links(b"key"),
            1024,
            OpenAIFiles(client, Circuit("files", 5), 30),
        )
        yield House(store.conversations, attachments, settings.chatkit_attachments_dir)


async def with_a_thread_and_two_files(chat: Chat) -> str:
    """Returns a thread in which one file was sent; another waits for its message."""
    sent = await chat.attach("sent.csv", CSV)
    await chat.attach("forgotten.csv", CSV)
    events = await chat.stream("threads.create", input=message("Mira", sent)).events()
    return thread_id_of(events)


async def test_old_threads_go_with_their_files_where_that_is_wanted(
    settings: Callable[..., Settings], emulator: Emulator
) -> None:
    made = settings()
    async with open_chat(made) as chat:
        thread_id = await with_a_thread_and_two_files(chat)
    async with open_house(made) as house:
        await house.clean(days_later=29, retention_days=30)
        assert await house.store.thread("7", thread_id) is not None
        await house.clean(days_later=31, retention_days=30)
        assert await house.store.thread("7", thread_id) is None
        assert house.files() == []
    assert len(await emulator.requests("files.delete")) == 1


async def test_threads_are_kept_where_nothing_else_is_said(
    settings: Callable[..., Settings],
) -> None:
    made = settings()
    async with open_chat(made) as chat:
        thread_id = await with_a_thread_and_two_files(chat)
    async with open_house(made) as house:
        assert len(house.files()) == 2
        await house.clean(days_later=3650, retention_days=0)
        assert await house.store.thread("7", thread_id) is not None
        assert len(house.files()) == 1  # what was never sent goes after a day


async def test_the_service_cleans_by_itself(settings: Callable[..., Settings]) -> None:
    made = settings()
    async with open_chat(made) as chat:
        thread_id = await chat.new_thread()
    async with open_chat(settings(chatkit_retention_days=1e-7)) as chat:

        async def is_gone() -> bool:
            return thread_id not in str(await chat.ask("threads.list"))

        await eventually(is_gone)


async def test_a_clock_that_jumps_ahead_makes_nothing_old(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settings()
    async with open_chat(made) as chat:
        thread_id = await chat.new_thread()
    async with open_house(made) as house:
        asked: list[int] = []

        def clock() -> int:
            """It jumps a century ahead once the service has begun by it."""
            asked.append(now_ms())
            return asked[-1] + (100 * 365 * DAY_MS if len(asked) > 2 else 0)

        async def often() -> bool:
            return len(asked) > 10

        monkeypatch.setattr(housekeeping, "now_ms", clock)
        monkeypatch.setattr(housekeeping, "_EVERY_SECONDS", 0.01)
        kept = Housekeeping(house.store, house.attachments, retention_days=30)
        running = asyncio.create_task(kept.run())
        await eventually(often)
        assert await house.store.thread("7", thread_id) is not None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_several_services_clean_at_once_and_each_thing_goes_once(
    settings: Callable[..., Settings], emulator: Emulator, postgres: PostgresServer
) -> None:
    made = settings(database_url=await postgres.clean_database())
    async with open_chat(made) as chat:
        await emulator.answers(pause_seconds=0)
        for _ in range(6):
            await with_a_thread_and_two_files(chat)
    async with contextlib.AsyncExitStack() as stack:
        houses = [await stack.enter_async_context(open_house(made)) for _ in range(3)]
        assert len(houses[0].files()) == 12
        with capture_logs() as logged:
            await asyncio.gather(*(house.clean(31, retention_days=30) for house in houses))
        assert houses[0].files() == []
        assert not await houses[0].store.idle_threads(2**50, 10)
    cleaned = [line for line in logged if line["event"] == "housekeeping"]
    assert sum(line["threads_deleted"] for line in cleaned) == 6
    assert sum(line["attachments_deleted"] for line in cleaned) == 6
    assert len(await emulator.requests("files.delete")) == 6
    assert "deadlock detected" not in postgres.log()
