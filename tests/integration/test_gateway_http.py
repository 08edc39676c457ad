"""The gateway over real sockets: every reason, every malformed request, always JSON."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs

from protos.chatkit.v1 import session_service_pb2 as pb
from tests.gateway_support import (
    DOCUMENTED_ERRORS,
    REASONS,
    REFRESH,
    SESSION,
    STATS,
    Context,
    FakeService,
    error_of,
    gateway_before,
    refusal_of,
    session_message,
    token,
)
from tests.support import eventually


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    async with FakeService().serve() as fake:
        yield fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(fake) as http:
        yield http


CALLS = {
    "CreateSession": ("POST", SESSION, {}),
    "RefreshSession": ("POST", REFRESH, {"existingSecret": "ek_1"}),
    "GetSession": ("GET", f"{SESSION}/cksess_1", None),
    "DeleteSession": ("DELETE", f"{SESSION}/cksess_1", None),
    "GetStats": ("GET", STATS, None),
}


@pytest.mark.parametrize("reason", REASONS)
async def test_each_reason_has_its_status_its_envelope_and_both_languages(
    http: httpx.AsyncClient, fake: FakeService, reason: str
) -> None:
    fake.answers["CreateSession"] = refusal_of(reason, "an English message for developers")
    bodies = {}
    for language in ("en", "es"):
        answer = await http.post(SESSION, headers={"Accept-Language": language})
        bodies[language] = error_of(answer, reason, REASONS[reason][0])
        assert answer.headers["content-language"] == language
        assert answer.headers["cache-control"] == "no-store"
        assert "an English message" not in answer.text
        assert "retry-after" not in answer.headers
    assert bodies["en"]["hint"] != bodies["es"]["hint"]
    if reason in DOCUMENTED_ERRORS:
        assert bodies["en"]["error"] == bodies["es"]["error"] == DOCUMENTED_ERRORS[reason]
    else:
        assert bodies["en"]["error"] != bodies["es"]["error"]


@pytest.mark.parametrize("method", CALLS)
async def test_each_route_passes_on_what_the_service_says(
    http: httpx.AsyncClient, fake: FakeService, method: str
) -> None:
    fake.answers[method] = refusal_of("SESSION_DELETED")
    verb, path, body = CALLS[method]
    error_of(await http.request(verb, path, json=body), "SESSION_DELETED", 410)
    assert [call.method for call in fake.calls] == [method]


@pytest.mark.parametrize(
    ("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (1.001, "2"), (59.5, "60")]
)
@pytest.mark.parametrize("reason", ["RATE_LIMITED", "UPSTREAM_RATE_LIMITED"])
async def test_retry_after_is_whole_seconds_and_never_too_early(
    http: httpx.AsyncClient, fake: FakeService, reason: str, seconds: float, header: str
) -> None:
    fake.answers["CreateSession"] = refusal_of(reason, retry_after_seconds=seconds)
    assert (await http.post(SESSION)).headers["retry-after"] == header


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT"),
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (grpc.StatusCode.CANCELLED, "UNAVAILABLE"),
        *(
            (code, "INTERNAL")
            for code in grpc.StatusCode
            if code.name not in ("OK", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE")
        ),
    ],
)
async def test_a_code_without_details_is_never_the_callers_fault(
    http: httpx.AsyncClient, fake: FakeService, code: grpc.StatusCode, reason: str
) -> None:
    async def abort(context: Context) -> Message:
        await context.abort(code, "the details")
        raise AssertionError("abort raises")

    fake.answers["CreateSession"] = abort
    answer = await http.post(SESSION)
    error_of(answer, reason, REASONS[reason][0])
    assert "the details" not in answer.text
    assert ("retry-after" in answer.headers) is (reason == "UNAVAILABLE")


async def test_a_service_that_does_not_answer_is_a_timeout(fake: FakeService) -> None:
    async def hang(context: Context) -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    fake.answers["CreateSession"] = hang
    async with gateway_before(fake, chatkit_timeout_seconds=0.2) as http:
        error_of(await http.post(SESSION), "UPSTREAM_TIMEOUT", 504)
    assert 0 < fake.calls[0].time_remaining < 1


NONSENSE: dict[str, tuple[str, Message | bytes]] = {
    "not protobuf": ("CreateSession", b"\xff\xff\xff\xff"),
    "a status of tomorrow": (
        "GetSession",
        pb.GetSessionResponse(session=session_message(status=99)),
    ),
    "a time that is none": (
        "GetStats",
        pb.GetStatsResponse(last_activity=Timestamp(seconds=10**17)),
    ),
}


@pytest.mark.parametrize(("method", "answer"), NONSENSE.values(), ids=NONSENSE.keys())
async def test_a_defect_is_500_that_browsers_may_read_and_that_tells_nothing(
    http: httpx.AsyncClient, fake: FakeService, method: str, answer: Message | bytes
) -> None:
    fake.answers[method] = answer
    verb, path, body = CALLS[method]
    headers = {"Origin": "https://dashboard.example.com", "X-Request-Id": "find-me"}
    with capture_logs() as logged:
        got = await http.request(verb, path, json=body, headers=headers)
    assert [line["event"] for line in logged] == ["defect", "request"]
    assert error_of(got, "INTERNAL", 500)["requestId"] == "find-me"
    assert got.headers["access-control-allow-origin"] == "https://dashboard.example.com"
    assert not {word for word in ("Error", "Traceback", "protobuf", "99") if word in got.text}
    # The same connection serves on.
    fake.answers[method] = FakeService().answers[method]
    assert (await http.request(verb, path, json=body)).status_code == 200


async def test_a_service_that_is_down_is_503_and_back_soon_after_it_starts() -> None:
    fake = FakeService()
    async with fake.serve():
        pass
    async with gateway_before(fake) as http:
        for method, (verb, path, body) in CALLS.items():
            answer = await http.request(verb, path, json=body)
            error_of(answer, "UNAVAILABLE", 503)
            assert int(answer.headers["retry-after"]) >= 1, method
        error_of(await http.get("/readyz"), "UNAVAILABLE", 503)
        assert (await http.get("/healthz")).status_code == 200

        async def is_back() -> bool:
            return (await http.post(SESSION)).status_code == 200

        async with fake.serve():
            await eventually(is_back, within=2)
        error_of(await http.post(SESSION), "UNAVAILABLE", 503)


async def test_a_service_that_drains_is_not_ready(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    assert (await http.get("/readyz")).json()["success"] is True
    await fake.health.enter_graceful_shutdown()
    error_of(await http.get("/readyz"), "UNAVAILABLE", 503)
    assert (await http.get("/healthz")).status_code == 200


async def test_the_service_hears_whose_request_it_is_and_how_long_it_may_take(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    await http.post(SESSION, headers={"X-Request-Id": "mine"}, json={"userId": "7"})
    (call,) = fake.calls
    assert call.request.user_id == "7"
    assert call.metadata["x-request-id"] == "mine"
    assert 20 < call.time_remaining < 31


@pytest.mark.parametrize(
    ("query", "claims", "user_id", "all_users"),
    [
        ({}, {}, "7", False),
        ({"userId": ""}, {}, "7", False),
        ({"userId": "7"}, {}, "7", False),
        ({}, {"role": "admin"}, "", True),
        ({"userId": ""}, {"role": "admin"}, "", True),
        ({"userId": "8"}, {"role": "admin"}, "8", False),
    ],
)
async def test_statistics_are_the_callers_or_for_administrators_everybodys(
    http: httpx.AsyncClient,
    fake: FakeService,
    query: dict[str, str],
    claims: dict[str, str],
    user_id: str,
    all_users: bool,
) -> None:
    headers = {"Authorization": f"Bearer {token(7, **claims)}"}
    assert (await http.get(STATS, params=query, headers=headers)).status_code == 200
    request: Any = fake.calls[0].request
    assert (request.user_id, request.all_users) == (user_id, all_users)
    assert not request.HasField("days")


async def test_an_administrator_has_their_own_sessions_and_those_of_whom_they_name(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    headers = {"Authorization": f"Bearer {token(9, role='admin')}"}
    for method in ("GET", "DELETE"):
        await http.request(method, f"{SESSION}/cksess_1", headers=headers)
        await http.request(method, f"{SESSION}/cksess_1?userId=7", headers=headers)
        refused = await http.request(method, f"{SESSION}/cksess_1?userId=9")
        error_of(refused, "PERMISSION_DENIED", 403)
    assert [call.request.user_id for call in fake.calls] == ["9", "7", "9", "7"]


async def test_a_delete_says_so_in_both_languages(http: httpx.AsyncClient) -> None:
    messages = [
        (await http.delete(f"{SESSION}/cksess_1", headers={"Accept-Language": language})).json()
        for language in ("en", "es")
    ]
    assert [m["message"] for m in messages] == ["Session deleted.", "Sesión eliminada."]
    assert [m["data"] for m in messages] == [{"id": "cksess_1", "status": "deleted"}] * 2


@pytest.mark.parametrize("other", [token(8), "nonsense"])
async def test_two_tokens_are_none(http: httpx.AsyncClient, fake: FakeService, other: str) -> None:
    # A proxy before us may have checked the one that we would not look at.
    for both in ((token(7), other), (other, token(7))):
        headers = [("Authorization", f"Bearer {value}") for value in both]
        request = httpx.Request("GET", http.base_url.join(STATS), headers=headers)
        error_of(await http.send(request), "UNAUTHENTICATED", 401)
    assert not fake.calls


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"existingSecret": None},
        {"existingSecret": ""},
        {"existingSecret": ["ek_1"]},
        {"existingSecret": 0, "currentClientSecret": "ek_1"},
        {"existingSecret": "ek_1", "currentClientSecret": ["ek_1"]},
    ],
)
async def test_a_refresh_needs_a_secret(
    http: httpx.AsyncClient, fake: FakeService, body: dict[str, Any]
) -> None:
    error = error_of(await http.post(REFRESH, json=body), "INVALID_ARGUMENT", 400)
    assert "existingSecret" in error["error"]
    assert not fake.calls


async def test_the_other_name_of_the_secret_counts_where_the_first_is_null(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    body = {"existingSecret": None, "currentClientSecret": "ek_2"}
    assert (await http.post(REFRESH, json=body)).status_code == 200
    assert fake.calls[0].request.client_secret == "ek_2"
