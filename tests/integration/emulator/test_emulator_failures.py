"""The failures that the emulator makes on request, its log of requests, and its process."""

import asyncio
import signal
import sys
import time

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.integration.emulator.conftest import (
    BODY,
    HEADERS,
    SESSIONS,
    THREADS,
    fail,
    root_cause,
)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_a_status_fails_once_in_openais_words(
    client: AsyncOpenAI,
    http: httpx.AsyncClient,
    status: int,
    expected: type[openai.APIStatusError],
) -> None:
    await fail(http, operation="sessions.create", status=status, headers={"retry-after": "2"})
    sessions = client.beta.chatkit.sessions
    with pytest.raises(expected) as raised:
        await sessions.create(user="7", workflow={"id": "wf_1"})
    assert raised.value.response.headers["retry-after"] == "2"
    assert raised.value.request_id
    assert raised.value.type
    assert (await sessions.create(user="7", workflow={"id": "wf_1"})).status == "active"


async def test_an_answer_can_be_given_word_for_word(http: httpx.AsyncClient) -> None:
    await fail(http, status=200, body={"id": 1})
    await fail(http, status=502, raw_body="<html>", headers={"content-type": "text/html"})
    first, second = await http.post(SESSIONS, json=BODY), await http.get(THREADS)
    assert (first.status_code, first.json()) == (200, {"id": 1})
    assert (second.status_code, second.text) == (502, "<html>")
    assert second.headers["content-type"] == "text/html"


async def test_failures_of_an_operation_happen_in_their_order(http: httpx.AsyncClient) -> None:
    await fail(http, operation="sessions.create", status=500, times=2)
    await fail(http, operation="threads.list", status=503)
    await fail(http, operation="sessions.create", status=429)
    statuses = [(await http.post(SESSIONS, json=BODY)).status_code for _ in range(4)]
    assert statuses == [500, 500, 429, 200]
    assert (await http.get(THREADS)).status_code == 503


async def test_a_failure_without_end_lasts_until_it_is_cleared(http: httpx.AsyncClient) -> None:
    await fail(http, times=None)
    assert {(await http.get(THREADS)).status_code for _ in range(5)} == {500}
    await http.delete("/_emulator/failures")
    assert (await http.get(THREADS)).status_code == 200


async def test_a_delay_comes_before_the_usual_answer_or_a_failure(http: httpx.AsyncClient) -> None:
    await fail(http, kind="delay", delay_seconds=0.05)
    await fail(http, status=503, delay_seconds=0.05)
    for status in (200, 503):
        started = time.perf_counter()
        assert (await http.get(THREADS)).status_code == status
        assert time.perf_counter() - started >= 0.05


async def test_a_hanging_request_is_never_answered(http: httpx.AsyncClient) -> None:
    await fail(http, kind="hang")
    with pytest.raises(httpx.ReadTimeout):
        await http.post(SESSIONS, json=BODY, timeout=0.1)
    assert (await http.post(SESSIONS, json=BODY)).status_code == 200


async def test_a_connection_is_reset(http: httpx.AsyncClient) -> None:
    await fail(http, kind="reset")
    with pytest.raises(httpx.ReadError) as raised:
        await http.post(SESSIONS, json=BODY)
    assert isinstance(root_cause(raised.value), ConnectionResetError)


async def test_an_answer_is_truncated(http: httpx.AsyncClient) -> None:
    await fail(http, kind="truncate")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        await http.post(SESSIONS, json=BODY)


async def test_an_answer_is_malformed_or_huge(http: httpx.AsyncClient) -> None:
    await fail(http, kind="malformed")
    await fail(http, kind="huge")
    malformed, huge = await http.get(THREADS), await http.get(THREADS)
    assert malformed.status_code == huge.status_code == 200
    with pytest.raises(ValueError, match="Unterminated string"):
        malformed.json()
    assert len(huge.content) > 2 * 1024 * 1024


async def test_every_request_is_logged_also_when_it_fails(http: httpx.AsyncClient) -> None:
    await fail(http, operation="sessions.create", kind="reset")
    with pytest.raises(httpx.ReadError):
        await http.post(SESSIONS, json=BODY)
    key = {"Authorization": "Bearer sk-proj-0123456789-secret-9876"}
    await http.get(THREADS, params={"user": "7"}, headers=key)
    await http.get("/v1/unknown")

    reset, listed, unknown = (await http.get("/_emulator/requests")).json()
    assert (reset["operation"], reset["body"], reset["status"]) == ("sessions.create", BODY, None)
    assert (listed["operation"], listed["query"]) == ("threads.list", {"user": "7"})
    assert (listed["method"], listed["path"], listed["status"]) == ("GET", THREADS, 200)
    assert listed["headers"]["openai-beta"] == "chatkit_beta=v1"
    assert listed["headers"]["authorization"] == "Bearer sk-proj****9876"
    assert (unknown["operation"], unknown["status"]) == (None, 404)

    selection = {"operation": "threads.list"}
    assert (await http.get("/_emulator/requests", params=selection)).json() == [listed]
    await http.delete("/_emulator/requests")
    assert (await http.get("/_emulator/requests")).json() == []


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_says_one_line_and_stops_cleanly(signal_number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "session_service.openai_emulator", "--listen", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    line = (await process.stdout.readline()).decode()
    base_url = line.split()[3].removesuffix("/v1:")
    async with httpx.AsyncClient(base_url=base_url, headers=HEADERS) as http:
        assert (await http.post(SESSIONS, json=BODY)).status_code == 200
        await fail(http, kind="hang")
        hanging = asyncio.create_task(http.post(SESSIONS, json=BODY))
        while len((await http.get("/_emulator/requests")).json()) < 2:
            pass
        process.send_signal(signal_number)
        rest = await process.stdout.read()
        assert (await process.wait(), rest) == (0, b"")
        with pytest.raises(httpx.RemoteProtocolError):
            await hanging
