"""Several session services behind one gateway: restarts, deaths, silence, names that change."""

import asyncio
import contextlib
import gc
import signal
import socket
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gateway import replicas
from gateway.replicas import Replicas, open_replicas
from protos.chatkit.v1 import conversation_service_pb2 as pb_chat
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.conversation_service_pb2_grpc import ConversationServiceStub
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from tests.e2e import processes
from tests.gateway_support import (
    SESSION,
    FakeConversations,
    FakeService,
    error_of,
    gateway_settings,
    open_gateway,
)
from tests.postgres_support import PostgresServer
from tests.support import Emulator, eventually, open_session_service, settings_for

NAME = "services.example:{}"
FIRST: Any = {"return_when": asyncio.FIRST_COMPLETED}


@contextlib.asynccontextmanager
async def before(*ports: int) -> AsyncIterator[Replicas]:
    targets = tuple(f"127.0.0.1:{port}" for port in ports)
    async with open_replicas(gateway_settings(session_service_target=targets)) as opened:
        yield opened


async def connected(opened: Replicas, count: int) -> None:
    async def all_take_calls() -> bool:
        taking = [one.stream.takes_calls for one in opened._connections.values()]
        return taking.count(True) == count

    await eventually(all_take_calls)


async def ask(opened: Replicas, times: int = 1) -> None:
    stub = SessionServiceStub(opened.carried)
    for _ in range(times):
        await stub.GetSession(pb.GetSessionRequest(user_id="7"), timeout=10)


@contextlib.asynccontextmanager
async def load(http: httpx.AsyncClient, answers: list[httpx.Response]) -> AsyncIterator[None]:
    """Makes sessions, reads and deletes them, all the time that the block takes."""

    async def visit() -> None:
        while not over.is_set():
            answers.append(made := await http.post(SESSION, json={}))
            if made.status_code == 200:
                path = f"{SESSION}/{made.json()['data']['session_id']}"
                answers.append(await http.get(path))
                answers.append(await http.delete(path))

    over = asyncio.Event()
    visitors = [asyncio.create_task(visit()) for _ in range(8)]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*visitors)


async def more(answers: list[httpx.Response], count: int) -> None:
    """Waits for so many answers that are as they should be."""

    def good() -> int:
        return sum(one.status_code == 200 for one in answers)

    enough = good() + count

    async def are_there() -> bool:
        return good() >= enough

    await eventually(are_there, within=60)


async def test_a_rolling_restart_is_seen_by_nobody(
    emulator: Emulator, postgres: PostgresServer, tmp_path: Path
) -> None:
    url = await postgres.clean_database()
    addresses = [f"127.0.0.1:{processes.free_port()}" for _ in range(3)]
    answers: list[httpx.Response] = []

    def start(stack: contextlib.AsyncExitStack, address: str) -> Any:
        settings = settings_for(
            tmp_path, emulator.url, session_service_listen=address, database_url=url
        )
        return stack.enter_async_context(open_session_service(settings))

    gateway = gateway_settings(session_service_target=tuple(addresses))
    async with contextlib.AsyncExitStack() as last:
        stacks = [contextlib.AsyncExitStack() for _ in addresses]
        services = [
            await start(stack, address) for stack, address in zip(stacks, addresses, strict=True)
        ]
        http = await last.enter_async_context(open_gateway(gateway))
        async with load(http, answers):
            for stack, service, address in zip(stacks, services, addresses, strict=True):
                await more(answers, 30)
                await service.server.drain()
                await stack.aclose()
                await more(answers, 30)
                await start(last, address)
    assert Counter(one.status_code for one in answers) == {200: len(answers)}
    made = [one for one in answers if one.request.method == "POST"]
    assert len(await emulator.requests("sessions.create")) == len(made)


async def test_a_kill_loses_what_was_in_flight_there_and_nothing_else(
    postgres: PostgresServer, emulator: Emulator, tmp_path: Path
) -> None:
    url = await postgres.clean_database()
    address = f"127.0.0.1:{processes.free_port()}"
    answers: list[httpx.Response] = []
    settings: dict[str, Any] = {"DATABASE_URL": url, "CHATKIT_SESSIONS_PER_MINUTE": "0"}

    def service(listen: str = "127.0.0.1:0") -> Any:
        return processes.session_service(
            tmp_path, emulator.url.removesuffix("/v1"), SESSION_SERVICE_LISTEN=listen, **settings
        )

    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(service()) for _ in range(2)]
        victim = stack.enter_context(service(address))
        targets = (*(other.address for other in others), address)
        async with (
            open_gateway(gateway_settings(session_service_target=targets)) as http,
            load(http, answers),
        ):
            await more(answers, 60)
            victim.process.send(signal.SIGKILL)
            await asyncio.to_thread(victim.process.wait)
            await more(answers, 60)
            refusals = [one for one in answers if one.status_code != 200]
            again = await asyncio.to_thread(stack.enter_context, service(address))

            async def is_used() -> bool:
                return '"rpc"' in again.process.output

            await eventually(is_used)
            await more(answers, 30)
        # Reads and deletes were made elsewhere; of what was begun there nobody knows.
        for refusal in refusals:
            assert refusal.request.method == "POST"
            error_of(refusal, "UNAVAILABLE", 503)
        assert [one for one in answers if one.status_code != 200] == refusals
        assert len(refusals) <= 8


async def test_one_that_is_stopped_fails_nobody_and_is_used_again_when_it_goes_on(
    postgres: PostgresServer, emulator: Emulator, tmp_path: Path
) -> None:
    url = await postgres.clean_database()
    answers: list[httpx.Response] = []
    settings: dict[str, Any] = {"DATABASE_URL": url, "CHATKIT_SESSIONS_PER_MINUTE": "0"}
    with contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(
                processes.session_service(tmp_path, emulator.url.removesuffix("/v1"), **settings)
            )
            for _ in range(3)
        ]
        victim = services[0].process
        targets = tuple(one.address for one in services)
        async with (
            open_gateway(gateway_settings(session_service_target=targets)) as http,
            load(http, answers),
        ):
            await more(answers, 60)
            victim.send(signal.SIGSTOP)
            stopped_at, stopped = asyncio.get_running_loop().time(), len(answers)
            await more(answers, 60)
            await asyncio.sleep(max(0, stopped_at + 2 - asyncio.get_running_loop().time()))
            victim.send(signal.SIGCONT)
            lines = victim.output.count('"rpc"')

            async def is_used() -> bool:
                return victim.output.count('"rpc"') > lines + 8  # those that waited, and more

            await eventually(is_used)
            await more(answers, 30)
    refusals = [one for one in answers if one.status_code != 200]
    # Creates may have been begun there: they wait for it, but not for ever.
    assert all(one.request.method == "POST" for one in refusals)
    assert len(refusals) <= 8
    waited = [one.elapsed.total_seconds() for one in answers[stopped:]]
    assert max(waited) < 20  # gRPC by itself would take 35 s to see it


async def test_of_what_was_in_flight_when_one_dies_reads_are_made_again_and_creates_never() -> None:
    begun = asyncio.Event()

    async def hang(_: object) -> pb.GetSessionResponse:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")

    dying, other = FakeService({"GetSession": hang, "CreateSession": hang}), FakeService()
    async with other.serve():
        for method, request in (
            ("GetSession", pb.GetSessionRequest(user_id="7")),
            ("CreateSession", pb.CreateSessionRequest(user_id="7")),
        ):
            begun.clear()
            async with contextlib.AsyncExitStack() as life:
                await life.enter_async_context(dying.serve())
                async with before(dying.port, other.port) as opened:
                    await connected(opened, 2)
                    stub = SessionServiceStub(opened.carried)
                    while not begun.is_set():  # it is somebody's turn
                        call = asyncio.ensure_future(getattr(stub, method)(request, timeout=60))
                        await asyncio.wait((call, asyncio.ensure_future(begun.wait())), **FIRST)
                    other.calls.clear()
                    await life.aclose()
                    if method == "GetSession":
                        await call
                        assert len(other.calls) == 1
                    else:
                        with pytest.raises(grpc.aio.AioRpcError) as failure:
                            await call
                        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
                        assert other.calls == []


async def test_what_a_service_that_drains_has_not_begun_is_made_elsewhere(
    emulator: Emulator, tmp_path: Path
) -> None:
    other = FakeService()
    async with (
        open_session_service(settings_for(tmp_path, emulator.url)) as draining,
        other.serve(),
        before(draining.server.port, other.port) as opened,
    ):
        await connected(opened, 2)
        for stream in draining.server._call_streams._streams:
            stream._draining = True  # which it has not said yet
        stub = SessionServiceStub(opened.carried)
        for _ in range(3):
            await stub.CreateSession(pb.CreateSessionRequest(user_id="7"), timeout=10)
    assert len(other.calls) == 3
    assert await emulator.requests("sessions.create") == []


async def test_one_that_never_answers_is_asked_nothing_while_another_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # the system accepts for it
        port = hole.getsockname()[1]
        async with FakeService().serve() as fake, before(port, fake.port) as opened:
            await connected(opened, 1)
            await ask(opened, 20)
    assert len(fake.calls) == 20


async def test_where_nobody_ever_answers_callers_hear_it_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        async with before(hole.getsockname()[1]) as opened:
            async with asyncio.timeout(10):
                with pytest.raises(grpc.aio.AioRpcError) as refusal:
                    await SessionServiceStub(opened.carried).CreateSession(
                        pb.CreateSessionRequest(user_id="7"), timeout=60
                    )
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_calls_of_all_kinds_are_shared_evenly_by_those_that_are_there() -> None:
    asked: Counter[int] = Counter()

    def conversations(number: int) -> FakeConversations:
        async def process(_: object, __: object) -> AsyncIterator[pb_chat.ProcessResponse]:
            asked[number] += 1
            yield pb_chat.ProcessResponse()

        return FakeConversations(process=process)

    fakes = [FakeService(conversations=conversations(number)) for number in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for fake in fakes:
            await stack.enter_async_context(fake.serve())
        targets = (1, *(fake.port for fake in fakes))
        async with before(*targets) as opened:
            await connected(opened, 3)
            await ask(opened, 30)
            process = ConversationServiceStub(opened.channel).Process
            for _ in range(30):
                answer = process(pb_chat.ProcessRequest(), timeout=10)
                _ = [message async for message in answer]
    assert [len(fake.calls) for fake in fakes] == [10, 10, 10]
    assert asked == {0: 10, 1: 10, 2: 10}


def refresh_of(number: int) -> pb.RefreshSessionRequest:
    return pb.RefreshSessionRequest(user_id="7", client_secret=f"ek_{number}")


async def refreshed_by(opened: Replicas, fakes: list[FakeService]) -> dict[str, int]:
    """Returns by secret which of the services refreshed it."""
    stub = SessionServiceStub(opened.carried)
    for fake in fakes:
        fake.calls.clear()
    await asyncio.gather(
        *(stub.RefreshSession(refresh_of(number), timeout=10) for number in range(300))
    )
    found = {
        call.request.client_secret: number
        for number, fake in enumerate(fakes)
        for call in fake.calls
    }
    assert sum(len(fake.calls) for fake in fakes) == len(found) == 300
    return found


async def test_all_gateways_have_a_secret_refreshed_by_the_same_service() -> None:
    fakes = [FakeService() for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        dying = await stack.enter_async_context(contextlib.AsyncExitStack())
        await dying.enter_async_context(fakes[0].serve())
        for fake in fakes[1:]:
            await stack.enter_async_context(fake.serve())
        ports = [fake.port for fake in fakes]
        async with before(*ports) as one, before(*reversed(ports)) as other:
            for opened in (one, other):
                await connected(opened, 3)
            chosen = await refreshed_by(one, fakes)
            assert await refreshed_by(other, fakes) == chosen
            # Even, but for chance: this few would come once in a million times.
            assert min(Counter(chosen.values()).values()) > 60
            await dying.aclose()
            for opened in (one, other):
                await connected(opened, 2)
                now = await refreshed_by(opened, fakes)
                moved = {secret for secret in chosen if chosen[secret] != now[secret]}
                assert moved == {secret for secret in chosen if chosen[secret] == 0}
                assert min(Counter(now[secret] for secret in moved).values()) > 10


async def test_refreshes_of_one_secret_at_once_are_one_through_whatever_gateways(
    emulator: Emulator, postgres: PostgresServer, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, emulator.url, database_url=await postgres.clean_database())
    async with open_session_service(settings) as service, open_session_service(settings) as second:
        ports = (service.server.port, second.server.port)
        async with before(*ports) as one, before(*ports) as other:
            stubs = [SessionServiceStub(opened.carried) for opened in (one, other)]
            for opened in (one, other):
                await connected(opened, 2)
            secret = (await service.create()).client_secret
            await emulator.fail("sessions.create", kind="delay", delay_seconds=0.5, times=1)
            request = pb.RefreshSessionRequest(user_id="7", client_secret=secret)
            answers = await asyncio.gather(
                *(stub.RefreshSession(request, timeout=30) for stub in stubs for _ in range(10))
            )
        assert len({answer.client_secret for answer in answers}) == 1
        assert len(await emulator.requests("sessions.create")) == 2
        stats = await service.stats()
        assert (stats.total_sessions, stats.refreshes) == (1, 1)


async def test_a_name_is_followed_and_what_began_where_it_led_ends_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replicas, "_LOOK_SECONDS", 0.02)
    leads_to: list[str] = ["127.0.0.1"]

    async def getaddrinfo(_: str, port: int, **__: object) -> list[Any]:
        if not leads_to:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in leads_to]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    go_on, begun, finish = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: object) -> pb.GetSessionResponse:
        begun.set()
        await go_on.wait()
        return pb.GetSessionResponse()

    async def process(_: object, __: object) -> AsyncIterator[pb_chat.ProcessResponse]:
        yield pb_chat.ProcessResponse()
        await finish.wait()
        yield pb_chat.ProcessResponse()

    old = FakeService({"GetSession": slow}, conversations=FakeConversations(process=process))
    async with old.serve():
        new = FakeService(port=old.port, host="127.0.0.2")
        settings = gateway_settings(
            session_service_target=(NAME.format(old.port),), session_service_plaintext=True
        )
        async with new.serve(), open_replicas(settings) as opened:
            await connected(opened, 1)
            call = asyncio.ensure_future(ask(opened))
            await begun.wait()
            answer = ConversationServiceStub(opened.channel).Process(
                pb_chat.ProcessRequest(), timeout=30
            )
            await answer.read()
            leads_to.append("127.0.0.2")
            await connected(opened, 2)
            leads_to.remove("127.0.0.1")
            (left,) = [
                weakref.ref(one._channel)
                for address, one in opened._connections.items()
                if "127.0.0.1" in address
            ]

            async def has_left() -> bool:
                return len(opened._connections) == 1

            await eventually(has_left)
            leads_to.clear()  # a name server that is down is no reason to leave
            await ask(opened, 5)
            assert (len(new.calls), call.done()) == (5, False)
            go_on.set()
            await call

            async def is_closed() -> bool:
                return left() is None

            gc.disable()  # it is not left to chance when the connection ends
            try:
                await eventually(is_closed)
            finally:
                gc.enable()
            assert not opened._leaving
            finish.set()
            assert await answer.read() == pb_chat.ProcessResponse()
            assert await answer.code() is grpc.StatusCode.OK
