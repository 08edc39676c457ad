"""Unary calls that travel together on one stream: each means what it means by itself."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.rpc import status_pb2
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.replicas import open_replicas
from protos.chatkit.v1 import call_stream_service_pb2 as pb_stream
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.call_stream_service_pb2_grpc import (
    CallStreamServiceStub,
    add_CallStreamServiceServicer_to_server,
)
from protos.chatkit.v1.errors import details_of
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from session_service import call_stream
from tests.gateway_support import FakeService, gateway_settings
from tests.support import (
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    refused,
    settings_for,
)

if TYPE_CHECKING:
    from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceAsyncStub

GET_STATS = "/chatkit.v1.SessionService/GetStats"


@contextlib.asynccontextmanager
async def carried(*ports: int) -> "AsyncIterator[SessionServiceAsyncStub]":
    targets = tuple(f"127.0.0.1:{port}" for port in ports)
    async with open_replicas(gateway_settings(session_service_target=targets)) as replicas:
        yield SessionServiceStub(replicas.carried)


@pytest.fixture
async def stub(service: SessionService) -> "AsyncIterator[SessionServiceAsyncStub]":
    async with carried(service.server.port) as stub:
        yield stub


def create(user: str = "7", **others: object) -> pb.CreateSessionRequest:
    return pb.CreateSessionRequest(user_id=user, **others)  # type: ignore[arg-type]


async def test_every_call_answers_as_by_itself(
    service: SessionService, stub: "SessionServiceAsyncStub"
) -> None:
    made = await stub.CreateSession(create(), timeout=10)
    refresh = pb.RefreshSessionRequest(user_id="7", client_secret=made.client_secret)
    newer = await stub.RefreshSession(refresh, timeout=10)

    get = pb.GetSessionRequest(user_id="7", session_id=made.session.id)
    assert await stub.GetSession(get, timeout=10) == await service.stub.GetSession(get)
    listing = pb.ListSessionsRequest(user_id="7")
    listed = await stub.ListSessions(listing, timeout=10)
    assert [one.id for one in listed.sessions] == [newer.session.id, made.session.id]
    assert listed == await service.stub.ListSessions(listing)
    delete = pb.DeleteSessionRequest(user_id="7", session_id=made.session.id)
    deleted = await stub.DeleteSession(delete, timeout=10)
    assert deleted.session.status == pb.SESSION_STATUS_DELETED
    stats = pb.GetStatsRequest(user_id="7")
    assert (await stub.GetStats(stats, timeout=10)) == await service.stub.GetStats(stats)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("CreateSession", create("")),
        ("GetSession", pb.GetSessionRequest(user_id="7", session_id="cksess_unknown")),
        ("RefreshSession", pb.RefreshSessionRequest(user_id="7", client_secret="unknown")),
        ("GetStats", pb.GetStatsRequest(user_id="7", days=1000)),
    ],
)
async def test_every_error_says_the_same_as_by_itself(
    service: SessionService, stub: "SessionServiceAsyncStub", method: str, request_: object
) -> None:
    errors = []
    for calls in (stub, service.stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(calls, method)(request_, timeout=10)
        errors.append(caught.value)
    one, other = errors
    assert (one.code(), one.details()) == (other.code(), other.details())
    assert details_of(one) == details_of(other) is not None


async def test_a_retry_delay_is_told(emulator: Emulator, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, emulator.url, chatkit_sessions_per_minute=1)
    async with open_session_service(settings) as service, carried(service.server.port) as stub:
        await stub.CreateSession(create(), timeout=10)
        with refused("RATE_LIMITED") as refusal:
            await stub.CreateSession(create(), timeout=10)
    assert refusal.details.retry_after_seconds


async def test_the_request_id_goes_all_the_way(
    emulator: Emulator, stub: "SessionServiceAsyncStub"
) -> None:
    await stub.CreateSession(create(), timeout=10, metadata=(("x-request-id", "of this test"),))
    (request,) = await emulator.requests("sessions.create")
    assert request["headers"]["x-client-request-id"] == "of this test"


async def test_a_fast_call_overtakes_a_slow_one(
    emulator: Emulator, stub: "SessionServiceAsyncStub"
) -> None:
    await emulator.fail("sessions.create", kind="hang", times=1)
    slow = asyncio.ensure_future(stub.CreateSession(create(), timeout=60))
    await stub.GetStats(pb.GetStatsRequest(user_id="7"), timeout=10)
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_many_large_calls_at_once_stay_below_the_limit_of_a_message(
    service: SessionService, stub: "SessionServiceAsyncStub"
) -> None:
    large = {f"key{number}": pb.StateVariable(string_value="x" * 1000) for number in range(60)}
    requests = [create(str(user), state_variables=large) for user in range(100)]
    made = await asyncio.gather(*(stub.CreateSession(one, timeout=30) for one in requests))
    assert {one.session.user_id for one in made} == {str(user) for user in range(100)}


async def test_a_caller_that_leaves_cancels_what_it_asked_for(
    emulator: Emulator, stub: "SessionServiceAsyncStub", service: SessionService
) -> None:
    await emulator.fail("sessions.create", kind="hang", times=1)
    call = asyncio.ensure_future(stub.CreateSession(create(), timeout=60))

    async def has_arrived() -> bool:
        return len(await emulator.requests("sessions.create")) == 1

    await eventually(has_arrived)
    call.cancel()
    async with asyncio.timeout(10):
        await service.server._calls.idle()


async def test_a_deadline_is_kept_on_both_sides(
    emulator: Emulator, stub: "SessionServiceAsyncStub", service: SessionService
) -> None:
    await emulator.fail("sessions.create", kind="hang", times=1)
    with refused("UPSTREAM_TIMEOUT"):  # the service's own answer, a little before the deadline
        await stub.CreateSession(create(), timeout=2.5)
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await stub.CreateSession(create(), timeout=0)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(10):
        await service.server._calls.idle()


async def test_a_drain_finishes_what_was_taken_and_refuses_the_rest(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with (
        open_session_service(settings_for(tmp_path, emulator.url)) as service,
        carried(service.server.port) as stub,
    ):
        await emulator.fail("sessions.create", kind="delay", delay_seconds=0.5, times=1)
        slow = asyncio.ensure_future(stub.CreateSession(create(), timeout=10))

        async def has_arrived() -> bool:
            return len(await emulator.requests("sessions.create")) == 1

        await eventually(has_arrived)
        draining = asyncio.create_task(service.server.drain())
        await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.GetStats(pb.GetStatsRequest(user_id="7"), timeout=10)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await slow).client_secret
        await draining


async def test_a_stream_that_broke_is_replaced(emulator: Emulator, tmp_path: Path) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as first:
        address = f"127.0.0.1:{first.server.port}"
        async with carried(first.server.port) as stub:
            await emulator.fail("sessions.create", kind="hang", times=1)
            waiting = asyncio.ensure_future(stub.CreateSession(create(), timeout=60))

            async def has_arrived() -> bool:
                return len(await emulator.requests("sessions.create")) == 1

            await eventually(has_arrived)
            await first.server._grpc.stop(None)
            with pytest.raises(grpc.aio.AioRpcError) as broken:
                await waiting
            assert broken.value.code() is grpc.StatusCode.UNAVAILABLE

            settings = settings_for(tmp_path, emulator.url, session_service_listen=address)
            async with open_session_service(settings):

                async def is_back() -> bool:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        await stub.GetStats(pb.GetStatsRequest(user_id="7"), timeout=10)
                        return True
                    return False

                await eventually(is_back)


async def carry(service: SessionService, *calls: pb_stream.Call) -> list[pb_stream.Outcome]:
    """Returns the outcomes of calls, as one who writes the stream by hand gets them."""
    stream = CallStreamServiceStub(service.channel).Carry(
        iter([pb_stream.CarryRequest(calls=calls)])
    )
    return [outcome async for message in stream for outcome in message.outcomes]


async def silence_after(*requests: Any) -> AsyncIterator[Any]:
    """Says that and no more: grpc.aio tells INTERNAL of a stream that is refused while it writes.

    See https://github.com/grpc/grpc/issues/36066.
    """
    for request in requests:
        yield request
    await asyncio.Event().wait()


async def test_garbage_is_refused_call_by_call(service: SessionService) -> None:
    outcomes = await carry(
        service,
        pb_stream.Call(id=1, method="/chatkit.v1.SessionService/Nothing"),
        pb_stream.Call(id=2, method=GET_STATS, request=b"\xff\xff"),
        pb_stream.Call(
            id=3,
            method=GET_STATS,
            request=pb.GetStatsRequest(user_id="7").SerializeToString(),
            metadata={"x-request-id": "\n" * 1000},
        ),
        pb_stream.Call(id=4, method="/chatkit.v1.SessionService/WatchStats"),  # goes by itself
    )
    by_id = {outcome.id: outcome for outcome in outcomes}
    for unknown in (1, 4):
        assert by_id[unknown].status[:2] == bytes((8, grpc.StatusCode.UNIMPLEMENTED.value[0]))
    assert b"INVALID_ARGUMENT" in by_id[2].status
    assert by_id[3].HasField("response")


async def test_the_end_of_the_requests_waits_for_their_outcomes(
    emulator: Emulator, service: SessionService
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.3, times=1)
    request = create().SerializeToString()
    method = "/chatkit.v1.SessionService/CreateSession"
    (outcome,) = await carry(service, pb_stream.Call(id=1, method=method, request=request))
    assert pb.CreateSessionResponse.FromString(outcome.response).client_secret


CREATE = "/chatkit.v1.SessionService/CreateSession"


def create_call(call_id: int, **fields: Any) -> pb_stream.Call:
    return pb_stream.Call(id=call_id, method=CREATE, request=create().SerializeToString(), **fields)


def code_of(outcome: pb_stream.Outcome) -> int:
    return int(status_pb2.Status.FromString(outcome.status).code)


async def test_a_call_that_is_cancelled_before_it_begins_leaves_nothing_behind(
    service: SessionService, emulator: Emulator
) -> None:
    request = pb_stream.CarryRequest(calls=[create_call(1)], cancelled=[1])
    stream = CallStreamServiceStub(service.channel).Carry(iter([request]), timeout=10)
    outcomes = [outcome async for message in stream for outcome in message.outcomes]
    assert [code_of(one) for one in outcomes] == [grpc.StatusCode.CANCELLED.value[0]]
    assert await emulator.requests("sessions.create") == []


async def test_a_call_whose_time_is_over_has_an_outcome_that_says_so(
    service: SessionService, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="hang", times=1)
    (outcome,) = await carry(service, create_call(1, timeout_ms=1))
    assert code_of(outcome) == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert not outcome.not_begun


async def test_an_id_that_is_in_use_ends_the_stream(
    service: SessionService, emulator: Emulator
) -> None:
    twice = pb_stream.CarryRequest(calls=[create_call(0), create_call(0)])
    stream = CallStreamServiceStub(service.channel).Carry(silence_after(twice), timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        _ = [message async for message in stream]
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(await emulator.requests("sessions.create")) == 1


async def test_bytes_that_are_no_message_end_the_stream(service: SessionService) -> None:
    method = "/chatkit.v1.CallStreamService/Carry"
    open_stream: Any = service.channel.stream_stream(method)
    stream = open_stream(silence_after(b"\xff\xff"), timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        _ = [message async for message in stream]
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_reads_no_outcomes_is_not_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be told is bounded, however much is asked for."""
    monkeypatch.setattr(call_stream, "_MAX_CALLS", 20)
    begun = 0

    async def large(*_: object) -> bytes:
        nonlocal begun
        begun += 1
        return bytes(call_stream.MAX_MESSAGE_BYTES)

    async def requests() -> AsyncIterator[pb_stream.CarryRequest]:
        for number in itertools.count():
            calls = [pb_stream.Call(id=number * 50 + step, method="/large") for step in range(50)]
            yield pb_stream.CarryRequest(calls=calls)

    server = grpc.aio.server()
    servicer = call_stream.CallStreamServicer({"/large": large})
    add_CallStreamServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = CallStreamServiceStub(channel).Carry(requests())
        await stream.initial_metadata()
        (inner,) = servicer._streams

        async def stands_still() -> bool:
            before = begun
            await asyncio.sleep(0.1)
            return begun == before and len(inner._outcomes) >= 19

        await eventually(stands_still)
        assert len(inner._calls) + len(inner._outcomes) <= 20
        unread = begun
        async for _ in stream:  # as soon as it is read from, it goes on
            if begun > 2 * unread:
                break
        stream.cancel()
    await server.stop(None)


async def test_a_response_that_cannot_be_sent_is_our_defect_and_has_an_outcome() -> None:
    fake = FakeService(answers={"GetStats": pb.GetStatsResponse()})
    fake.answers["GetStats"] = cast(Any, object())  # nothing that can be serialized
    async with fake.serve(), carried(fake.port) as stub:
        with capture_logs() as log, pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.GetStats(pb.GetStatsRequest(user_id="7"), timeout=10)
    assert failure.value.code() is grpc.StatusCode.INTERNAL
    assert [line["event"] for line in log] == ["defect"]


async def test_without_a_token_nothing_is_carried(emulator: Emulator, tmp_path: Path) -> None:
    settings = settings_for(
        tmp_path,
        emulator.url,
        session_service_token=(SecretStr("gateway:the-token-of-the-gateway"),),
    )
    async with open_session_service(settings) as service:
        with refused("UNAUTHENTICATED"):
            async for _ in CallStreamServiceStub(service.channel).Carry(silence_after()):
                raise AssertionError("it was answered")
        # Nor does a token of a call's own, on a stream of somebody else's, change who calls.
        sent = (("authorization", "Bearer the-token-of-the-gateway"),)
        call = create_call(1, metadata={"authorization": "Bearer another", "user-agent": "x"})
        stream = CallStreamServiceStub(service.channel).Carry(
            iter([pb_stream.CarryRequest(calls=[call])]), metadata=sent
        )
        (outcome,) = [outcome async for message in stream for outcome in message.outcomes]
        assert outcome.HasField("response")
        async with carried(service.server.port) as stub:
            with capture_logs() as log, refused("UNAUTHENTICATED") as refusal:
                await stub.CreateSession(create(), timeout=10)
            assert refusal.details.metadata["cause"] == "service_token"
            assert [line["event"] for line in log] == ["caller refused"]


async def test_no_timeout_is_too_long(stub: "SessionServiceAsyncStub") -> None:
    for timeout in (10.0**9, float("inf")):
        assert await stub.GetStats(pb.GetStatsRequest(user_id="7"), timeout=timeout)
