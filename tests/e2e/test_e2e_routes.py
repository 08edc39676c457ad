"""Every row of the contract's table of routes, by HTTP, against the running processes."""

import asyncio
import datetime
import re
import time

import httpx
import pytest

from tests.e2e.conftest import ORIGIN
from tests.e2e.dashboard import Dashboard, EmulatorControl
from tests.e2e.processes import PATIENCE_SECONDS, System
from tests.gateway_support import error_of
from tests.support import eventually

SESSION, REFRESH, STATS = "/api/chatkit/session", "/api/chatkit/refresh", "/api/chatkit/stats"
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


async def test_a_create_gives_a_session_a_secret_and_its_expiry(
    dashboard: Dashboard, user: int
) -> None:
    answer = await dashboard.http.post(SESSION, json={"userId": user, "somethingElse": [1, {}]})
    assert answer.json()["success"] is True
    data = dashboard.data(answer)
    assert data["session_id"].startswith("cksess_")
    assert data["client_secret"].startswith("ek_")
    assert type(data["expires_at"]) is int
    assert 500 < data["expires_at"] - time.time() < 700


@pytest.mark.parametrize("content", [b"", b"{}", b'{"username": null, "userContext": null}'])
async def test_every_field_of_a_create_may_be_absent(dashboard: Dashboard, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await dashboard.http.post(SESSION, content=content, headers=headers)
    assert dashboard.data(answer)["client_secret"].startswith("ek_")


@pytest.mark.parametrize("field", ["existingSecret", "currentClientSecret"])
async def test_a_refresh_gives_another_session_of_the_same_user(
    dashboard: Dashboard, openai: EmulatorControl, user: int, field: str
) -> None:
    old = await dashboard.create(username="user7", userContext={"permissions": {"a": True}})
    body = {field: old["client_secret"], "userId": user}
    new = dashboard.data(await dashboard.http.post(REFRESH, json=body))
    assert new["session_id"] != old["session_id"]
    assert new["client_secret"] != old["client_secret"]
    assert type(new["expires_at"]) is int
    first, second = openai.requests_of(str(user))
    assert first["body"] == second["body"]
    assert second["body"]["workflow"]["state_variables"]["userContext.permissions.a"] is True
    # It expires by itself, so nobody cancels it.
    assert not any(old["session_id"] in r["path"] for r in openai.requests("sessions.cancel"))


async def test_a_get_tells_everything_but_the_secret(dashboard: Dashboard, user: int) -> None:
    old = await dashboard.create()
    answer = await dashboard.http.get(f"{SESSION}/{old['session_id']}")
    found = dashboard.data(answer)
    assert abs(found.pop("created_at") - time.time()) < PATIENCE_SECONDS
    assert found == {
        "id": old["session_id"],
        "status": "active",
        "user_id": str(user),
        "mode": "hosted",
        "workflow_id": "wf_emulator",
        "expires_at": old["expires_at"],
    }
    assert old["client_secret"] not in answer.text


async def test_a_get_tells_what_was_refreshed_by_what(dashboard: Dashboard) -> None:
    old = await dashboard.create()
    new = await dashboard.refresh(old["client_secret"])
    newest = await dashboard.refresh(old["client_secret"])
    assert len({old["session_id"], new["session_id"], newest["session_id"]}) == 3
    found = await dashboard.get(old["session_id"])
    assert (found["status"], found["refreshed_to"]) == ("refreshed", newest["session_id"])
    found = await dashboard.get(newest["session_id"])
    assert (found["status"], found["refreshed_from"]) == ("active", old["session_id"])


async def test_a_delete_is_the_same_200_each_time_and_openai_hears_of_it(
    dashboard: Dashboard, openai: EmulatorControl
) -> None:
    session_id = (await dashboard.create())["session_id"]
    answers = [await dashboard.http.delete(f"{SESSION}/{session_id}") for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.json() == {
            "success": True,
            "message": "Session deleted.",
            "data": {"id": session_id, "status": "deleted"},
        }
    assert (await dashboard.get(session_id))["status"] == "deleted"
    path = f"/v1/chatkit/sessions/{session_id}/cancel"

    async def cancelled() -> bool:
        return [r["path"] for r in openai.requests("sessions.cancel")].count(path) == 1

    await eventually(cancelled)


async def test_a_delete_is_200_whatever_openai_says_to_the_cancel(
    dashboard: Dashboard, openai: EmulatorControl
) -> None:
    openai.fail(operation="sessions.cancel", status=500, times=None)
    session_id = (await dashboard.create())["session_id"]
    assert await dashboard.delete(session_id) == {"id": session_id, "status": "deleted"}


async def test_statistics_have_all_their_names_from_the_start(dashboard: Dashboard) -> None:
    stats = await dashboard.stats(userId="", days=3)
    # The sync may look at a user, but there is none yet that it knows.
    today = datetime.datetime.now(datetime.UTC).date()
    assert stats.pop("daily") == [
        {
            "date": (today - datetime.timedelta(days=ago)).isoformat(),
            "sessions": 0,
            "messages": 0,
            "refreshes": 0,
            "failures": 0,
            "turns": 0,
            "failedTurns": 0,
            "inputTokens": 0,
            "outputTokens": 0,
            "toolCalls": 0,
            "answerTime": None,
            "failuresByReason": {},
        }
        for ago in (2, 1, 0)
    ]
    assert stats == {
        "totalSessions": 0,
        "totalMessages": 0,
        "lastActivity": None,
        "averageSessionDuration": 0.0,
        "activeSessions": 0,
        "sessionsToday": 0,
        "messagesToday": 0,
        "refreshes": 0,
        "deletedSessions": 0,
        "failures": 0,
        "messagesUpdatedAt": None,
        "turns": 0,
        "failedTurns": 0,
        "inputTokens": 0,
        "outputTokens": 0,
        "estimatedTurns": 0,
        "toolCalls": 0,
        "answerTime": None,
        "failuresByReason": {},
    }


@pytest.mark.parametrize(("query", "days"), [({}, 30), ({"days": "1"}, 1), ({"days": "366"}, 366)])
async def test_days_shapes_daily_alone(
    dashboard: Dashboard, query: dict[str, str], days: int
) -> None:
    await dashboard.create()
    stats = await dashboard.stats(**query)
    assert len(stats["daily"]) == days
    assert stats["daily"][-1]["sessions"] == stats["totalSessions"] == 1
    assert re.fullmatch(RFC3339, stats["lastActivity"])


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (SESSION, {"POST"}),
        (REFRESH, {"POST"}),
        (f"{SESSION}/cksess_1", {"DELETE", "GET", "HEAD"}),
        (STATS, {"GET", "HEAD"}),
    ],
)
async def test_each_route_has_its_methods_and_no_others(
    dashboard: Dashboard, path: str, methods: set[str]
) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        answer = await dashboard.http.request(method, path)
        assert (answer.status_code == 405) is (method not in methods), method
        if answer.status_code == 405:
            assert set(answer.headers["allow"].split(", ")) == methods | {"OPTIONS"}
            if method != "HEAD":
                error_of(answer, "METHOD_NOT_ALLOWED", 405)


@pytest.mark.parametrize(
    "path",
    ["/", "/api", f"{SESSION}/", f"{REFRESH}/", f"{STATS}/", f"{SESSION}/a/", "/nothing"],
)
async def test_what_is_no_route_is_404_and_no_redirect(dashboard: Dashboard, path: str) -> None:
    error_of(await dashboard.http.get(path), "NOT_FOUND", 404)


async def test_alive_and_ready_need_no_token(system: System) -> None:
    async with httpx.AsyncClient(base_url=system.url, trust_env=False, verify=False) as http:
        for path in ("/healthz", "/readyz"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["success"]) == (200, True)


async def test_a_preflight_lets_the_dashboard_in_and_nobody_else(system: System) -> None:
    wanted = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-request-id",
    }
    async with httpx.AsyncClient(base_url=system.url, trust_env=False, verify=False) as http:
        answer = await http.options(SESSION, headers={"Origin": ORIGIN, **wanted})
        assert answer.status_code in (200, 204)
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert {"authorization", "content-type", "x-request-id"} <= set(allowed.split(", "))
        methods = answer.headers["access-control-allow-methods"]
        assert {"GET", "POST", "DELETE"} <= set(methods.split(", "))
        other = {"Origin": "https://elsewhere.example.com", **wanted}
        answer = await http.options(SESSION, headers=other)
        assert "access-control-allow-origin" not in answer.headers
        error_of(answer, "PERMISSION_DENIED", 403)


async def test_one_request_id_is_in_every_place(
    system: System, openai: EmulatorControl, dashboard: Dashboard, user: int
) -> None:
    name = f"one id, printable ~{user}"
    answer = await dashboard.http.post(SESSION, headers={"X-Request-Id": name}, json={})
    dashboard.data(answer)
    assert answer.headers["x-request-id"] == name
    assert openai.requests_of(str(user))[0]["headers"]["x-client-request-id"] == name
    for event in ("openai answered", "rpc", "request"):
        system.process.wait_for(rf'"event":"{event}".*"request_id":"{re.escape(name)}"')


async def test_two_tabs_that_refresh_at_once_share_one_call_to_openai(
    dashboard: Dashboard, openai: EmulatorControl, user: int
) -> None:
    old = await dashboard.create()
    openai.fail(kind="delay", delay_seconds=0.5)
    first, second = await asyncio.gather(*(dashboard.refresh(old["client_secret"]) for _ in "12"))
    assert first == second
    assert len(openai.requests_of(str(user))) == 2
