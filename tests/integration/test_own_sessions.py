"""The sessions of the self-hosted mode: the same calls, OpenAI not asked; and a change of mode."""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.chatkit.v1 import session_service_pb2 as pb
from session_service.cancellations import Cancellations
from session_service.circuit import Circuit
from session_service.config import Settings
from session_service.errors import SessionDeleted, Unauthenticated, Unavailable
from session_service.openai_api import ChatKitAPI
from session_service.openai_client import open_client
from session_service.own_sessions import OwnSessions
from session_service.rate_limit import LocalRateLimit
from session_service.sessions import Issued, Sessions, now_ms
from session_service.stores import sqlite_database
from session_service.stores.base import Session
from session_service.stores.deletions import Deletion, Kind
from session_service.stores.sqlite import SQLiteStore, open_sqlite_store
from session_service.usage import UsageSync
from tests.integration.peer import within
from tests.integration.test_sqlite_store import locked
from tests.support import (
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    refused,
    settings_for,
)

KIB = 1024


def self_hosted(directory: Path, openai_base_url: str, **others: Any) -> Settings:
    values = {"chatkit_mode": "self_hosted", "openai_chatkit_workflow_id": None, **others}
    return settings_for(directory, openai_base_url, **values)


@pytest.fixture
async def own(emulator: Emulator, tmp_path: Path) -> AsyncIterator[SessionService]:
    """A session service in self-hosted mode, without a workflow."""
    async with open_session_service(self_hosted(tmp_path, emulator.url)) as running:
        yield running


async def test_a_session_is_made_here_and_kept(own: SessionService, emulator: Emulator) -> None:
    before = int(time.time())
    created = await own.create()
    session = created.session
    assert re.fullmatch(r"cksess_[0-9a-f]{32}", session.id)
    assert re.fullmatch(r"cksec_[A-Za-z0-9_-]{43}", created.client_secret)
    assert (session.user_id, session.workflow_id) == ("7", "")
    assert session.mode == pb.SESSION_MODE_SELF_HOSTED
    assert session.status == pb.SESSION_STATUS_ACTIVE
    assert session.expires_at.seconds - before in range(600, 620)
    assert await own.get(session.id) == session
    assert await emulator.requests() == []


async def test_no_two_sessions_have_an_id_or_a_secret_in_common(own: SessionService) -> None:
    made = [await own.create() for _ in range(20)]
    assert len({answer.session.id for answer in made}) == 20
    assert len({answer.client_secret for answer in made}) == 20


async def test_the_life_of_a_session_is_that_of_hosted_mode(
    own: SessionService, emulator: Emulator
) -> None:
    first = await own.create()
    second = await own.refresh(first.client_secret)
    other = await own.create()
    assert second.session.refreshed_from == first.session.id
    assert (await own.get(first.session.id)).refreshed_to == second.session.id
    with refused("SESSION_NOT_FOUND"):
        await own.get(first.session.id, "8")
    assert (await own.delete(second.session.id)).status == pb.SESSION_STATUS_DELETED
    for secret in (first.client_secret, second.client_secret):
        with refused("SESSION_DELETED"):
            await own.refresh(secret)
    listed = await own.stub.ListSessions(pb.ListSessionsRequest(user_id="7"))
    assert {session.id: session.status for session in listed.sessions} == {
        first.session.id: pb.SESSION_STATUS_DELETED,
        second.session.id: pb.SESSION_STATUS_DELETED,
        other.session.id: pb.SESSION_STATUS_ACTIVE,
    }
    assert {session.mode for session in listed.sessions} == {pb.SESSION_MODE_SELF_HOSTED}
    stats = await own.stats()
    assert (stats.total_sessions, stats.active_sessions, stats.refreshes) == (2, 1, 1)
    assert (stats.deleted_sessions, stats.failures) == (1, 0)
    await own.server.drain()
    assert await emulator.requests() == []


async def test_without_a_key_there_is_no_session(emulator: Emulator, tmp_path: Path) -> None:
    keyless = self_hosted(tmp_path, emulator.url, openai_api_key=None)
    async with open_session_service(keyless) as service:
        with refused("INVALID_API_KEY") as refusal:
            await service.create()
        assert refusal.details.metadata == {"cause": "missing"}
        stats = await service.stats()
        assert (stats.failures, stats.total_sessions) == (1, 0)


async def test_the_rate_limit_is_kept(emulator: Emulator, tmp_path: Path) -> None:
    settings = self_hosted(tmp_path, emulator.url, chatkit_sessions_per_minute=2)
    async with open_session_service(settings) as service:
        created = await service.create()
        await service.refresh(created.client_secret)
        with refused("RATE_LIMITED"):
            await service.create()


async def test_a_session_that_cannot_be_kept_is_nothing_to_cancel(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    async with open_session_service(self_hosted(tmp_path, emulator.url)) as impatient:
        with locked(str(tmp_path / "chatkit.db")), refused("UNAVAILABLE"):
            await impatient.create()
        await impatient.server.drain()
    assert await emulator.requests() == []


async def test_a_request_of_the_chatkit_protocol_has_room(own: SessionService) -> None:
    def request(kib: int) -> pb.CreateSessionRequest:
        value = pb.StateVariable(string_value="x" * kib * KIB)
        return pb.CreateSessionRequest(user_id="7", state_variables={"k": value})

    await own.stub.CreateSession(request(1000))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await own.stub.CreateSession(request(1025))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


# A change of mode is a restart with the same store.


@pytest.mark.parametrize("modes", [("hosted", "self_hosted"), ("self_hosted", "hosted")])
async def test_a_secret_of_the_other_mode_is_refreshed_into_the_same_chain(
    modes: tuple[str, str], emulator: Emulator, tmp_path: Path
) -> None:
    numbers = [pb.SessionMode.Value(f"SESSION_MODE_{mode.upper()}") for mode in modes]
    earlier, later = (settings_for(tmp_path, emulator.url, chatkit_mode=mode) for mode in modes)
    async with open_session_service(earlier) as service:
        first = await service.create()
    async with open_session_service(later) as service:
        second = await service.refresh(first.client_secret)
        chain = [await service.get(answer.session.id) for answer in (first, second)]
        stats = await service.stats()
    assert [session.mode for session in chain] == numbers
    assert chain[1].refreshed_from == chain[0].id
    assert chain[0].refreshed_to == chain[1].id
    assert (stats.total_sessions, stats.active_sessions, stats.refreshes) == (1, 1, 1)


async def test_of_a_chain_of_both_modes_openai_cancels_what_is_its_own(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        first = await service.create()
    async with open_session_service(self_hosted(tmp_path, emulator.url)) as service:
        second = await service.refresh(first.client_secret)
        await service.delete(second.session.id)
        assert (await service.get(first.session.id)).status == pb.SESSION_STATUS_DELETED
        await service.server.drain()
    cancelled = [request["path"] for request in await emulator.requests("sessions.cancel")]
    assert cancelled == [f"/v1/chatkit/sessions/{first.session.id}/cancel"]


async def test_a_cancel_that_is_due_is_made_after_the_switch(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        session = (await service.create()).session
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        assert await store.delete(session.id, now_ms(), now_ms()) == [session.id]

    async def cancelled() -> bool:
        return [r["status"] for r in await emulator.requests("sessions.cancel")] == [200]

    async with open_session_service(self_hosted(tmp_path, emulator.url)):
        await eventually(cancelled)


async def test_messages_of_hosted_mode_are_counted_after_the_switch(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        await service.create()
    await emulator.add_items(await emulator.add_thread("7"), "chatkit.user_message", count=3)
    settings = self_hosted(tmp_path, emulator.url, chatkit_usage_sync_seconds=0.1)
    async with open_session_service(settings) as service:

        async def counted() -> bool:
            return (await service.stats()).total_messages == 3

        await eventually(counted)


# What other parts of the service ask.


@dataclass(slots=True)
class Domain:
    """The rules of sessions, without gRPC."""

    sessions: Sessions
    store: SQLiteStore
    api: ChatKitAPI
    deleted: list[Deletion | None] = field(default_factory=list)
    """What who runs answers hears."""

    async def listen(self) -> None:
        async for deletion in self.store.deletions():
            self.deleted.append(deletion)

    async def hears_of(self, root: Session) -> None:
        async def heard() -> bool:
            return self.deleted == [Deletion(Kind.SESSION, root.id)]

        await eventually(heard)

    async def create(self) -> Issued:
        return await self.sessions.create("7", {}, within(60))

    async def refresh(self, secret: str) -> Issued:
        return await self.sessions.refresh("7", secret, within(60))

    async def add(self, secret: str, **values: Any) -> None:
        """Keeps a session that expired or is another's, or is as `values` say."""
        given = {"id": secret, "root_id": secret, "user_id": "7", "workflow_id": "", **values}
        session = Session(created_ms=now_ms() - 1_000_000, **given)
        await self.store.add(session, hashlib.sha256(secret.encode()).digest())


@asynccontextmanager
async def open_domain(directory: Path, openai_base_url: str) -> AsyncIterator[Domain]:
    async with (
        open_sqlite_store(str(directory / "chatkit.db")) as store,
        open_client(openai_base_url) as client,
    ):
        api = ChatKitAPI(
            client, Circuit("chatkit", 5), api_key="sk-test", workflow_id=None, file_upload=True
        )
        cancellations = Cancellations(store, api)
        issuer = OwnSessions("sk-test")
        sessions = Sessions(store, issuer, LocalRateLimit(0), cancellations, 30)
        domain = Domain(sessions, store, api)
        listening = asyncio.create_task(domain.listen())
        yield domain
        listening.cancel()
        await cancellations.drain()


@pytest.fixture
async def domain(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Domain]:
    async with open_domain(tmp_path, emulator.url) as domain:
        yield domain


async def test_a_secret_opens_its_session(domain: Domain) -> None:
    issued = await domain.create()
    assert await domain.sessions.authorize(issued.client_secret) == issued.session


async def test_a_secret_that_was_refreshed_opens_its_session_until_it_expires(
    domain: Domain,
) -> None:
    first = await domain.create()
    second = await domain.refresh(first.client_secret)
    assert (await domain.sessions.authorize(first.client_secret)).refreshed_to == second.session.id
    assert await domain.sessions.authorize(second.client_secret) == second.session


@pytest.mark.parametrize("secret", ["", "cksec_unknown", "expired", "hosted"])
async def test_what_opens_no_session_is_no_login(secret: str, domain: Domain) -> None:
    await domain.add("expired", mode="self_hosted", expires_ms=now_ms() - 1)
    await domain.add("hosted", mode="hosted", expires_ms=now_ms() + 600_000)
    with pytest.raises(Unauthenticated):
        await domain.sessions.authorize(secret)


async def test_no_secret_of_a_chain_that_was_deleted_opens_it(domain: Domain) -> None:
    first = await domain.create()
    second = await domain.refresh(first.client_secret)
    await domain.sessions.delete("7", second.session.id)
    for issued in (first, second):
        with pytest.raises(SessionDeleted):
            await domain.sessions.authorize(issued.client_secret)


async def test_who_runs_answers_hears_of_a_delete_by_the_root_of_the_chain(domain: Domain) -> None:
    first = await domain.create()
    second = await domain.refresh(first.client_secret)
    assert domain.deleted == []
    await domain.sessions.delete("7", second.session.id)
    await domain.hears_of(first.session)


async def test_who_runs_answers_hears_of_a_delete_whose_caller_has_left(
    domain: Domain, tmp_path: Path
) -> None:
    issued = await domain.create()
    with locked(str(tmp_path / "chatkit.db")):
        delete = asyncio.create_task(domain.store.delete(issued.session.id, now_ms(), now_ms()))
        await asyncio.sleep(0)  # it has begun
        delete.cancel()
        await asyncio.wait([delete])
        assert domain.deleted == []
    await domain.hears_of(issued.session)


async def test_who_runs_answers_hears_nothing_of_a_delete_that_failed(
    domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await domain.create()
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    async with open_domain(tmp_path, "http://127.0.0.1:1/v1") as impatient:
        with locked(str(tmp_path / "chatkit.db")), pytest.raises(Unavailable):
            await impatient.sessions.delete("7", issued.session.id)
        assert impatient.deleted == []
        await impatient.sessions.delete("7", issued.session.id)
        await impatient.hears_of(issued.session)


async def test_openai_is_not_asked_for_the_messages_of_our_own_sessions(
    domain: Domain, emulator: Emulator
) -> None:
    await domain.create()
    await UsageSync(domain.store, domain.api, 60).count()
    assert await emulator.requests() == []
