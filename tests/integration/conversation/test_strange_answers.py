"""An OpenAI that answers strangely: what can be used is used, the rest is OpenAI's failure."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from session_service.config import Settings
from tests.integration.conversation.chat import (
    Chat,
    kinds,
    open_chat,
    text_of,
    texts,
    thread_id_of,
)
from tests.support import refused, serve

MakeSettings = Callable[..., Settings]
OpenChat = Callable[..., Any]

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress"}


def event(kind: str, **data: Any) -> bytes:
    body = {"type": f"response.{kind}", "sequence_number": 0, **data}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode()


def delta(text: Any) -> bytes:
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return event("output_text.delta", delta=text, **where)


def response(**more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }


BEGIN = [
    event("created", response=response()),
    event("output_item.added", output_index=0, item={**MESSAGE, "content": []}),
    delta("uno "),
    delta("dos "),
]
TEXT = {"type": "output_text", "text": "uno dos ", "annotations": []}
DONE = {**MESSAGE, "status": "completed", "content": [TEXT]}
USAGE: dict[str, Any] = {
    "input_tokens": 1,
    "output_tokens": 2,
    "total_tokens": 3,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def end(**usage: int) -> list[bytes]:
    completed = response(output=[DONE], status="completed", usage=USAGE | usage)
    return [
        event("output_item.done", output_index=0, item=DONE),
        event("completed", response=completed),
    ]


@pytest.fixture
def answering(settings: MakeSettings) -> OpenChat:
    """Opens a chat whose model answers with these frames; held open after them, where wanted."""

    @asynccontextmanager
    async def opened(*frames: bytes, held: bool = False, **others: Any) -> AsyncIterator[Chat]:
        left = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            # At once, so that the last is read before the others are answered.
            yield b"".join(frame + b"\n\n" for frame in frames)
            if held:
                await left.wait()

        async def create(_: Request) -> Response:
            return StreamingResponse(body(), media_type="text/event-stream")

        app = Starlette(routes=[Route("/v1/responses", create, methods=["POST"])])
        async with (
            serve(app) as url,
            open_chat(settings(openai_base_url=f"{url}/v1", **others)) as chat,
        ):
            yield chat
            left.set()

    return opened


async def test_half_of_a_character_is_told_as_a_question_mark(answering: OpenChat) -> None:
    broken = delta("tres X").replace(b"X", rb"\ud83d")
    async with answering(*BEGIN, broken, *end()) as chat:
        events = await chat.say("Hola")
        assert text_of(events) == "uno dos tres ?"
        assert kinds(events)[-2:] == ["item.done(assistant_message)", "updated"]
        assert (await chat.service.stats()).turns == 1


async def test_tokens_beyond_all_measure_are_bounded(answering: OpenChat) -> None:
    async with answering(*BEGIN, *end(input_tokens=2**70, output_tokens=-(2**70))) as chat:
        assert kinds(await chat.say("Hola"))[-1] == "updated"
        stats = await chat.service.stats()
        assert (stats.turns, stats.failed_turns, stats.output_tokens) == (1, 0, 0)
        assert 0 < stats.input_tokens < 2**63


async def test_a_citation_of_an_unknown_kind_is_left_out(answering: OpenChat) -> None:
    citation = event(
        "output_text.annotation.added",
        item_id="msg_1",
        output_index=0,
        content_index=0,
        annotation_index=0,
        annotation={"type": "hologram", "index": 1},
    )
    async with answering(*BEGIN, citation, *end()) as chat:
        assert "content_part.annotation_added" not in kinds(await chat.say("Hola"))


async def test_an_event_that_nobody_knows_is_left_out(answering: OpenChat) -> None:
    async with answering(*BEGIN, event("telepathy.started", thought=1), *end()) as chat:
        assert kinds(await chat.say("Hola"))[-1] == "updated"


@pytest.mark.parametrize(
    "frame",
    [
        b"data: null",
        b"data: [1,2]",
        b'data: "x"',
        b"data: 5",
        b"data: {not json",
        b'data: {"type": "response.output_text.delta", "delta": "\xff"}',
        delta(5),
        delta(None),
        event("output_text.delta"),
        event("completed", response=None),
        event("completed", response={}),
    ],
)
async def test_an_event_that_cannot_be_used_is_openais_failure_and_what_was_said_stays(
    answering: OpenChat, frame: bytes
) -> None:
    async with answering(*BEGIN, frame, *end()) as chat:
        events = []
        with refused("UPSTREAM_UNAVAILABLE"):
            async for one in chat.begin("Hola"):
                events.append(one)
        _, partial = await chat.items(thread_id_of(events))
        assert texts([partial]) == ["uno dos "]
        assert dict((await chat.service.stats()).failures_by_reason) == {"UPSTREAM_UNAVAILABLE": 1}


async def test_nobody_waits_for_a_connection_after_its_last_event(answering: OpenChat) -> None:
    async with answering(*BEGIN, *end(), held=True) as chat:
        started = time.monotonic()
        assert kinds(await chat.say("Hola"))[-1] == "updated"
        assert time.monotonic() - started < 5
        assert (await chat.service.stats()).failed_turns == 0


async def test_a_refusal_of_the_model_is_an_answer(answering: OpenChat) -> None:
    refusal = {"type": "refusal", "refusal": "No puedo."}
    item = {**MESSAGE, "status": "completed", "content": [refusal]}
    frames = [
        *BEGIN[:2],
        event("output_item.done", output_index=0, item=item),
        event("completed", response=response(output=[item], status="completed", usage=USAGE)),
    ]
    async with answering(*frames) as chat:
        events = await chat.say("Hola")
        assert texts(await chat.items(thread_id_of(events)))[-1] == "No puedo."
        assert (await chat.service.stats()).failed_turns == 0
