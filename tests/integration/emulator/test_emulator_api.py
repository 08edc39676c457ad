"""What the emulator answers, and what it refuses as OpenAI does."""

import time
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.beta.chatkit import ChatKitThread

from session_service.openai_emulator.app import create_emulator
from tests.integration.emulator.conftest import (
    BODY,
    ITEM_TYPES,
    SESSIONS,
    THREADS,
    add_items,
    add_thread,
    sdk,
)
from tests.support import serve


async def test_a_session_is_answered_with_the_documented_defaults(client: AsyncOpenAI) -> None:
    before = int(time.time())
    session = await client.beta.chatkit.sessions.create(user="7", workflow={"id": "wf_1"})
    assert session.id.startswith("cksess_")
    assert session.client_secret.startswith("ek_")
    assert session.status == "active"
    assert session.user == "7"
    assert before + 600 <= session.expires_at <= time.time() + 600
    assert session.max_requests_per_1_minute == 10
    assert session.rate_limits.max_requests_per_1_minute == 10
    assert session.workflow.to_dict() == {
        "id": "wf_1",
        "state_variables": None,
        "tracing": {"enabled": True},
        "version": None,
    }
    assert session.chatkit_configuration.to_dict() == {
        "automatic_thread_titling": {"enabled": True},
        "file_upload": {"enabled": False, "max_file_size": 512, "max_files": 10},
        "history": {"enabled": True, "recent_threads": None},
    }


async def test_a_session_is_answered_with_what_was_asked_for(client: AsyncOpenAI) -> None:
    variables: dict[str, str | int | bool | float] = {"name": "Ana", "n": 3, "ok": True, "x": 0.5}
    before = int(time.time())
    session = await client.beta.chatkit.sessions.create(
        user="7",
        workflow={
            "id": "wf_1",
            "state_variables": variables,
            "tracing": {"enabled": False},
            "version": "2",
        },
        expires_after={"anchor": "created_at", "seconds": 60},
        rate_limits={"max_requests_per_1_minute": 3},
        chatkit_configuration={
            "file_upload": {"enabled": True, "max_files": 2},
            "history": {"recent_threads": 5},
        },
    )
    assert before + 60 <= session.expires_at <= time.time() + 60
    assert session.workflow.state_variables == variables
    assert session.workflow.tracing.enabled is False
    assert session.workflow.version == "2"
    assert session.rate_limits.max_requests_per_1_minute == 3
    upload = session.chatkit_configuration.file_upload
    assert (upload.enabled, upload.max_file_size, upload.max_files) == (True, 512, 2)
    assert session.chatkit_configuration.history.recent_threads == 5


async def test_every_session_has_its_own_id_and_secret(client: AsyncOpenAI) -> None:
    sessions = client.beta.chatkit.sessions
    created = [await sessions.create(user="7", workflow={"id": "wf_1"}) for _ in range(5)]
    assert len({session.id for session in created}) == 5
    assert len({session.client_secret for session in created}) == 5


async def test_a_session_can_be_cancelled_again(client: AsyncOpenAI) -> None:
    sessions = client.beta.chatkit.sessions
    session = await sessions.create(user="7", workflow={"id": "wf_1"})
    first, second = await sessions.cancel(session.id), await sessions.cancel(session.id)
    assert first.status == second.status == "cancelled"
    assert second.id == session.id
    with pytest.raises(openai.NotFoundError):
        await sessions.cancel("cksess_unknown")


async def test_a_session_expires_by_itself() -> None:
    now = 1000.0
    async with serve(create_emulator(lambda: now)) as base_url, sdk(base_url) as client:
        sessions = client.beta.chatkit.sessions
        session = await sessions.create(user="7", workflow={"id": "wf_1"})
        now = float(session.expires_at)
        assert (await sessions.cancel(session.id)).status == "expired"


async def test_threads_are_listed_newest_first_and_by_user(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    ids = [await add_thread(http, created_at=n, title=f"Thread {n}") for n in range(5)]
    await add_thread(http, user="8", created_at=9)
    threads = client.beta.chatkit.threads

    everybodys = await threads.list()
    assert [t.user for t in everybodys.data] == ["8", "7", "7", "7", "7", "7"]
    assert everybodys.has_more is False
    assert [t.id async for t in threads.list(user="7", limit=2)] == ids[::-1]
    assert [t.id async for t in threads.list(user="7", limit=2, order="asc")] == ids
    assert (await threads.list(user="nobody")).data == []

    thread = await threads.retrieve(ids[1])
    assert isinstance(thread, ChatKitThread)
    assert (thread.title, thread.created_at, thread.status.type) == ("Thread 1", 1, "active")


async def test_a_page_lies_between_its_cursors(http: httpx.AsyncClient) -> None:
    ids = [await add_thread(http) for _ in range(6)]  # in one second: order of creation decides

    async def page(**query: str) -> tuple[list[int], bool]:
        answer = (await http.get(THREADS, params={"order": "asc"} | query)).json()
        found = [ids.index(thread["id"]) for thread in answer["data"]]
        assert answer["first_id"] == (ids[found[0]] if found else None)
        assert answer["last_id"] == (ids[found[-1]] if found else None)
        return found, answer["has_more"]

    assert await page(after=ids[1], limit="2") == ([2, 3], True)
    assert await page(after=ids[3], limit="2") == ([4, 5], False)
    assert await page(before=ids[4], limit="2") == ([2, 3], True)
    assert await page(after=ids[0], before=ids[3]) == ([1, 2], False)
    assert await page(after=ids[5]) == ([], False)


async def test_a_deleted_thread_is_gone_with_its_items(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    thread_id = await add_thread(http)
    threads = client.beta.chatkit.threads
    deleted = await threads.delete(thread_id)
    assert (deleted.id, deleted.deleted) == (thread_id, True)
    with pytest.raises(openai.NotFoundError):
        await threads.retrieve(thread_id)
    with pytest.raises(openai.NotFoundError):
        await threads.list_items(thread_id)
    with pytest.raises(openai.NotFoundError):
        await threads.delete(thread_id)


async def test_every_type_of_item_has_its_documented_shape(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    thread_id = await add_thread(http)
    for item_type in ITEM_TYPES:
        await add_items(http, thread_id, type=item_type, text="Hola", created_at=5)
    items = await client.beta.chatkit.threads.list_items(thread_id, order="asc")
    assert [item.type for item in items.data] == ITEM_TYPES
    assert {item.thread_id for item in items.data} == {thread_id}
    first, second = items.data[:2]
    assert first.type == "chatkit.user_message"
    assert first.content[0].text == "Hola"
    assert second.type == "chatkit.assistant_message"
    assert second.content[0].text == "Hola"


async def test_items_can_be_added_in_numbers(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    thread_id = await add_thread(http)
    ids = await add_items(http, thread_id, type="chatkit.user_message", count=250)
    pages = client.beta.chatkit.threads.list_items(thread_id, limit=100)
    assert [item.id async for item in pages] == ids[::-1]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"user": None}, "user", "invalid_type"),
        ({"user": ""}, "user", "empty_string"),
        ({"user": 7}, "user", "invalid_type"),
        ({"metadata": {}}, "metadata", "unknown_parameter"),
        ({"workflow": "wf_1"}, "workflow", "invalid_type"),
        ({"workflow": {}}, "workflow.id", "missing_required_parameter"),
        ({"workflow": {"id": "1"}}, "workflow.id", "invalid_value"),
        ({"workflow": {"id": "wf_1", "isValid": 1}}, "workflow.isValid", "unknown_parameter"),
        ({"workflow": {"id": "wf_1", "version": None}}, "workflow.version", "invalid_type"),
        ({"expires_after": {"seconds": 5}}, "expires_after.anchor", "missing_required_parameter"),
        (
            {"expires_after": {"anchor": "last_active_at", "seconds": 5}},
            "expires_after.anchor",
            "invalid_value",
        ),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 601}},
            "expires_after.seconds",
            "integer_above_max_value",
        ),
        (
            {"rate_limits": {"max_requests_per_1_minute": 0}},
            "rate_limits.max_requests_per_1_minute",
            "integer_below_min_value",
        ),
        (
            {"rate_limits": {"max_requests_per_1_minute": True}},
            "rate_limits.max_requests_per_1_minute",
            "invalid_type",
        ),
        (
            {"chatkit_configuration": {"file_upload": {"max_file_size": 513}}},
            "chatkit_configuration.file_upload.max_file_size",
            "integer_above_max_value",
        ),
        (
            {"chatkit_configuration": {"history": {"enabled": "yes"}}},
            "chatkit_configuration.history.enabled",
            "invalid_type",
        ),
    ],
)
async def test_a_session_that_the_api_does_not_document_is_refused(
    http: httpx.AsyncClient, change: dict[str, Any], param: str, code: str
) -> None:
    answer = await http.post(SESSIONS, json=BODY | change)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


@pytest.mark.parametrize(
    ("variables", "param", "code"),
    [
        ({"x": {"nested": 1}}, "workflow.state_variables.x", "invalid_type"),
        ({"x": [1]}, "workflow.state_variables.x", "invalid_type"),
        ({"x": None}, "workflow.state_variables.x", "invalid_type"),
        ({"k" * 65: 1}, f"workflow.state_variables.{'k' * 65}", "string_above_max_length"),
        ({str(n): n for n in range(65)}, "workflow.state_variables", "object_above_max_properties"),
        (None, "workflow.state_variables", "invalid_type"),
        ([], "workflow.state_variables", "invalid_type"),
    ],
)
async def test_state_variables_are_few_short_and_flat(
    http: httpx.AsyncClient, variables: object, param: str, code: str
) -> None:
    body = BODY | {"workflow": {"id": "wf_1", "state_variables": variables}}
    answer = await http.post(SESSIONS, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


async def test_state_variables_at_their_limits_are_accepted(http: httpx.AsyncClient) -> None:
    variables = {f"{n:064}": "a" * 512 for n in range(64)}
    body = BODY | {"workflow": {"id": "wf_1", "state_variables": variables}}
    answer = await http.post(SESSIONS, json=body)
    assert answer.status_code == 200
    assert answer.json()["workflow"]["state_variables"] == variables


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b'{"user": NaN}', b'"\\ud800"'])
async def test_a_body_that_is_not_a_json_object_is_refused(
    http: httpx.AsyncClient, content: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await http.post(SESSIONS, content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_another_content_type_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post(SESSIONS, data={"user": "7"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_content_type"


async def test_a_content_type_may_name_a_charset(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    content = b'{"user": "7", "workflow": {"id": "wf_1"}}'
    answer = await http.post(SESSIONS, content=content, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({"limit": "0"}, "limit", "integer_below_min_value"),
        ({"limit": "101"}, "limit", "integer_above_max_value"),
        ({"limit": "many"}, "limit", "invalid_type"),
        ({"order": "up"}, "order", "invalid_value"),
        ({"page": "2"}, "page", "unknown_parameter"),
    ],
)
async def test_a_query_that_the_api_does_not_document_is_refused(
    http: httpx.AsyncClient, query: dict[str, str], param: str, code: str
) -> None:
    for path in (THREADS, f"{THREADS}/{await add_thread(http)}/items"):
        answer = await http.get(path, params=query)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        assert answer.json()["error"]["code"] == code


async def test_an_operation_without_a_query_refuses_one(http: httpx.AsyncClient) -> None:
    answer = await http.post(SESSIONS, json=BODY, params={"x": "1"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unknown_parameter"


@pytest.mark.parametrize("cursor", ["after", "before"])
async def test_an_unknown_cursor_is_not_found(http: httpx.AsyncClient, cursor: str) -> None:
    answer = await http.get(THREADS, params={cursor: "cthr_unknown"})
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == cursor


async def test_unknown_urls_and_methods_are_refused_in_openais_shape(
    http: httpx.AsyncClient,
) -> None:
    for path in (f"{SESSIONS}/refresh", f"{SESSIONS}/", "/v1/chat/completions", "/"):
        answer = await http.post(path, json=BODY)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "unknown_url"
        assert answer.headers["x-request-id"]
    answer = await http.put(SESSIONS, json=BODY)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["code"] == "method_not_supported"


async def test_every_answer_is_identified_and_timed(http: httpx.AsyncClient) -> None:
    answers = [await http.post(SESSIONS, json=BODY), await http.post(SESSIONS, json={})]
    assert answers[0].headers["x-request-id"] != answers[1].headers["x-request-id"]
    assert all(int(answer.headers["openai-processing-ms"]) >= 0 for answer in answers)


async def test_a_request_without_a_key_is_unauthorized(base_url: str) -> None:
    async with httpx.AsyncClient(base_url=base_url) as anonymous:
        answer = await anonymous.post(SESSIONS, json=BODY)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] is None


async def test_a_request_without_the_beta_header_is_refused(base_url: str) -> None:
    headers = {"Authorization": "Bearer sk-test"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers) as outdated:
        answer = await outdated.post(SESSIONS, json=BODY)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_beta"


@pytest.mark.parametrize(
    ("key", "workflow", "expected", "code"),
    [
        ("sk-wrong", "wf_1", openai.AuthenticationError, "invalid_api_key"),
        ("secret-and-not-of-openai", "wf_1", openai.AuthenticationError, "invalid_api_key"),
        ("sk-noscope", "wf_1", openai.PermissionDeniedError, None),
        ("sk-noquota", "wf_1", openai.RateLimitError, "insufficient_quota"),
        ("sk-test", "wf_missing_1", openai.NotFoundError, None),
    ],
)
async def test_the_documented_errors_can_be_seen_by_hand(
    base_url: str, key: str, workflow: str, expected: type[openai.APIStatusError], code: str | None
) -> None:
    async with sdk(base_url, key) as client:
        with pytest.raises(expected) as raised:
            await client.beta.chatkit.sessions.create(user="7", workflow={"id": workflow})
    assert raised.value.code == code
    assert raised.value.request_id
    assert key not in raised.value.message


async def test_a_workflow_of_another_project_is_answered_as_recorded(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.post(SESSIONS, json=BODY | {"workflow": {"id": "wf_missing"}})
    assert answer.status_code == 404
    assert answer.json() == {
        "error": {
            "message": "Workflow with id 'wf_missing' not found.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }
