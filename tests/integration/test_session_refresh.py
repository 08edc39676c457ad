"""What a refresh is: a new session at OpenAI in the same chain, shared by those who ask at once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protos.chatkit.v1 import session_service_pb2 as pb
from session_service.sessions import now_ms
from session_service.stores.base import Session
from session_service.stores.sqlite import open_sqlite_store
from tests.support import (
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    refused,
    settings_for,
)

HOUR_MS = 3_600_000
TABS = 10


@pytest.fixture
async def created(service: SessionService) -> pb.CreateSessionResponse:
    return await service.create()


async def asked(emulator: Emulator, number: int) -> None:
    """Waits until OpenAI has been asked for so many sessions."""

    async def enough() -> bool:
        return len(await emulator.requests("sessions.create")) >= number

    await eventually(enough)


async def test_a_refresh_makes_another_session_in_the_chain(
    service: SessionService, created: pb.CreateSessionResponse, emulator: Emulator
) -> None:
    refreshed = await service.refresh(created.client_secret)
    assert refreshed.client_secret.startswith("ek_")
    assert refreshed.client_secret != created.client_secret
    assert refreshed.session.refreshed_from == created.session.id
    assert refreshed.session.status == pb.SESSION_STATUS_ACTIVE
    old = await service.get(created.session.id)
    assert (old.status, old.refreshed_to) == (pb.SESSION_STATUS_REFRESHED, refreshed.session.id)
    assert await emulator.requests("sessions.cancel") == []
    stats = await service.stats()
    assert (stats.total_sessions, stats.active_sessions, stats.refreshes) == (1, 1, 1)


async def test_tabs_that_refresh_at_once_share_one_call(
    service: SessionService, created: pb.CreateSessionResponse, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.3)
    answers = await asyncio.gather(*(service.refresh(created.client_secret) for _ in range(TABS)))
    assert len({answer.client_secret for answer in answers}) == 1
    assert len(await emulator.requests("sessions.create")) == 2
    assert (await service.stats()).refreshes == 1


async def test_the_call_goes_on_when_the_first_tab_is_closed(
    service: SessionService, created: pb.CreateSessionResponse, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.5)
    first = asyncio.create_task(service.refresh(created.client_secret))
    await asked(emulator, 2)
    second = asyncio.create_task(service.refresh(created.client_secret))
    await asyncio.sleep(0.1)  # so that the service has it; if not, this test proves less
    first.cancel()
    answer = await asyncio.wait_for(second, 10)
    assert answer.session.refreshed_from == created.session.id
    assert len(await emulator.requests("sessions.create")) == 2


async def test_the_call_goes_on_when_every_tab_is_closed(
    service: SessionService, created: pb.CreateSessionResponse, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.3)
    alone = asyncio.create_task(service.refresh(created.client_secret))
    await asked(emulator, 2)
    alone.cancel()

    async def kept() -> bool:
        return (await service.stats()).refreshes == 1

    await eventually(kept)


async def test_those_who_share_a_call_share_its_failure(
    service: SessionService, created: pb.CreateSessionResponse, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", status=404, delay_seconds=0.3)

    async def fail() -> None:
        with refused("WORKFLOW_NOT_FOUND"):
            await service.refresh(created.client_secret)

    await asyncio.gather(*(fail() for _ in range(TABS)))
    assert len(await emulator.requests("sessions.create")) == 2
    await service.refresh(created.client_secret)


async def test_a_later_refresh_makes_yet_another_session(
    service: SessionService, created: pb.CreateSessionResponse
) -> None:
    first = await service.refresh(created.client_secret)
    second = await service.refresh(created.client_secret)
    third = await service.refresh(second.client_secret)
    assert len({first.client_secret, second.client_secret, third.client_secret}) == 3
    assert (await service.get(created.session.id)).refreshed_to == second.session.id
    assert (await service.get(first.session.id)).status == pb.SESSION_STATUS_ACTIVE
    assert (await service.get(second.session.id)).refreshed_to == third.session.id
    stats = await service.stats()
    assert (stats.total_sessions, stats.active_sessions, stats.refreshes) == (1, 1, 3)


async def test_a_secret_of_another_user_is_not_refreshed_even_while_they_do(
    service: SessionService, created: pb.CreateSessionResponse, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.3)
    mine = asyncio.create_task(service.refresh(created.client_secret))
    await asked(emulator, 2)
    with refused("SESSION_NOT_FOUND"):
        await service.refresh(created.client_secret, "8")
    await mine


async def test_a_deleted_session_is_not_refreshed(
    service: SessionService, created: pb.CreateSessionResponse
) -> None:
    refreshed = await service.refresh(created.client_secret)
    await service.delete(created.session.id)
    for secret in (created.client_secret, refreshed.client_secret):
        with refused("SESSION_DELETED"):
            await service.refresh(secret)
    assert (await service.stats()).failures == 0


async def test_what_is_deleted_during_its_refresh_is_cancelled_at_openai(
    service: SessionService, created: pb.CreateSessionResponse, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.5)
    refreshing = asyncio.create_task(service.refresh(created.client_secret))
    await asked(emulator, 2)
    await service.delete(created.session.id)
    with refused("SESSION_DELETED"):
        await refreshing

    async def both_cancelled() -> bool:
        return len(await emulator.requests("sessions.cancel")) == 2

    await eventually(both_cancelled)
    stats = await service.stats()
    assert (stats.refreshes, stats.deleted_sessions, stats.active_sessions) == (0, 1, 0)


@pytest.fixture
async def aged(emulator: Emulator, tmp_path: Path) -> AsyncIterator[SessionService]:
    """A service that has the sessions `ek_<hours>`, which expired so many hours ago."""
    settings = settings_for(tmp_path, emulator.url)
    path = settings.database_url.removeprefix("sqlite:///")
    async with open_sqlite_store(path) as store:
        for hours in (0.1, 23.9, 24.1, 1000):
            expires_ms = now_ms() - int(hours * HOUR_MS)
            name = f"{hours}"
            session = Session(name, name, "7", "wf_test", expires_ms - 600_000, expires_ms)
            await store.add(session, hashlib.sha256(f"ek_{hours}".encode()).digest())
    async with open_session_service(settings) as service:
        yield service


@pytest.mark.parametrize("hours", [0.1, 23.9])
async def test_an_expired_secret_is_refreshed_for_a_day(hours: float, aged: SessionService) -> None:
    assert (await aged.get(f"{hours}")).status == pb.SESSION_STATUS_EXPIRED
    assert (await aged.refresh(f"ek_{hours}")).session.refreshed_from == f"{hours}"
    assert (await aged.get(f"{hours}")).status == pb.SESSION_STATUS_REFRESHED
    assert (await aged.stats()).active_sessions == 1


@pytest.mark.parametrize("hours", [24.1, 1000])
async def test_after_a_day_it_is_not_found(
    hours: float, aged: SessionService, emulator: Emulator
) -> None:
    with refused("SESSION_NOT_FOUND"):
        await aged.refresh(f"ek_{hours}")
    assert await emulator.requests() == []


async def test_a_caller_with_little_time_gets_the_reason_and_the_refresh_goes_on(
    service: SessionService, created: pb.CreateSessionResponse, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=1)
    request = pb.RefreshSessionRequest(user_id="7", client_secret=created.client_secret)
    with refused("UPSTREAM_TIMEOUT"):
        await service.stub.RefreshSession(request, timeout=0.4)

    async def kept() -> bool:
        return (await service.stats()).refreshes == 1

    await eventually(kept)


async def test_a_refresh_that_times_out_is_counted_when_its_caller_hears_of_it(
    emulator: Emulator, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, emulator.url, chatkit_timeout_seconds=1)
    async with open_session_service(settings) as service:
        secret = (await service.create()).client_secret
        await emulator.fail("sessions.create", kind="hang", times=None)
        with refused("UPSTREAM_TIMEOUT"):
            await service.refresh(secret)
        assert (await service.stats()).failures == 1


async def test_a_refresh_has_as_long_as_a_create(emulator: Emulator, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, emulator.url, chatkit_timeout_seconds=2)
    async with open_session_service(settings) as service:
        secret = (await service.create()).client_secret
        # A tenth of the two seconds is for telling; two tenths would be too much.
        await emulator.fail("sessions.create", kind="delay", delay_seconds=1.65)
        assert (await service.refresh(secret)).client_secret.startswith("ek_")


async def test_a_refresh_outlives_a_restart(emulator: Emulator, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, emulator.url)
    async with open_session_service(settings) as service:
        created = await service.create()
    async with open_session_service(settings) as service:
        refreshed = await service.refresh(created.client_secret)
        assert refreshed.session.refreshed_from == created.session.id
