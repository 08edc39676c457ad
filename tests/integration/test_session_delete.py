"""What a delete ends: the whole chain in the store at once, and at OpenAI as soon as it listens."""

import time
from pathlib import Path

import pytest

from protos.chatkit.v1 import session_service_pb2 as pb
from session_service import sessions
from session_service.sessions import now_ms
from session_service.stores.sqlite import open_sqlite_store
from tests.support import (
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    settings_for,
)


async def cancelled(emulator: Emulator, number: int = 1) -> list[str]:
    """Waits until OpenAI has cancelled so many sessions, and returns which."""

    async def tell() -> list[str]:
        requests = await emulator.requests("sessions.cancel")
        return sorted(r["path"].split("/")[-2] for r in requests if r["status"] == 200)

    async def enough() -> bool:
        return len(await tell()) >= number

    await eventually(enough, within=20)
    return await tell()


async def test_a_delete_ends_the_session_here_and_at_openai(
    service: SessionService, emulator: Emulator
) -> None:
    session = (await service.create()).session
    before = time.time()
    deleted = await service.delete(session.id)
    assert deleted.status == pb.SESSION_STATUS_DELETED
    assert before - 0.01 <= deleted.deleted_at.ToMicroseconds() / 1e6 <= time.time()
    assert await service.get(session.id) == deleted
    assert await cancelled(emulator) == [session.id]
    stats = await service.stats()
    assert (stats.deleted_sessions, stats.active_sessions, stats.total_sessions) == (1, 0, 1)


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_delete_ends_the_whole_chain_wherever_it_begins(
    which: int, service: SessionService, emulator: Emulator
) -> None:
    first = await service.create()
    second = await service.refresh(first.client_secret)
    third = await service.refresh(second.client_secret)
    other = (await service.create()).session
    chain = [answer.session.id for answer in (first, second, third)]
    await service.delete(chain[which])
    for session_id in chain:
        assert (await service.get(session_id)).status == pb.SESSION_STATUS_DELETED
    assert (await service.get(other.id)).status == pb.SESSION_STATUS_ACTIVE
    assert await cancelled(emulator, 3) == sorted(chain)
    stats = await service.stats()
    assert (stats.deleted_sessions, stats.active_sessions) == (1, 1)


async def test_a_second_delete_is_the_same_answer(
    service: SessionService, emulator: Emulator
) -> None:
    session = (await service.create()).session
    first = await service.delete(session.id)
    assert await service.delete(session.id) == first
    assert await cancelled(emulator) == [session.id]
    assert (await service.stats()).deleted_sessions == 1


async def test_a_delete_does_not_wait_for_openai(
    service: SessionService, emulator: Emulator
) -> None:
    session = (await service.create()).session
    await emulator.fail("sessions.cancel", kind="hang")
    request = pb.DeleteSessionRequest(user_id="7", session_id=session.id)
    # The try at OpenAI ends after 4 s.
    answer = await service.stub.DeleteSession(request, timeout=2)
    assert answer.session.status == pb.SESSION_STATUS_DELETED


async def test_the_first_try_is_at_once_and_has_the_request_id(
    service: SessionService, emulator: Emulator
) -> None:
    session = (await service.create()).session
    request = pb.DeleteSessionRequest(user_id="7", session_id=session.id)
    await service.stub.DeleteSession(request, metadata=(("x-request-id", "req-del"),))

    async def came() -> bool:
        return bool(await emulator.requests("sessions.cancel"))

    await eventually(came, within=2)
    (seen,) = await emulator.requests("sessions.cancel")
    assert seen["headers"]["x-client-request-id"] == "req-del"


async def test_a_failed_cancel_is_tried_again_within_ten_seconds(
    service: SessionService, emulator: Emulator
) -> None:
    session = (await service.create()).session
    await emulator.fail("sessions.cancel", status=400)
    started = time.monotonic()
    await service.delete(session.id)
    assert await cancelled(emulator) == [session.id]
    # At once without success, then in the background.
    assert [r["status"] for r in await emulator.requests("sessions.cancel")] == [400, 200]
    assert time.monotonic() - started < 10


async def test_a_failed_cancel_is_tried_again_after_a_restart(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "FIRST_RETRY_MS", 500)  # the test above has the real wait
    settings = settings_for(tmp_path, emulator.url)
    async with open_session_service(settings) as service:
        session = (await service.create()).session
        await emulator.fail("sessions.cancel", status=400)
        await service.delete(session.id)

        async def failed() -> bool:
            return [r["status"] for r in await emulator.requests("sessions.cancel")] == [400]

        await eventually(failed)
        await service.server.drain()
    started = time.monotonic()
    async with open_session_service(settings):
        assert await cancelled(emulator) == [session.id]
    assert time.monotonic() - started < 10


async def test_what_openai_has_forgotten_is_not_tried_again(
    service: SessionService, emulator: Emulator, tmp_path: Path
) -> None:
    session = (await service.create()).session
    await emulator.fail("sessions.cancel", status=404)
    await service.delete(session.id)
    await service.server.drain()
    assert len(await emulator.requests("sessions.cancel")) == 1
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        soon = now_ms() + 60_000
        assert not await store.claim_cancels(soon, soon, 10)


async def test_without_a_key_nothing_is_sent_in_its_place(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        session = (await service.create()).session
    keyless = settings_for(tmp_path, emulator.url, openai_api_key=None)
    async with open_session_service(keyless) as service:
        assert (await service.delete(session.id)).status == pb.SESSION_STATUS_DELETED
        await service.server.drain()
    assert await emulator.requests("sessions.cancel") == []
