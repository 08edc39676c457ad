"""Two session services on one PostgreSQL, as processes: deletes, deaths, and restarts."""

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from tests.e2e import processes
from tests.e2e.dashboard import Dashboard, EmulatorControl, open_dashboard
from tests.e2e.processes import Part
from tests.integration.conversation.chat import (
    Answer,
    Chat,
    kinds,
    new_chat,
    thread_id_of,
)
from tests.postgres_support import PostgresServer, running_postgres
from tests.support import SessionService, refused

_users = itertools.count(9000)

SOON_SECONDS = 5.0
"""On a busy machine; the answers themselves would take a minute."""


@dataclass(frozen=True, slots=True)
class System:
    """Services that share all that they keep; the gateway asks the other one."""

    one: Part
    other: Part
    gateway: Part
    settings: dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that may be restarted."""
    with running_postgres() as running:
        yield running


@pytest.fixture(scope="module")
def system(
    server: PostgresServer, own_emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("shared")
    settings: dict[str, Any] = {
        "DATABASE_URL": asyncio.run(server.clean_database()),
        "CHATKIT_MODE": "self_hosted",
        "CHATKIT_REQUESTS_PER_MINUTE": "0",
        "CHATKIT_TIMEOUT_SECONDS": "60",
    }
    with (
        processes.session_service(directory, own_emulator, **settings) as one,
        processes.session_service(directory, own_emulator, **settings) as other,
        processes.gateway(directory, other.address) as gateway,
    ):
        yield System(one, other, gateway, settings)


@contextlib.asynccontextmanager
async def chat_at(part: Part, user: int) -> AsyncIterator[Chat]:
    """A new session of a user, at that service."""
    async with grpc.aio.insecure_channel(part.address) as channel:
        service = SessionService(cast(Any, None), channel, SessionServiceStub(channel))
        yield await new_chat(service, str(user))


async def slowly(chat: Chat, openai: EmulatorControl) -> tuple[Answer, str]:
    """Begins an answer of a minute."""
    openai.answers(pause_seconds=0.02, deltas=3000)
    answer = chat.begin("Cuéntame todo")
    created = await answer.until("created")
    await answer.until("content_part.text_delta")
    return answer, thread_id_of([created])


async def is_ended_by_a_delete(chat: Chat, dashboard: Dashboard, answer: Answer) -> None:
    await dashboard.delete(chat.session_id)
    async with asyncio.timeout(SOON_SECONDS):
        with refused("SESSION_DELETED"):
            await answer.events()


async def test_a_delete_ends_an_answer_of_another_service(
    system: System, own_openai: EmulatorControl
) -> None:
    user = next(_users)
    async with (
        chat_at(system.one, user) as chat,
        open_dashboard(system.gateway.url, user) as dashboard,
    ):
        answer, _ = await slowly(chat, own_openai)
        await is_ended_by_a_delete(chat, dashboard, answer)
        stats = await dashboard.stats()
        assert (stats["turns"], stats["failedTurns"]) == (1, 0)


async def test_a_service_that_is_killed_leaves_its_threads_to_the_others(
    system: System, own_openai: EmulatorControl, own_emulator: str, directory: Path
) -> None:
    user = next(_users)
    with processes.session_service(directory, own_emulator, **system.settings) as victim:
        async with chat_at(victim, user) as chat, chat_at(system.other, user) as next_chat:
            answer, thread_id = await slowly(chat, own_openai)
            own_openai.answers(pause_seconds=0)
            victim.process.send(signal.SIGKILL)
            async with asyncio.timeout(SOON_SECONDS):
                events = await next_chat.say("¿Sigues ahí?", thread_id)
            assert kinds(events)[-1] in ("item.done(assistant_message)", "updated")
            with pytest.raises(grpc.aio.AioRpcError):
                await answer.events()
            types = [item["type"] for item in await next_chat.items(thread_id)]
            assert types == ["user_message", "user_message", "assistant_message"]


async def test_a_database_that_restarts_in_mid_answer_is_lived_through(
    system: System, server: PostgresServer, own_openai: EmulatorControl
) -> None:
    user = next(_users)
    async with (
        chat_at(system.one, user) as chat,
        open_dashboard(system.gateway.url, user) as dashboard,
    ):
        thread_id = await chat.new_thread()
        own_openai.answers(pause_seconds=0.02, deltas=200)
        answer = chat.begin("¿Y?", thread_id)
        await answer.until("content_part.text_delta")
        await server.restart()
        async with asyncio.timeout(processes.PATIENCE_SECONDS):
            assert kinds(await answer.events())[-1] == "item.done(assistant_message)"
        assert len(await chat.items(thread_id)) == 4
        # What is told, and what is locked, is so again.
        answer, _ = await slowly(chat, own_openai)
        await is_ended_by_a_delete(chat, dashboard, answer)
