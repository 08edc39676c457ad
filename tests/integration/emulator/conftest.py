"""The emulator over real sockets, with OpenAI's own client and with raw requests."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from session_service.openai_emulator.app import create_emulator
from tests.support import serve

HEADERS = {"Authorization": "Bearer sk-test", "OpenAI-Beta": "chatkit_beta=v1"}
SESSIONS = "/v1/chatkit/sessions"
THREADS = "/v1/chatkit/threads"
BODY: dict[str, Any] = {"user": "7", "workflow": {"id": "wf_1"}}
ITEM_TYPES = [
    "chatkit.user_message",
    "chatkit.assistant_message",
    "chatkit.widget",
    "chatkit.client_tool_call",
    "chatkit.task",
    "chatkit.task_group",
]


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    async with serve(create_emulator()) as url:
        yield url


@pytest.fixture
async def http(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, headers=HEADERS) as client:
        yield client


def sdk(base_url: str, api_key: str = "sk-test") -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url=f"{base_url}/v1",
        api_key=api_key,
        max_retries=0,
        _strict_response_validation=True,
    )


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[AsyncOpenAI]:
    async with sdk(base_url) as client:
        yield client


async def fail(http: httpx.AsyncClient, **failure: Any) -> None:
    (await http.post("/_emulator/failures", json=failure)).raise_for_status()


async def add_thread(http: httpx.AsyncClient, **thread: Any) -> str:
    answer = await http.post("/_emulator/threads", json={"user": "7"} | thread)
    return str(answer.raise_for_status().json()["id"])


async def add_items(http: httpx.AsyncClient, thread_id: str, **items: Any) -> list[str]:
    answer = await http.post(f"/_emulator/threads/{thread_id}/items", json=items)
    return [item["id"] for item in answer.raise_for_status().json()]


def root_cause(error: BaseException) -> BaseException:
    cause = error.__cause__ or error.__context__
    return root_cause(cause) if cause else error


async def shape(http: httpx.AsyncClient, **answer: Any) -> None:
    """What the next response says; without a pause, unless told."""
    answer = {"pause_seconds": 0} | answer
    (await http.post("/_emulator/answers", json=answer)).raise_for_status()


async def last_request(http: httpx.AsyncClient, operation: str) -> dict[str, Any]:
    answer = await http.get("/_emulator/requests", params={"operation": operation})
    found: dict[str, Any] = answer.raise_for_status().json()[-1]
    return found
