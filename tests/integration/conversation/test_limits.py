"""The documented limits, and what else a conversation must withstand."""

import asyncio
import time
from collections.abc import Callable

import grpc
import pytest

from protos.chatkit.v1.errors import reason_of
from session_service.config import Settings
from tests.integration.conversation.chat import (
    Chat,
    kinds,
    message,
    new_chat,
    open_chat,
    text_of,
    texts,
    thread_id_of,
)
from tests.support import Emulator, eventually, refused

MakeSettings = Callable[..., Settings]


async def test_a_full_thread_is_closed_with_a_notice_and_nothing_is_stored(
    settings: MakeSettings, emulator: Emulator
) -> None:
    async with open_chat(settings(chatkit_max_messages=4)) as chat:
        thread_id = await chat.new_thread("uno")
        await chat.say("dos", thread_id)
        kept = await chat.items(thread_id)
        asked = len(await emulator.requests("responses.create"))
        for _ in range(2):  # the second time it is closed already
            notice, updated = await chat.say("tres", thread_id)
            assert (notice["type"], notice["level"]) == ("notice", "warning")
            assert "límite de 4 mensajes" in notice["message"]
            assert updated["thread"]["status"]["type"] == "closed"
        assert await chat.items(thread_id) == kept
        assert len(await emulator.requests("responses.create")) == asked
        notice, _ = await chat.say("tres", thread_id, language="en")
        assert "limit of 4 messages" in notice["message"]
        # Another answer to the last message is none too many.
        last = kept[2]["id"]
        events = chat.stream("threads.retry_after_item", thread_id=thread_id, item_id=last)
        assert kinds(await events.events())[-1] == "item.done(assistant_message)"


async def test_no_thread_has_more_messages_than_the_limit(settings: MakeSettings) -> None:
    async with open_chat(settings(chatkit_max_messages=3)) as chat:
        thread_id = await chat.new_thread("uno")
        assert kinds(await chat.say("dos", thread_id)) == ["notice", "updated"]
        assert len(await chat.items(thread_id)) == 2


async def test_a_thread_from_which_answers_were_taken_back_goes_on(settings: MakeSettings) -> None:
    async with open_chat(settings(chatkit_max_messages=4)) as chat:
        thread_id = await chat.new_thread("uno")
        await chat.say("dos", thread_id)
        assert kinds(await chat.say("tres", thread_id)) == ["notice", "updated"]
        first, *_ = await chat.items(thread_id)
        retry = chat.stream("threads.retry_after_item", thread_id=thread_id, item_id=first["id"])
        await retry.events()
        assert kinds(await chat.say("dos", thread_id))[-2:] == [
            "content_part.done",
            "item.done(assistant_message)",
        ]
        thread = await chat.ask("threads.get_by_id", thread_id=thread_id)
        assert thread["status"]["type"] == "active"


async def test_a_message_or_a_title_says_something(chat: Chat) -> None:
    with refused("INVALID_ARGUMENT"):
        await chat.say("  ")
    with refused("INVALID_ARGUMENT"):
        await chat.stream("threads.create", input={**message(""), "content": []}).events()
    assert (await chat.ask("threads.list"))["data"] == []
    thread_id = await chat.new_thread()
    for title in ("", " ", "x" * 257, "a\0"):
        with refused("INVALID_ARGUMENT"):
            await chat.ask("threads.update", thread_id=thread_id, title=title)


async def test_who_waits_for_another_answer_in_vain_is_told_so(
    settings: MakeSettings, emulator: Emulator
) -> None:
    async with open_chat(settings(chatkit_timeout_seconds=1.5)) as chat:
        thread_id = await chat.new_thread()
        await emulator.fail("responses.create", kind="silence", times=None)
        first = chat.begin("uno", thread_id)
        await first.until("stream_options")
        second, third = chat.begin("dos", thread_id), chat.begin("tres", thread_id)
        with refused("UPSTREAM_TIMEOUT"):
            await first.events()
        outcomes = await asyncio.gather(second.events(), third.events(), return_exceptions=True)
        reasons = {reason_of(error) for error in outcomes if isinstance(error, grpc.RpcError)}
        assert "RATE_LIMITED" in reasons


async def test_two_tabs_never_pass_the_limit_together(settings: MakeSettings) -> None:
    async with open_chat(settings(chatkit_max_messages=4)) as chat:
        thread_id = await chat.new_thread("uno")
        answers = await asyncio.gather(*(chat.say(f"{n}", thread_id) for n in range(3)))
        assert sorted(kinds(answer)[0] for answer in answers) == [
            "item.done(user_message)",
            "notice",
            "notice",
        ]
        assert len(await chat.items(thread_id)) == 4


async def test_two_tabs_in_one_thread_are_answered_one_after_the_other(chat: Chat) -> None:
    thread_id = await chat.new_thread("Hola")
    await asyncio.gather(*(chat.say(f"pregunta {n}", thread_id) for n in range(3)))
    assert [item["type"] for item in await chat.items(thread_id)] == [
        "user_message",
        "assistant_message",
    ] * 4


async def test_requests_that_cost_money_are_limited_per_session(settings: MakeSettings) -> None:
    async with open_chat(settings(chatkit_requests_per_minute=2)) as chat:
        thread_id = await chat.new_thread()
        await chat.say("dos", thread_id)
        for _ in range(3):
            with refused("RATE_LIMITED") as refusal:
                await chat.say("tres", thread_id)
            assert 0 < (refusal.details.retry_after_seconds or 0) <= 60
        refreshed = await chat.service.refresh(chat.secret)
        with refused("RATE_LIMITED"):  # it is the same session
            await Chat(chat.service, refreshed.client_secret, "").say("tres", thread_id)
        assert len(await chat.items(thread_id)) == 4  # to read costs nothing
        other = await new_chat(chat.service)
        assert kinds(await other.say("tres", thread_id))[-1] == "item.done(assistant_message)"


async def test_files_are_limited_per_session_by_themselves(settings: MakeSettings) -> None:
    async with open_chat(settings(chatkit_requests_per_minute=2)) as chat:
        await chat.attach("a.csv", b"a")
        made = await chat.ask("attachments.create", name="b.csv", size=1, mime_type="text/csv")
        with refused("RATE_LIMITED"):
            await chat.attach("c.csv", b"a")
        with refused("RATE_LIMITED"):
            await chat.ask("attachments.create", name="d.csv", size=1, mime_type="text/csv")
        assert await chat.ask("attachments.delete", attachment_id=made["id"]) == {}
        await chat.say("Hola")


async def test_a_message_takes_ten_files(chat: Chat) -> None:
    files = [await chat.attach(f"{number}.csv", b"a") for number in range(11)]
    with refused("INVALID_ARGUMENT"):
        await chat.stream("threads.create", input=message("Mira", *files)).events()
    answer = chat.stream("threads.create", input=message("Mira", *files[:10]))
    assert kinds(await answer.events())[-1] == "updated"


async def test_an_answer_that_takes_too_long_ends_and_what_was_said_stays(
    settings: MakeSettings, emulator: Emulator
) -> None:
    await emulator.answers(pause_seconds=0.1, deltas=1000)
    async with open_chat(settings(chatkit_timeout_seconds=1)) as chat:
        answer = chat.begin("Cuéntame todo")
        events = []
        started = time.monotonic()
        with refused("UPSTREAM_TIMEOUT"):
            async for event in answer:
                events.append(event)
        assert 0.9 < time.monotonic() - started < 2
        _, partial = await chat.items(thread_id_of(events))
        assert texts([partial]) == [text_of(events)] != [""]
        stats = await chat.service.stats()
        assert dict(stats.failures_by_reason) == {"UPSTREAM_TIMEOUT": 1}
        assert (stats.turns, stats.failed_turns, stats.estimated_turns) == (1, 1, 1)
        assert await _stopped_early(emulator)
        # The next answer is as any other.
        await emulator.answers(pause_seconds=0)
        assert kinds(await chat.say("¿Y?", thread_id_of(events)))[-1] == (
            "item.done(assistant_message)"
        )


@pytest.mark.parametrize("kind", ["silence", "stuck_tool", "hang"])
async def test_a_model_or_a_tool_that_never_answers_is_given_up(
    settings: MakeSettings, emulator: Emulator, kind: str
) -> None:
    await emulator.fail("responses.create", kind=kind)
    async with open_chat(settings(chatkit_timeout_seconds=1.5)) as chat:
        with refused("UPSTREAM_TIMEOUT"):
            await chat.say("busca algo")
        (thread,) = (await chat.ask("threads.list"))["data"]
        first, *_ = await chat.items(thread["id"])
        assert first["type"] == "user_message"
        await eventually(lambda: _stopped_early(emulator))
        await emulator.answers(pause_seconds=0)
        retry = chat.stream("threads.retry_after_item", thread_id=thread["id"], item_id=first["id"])
        assert kinds(await retry.events())[-1] == "item.done(assistant_message)"


async def test_a_long_message_is_answered_and_kept(chat: Chat, emulator: Emulator) -> None:
    await emulator.answers(pause_seconds=0, text="Es mucho.")
    text = "palabra " * 50_000
    thread_id = thread_id_of(await chat.say(text))
    assert texts(await chat.items(thread_id))[0] == text
    assert len((await chat.ask("threads.list"))["data"][0]["title"]) <= 61


async def test_the_model_reads_the_newest_of_a_long_thread(chat: Chat, emulator: Emulator) -> None:
    thread_id = await chat.new_thread("primera")
    for number in range(3):
        await chat.say(f"{number} " + "x" * 150_000, thread_id)
    await chat.say("última", thread_id)
    read = str((await emulator.requests("responses.create"))[-1]["body"]["input"])
    assert "última" in read
    assert "2 xxx" in read
    assert "primera" not in read


async def _stopped_early(emulator: Emulator) -> bool:
    return bool((await emulator.requests("responses.create"))[-1]["left_early"])


async def test_strange_limits_of_pages_are_taken_as_far_as_they_go(chat: Chat) -> None:
    thread_id = await chat.new_thread()
    for limit in (-1, 0, 10**9):
        page = await chat.ask("items.list", thread_id=thread_id, limit=limit)
        assert 1 <= len(page["data"]) <= 2
    assert (await chat.ask("items.list", thread_id=thread_id, after="msg_no"))["data"] == []
    with refused("INVALID_ARGUMENT"):
        await chat.stream("threads.create", input={**message("x"), "content": 7}).events()
