"""Sessions that nobody will ever know of: OpenAI is told until it has understood, come what may."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from protos.chatkit.v1 import session_service_pb2 as pb
from runtime import log as logs
from session_service.sessions import now_ms
from session_service.stores import sqlite_database
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.test_session_delete import cancelled
from tests.integration.test_session_refresh import asked
from tests.integration.test_sqlite_store import locked
from tests.support import (
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    refused,
    settings_for,
)


async def refused_cancels(emulator: Emulator, number: int) -> None:
    async def enough() -> bool:
        requests = await emulator.requests("sessions.cancel")
        return [request["status"] for request in requests].count(400) >= number

    await eventually(enough, within=20)


async def delete_during_refresh(service: SessionService, emulator: Emulator) -> str:
    created = await service.create()
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.3)
    refreshing = asyncio.create_task(service.refresh(created.client_secret))
    await asked(emulator, 2)
    await service.delete(created.session.id)
    with refused("SESSION_DELETED"):
        await refreshing
    return created.session.id


async def test_a_refresh_overtaken_by_a_delete_is_cancelled_until_that_works(
    service: SessionService, emulator: Emulator
) -> None:
    await emulator.fail("sessions.cancel", status=400, times=2)
    known = await delete_during_refresh(service, emulator)
    both = await cancelled(emulator, 2)
    assert len(set(both)) == 2
    assert known in both


async def test_what_is_to_be_cancelled_outlives_the_process(
    emulator: Emulator, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, emulator.url)
    await emulator.fail("sessions.cancel", status=400, times=None)
    async with open_session_service(settings) as service:
        await delete_during_refresh(service, emulator)
        await refused_cancels(emulator, 2)
        await service.server.drain()
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        soon = now_ms() + 60_000
        assert len(await store.claim_cancels(soon, now_ms(), 10)) == 2
    await emulator.heal()
    async with open_session_service(settings):
        assert len(await cancelled(emulator, 2)) == 2


async def test_while_the_store_cannot_remember_it_memory_does(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    async with open_session_service(settings_for(tmp_path, emulator.url)) as impatient:
        await emulator.fail("sessions.cancel", status=400, times=2)
        with locked(str(tmp_path / "chatkit.db")):
            with refused("UNAVAILABLE"):
                await impatient.create()
            assert len(await cancelled(emulator)) == 1
        # Thereafter it is over.
        await impatient.server.drain()
    assert len(await emulator.requests("sessions.cancel")) == 3
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        soon = now_ms() + 60_000
        assert not await store.claim_cancels(soon, soon, 10)


async def test_what_memory_holds_goes_to_the_store_as_soon_as_that_works(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    async with open_session_service(settings_for(tmp_path, emulator.url)) as impatient:
        await emulator.fail("sessions.cancel", status=400, times=None)
        with locked(str(tmp_path / "chatkit.db")), refused("UNAVAILABLE"):
            await impatient.create()
        await refused_cancels(emulator, 1)
        await impatient.server.drain()
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        soon = now_ms() + 60_000
        assert len(await store.claim_cancels(soon, soon, 10)) == 1


async def test_a_try_in_the_background_has_a_name_in_the_log_and_at_openai(
    service: SessionService, emulator: Emulator
) -> None:
    session = (await service.create()).session
    await emulator.fail("sessions.cancel", status=400)
    request = pb.DeleteSessionRequest(user_id="7", session_id=session.id)
    logged: list[str | None] = []

    def remember(_: object, __: str, event: EventDict) -> EventDict:
        if event["event"] == "openai answered":
            logged.append(logs.request_id.get(None))
        return event

    with capture_logs(processors=[remember]):
        await service.stub.DeleteSession(request, metadata=(("x-request-id", "req-1"),))
        assert await cancelled(emulator) == [session.id]
        await service.server.drain()
    requests = await emulator.requests("sessions.cancel")
    assert logged == [request["headers"]["x-client-request-id"] for request in requests]
    first, second = logged
    assert first == "req-1" != second
