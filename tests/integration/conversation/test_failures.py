"""OpenAI's failures in an answer: what is kept and counted; see also test_upstream_matrix."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from session_service.config import Settings
from tests.integration.conversation.chat import (
    Chat,
    kinds,
    message,
    open_chat,
    text_of,
    texts,
    thread_id_of,
)
from tests.support import Emulator, refused

MakeSettings = Callable[..., Settings]

QUICKLY = {"retry-after-ms": "1"}
IN_MID_ANSWER: dict[str, tuple[dict[str, Any], str]] = {
    "an error event": ({"kind": "error_event", "code": "server_error"}, "UPSTREAM_UNAVAILABLE"),
    "a failed response": ({"kind": "failed_event"}, "UPSTREAM_UNAVAILABLE"),
    "a broken connection": ({"kind": "broken_stream"}, "UPSTREAM_UNAVAILABLE"),
}


async def test_a_message_whose_answer_fails_is_kept_and_can_be_answered_later(
    chat: Chat, emulator: Emulator
) -> None:
    await emulator.fail("responses.create", status=401)
    answer = chat.begin("Hola")
    thread_id = thread_id_of([await answer.until("created")])
    with refused("INVALID_API_KEY"):
        await answer.events()
    assert [item["type"] for item in await chat.items(thread_id)] == ["user_message"]
    stats = await chat.service.stats()
    assert (stats.turns, stats.failed_turns, stats.input_tokens) == (1, 1, 0)
    first, *_ = await chat.items(thread_id)
    retry = chat.stream("threads.retry_after_item", thread_id=thread_id, item_id=first["id"])
    assert kinds(await retry.events())[-1] == "item.done(assistant_message)"


@pytest.mark.parametrize(("failure", "reason"), IN_MID_ANSWER.values(), ids=IN_MID_ANSWER)
async def test_a_failure_in_mid_answer(
    chat: Chat, emulator: Emulator, failure: dict[str, Any], reason: str
) -> None:
    await emulator.answers(pause_seconds=0, deltas=20)
    await emulator.fail("responses.create", **failure)
    answer = chat.begin("Hola")
    events = []
    with refused(reason):
        async for event in answer:
            events.append(event)
    assert kinds(events)[-3:] == [
        "content_part.text_delta",
        "item.done(assistant_message)",
        "updated",
    ]
    _, partial = await chat.items(thread_id_of(events))
    assert texts([partial]) == [text_of(events)]
    assert "error" not in kinds(events)  # the reason is the gateway's to tell
    stats = await chat.service.stats()
    assert dict(stats.failures_by_reason) == {reason: 1}
    assert stats.estimated_turns == 1
    assert kinds(await chat.say("¿Y?", thread_id_of(events)))[-1] == "item.done(assistant_message)"


async def test_an_answer_that_openai_cut_short_is_told(chat: Chat, emulator: Emulator) -> None:
    await emulator.answers(pause_seconds=0, deltas=20)
    await emulator.fail("responses.create", kind="incomplete")
    with refused("UPSTREAM_UNAVAILABLE"):
        await chat.say("Hola")


async def test_openai_that_is_not_there_is_told(settings: MakeSettings) -> None:
    async with open_chat(settings(openai_base_url="http://127.0.0.1:9/v1")) as chat:
        with refused("UPSTREAM_UNAVAILABLE"):
            await chat.say("Hola")


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "UPSTREAM_RATE_LIMITED"), (503, "UPSTREAM_UNAVAILABLE")]
)
async def test_a_wait_that_does_not_fit_is_not_begun(
    chat: Chat, emulator: Emulator, status: int, reason: str
) -> None:
    headers = {"retry-after": "40"}
    await emulator.fail("responses.create", status=status, times=None, headers=headers)
    started = time.monotonic()
    with refused(reason):
        await chat.say("Hola")
    assert time.monotonic() - started < 5
    assert len(await emulator.requests("responses.create")) == 1


async def test_without_credit_openai_is_not_asked_again(chat: Chat, emulator: Emulator) -> None:
    body = {"error": {"code": "insufficient_quota", "message": "No credit."}}
    await emulator.fail("responses.create", status=429, times=None, body=body)
    with refused("UPSTREAM_QUOTA_EXHAUSTED"):
        await chat.say("Hola")
    assert len(await emulator.requests("responses.create")) == 1


async def test_a_file_that_openai_refuses_fails_its_message_alone(
    chat: Chat, emulator: Emulator
) -> None:
    await emulator.fail("files.create", status=400, times=None)
    thread_id = await chat.new_thread()
    file = await chat.attach("malo.csv", b"a")
    answer = chat.stream(
        "threads.add_user_message", thread_id=thread_id, input=message("Mira", file)
    )
    with refused("UPSTREAM_REJECTED"):
        await answer.events()
    assert kinds(await chat.say("¿Y sin archivo?", thread_id))[-1] == (
        "item.done(assistant_message)"
    )


async def test_a_file_that_its_user_has_deleted_is_told_as_that(
    chat: Chat, emulator: Emulator
) -> None:
    file = await chat.attach("cuentas.csv", b"a")
    thread_id = thread_id_of(
        await chat.stream("threads.create", input=message("Mira", file)).events()
    )
    await chat.ask("attachments.delete", attachment_id=file)
    assert kinds(await chat.say("¿Y ahora?", thread_id))[-1] == "item.done(assistant_message)"
    read = (await emulator.requests("responses.create"))[-1]["body"]["input"]
    assert "'cuentas.csv', and has deleted it" in str(read)


async def test_a_retry_that_succeeds_is_no_failure(chat: Chat, emulator: Emulator) -> None:
    await emulator.fail("responses.create", status=503, times=2, headers=QUICKLY)
    assert kinds(await chat.say("Hola"))[-1] == "updated"
    assert len(await emulator.requests("responses.create")) == 3
    assert (await chat.service.stats()).failed_turns == 0


async def test_a_session_needs_a_key(settings: MakeSettings) -> None:
    with refused("INVALID_API_KEY"):
        async with open_chat(settings(openai_api_key=None)):
            pass
