"""Every row of the contract's table of reasons, by HTTP, against the running processes."""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from google.protobuf.message import Message

from tests.e2e import processes
from tests.e2e.conftest import SESSIONS_PER_MINUTE, TIMEOUT_SECONDS
from tests.e2e.dashboard import (
    Dashboard,
    EmulatorControl,
    open_dashboard,
    token_of,
)
from tests.e2e.processes import SECRET, System
from tests.gateway_support import FakeService, error_of

SESSION, REFRESH, STATS = "/api/chatkit/session", "/api/chatkit/refresh", "/api/chatkit/stats"
SOON = {"retry-after-ms": "1"}
"""Lets the retries of a test come at once."""


async def create(dashboard: Dashboard, **body: Any) -> httpx.Response:
    return await dashboard.http.post(SESSION, json=body)


NOBODY: list[object] = [True, None, {}, [], 7.5, "", "x" * 257]
LATER = int(time.time()) + 24 * 3600
AUTHORIZATIONS = {
    "none": "",
    "another scheme": "Basic dTpw",
    "nothing after the scheme": "Bearer",
    "nonsense": "Bearer nonsense",
    "broken signature": f"Bearer {token_of(7)}x",
    "another secret": f"Bearer {jwt.encode({'userId': 7, 'exp': LATER}, 'x' * 32)}",
    "alg none": f"Bearer {jwt.encode({'userId': 7, 'exp': LATER}, '', algorithm='none')}",
    "alg HS512": f"Bearer {jwt.encode({'userId': 7, 'exp': LATER}, SECRET * 2, algorithm='HS512')}",
    "no exp": f"Bearer {jwt.encode({'userId': 7}, SECRET)}",
    "expired": f"Bearer {token_of(7, exp=int(time.time()) - 1)}",
    **{f"user {str(user)[:5]!r}": f"Bearer {token_of(user)}" for user in NOBODY},
}


@pytest.mark.parametrize("authorization", AUTHORIZATIONS.values(), ids=AUTHORIZATIONS.keys())
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", SESSION),
        ("POST", REFRESH),
        ("GET", f"{SESSION}/a"),
        ("DELETE", f"{SESSION}/a"),
        ("GET", STATS),
    ],
)
async def test_unauthenticated(
    dashboard: Dashboard, method: str, path: str, authorization: str
) -> None:
    headers = {"Authorization": authorization}
    error_of(await dashboard.http.request(method, path, headers=headers), "UNAUTHENTICATED", 401)


async def test_permission_denied(dashboard: Dashboard, user: int) -> None:
    for other in (user + 1, str(user + 1)):
        error_of(await create(dashboard, userId=other), "PERMISSION_DENIED", 403)
        body = {"existingSecret": "ek_1", "userId": other}
        error_of(await dashboard.http.post(REFRESH, json=body), "PERMISSION_DENIED", 403)
        answer = await dashboard.http.get(STATS, params={"userId": other})
        error_of(answer, "PERMISSION_DENIED", 403)


@pytest.mark.parametrize(
    ("method", "path", "content", "field"),
    [
        ("POST", SESSION, b"[", "body"),
        ("POST", SESSION, b"[]", "body"),
        ("POST", SESSION, b"null", "body"),
        ("POST", SESSION, b"[" * 20_000, "body"),
        ("POST", SESSION, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "body"),
        ("POST", SESSION, b'{"username": "\xff"}', "body"),
        ("POST", SESSION, b'{"username": "\\ud800"}', "body"),
        ("POST", REFRESH, b'{"existingSecret": "\\udfff"}', "body"),
        *(
            ("POST", SESSION, b'{"userId": %s}' % value, "userId")
            for value in (b"true", b"{}", b"[7]", b"7.5", b'""', b'"\\u0000"')
        ),
        ("POST", REFRESH, b"{}", "existingSecret"),
        ("POST", REFRESH, b'{"existingSecret": 7}', "existingSecret"),
        ("POST", REFRESH, b'{"existingSecret": ""}', "existingSecret"),
        ("GET", f"{STATS}?days=-1", None, "days"),
        ("GET", f"{STATS}?days=0", None, "days"),
        ("GET", f"{STATS}?days=367", None, "days"),
        ("GET", f"{STATS}?days=abc", None, "days"),
        ("GET", f"{STATS}?days=1.5", None, "days"),
        ("GET", f"{STATS}?days={'9' * 400}", None, "days"),
        ("GET", f"{SESSION}/a%00b", None, "sessionId"),
        ("GET", f"{SESSION}/{'a' * 5000}", None, "sessionId"),
        ("DELETE", f"{SESSION}/a%00b", None, "sessionId"),
    ],
)
async def test_invalid_argument_names_the_field(
    dashboard: Dashboard, method: str, path: str, content: bytes | None, field: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await dashboard.http.request(method, path, content=content, headers=headers)
    assert field in error_of(answer, "INVALID_ARGUMENT", 400)["error"]


async def test_session_not_found(dashboard: Dashboard) -> None:
    for method in ("GET", "DELETE"):
        answer = await dashboard.http.request(method, f"{SESSION}/cksess_0")
        error_of(answer, "SESSION_NOT_FOUND", 404)
    answer = await dashboard.http.post(REFRESH, json={"existingSecret": "ek_unknown"})
    error_of(answer, "SESSION_NOT_FOUND", 404)


async def test_session_deleted(dashboard: Dashboard) -> None:
    old = await dashboard.create()
    new = await dashboard.refresh(old["client_secret"])
    await dashboard.delete(new["session_id"])
    for secret in (old["client_secret"], new["client_secret"]):
        answer = await dashboard.http.post(REFRESH, json={"existingSecret": secret})
        error_of(answer, "SESSION_DELETED", 410)


async def test_rate_limited(dashboard: Dashboard, openai: EmulatorControl, user: int) -> None:
    data = await dashboard.create()
    for _ in range(SESSIONS_PER_MINUTE - 1):
        data = await dashboard.refresh(data["client_secret"])
    answer = await create(dashboard)
    error_of(answer, "RATE_LIMITED", 429)
    assert 30 < int(answer.headers["retry-after"]) <= 60
    refresh = await dashboard.http.post(REFRESH, json={"existingSecret": data["client_secret"]})
    error_of(refresh, "RATE_LIMITED", 429)
    assert len(openai.requests_of(str(user))) == SESSIONS_PER_MINUTE
    assert (await dashboard.stats())["failures"] == 0


@contextlib.asynccontextmanager
async def configured(directory: Path, openai: str, **settings: str) -> AsyncIterator[Dashboard]:
    with processes.pair(directory, openai, **settings) as (_, gateway):
        async with open_dashboard(gateway.url) as dashboard:
            yield dashboard


@pytest.mark.parametrize(
    ("settings", "code", "error", "hint"),
    [
        (
            {"OPENAI_CHATKIT_WORKFLOW_ID": "", "OPENAI_API_KEY": ""},
            "WORKFLOW_NOT_CONFIGURED",
            "No workflow ID configured",
            "Set OPENAI_CHATKIT_WORKFLOW_ID",
        ),
        (
            {"OPENAI_CHATKIT_WORKFLOW_ID": "my workflow"},
            "WORKFLOW_NOT_CONFIGURED",
            "No workflow ID configured",
            "followed by letters",
        ),
        ({"OPENAI_API_KEY": ""}, "INVALID_API_KEY", "Invalid API key", "is missing"),
        ({"OPENAI_API_KEY": "sk-wrong"}, "INVALID_API_KEY", "Invalid API key", "does not know"),
        (
            {"OPENAI_API_KEY": "sk-noscope"},
            "INVALID_API_KEY",
            "Invalid API key",
            "lacks a permission",
        ),
        (
            {"OPENAI_CHATKIT_WORKFLOW_ID": "wf_missing_here"},
            "WORKFLOW_NOT_FOUND",
            "Workflow not found",
            "same OpenAI project",
        ),
    ],
)
async def test_what_is_configured_wrong_is_said_as_documented(
    directory: Path, own_emulator: str, settings: dict[str, str], code: str, error: str, hint: str
) -> None:
    async with configured(directory, own_emulator, **settings) as dashboard:
        body = error_of(await create(dashboard), code, 503)
        assert hint in body["hint"]
        assert (await dashboard.stats())["failures"] == 1
        # The dashboard has the documented names in its own troubleshooting, in one language.
        headers = {"Accept-Language": "es"}
        spanish = error_of(await dashboard.http.post(SESSION, headers=headers), code, 503)
        assert spanish["hint"] != body["hint"]
        assert body["error"] == spanish["error"] == error


UNUSABLE_SESSION = {"object": "chatkit.session", "id": "cksess_1"}


@pytest.mark.parametrize(
    ("failure", "code", "status", "calls"),
    [
        ({"status": 401}, "INVALID_API_KEY", 503, 1),
        ({"status": 403}, "INVALID_API_KEY", 503, 1),
        ({"status": 404}, "WORKFLOW_NOT_FOUND", 503, 1),
        ({"status": 429, "headers": SOON, "times": 3}, "UPSTREAM_RATE_LIMITED", 429, 3),
        *(
            ({"status": 429, "body": {"error": {"code": code}}}, "UPSTREAM_QUOTA_EXHAUSTED", 503, 1)
            for code in ("insufficient_quota", "credit_balance_exhausted")
        ),
        *(({"status": status}, "UPSTREAM_REJECTED", 502, 1) for status in (400, 405, 413, 422)),
        *(
            ({"status": status, "headers": SOON, "times": 3}, "UPSTREAM_UNAVAILABLE", 502, 3)
            for status in (500, 502, 503, 529)
        ),
        ({"kind": "reset", "times": 3}, "UPSTREAM_UNAVAILABLE", 502, 3),
        ({"kind": "malformed"}, "UPSTREAM_UNAVAILABLE", 502, 1),
        ({"kind": "truncate"}, "UPSTREAM_UNAVAILABLE", 502, 1),
        ({"kind": "huge"}, "UPSTREAM_UNAVAILABLE", 502, 1),
        ({"status": 200, "body": UNUSABLE_SESSION}, "UPSTREAM_UNAVAILABLE", 502, 1),
        ({"status": 302, "times": None}, "UPSTREAM_UNAVAILABLE", 502, 1),
    ],
)
async def test_each_failure_of_openai_has_its_reason(
    dashboard: Dashboard,
    openai: EmulatorControl,
    user: int,
    failure: dict[str, Any],
    code: str,
    status: int,
    calls: int,
) -> None:
    openai.fail(**failure)
    answer = await create(dashboard)
    error_of(answer, code, status)
    assert len(openai.requests_of(str(user))) == calls
    assert ("retry-after" in answer.headers) is (status == 429)
    openai.heal()
    assert (await dashboard.stats())["failures"] == 1
    assert (await dashboard.create())["client_secret"].startswith("ek_")


@pytest.mark.parametrize("failure", [{"status": 500}, {"status": 409}, {"status": 408}])
async def test_what_passes_is_not_seen_by_anybody(
    dashboard: Dashboard, openai: EmulatorControl, user: int, failure: dict[str, Any]
) -> None:
    openai.fail(headers=SOON, times=2, **failure)
    assert (await dashboard.create())["client_secret"].startswith("ek_")
    assert len(openai.requests_of(str(user))) == 3
    assert (await dashboard.stats())["failures"] == 0


async def test_a_wait_that_does_not_fit_is_the_callers(
    dashboard: Dashboard, openai: EmulatorControl, user: int
) -> None:
    openai.fail(status=429, headers={"retry-after": "17"})
    started = time.monotonic()
    answer = await create(dashboard)
    error_of(answer, "UPSTREAM_RATE_LIMITED", 429)
    assert answer.headers["retry-after"] == "17"
    assert time.monotonic() - started < TIMEOUT_SECONDS
    # It was told to this caller: the next one may ask OpenAI again.
    assert (await dashboard.create())["client_secret"].startswith("ek_")


async def test_upstream_timeout(dashboard: Dashboard, openai: EmulatorControl) -> None:
    openai.fail(kind="hang")
    started = time.monotonic()
    error_of(await create(dashboard), "UPSTREAM_TIMEOUT", 504)
    assert TIMEOUT_SECONDS / 2 < time.monotonic() - started < TIMEOUT_SECONDS + 5
    assert (await dashboard.stats())["failures"] == 1


async def test_unavailable(directory: Path) -> None:
    nowhere = f"127.0.0.1:{processes.free_port()}"
    with processes.gateway(directory, nowhere) as gateway:
        async with open_dashboard(gateway.url) as dashboard:
            for method, path in (("POST", SESSION), ("GET", STATS), ("GET", "/readyz")):
                answer = await dashboard.http.request(method, path)
                error_of(answer, "UNAVAILABLE", 503)
                assert int(answer.headers["retry-after"]) >= 1
            assert (await dashboard.http.get("/healthz")).status_code == 200


async def defective(context: object) -> Message:
    raise RuntimeError("the cause is nobody's business")


async def test_internal(directory: Path) -> None:
    async with FakeService({"CreateSession": defective}).serve() as fake:
        with processes.gateway(directory, f"127.0.0.1:{fake.port}") as gateway:
            async with open_dashboard(gateway.url) as dashboard:
                answer = await create(dashboard)
                error_of(answer, "INTERNAL", 500)
                assert "nobody's business" not in answer.text


async def test_what_is_too_large_or_of_another_type_is_said_in_json(
    system: System, dashboard: Dashboard
) -> None:
    headers = {"Content-Type": "application/json"}
    body = b'{"username": "%s"}' % (b"x" * 70 * 1024)
    answer = await dashboard.http.post(SESSION, content=body, headers=headers)
    error_of(answer, "PAYLOAD_TOO_LARGE", 413)
    headers = {"Content-Type": "text/plain"}
    answer = await dashboard.http.post(SESSION, content=b"{}", headers=headers)
    error_of(answer, "UNSUPPORTED_MEDIA_TYPE", 415)
