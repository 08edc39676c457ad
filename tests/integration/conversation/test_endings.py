"""How an answer ends before its time: who is told what, what is kept, and that the model stops."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from session_service.config import Settings
from tests.integration.conversation.chat import (
    Answer,
    Chat,
    open_chat,
    text_of,
    texts,
    thread_id_of,
)
from tests.support import Emulator, eventually, open_session_service, refused

MakeSettings = Callable[..., Settings]


async def slowly(chat: Chat, emulator: Emulator) -> tuple[Answer, str]:
    """Returns an answer that is being written and would take a minute, and its thread."""
    await emulator.answers(pause_seconds=0.02, deltas=3000)
    answer = chat.begin("Cuéntame todo")
    created = await answer.until("created")
    await answer.until("content_part.text_delta")
    return answer, thread_id_of([created])


async def stopped_early(emulator: Emulator) -> bool:
    return bool((await emulator.requests("responses.create"))[-1]["left_early"])


async def test_a_browser_that_leaves_stops_the_model_within_a_second(
    chat: Chat, emulator: Emulator
) -> None:
    answer, thread_id = await slowly(chat, emulator)
    answer.call.cancel()
    await eventually(lambda: stopped_early(emulator), within=1)
    user, partial = await chat.items(thread_id)
    assert user["type"] == "user_message"
    (said,) = texts([partial])
    sent = (await emulator.requests("responses.create"))[-1]["sent_deltas"]
    assert 0 < len(said.split()) <= sent < 3000
    stats = await chat.service.stats()
    assert (stats.turns, stats.failed_turns, stats.estimated_turns) == (1, 0, 1)
    assert stats.output_tokens > 0
    assert (await chat.ask("threads.get_by_id", thread_id=thread_id))["title"] == "Cuéntame todo"


async def test_the_model_hears_that_its_answer_was_broken_off(
    chat: Chat, emulator: Emulator
) -> None:
    answer, thread_id = await slowly(chat, emulator)
    answer.call.cancel()
    await eventually(lambda: stopped_early(emulator))
    await emulator.answers(pause_seconds=0)
    await chat.say("Otra cosa", thread_id)
    read = (await emulator.requests("responses.create"))[-1]["body"]["input"]
    assert "broken off" in str(read)
    assert "broken off" not in str(await chat.items(thread_id))  # but nobody else does


async def test_a_browser_that_leaves_before_the_first_token_stops_the_model(
    chat: Chat, emulator: Emulator
) -> None:
    await emulator.fail("responses.create", kind="silence")
    answer = chat.begin("Hola")
    await answer.until("stream_options")
    await eventually(lambda: _asked(emulator))
    answer.call.cancel()
    await eventually(lambda: stopped_early(emulator), within=1)


async def _asked(emulator: Emulator) -> bool:
    return bool(await emulator.requests("responses.create"))


async def test_deleting_the_session_ends_its_answers(chat: Chat, emulator: Emulator) -> None:
    answer, thread_id = await slowly(chat, emulator)
    await chat.service.delete(chat.session_id)
    with refused("SESSION_DELETED"):
        await answer.events()
    await eventually(lambda: stopped_early(emulator), within=1)
    created = await chat.service.create()
    _, partial = await Chat(chat.service, created.client_secret, "").items(thread_id)
    assert texts([partial]) != [""]


async def test_other_sessions_go_on_when_one_is_deleted(chat: Chat, emulator: Emulator) -> None:
    await emulator.answers(pause_seconds=0.02, deltas=30)
    answer = chat.begin("Hola")
    await answer.until("item.added(assistant_message)")
    other = await chat.service.create()
    await chat.service.delete(other.session.id)
    assert (await answer.events())[-1]["type"] == "thread.updated"


async def test_a_reader_that_stops_reading_stops_the_model_and_holds_little(
    settings: MakeSettings, emulator: Emulator
) -> None:
    await emulator.answers(pause_seconds=0, deltas=200_000)
    async with open_chat(settings(chatkit_timeout_seconds=2)) as chat:
        answer = chat.begin("Cuéntame todo")
        await answer.until("content_part.text_delta")
        # Nothing is read any more: what is on its way fills the buffers, and there it ends.
        await eventually(lambda: stopped_early(emulator))
        sent = (await emulator.requests("responses.create"))[-1]["sent_deltas"]
        assert sent < 100_000
        with refused("UPSTREAM_TIMEOUT"):
            await answer.events()


async def test_a_thread_that_is_deleted_in_mid_answer_ends_it(
    chat: Chat, emulator: Emulator
) -> None:
    answer, thread_id = await slowly(chat, emulator)
    await chat.ask("threads.delete", thread_id=thread_id)
    with refused("THREAD_NOT_FOUND"):
        await answer.events()
    await eventually(lambda: stopped_early(emulator), within=1)
    assert (await chat.ask("threads.list"))["data"] == []
    stats = await chat.service.stats()
    assert (stats.turns, stats.failed_turns) == (1, 0)


async def test_no_task_goes_on_for_ever_in_the_history(chat: Chat, emulator: Emulator) -> None:
    await emulator.fail("responses.create", kind="stuck_tool")
    answer = chat.begin("busca algo")
    thread_id = thread_id_of([await answer.until("created")])
    await answer.until("item.added(workflow)")
    answer.call.cancel()
    await eventually(lambda: stopped_early(emulator))
    _, workflow = await chat.items(thread_id)
    assert [task["status_indicator"] for task in workflow["workflow"]["tasks"]] == ["none"]


async def test_answers_are_finished_when_the_service_drains(
    settings: MakeSettings, emulator: Emulator
) -> None:
    await emulator.answers(pause_seconds=0.02, deltas=30)
    async with open_chat(settings()) as chat:
        answer = chat.begin("Hola")
        await answer.until("item.added(assistant_message)")
        drained = asyncio.create_task(chat.service.server.drain())
        assert (await answer.events())[-1]["type"] == "thread.updated"
        await drained


async def test_answers_that_take_longer_than_a_drain_are_told_so(
    settings: MakeSettings, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("session_service.server.GRACE_SECONDS", 3.0)
    async with open_chat(settings()) as chat:
        answer, thread_id = await slowly(chat, emulator)
        drained = asyncio.create_task(chat.service.server.drain())
        with refused("UNAVAILABLE"):
            await answer.events()
        await drained
        assert await stopped_early(emulator)
    async with open_session_service(settings()) as service:
        created = await service.create()
        _, partial = await Chat(service, created.client_secret, "").items(thread_id)
        assert texts([partial]) != [""]


async def test_what_was_said_survives_a_crash_in_mid_answer(
    settings: MakeSettings, emulator: Emulator, tmp_path: Path
) -> None:
    """`kill -9`: the user's message is there afterwards, and the thread can be used."""
    async with open_chat(settings()) as chat:  # only for the session and its store
        secret, session_id = chat.secret, chat.session_id
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "session_service",
        env={
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": emulator.url,
            "CHATKIT_MODE": "self_hosted",
            "CHATKIT_ATTACHMENTS_DIR": str(tmp_path / "attachments"),
            "DATABASE_URL": f"sqlite:///{tmp_path}/chatkit.db",
            "SESSION_SERVICE_LISTEN": "127.0.0.1:0",
            "SESSION_SERVICE_METRICS_LISTEN": "off",
            "LOG_FORMAT": "json",
            "NO_PROXY": "127.0.0.1",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"session service listening" not in (line := await process.stdout.readline()):
        assert line
    address = line.decode().partition('"address":"')[2].partition('"')[0]
    async with grpc.aio.insecure_channel(address) as channel:
        remote = Chat(chat.service, secret, session_id)
        remote.stub = type(chat.stub)(channel)
        answer, thread_id = await slowly(remote, emulator)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError):
            await answer.events()
    await process.wait()
    async with open_session_service(settings()) as service:
        chat = Chat(service, secret, session_id)
        assert texts(await chat.items(thread_id)) == ["Cuéntame todo"]
        await emulator.answers(pause_seconds=0)
        assert text_of(await chat.say("¿Sigues ahí?", thread_id))


async def test_frames_that_are_ready_together_are_sent_together(
    chat: Chat, emulator: Emulator
) -> None:
    await emulator.answers(pause_seconds=0, deltas=2000)
    answer = chat.begin("Hola")
    parts = [part.data async for part in answer.call]
    assert b"".join(parts).count(b"text_delta") >= 2000
    assert len(parts) < 1000
