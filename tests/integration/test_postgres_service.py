"""The session service on PostgreSQL: its calls, its start, its log, a second one beside it."""

import asyncio
import signal
from pathlib import Path

import grpc
import pytest

from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from session_service import server
from session_service.server import CannotStart
from session_service.stores import postgres_database
from tests.integration.test_session_service_process import process
from tests.postgres_support import PostgresServer, connected
from tests.support import Emulator, open_session_service, refused, settings_for

PASSWORD = "s3cr3t-word"


async def test_two_services_know_the_same_sessions(
    emulator: Emulator, url: str, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, emulator.url, database_url=url)
    async with open_session_service(settings) as one, open_session_service(settings) as other:
        created = await one.create()
        refreshed = await other.refresh(created.client_secret)
        assert (await one.get(created.session.id)).id == created.session.id
        await asyncio.gather(*(service.create(user) for service in (one, other) for user in "789"))
        await one.delete(refreshed.session.id)
        with refused("SESSION_DELETED"):
            await other.refresh(refreshed.client_secret)
        for service in (one, other):
            stats = await service.stats()
            assert (stats.total_sessions, stats.active_sessions) == (3, 2)
            assert (stats.refreshes, stats.deleted_sessions) == (1, 1)


async def test_a_database_that_is_locked_is_unavailable_and_nothing_of_it_is_told(
    emulator: Emulator, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_database._TIMEOUTS, "lock_timeout", "100ms")
    settings = settings_for(tmp_path, emulator.url, database_url=url)
    async with open_session_service(settings) as service, connected(url) as other:
        await service.create()
        async with other.transaction():
            await other.execute("LOCK TABLE totals")
            with refused("UNAVAILABLE") as refusal:
                await service.stats()
        assert refusal.details.metadata == {"cause": "store"}
        assert "lock" not in refusal.message
        assert (await service.stats()).total_sessions == 1


async def test_the_log_has_no_password(emulator: Emulator, url: str, tmp_path: Path) -> None:
    url = url.replace("postgres:@", f"postgres:{PASSWORD}@")
    assert PASSWORD in url
    async with (
        process(tmp_path, emulator.url, DATABASE_URL=url, LOG_LEVEL="debug") as (running, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = SessionServiceStub(channel)
        await stub.CreateSession(pb.CreateSessionRequest(user_id="7"))
        async with connected(url) as db:
            await db.execute("ALTER TABLE totals RENAME TO elsewhere")
            try:
                with refused("UNAVAILABLE"):
                    await stub.GetStats(pb.GetStatsRequest(user_id="7"))
            finally:
                await db.execute("ALTER TABLE elsewhere RENAME TO totals")
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), 20) == 0
        assert running.stdout is not None
        log = (await running.stdout.read()).decode()
    assert 'relation \\"totals\\" does not exist' in log
    assert PASSWORD not in log


async def test_where_it_cannot_start_it_says_why_and_no_password(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.url("nowhere").replace("postgres:@", f"postgres:{PASSWORD}@")
    settings = settings_for(tmp_path, "http://127.0.0.1:1", database_url=url)
    with pytest.raises(CannotStart) as caught:
        async with server.serve(settings):
            pass
    assert "/nowhere" in str(caught.value)
    assert 'database "nowhere" does not exist' in str(caught.value)
    assert PASSWORD not in str(caught.value)
