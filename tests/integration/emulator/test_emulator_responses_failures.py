"""How a response fails on request, and how the emulator notes that its client has left."""

import asyncio
import time
from collections.abc import AsyncIterable
from typing import Any, TypeVar

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseStreamEvent

from tests.integration.emulator.conftest import fail, last_request, shape

T = TypeVar("T")
RESPONSES = "/v1/responses"
REQUEST: dict[str, Any] = {"model": "gpt-5", "input": "Hola"}
STREAM: dict[str, Any] = REQUEST | {"stream": True}


@pytest.fixture(autouse=True)
async def ten_words(http: httpx.AsyncClient) -> None:
    await shape(http, text="uno dos tres cuatro cinco", deltas=10, times=None)


async def fail_response(http: httpx.AsyncClient, kind: str, **failure: Any) -> None:
    await fail(http, operation="responses.create", kind=kind, **failure)


async def events(client: AsyncOpenAI) -> list[ResponseStreamEvent]:
    stream = await client.responses.create(**STREAM)
    return [event async for event in stream]


async def collect(stream: AsyncIterable[T], into: list[T]) -> None:
    async for entry in stream:
        into.append(entry)


def said(found: list[ResponseStreamEvent]) -> int:
    return sum(event.type == "response.output_text.delta" for event in found)


async def left_early(http: httpx.AsyncClient) -> dict[str, Any]:
    """The latest response's request, once it is known that its client has left."""
    async with asyncio.timeout(1):
        while not (seen := await last_request(http, "responses.create"))["left_early"]:
            pass
    return seen


@pytest.mark.parametrize("after_deltas", [0, 2, 10, 50])
async def test_an_error_comes_in_mid_stream(
    client: AsyncOpenAI, http: httpx.AsyncClient, after_deltas: int
) -> None:
    code = "rate_limit_exceeded"
    await fail_response(http, "error_event", after_deltas=after_deltas, code=code)
    found = await events(client)
    last = found[-1]
    assert last.type == "error"
    assert (last.code, last.sequence_number) == (code, len(found) - 1)
    assert last.message
    assert said(found) == min(after_deltas, 10)
    assert (await events(client))[-1].type == "response.completed"


async def test_an_error_event_can_be_given_word_for_word(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    error = {
        "type": "tokens",
        "code": "rate_limit_exceeded",
        "message": "Slow down.",
        "param": None,
    }
    await fail_response(http, "error_event", body={"type": "error", "error": error})
    with pytest.raises(openai.APIError, match=r"Slow down\."):
        await events(client)


async def test_a_response_fails_in_mid_stream(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    for code in ("server_error", "rate_limit_exceeded"):
        await fail_response(http, "failed_event", code=code, after_deltas=2)
        found = await events(client)
        last = found[-1]
        assert last.type == "response.failed"
        assert last.response.status == "failed"
        assert last.response.error
        assert last.response.error.code == code
        assert last.response.usage is None
        assert said(found) == 2


async def test_a_response_remains_incomplete(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    await fail_response(http, "incomplete", reason="content_filter")
    found = await events(client)
    last = found[-1]
    assert last.type == "response.incomplete"
    assert last.response.status == "incomplete"
    assert last.response.incomplete_details
    assert last.response.incomplete_details.reason == "content_filter"
    (message,) = last.response.output
    assert message.type == "message"
    assert message.status == "incomplete"
    assert last.response.output_text == "uno dos tres "
    assert last.response.usage
    assert last.response.usage.output_tokens == 3


async def test_a_stream_is_broken_off(http: httpx.AsyncClient) -> None:
    await fail_response(http, "broken_stream", after_deltas=4)
    lines: list[str] = []
    async with http.stream("POST", RESPONSES, json=STREAM) as answer:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await collect(answer.aiter_lines(), lines)
    assert lines.count("event: response.output_text.delta") == 4
    seen = await last_request(http, "responses.create")
    assert (seen["sent_deltas"], seen["left_early"]) == (4, False)


@pytest.mark.parametrize(
    ("kind", "last"),
    [
        ("silence", "response.created"),
        ("stuck_tool", "response.web_search_call.searching"),
    ],
)
async def test_a_stream_falls_silent(
    client: AsyncOpenAI, http: httpx.AsyncClient, kind: str, last: str
) -> None:
    await fail_response(http, kind)
    stream = await client.responses.create(**STREAM, timeout=0.2)
    found: list[ResponseStreamEvent] = []
    with pytest.raises(openai.APITimeoutError):
        await collect(stream, found)
    assert found[-1].type == last
    assert (await left_early(http))["sent_deltas"] == 0


async def test_a_stream_drips(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    await fail_response(http, "drip", delay_seconds=0.01)
    started = time.perf_counter()
    found = await events(client)
    assert time.perf_counter() - started >= 9 * 0.01
    assert (said(found), found[-1].type) == (10, "response.completed")


async def test_what_a_cancelled_stream_was_sent_is_noted_at_once(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    await fail_response(http, "drip", delay_seconds=0.05)
    async with await client.responses.create(**STREAM) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
    seen = await left_early(http)
    assert (seen["status"], seen["sent_deltas"]) == (200, 1)


async def test_a_stream_without_pauses_ends_when_its_client_leaves(http: httpx.AsyncClient) -> None:
    await http.delete("/_emulator/answers")
    await shape(http, deltas=200_000)
    async with http.stream("POST", RESPONSES, json=STREAM) as answer:
        async for _ in answer.aiter_bytes():
            break
    assert (await left_early(http))["sent_deltas"] < 200_000


@pytest.mark.parametrize("kind", ["reset", "truncate"])
async def test_a_connection_breaks_here_too(
    client: AsyncOpenAI, http: httpx.AsyncClient, kind: str
) -> None:
    await fail_response(http, kind)
    with pytest.raises(openai.APIConnectionError):
        await client.responses.create(**REQUEST)


async def test_a_response_meets_the_failures_of_all_operations(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    await fail(http, operation="responses.create", status=429, headers={"retry-after": "1"})
    with pytest.raises(openai.RateLimitError):
        await events(client)
    await fail_response(http, "hang")
    with pytest.raises(openai.APITimeoutError):
        await client.responses.create(**STREAM, timeout=0.1)
    assert (await left_early(http))["status"] is None
    await fail_response(http, "malformed")
    assert (await http.post(RESPONSES, json=STREAM)).content == b'{"id": "cksess_'
    await fail_response(http, "delay", delay_seconds=0.05)
    started = time.perf_counter()
    assert (await events(client))[-1].type == "response.completed"
    assert time.perf_counter() - started >= 0.05


async def test_a_response_as_a_whole_fails_too(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    create = client.responses.create
    await fail_response(http, "error_event")
    with pytest.raises(openai.InternalServerError):
        await create(**REQUEST)
    await fail_response(http, "failed_event")
    assert (await create(**REQUEST)).status == "failed"
    await fail_response(http, "incomplete")
    assert (await create(**REQUEST)).status == "incomplete"
    await fail_response(http, "broken_stream")
    with pytest.raises(openai.APIConnectionError):
        await create(**REQUEST)
    await fail_response(http, "silence")
    with pytest.raises(openai.APITimeoutError):
        await create(**REQUEST, timeout=0.1)
    await left_early(http)


async def test_only_responses_fail_in_mid_stream(http: httpx.AsyncClient) -> None:
    for operation in ("*", "threads.list"):
        failure = {"operation": operation, "kind": "silence"}
        answer = await http.post("/_emulator/failures", json=failure)
        assert answer.status_code == 400
        assert "needs the operation responses.create" in answer.json()["error"]["message"]
