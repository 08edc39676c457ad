"""chatkit_client against real session services, and against one that fails when told to."""

import asyncio
import contextlib
import datetime
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from structlog.testing import capture_logs

import chatkit_client
from chatkit_client import TLS, Client, DeletedData, SessionStatus
from chatkit_client import client as client_module
from protos.chatkit.v1 import conversation_service_pb2 as pb_chat
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.conversation_service_pb2_grpc import (
    ConversationServiceServicer,
    add_ConversationServiceServicer_to_server,
)
from protos.chatkit.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from tests.e2e.processes import free_port
from tests.support import Emulator, SessionService, open_session_service, settings_for

TOKEN = "console:" + "t" * 40


@pytest.fixture
async def chatkit(service: SessionService) -> AsyncIterator[Client]:
    async with Client(f"127.0.0.1:{service.server.port}") as client:
        yield client


class Moody(SessionServiceServicer, ConversationServiceServicer):
    """Answers with as little as it can, after it was unavailable as often as it was told to be."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failures = 0

    async def _answer(self, name: str, context: Any, answer: Any) -> Any:
        self.calls[name] += 1
        if self.failures:
            self.failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return answer

    async def CreateSession(self, _: Any, context: Any) -> Any:
        return await self._answer("create", context, pb.CreateSessionResponse())

    async def RefreshSession(self, _: Any, context: Any) -> Any:
        return await self._answer("refresh", context, pb.RefreshSessionResponse())

    async def GetSession(self, _: Any, context: Any) -> Any:
        newer: Any = 99
        session = pb.Session(id="cksess_1", status=newer)
        return await self._answer("get", context, pb.GetSessionResponse(session=session))

    async def Diagnose(self, request: pb.DiagnoseRequest, context: Any) -> Any:
        check = pb.Check(name="store", state=pb.CHECK_STATE_FAILED, cause="full")
        answer = pb.DiagnoseResponse(checks=[check] if request.ask_openai else [])
        return await self._answer("diagnose", context, answer)

    async def DeleteUserData(self, request: pb_chat.DeleteUserDataRequest, context: Any) -> Any:
        answer = pb_chat.DeleteUserDataResponse(sessions=1, threads=2, attachments=3)
        return await self._answer("delete user data", context, answer)


@contextlib.asynccontextmanager
async def moody() -> AsyncIterator[tuple[Moody, str]]:
    build: Any = Moody  # for mypy it lacks some methods, which gRPC answers as UNIMPLEMENTED
    server, servicer = grpc.aio.server(), build()
    add_SessionServiceServicer_to_server(servicer, server)
    add_ConversationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_a_sessions_life(chatkit: Client, emulator: Emulator) -> None:
    variables: dict[str, str | int | float | bool] = {
        "plan": "pro",
        "seats": 3,
        "share": 0.5,
        "admin": True,
    }
    first = await chatkit.create_session("7", state_variables=variables)
    (request,) = await emulator.requests("sessions.create")
    assert request["body"]["workflow"]["state_variables"] == variables
    assert first.client_secret.startswith("ek_")
    assert first.client_secret not in repr(first)
    lasts = first.session.expires_at - first.session.created_at
    assert datetime.timedelta(seconds=598) < lasts < datetime.timedelta(seconds=602)
    second = await chatkit.refresh_session("7", first.client_secret)
    assert second.session.refreshed_from == first.session.id
    assert (await chatkit.get_session("7", first.session.id)).status is SessionStatus.REFRESHED
    deleted = await chatkit.delete_session("7", second.session.id)
    assert (deleted.status, deleted.user_id) == (SessionStatus.DELETED, "7")
    stats = await chatkit.stats("7", days=7)
    assert (stats.total_sessions, stats.refreshes, stats.deleted_sessions) == (1, 1, 1)
    assert [day.sessions for day in stats.daily] == [0] * 6 + [1]
    assert stats.last_activity
    assert not stats.messages_updated_at


async def test_all_pages_are_one_list(chatkit: Client) -> None:
    made = [(await chatkit.create_session(user)).session for user in "7877"]
    await chatkit.delete_session("7", made[-1].id)
    listed = [session.id async for session in chatkit.list_sessions(page_size=2)]
    assert sorted(listed) == sorted(session.id for session in made)
    mine = chatkit.list_sessions("7", active_only=True, page_size=1)
    assert {session.id async for session in mine} == {made[0].id, made[2].id}


async def test_a_watch_ends_with_its_client(service: SessionService) -> None:
    async def watch(chatkit: Client, begun: asyncio.Event) -> str:
        async for _ in chatkit.watch_stats("7"):
            begun.set()
        return "ended"

    begun = asyncio.Event()
    async with Client(f"127.0.0.1:{service.server.port}") as chatkit:
        connected = asyncio.create_task(watch(chatkit, begun))
        await begun.wait()
    assert await connected == "ended"


async def test_so_does_one_that_waits_for_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PAUSE_SECONDS", (0.2, 0.2))
    asked = asyncio.Semaphore(0)

    def request_id() -> str:
        asked.release()
        return "req-of-theirs"

    async with Client(f"127.0.0.1:{free_port()}", request_id=request_id) as chatkit:
        watch = asyncio.create_task(anext(chatkit.watch_stats("7"), "ended"))
        for _ in range(2):
            await asked.acquire()
    assert await watch == "ended"


async def test_errors_say_what_is_wrong_and_which_call_it_was(
    service: SessionService, emulator: Emulator
) -> None:
    address = f"127.0.0.1:{service.server.port}"
    async with Client(address, request_id=lambda: "req-of-theirs") as chatkit:
        with pytest.raises(chatkit_client.InvalidArgument) as invalid:
            await chatkit.stats("7", days=0)
        assert invalid.value.fields == {"days": "must be 1 to 366"}
        assert invalid.value.request_id == "req-of-theirs"
        with pytest.raises(chatkit_client.SessionNotFound):
            await chatkit.get_session("7", "cksess_0")
        with pytest.raises(chatkit_client.SessionNotFound) as unknown:
            await chatkit.refresh_session("7", "ek_very_secret")
        told = f"{unknown.value!r} {unknown.value} {unknown.value.__cause__!r}"
        assert "ek_very_secret" not in told
        await emulator.fail("sessions.create", status=401)
        with pytest.raises(chatkit_client.InvalidAPIKey) as key:
            await chatkit.create_session("7")
        assert key.value.cause == "rejected"
        with pytest.raises(chatkit_client.TransportError) as missing:
            await chatkit.delete_user_data("7")  # of self-hosted mode
        assert missing.value.status is grpc.StatusCode.UNIMPLEMENTED


async def test_each_call_has_a_name_in_the_log(chatkit: Client) -> None:
    with capture_logs() as logged:
        for _ in range(2):
            with pytest.raises(chatkit_client.SessionNotFound) as error:
                await chatkit.get_session("7", "cksess_0")
    assert len(error.value.request_id) == 32
    assert [line["event"] for line in logged] == ["rpc"] * 2


async def test_a_call_ends_with_its_deadline(chatkit: Client, emulator: Emulator) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=60)
    with pytest.raises((chatkit_client.UpstreamTimeout, chatkit_client.DeadlineExceeded)):
        async with asyncio.timeout(30):
            await chatkit.create_session("7", timeout=0.5)


async def test_what_may_be_done_twice_is_tried_again_and_the_rest_never() -> None:
    async with moody() as (service, address), Client(address) as chatkit:
        service.failures = 2
        session = await chatkit.get_session("7", "cksess_1")
        assert service.calls == {"get": 3}
        assert session.status is SessionStatus.UNSPECIFIED  # what only a newer service knows
        for call in (chatkit.create_session("7"), chatkit.refresh_session("7", "ek_1")):
            service.failures = 1
            with pytest.raises(chatkit_client.Unavailable):
                await call
        assert (service.calls["create"], service.calls["refresh"]) == (1, 1)
        assert await chatkit.delete_user_data("7") == DeletedData(1, 2, 3)
        (check,) = await chatkit.diagnose(ask_openai=True)
        assert (check.name, check.state, check.cause) == ("store", "failed", "full")


async def test_retries_stop_while_most_of_them_fail() -> None:
    async with moody() as (service, address), Client(address) as chatkit:
        service.failures = 1000
        for _ in range(20):
            with pytest.raises(chatkit_client.Unavailable):
                await chatkit.get_session("7", "cksess_1")
        assert 20 < service.calls["get"] < 40


async def test_calls_go_to_all_addresses_in_turn() -> None:
    async with (
        moody() as (first, one),
        moody() as (second, other),
        Client(f"{one},{other}") as chatkit,
    ):
        async with asyncio.timeout(30):
            while not (first.calls["get"] and second.calls["get"]):
                await chatkit.get_session("7", "cksess_1")
        for _ in range(10):
            await chatkit.get_session("7", "cksess_1")
        assert min(first.calls["get"], second.calls["get"]) >= 5


async def test_several_names_are_refused() -> None:
    with pytest.raises(ValueError, match="must be IP addresses"):
        async with Client("one:50051,other:50051"):
            pass


async def test_a_token_and_an_authority_let_it_in(emulator: Emulator, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("session-service")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "service.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = settings_for(
        tmp_path,
        emulator.url,
        session_service_token=TOKEN,
        session_service_tls_cert=tmp_path / "service.pem",
        session_service_tls_key=tmp_path / "service.pem",
    )
    tls = TLS(tmp_path / "ca.pem", server_name="session-service")
    async with open_session_service(settings) as service:
        address = f"127.0.0.1:{service.server.port}"
        async with Client(address, token=TOKEN.partition(":")[2], tls=tls) as chatkit:
            assert (await chatkit.stats("7")).total_sessions == 0
        async with Client(address, tls=tls) as stranger:
            with pytest.raises(chatkit_client.Unauthenticated) as error:
                await stranger.stats("7")
        assert error.value.cause == "service_token"


async def test_a_watch_goes_on_when_the_service_is_back(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_PAUSE_SECONDS", (0.05, 0.2))
    settings = settings_for(tmp_path, emulator.url)
    async with contextlib.AsyncExitStack() as stack:
        async with open_session_service(settings) as service:
            address = f"127.0.0.1:{service.server.port}"
            chatkit = await stack.enter_async_context(Client(address))
            watch = await stack.enter_async_context(
                contextlib.aclosing(chatkit.watch_stats("7", days=1))
            )
            async with asyncio.timeout(60):
                assert (await anext(watch)).total_sessions == 0
            following = asyncio.create_task(anext(watch))
            await service.server.drain()
        again = settings.model_copy(update={"session_service_listen": address})
        async with open_session_service(again) as service, asyncio.timeout(60):
            await service.create()
            assert (await following).total_sessions == 1


async def test_a_watch_raises_what_connecting_again_does_not_mend(chatkit: Client) -> None:
    with pytest.raises(chatkit_client.InvalidArgument):
        await anext(chatkit.watch_stats("7", days=0))
