"""Why calls fail besides OpenAI: see test_upstream_matrix for that."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from protos.chatkit.v1 import session_service_pb2 as pb
from session_service.agent_builder import CLOSES
from session_service.stores import sqlite_database
from tests.integration.test_sqlite_store import locked
from tests.support import (
    BEFORE_THE_END,
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    refused,
    settings_for,
)


@pytest.mark.parametrize(
    ("workflow", "key", "reason", "cause"),
    [
        (None, "sk-test", "WORKFLOW_NOT_CONFIGURED", "missing"),
        ("asst_1", "sk-test", "WORKFLOW_NOT_CONFIGURED", "malformed"),
        ("wf_", "sk-test", "WORKFLOW_NOT_CONFIGURED", "malformed"),
        ("wf_1", None, "INVALID_API_KEY", "missing"),
        ("wf_1", "  ", "INVALID_API_KEY", "missing"),
        ("wf_1", "sk-ñ", "INVALID_API_KEY", "rejected"),
        (None, None, "WORKFLOW_NOT_CONFIGURED", "missing"),
    ],
)
async def test_what_is_not_configured_is_said_and_openai_not_asked(
    workflow: str | None,
    key: str | None,
    reason: str,
    cause: str,
    emulator: Emulator,
    tmp_path: Path,
) -> None:
    settings = settings_for(
        tmp_path,
        emulator.url,
        openai_chatkit_workflow_id=workflow,
        openai_api_key=None if key is None else SecretStr(key),
    )
    async with open_session_service(settings) as service:
        with refused(reason) as refusal:
            await service.create()
        assert refusal.details.metadata == {"cause": cause}
        assert (await service.stats()).failures == 1
    assert await emulator.requests() == []


@pytest.mark.parametrize("today", [BEFORE_THE_END, CLOSES])
async def test_a_workflow_that_is_not_there_is_said_loudly_but_once(
    today: datetime.date, emulator: Emulator, tmp_path: Path
) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url), today) as service:
        await emulator.fail("sessions.create", status=404, times=2)
        with capture_logs() as captured:
            for _ in range(2):
                with refused("WORKFLOW_NOT_FOUND") as refusal:
                    await service.create()
        assert refusal.details.metadata == ({"cause": "closed"} if today == CLOSES else {})
        assert [line["closes"] for line in captured if "AGENT BUILDER" in line["event"]] == [
            "2026-11-30"
        ]


async def test_a_session_that_openai_forgot_says_nothing_of_the_workflow(
    service: SessionService, emulator: Emulator
) -> None:
    session = (await service.create()).session
    await emulator.fail("sessions.cancel", status=404)
    with capture_logs() as captured:
        await service.delete(session.id)
        await service.server.drain()
    assert "openai answered" in [line["event"] for line in captured]
    assert not any("AGENT BUILDER" in line["event"] for line in captured)


@pytest.mark.parametrize("wait", ["1e300", "Mon, 01 Jan 2024 00:00:00 +99999999999999999"])
async def test_an_absurd_wait_asked_for_by_openai_is_no_defect(
    wait: str, service: SessionService, emulator: Emulator
) -> None:
    answer = {"status": 429, "headers": {"retry-after": wait}}
    await emulator.fail("sessions.create", times=3, **answer)
    with refused("UPSTREAM_RATE_LIMITED") as refusal:
        await service.create()
    assert refusal.details.retry_after_seconds is not None


async def test_a_user_has_so_many_sessions_a_minute(emulator: Emulator, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, emulator.url, chatkit_sessions_per_minute=3)
    async with open_session_service(settings) as service:
        secret = (await service.create()).client_secret
        secret = (await service.refresh(secret)).client_secret
        await service.create()
        for call in (service.create(), service.refresh(secret)):
            with refused("RATE_LIMITED") as refusal:
                await call
            assert refusal.details.retry_after_seconds is not None
            assert 30 < refusal.details.retry_after_seconds <= 60
        await service.create("8")
        assert (await service.stats()).failures == 0
    assert len(await emulator.requests("sessions.create")) == 4


@asynccontextmanager
async def silent_openai() -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event]]:
    """Takes requests and never answers; events say that one has come, and that its client left."""
    came, left = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            came.set()
        left.set()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", came, left


@pytest.mark.parametrize("seconds", [0.3, 1.0])
async def test_the_reason_comes_before_the_callers_deadline(seconds: float, tmp_path: Path) -> None:
    async with (
        silent_openai() as (url, _, left),
        open_session_service(settings_for(tmp_path, url)) as service,
    ):
        await service.channel.channel_ready()
        with refused("UPSTREAM_TIMEOUT"):
            await service.stub.CreateSession(pb.CreateSessionRequest(user_id="7"), timeout=seconds)
        await asyncio.wait_for(left.wait(), 5)
        assert (await service.stats()).failures == 1


async def test_a_caller_who_leaves_ends_the_call_to_openai(tmp_path: Path) -> None:
    async with (
        silent_openai() as (url, came, left),
        open_session_service(settings_for(tmp_path, url)) as service,
    ):
        call = asyncio.create_task(service.create())
        await asyncio.wait_for(came.wait(), 5)
        call.cancel()
        await asyncio.wait_for(left.wait(), 5)
        assert (await service.stats()).total_sessions == 0


async def test_a_store_that_cannot_write_is_unavailable_and_openais_session_cancelled(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    async with open_session_service(settings_for(tmp_path, emulator.url)) as impatient:
        with locked(str(tmp_path / "chatkit.db")), refused("UNAVAILABLE") as refusal:
            await impatient.create()
        assert "locked" not in refusal.message
        assert refusal.details.metadata == {"cause": "store"}
        assert refusal.details.retry_after_seconds == 1

        async def cancelled() -> bool:
            return len(await emulator.requests("sessions.cancel")) == 1

        await eventually(cancelled)
        assert (await impatient.stats()).total_sessions == 0
