"""Session services that fall silent behind a connection that stays: who waits, and who does not."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from structlog.testing import capture_logs

from gateway import heartbeat
from gateway.call_stream import CallError, CallStream
from gateway.replicas import Replicas
from protos.chatkit.v1 import call_stream_service_pb2 as pb_stream
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.call_stream_service_pb2_grpc import (
    CallStreamServiceServicer,
    add_CallStreamServiceServicer_to_server,
)
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from tests.chaos.proxy import Proxy, open_proxy
from tests.gateway_support import FakeService
from tests.integration.test_replicas import ask, before, connected
from tests.support import eventually

if TYPE_CHECKING:
    from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceAsyncStub

GET, CREATE = pb.GetSessionRequest(user_id="7"), pb.CreateSessionRequest(user_id="7")
LONG = 60.0
"""What a call may take, and none does."""


@dataclass
class Stage:
    """Two services, the first of which can fall silent, with calls that wait there."""

    opened: Replicas
    stub: "SessionServiceAsyncStub"
    proxy: Proxy
    first: FakeService
    other: FakeService
    go_on: asyncio.Event

    async def waiting(self, call: Callable[[], Awaitable[Any]]) -> "asyncio.Future[Any]":
        """Makes calls until one waits in the first service, and returns that."""
        number = len(self.first.calls)
        while True:
            made = asyncio.ensure_future(call())
            while not made.done():
                if len(self.first.calls) > number:
                    return made
                await asyncio.sleep(0.01)

    async def is_used_again(self) -> None:
        number = len(self.first.calls)

        async def is_asked() -> bool:
            await self.stub.GetSession(GET, timeout=LONG)
            return len(self.first.calls) > number

        await eventually(is_asked)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(heartbeat, "_BEAT_SECONDS", 0.1)
    go_on = asyncio.Event()

    async def get(_: object) -> pb.GetSessionResponse:
        await go_on.wait()
        return pb.GetSessionResponse()

    async def create(_: object) -> pb.CreateSessionResponse:
        await go_on.wait()
        return pb.CreateSessionResponse(client_secret="the first's")

    first, other = FakeService({"GetSession": get, "CreateSession": create}), FakeService()
    async with first.serve(), other.serve(), open_proxy(f"127.0.0.1:{first.port}") as proxy:
        port = int(proxy.address.rpartition(":")[2])
        async with before(port, other.port) as opened:
            await connected(opened, 2)
            await eventually(all_ping(opened))
            yield Stage(opened, SessionServiceStub(opened.carried), proxy, first, other, go_on)
            go_on.set()


def all_ping(opened: Replicas) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return all(one.stream._answers_pings for one in opened._connections.values())

    return condition


async def test_reads_are_made_elsewhere_and_creates_wait_for_it(stage: Stage) -> None:
    read = await stage.waiting(lambda: stage.stub.GetSession(GET, timeout=LONG))
    create = await stage.waiting(lambda: stage.stub.CreateSession(CREATE, timeout=LONG))
    with capture_logs() as log:
        stage.proxy.stall()
        async with asyncio.timeout(10):
            await read
        stage.go_on.set()
        number = len(stage.first.calls)
        await ask(stage.opened, 20)
        await stage.stub.CreateSession(CREATE, timeout=LONG)
        assert len(stage.first.calls) == number
        assert not create.done()  # it may have been begun, and may still be answered
        stage.proxy.heal()
        assert (await create).client_secret == "the first's"
        await stage.is_used_again()

        async def is_told() -> bool:
            return [line["event"] for line in log] == [
                "session service does not answer",
                "session service answers again",
            ]

        await eventually(is_told)


async def test_after_a_while_nobody_waits_for_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_LOST_BEATS", 6)
    create = await stage.waiting(lambda: stage.stub.CreateSession(CREATE, timeout=LONG))
    stage.proxy.stall()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        async with asyncio.timeout(10):
            await create
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    await ask(stage.opened, 20)
    stage.go_on.set()
    stage.proxy.heal()
    await stage.is_used_again()


async def test_where_nobody_else_answers_nobody_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_LOST_BEATS", 10)
    async with open_proxy(f"127.0.0.1:{stage.other.port}") as second:
        ports = [int(proxy.address.rpartition(":")[2]) for proxy in (stage.proxy, second)]
        async with before(*ports) as opened:
            await connected(opened, 2)
            await eventually(all_ping(opened))
            for proxy in (stage.proxy, second):
                proxy.stall()
            streams = [one.stream for one in opened._connections.values()]

            async def all_are_silent() -> bool:
                return all(stream.missed_beats > 10 for stream in streams)

            await eventually(all_are_silent)
            calls = [asyncio.ensure_future(ask(opened)) for _ in range(10)]
            second.heal()

            async def second_answers() -> bool:
                return any(stream.answers for stream in streams)

            await eventually(second_answers)
            opened._heartbeat.beat()
            # For what was missed while nobody answered.
            assert not any(stream._is_lost for stream in streams)
            stage.proxy.heal()
            stage.go_on.set()
            await asyncio.gather(*calls)
            assert [one.stream for one in opened._connections.values()] == streams


async def test_a_call_that_is_made_elsewhere_as_it_was_not_sent_is_not_sent_any_more() -> None:
    async def say_once() -> AsyncIterator[pb_stream.CarryResponse]:
        yield pb_stream.CarryResponse(answers_pings=True)
        await asyncio.Event().wait()

    class Congested:
        """gRPC, which takes the next request when the test does."""

        def __init__(self, requests: AsyncIterator[pb_stream.CarryRequest]) -> None:
            self.requests = requests

        def __aiter__(self) -> AsyncIterator[pb_stream.CarryResponse]:
            return say_once()

        def cancel(self) -> None:
            pass

    confirmed = asyncio.Event()
    stream = CallStream(Congested, confirmed.set)
    reading = asyncio.create_task(stream.read())
    await confirmed.wait()
    deadline = asyncio.get_running_loop().time() + LONG
    call = asyncio.create_task(stream.call(pb_stream.Call(method="/"), deadline, safe=False))
    await asyncio.sleep(0)  # it has begun
    stream.release()
    sent = await anext(stream._rpc.requests)  # runs before the caller does, who is to hear of it
    with pytest.raises(CallError) as failure:
        await call
    assert failure.value.not_begun
    assert not sent.calls
    reading.cancel()


async def test_what_was_not_heard_as_we_stood_still_says_nothing_of_others(stage: Stage) -> None:
    read = await stage.waiting(lambda: stage.stub.GetSession(GET, timeout=LONG))
    streams = [one.stream for one in stage.opened._connections.values()]
    most = 0
    for _ in range(15):
        time.sleep(0.16)  # noqa: ASYNC251  # a long callback of the gateway's own
        await asyncio.sleep(0)
        most = max(most, *(stream.missed_beats for stream in streams))
    assert most == 0
    stage.go_on.set()
    await read


@dataclass
class ByHand(CallStreamServiceServicer):
    """A service that answers every call, and pings if it knows them; and what it was sent."""

    answers_pings: bool
    requests: list[pb_stream.CarryRequest] = field(default_factory=list)

    async def Carry(self, requests: Any, context: Any) -> None:  # type: ignore[override]
        await context.write(pb_stream.CarryResponse(answers_pings=self.answers_pings))
        async for request in requests:
            self.requests.append(request)
            outcomes = [pb_stream.Outcome(id=call.id, response=b"") for call in request.calls]
            if outcomes or self.answers_pings:
                await context.write(
                    pb_stream.CarryResponse(outcomes=outcomes, answers_pings=self.answers_pings)
                )

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        server = grpc.aio.server()
        add_CallStreamServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)

    def pings(self) -> int:
        return sum(request.ping for request in self.requests)


async def test_a_service_that_came_before_pings_is_not_asked_and_not_left(stage: Stage) -> None:
    old, new = ByHand(answers_pings=False), ByHand(answers_pings=True)
    async with old.serve() as one, new.serve() as other, before(one, other) as opened:
        await connected(opened, 2)

        async def new_is_asked() -> bool:
            return new.pings() > 2

        await eventually(new_is_asked)
        assert old.pings() == 0
        await ask(opened, 20)
        calls = [sum(len(request.calls) for request in service.requests) for service in (old, new)]
        assert calls == [10, 10]


async def test_who_is_heard_anyway_is_not_asked(stage: Stage) -> None:
    busy, idle = ByHand(answers_pings=True), ByHand(answers_pings=True)
    async with busy.serve() as one, idle.serve() as other, before(one, other) as opened:
        await connected(opened, 2)
        for address, connection in opened._connections.items():
            if address.endswith(f":{one}"):
                stream = connection.stream
        before_load = busy.pings()
        while idle.pings() < 5:
            call = pb_stream.Call(method="/chatkit.v1.SessionService/GetSession")
            deadline = asyncio.get_running_loop().time() + LONG
            await stream.call(call, deadline, safe=True)
            await asyncio.sleep(0.002)
        assert busy.pings() - before_load < 3


async def test_one_that_is_alone_is_not_even_asked(stage: Stage) -> None:
    lonely, one_of_two = ByHand(answers_pings=True), ByHand(answers_pings=True)
    async with (
        lonely.serve() as alone,
        one_of_two.serve() as one,
        before(alone) as opened,
        before(one, stage.other.port) as two,
    ):
        await connected(opened, 1)
        await connected(two, 2)

        async def others_are_asked() -> bool:
            return one_of_two.pings() > 2

        await eventually(others_are_asked)
    assert lonely.requests == []
