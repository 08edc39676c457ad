"""A day of one user: in the end every number is what happened."""

import time
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.conftest import ADMINISTRATOR
from tests.e2e.dashboard import Dashboard, EmulatorControl, open_dashboard
from tests.e2e.processes import System
from tests.support import eventually

COUNTED = (
    "totalSessions",
    "sessionsToday",
    "activeSessions",
    "refreshes",
    "deletedSessions",
    "failures",
    "totalMessages",
    "messagesToday",
)


async def test_the_numbers_reconcile_with_what_happened(
    system: System, openai: EmulatorControl, dashboard: Dashboard, user: int
) -> None:
    async with open_dashboard(system.url, ADMINISTRATOR) as administrator:
        everybody_before = await administrator.stats()
        started = time.time()

        kept = await dashboard.create()
        again = await dashboard.refresh(kept["client_secret"])
        await dashboard.refresh(again["client_secret"])
        gone = await dashboard.create()
        await dashboard.delete(gone["session_id"])
        await dashboard.delete(gone["session_id"])
        openai.fail(status=400, times=2)
        await dashboard.http.post("/api/chatkit/session")
        body = {"existingSecret": kept["client_secret"]}
        await dashboard.http.post("/api/chatkit/refresh", json=body)
        # No failures: nothing that OpenAI or the configuration is to blame for.
        await dashboard.http.post("/api/chatkit/refresh", json={"existingSecret": "ek_unknown"})
        await dashboard.http.post("/api/chatkit/session", content=b"[")
        openai.write(str(user), user_message=3, assistant_message=2, widget=4, task=1)
        openai.write(str(user), user_message=1)
        openai.write(f"{user}0", user_message=50)

        async def messages_are_counted() -> bool:
            return bool((await dashboard.stats())["totalMessages"] >= 6)

        await eventually(messages_are_counted)
        stats = await dashboard.stats(days=2)
        took = time.time() - started
        everybody = await administrator.stats()

    expected = {
        "totalSessions": 2,
        "sessionsToday": 2,
        "activeSessions": 1,
        "refreshes": 2,
        "deletedSessions": 1,
        "failures": 2,
        "totalMessages": 6,
        "messagesToday": 6,
    }
    assert {name: stats[name] for name in COUNTED} == expected
    grown = {name: everybody[name] - everybody_before[name] for name in COUNTED}
    assert grown == expected
    yesterday, today = stats["daily"]
    assert not any(yesterday[name] for name in ("sessions", "messages", "refreshes", "failures"))
    counted = {name: today[name] for name in ("sessions", "messages", "refreshes", "failures")}
    assert counted == {"sessions": 2, "messages": 6, "refreshes": 2, "failures": 2}
    assert stats["failuresByReason"] == today["failuresByReason"] == {"UPSTREAM_REJECTED": 2}
    assert yesterday["failuresByReason"] == {}
    for told in (stats, today, yesterday):  # no turn was ours
        assert (told["turns"], told["inputTokens"], told["answerTime"]) == (0, 0, None)
    # Two sessions: one lives since the beginning, one ended at once.
    assert 0 < stats["averageSessionDuration"] <= took
    for name in ("lastActivity", "messagesUpdatedAt"):
        assert started - 1 <= datetime.fromisoformat(stats[name]).timestamp() <= time.time() + 1


@pytest.mark.parametrize("failure", [{"status": 500}, {"kind": "malformed"}, {"kind": "reset"}])
async def test_messages_are_counted_once_openai_answers_again(
    openai: EmulatorControl, dashboard: Dashboard, user: int, failure: dict[str, Any]
) -> None:
    openai.fail(operation="threads.list", **failure)
    await dashboard.create()
    openai.write(str(user), user_message=1)

    async def messages_are_counted() -> bool:
        return bool((await dashboard.stats())["totalMessages"])

    await eventually(messages_are_counted, within=20)
    assert (await dashboard.stats())["totalMessages"] == 1


async def test_a_session_is_as_long_as_it_lived(dashboard: Dashboard) -> None:
    session_id = (await dashboard.create())["session_id"]

    async def has_lived() -> bool:
        return bool((await dashboard.stats())["averageSessionDuration"] > 0.2)

    await eventually(has_lived)
    await dashboard.delete(session_id)
    ended = (await dashboard.stats())["averageSessionDuration"]
    found = await dashboard.get(session_id)
    assert 0.2 < ended < 20
    assert found["deleted_at"] - found["created_at"] <= ended + 1
    assert (await dashboard.stats())["averageSessionDuration"] == ended
