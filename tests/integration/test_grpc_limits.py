"""What hostile and careless callers meet on a connection; others are served all the while."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from session_service import server as server_module
from session_service.limits import (
    MAX_METADATA_BYTES,
    MAX_PING_STRIKES,
    MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES,
    MAX_STREAMS,
    SERVER_OPTIONS,
)
from session_service.server import Server, serve
from tests.gateway_support import SESSION, STATS, FakeService, error_of, gateway_before
from tests.integration.test_grpc_callers import NOWHERE, ask, channel_to
from tests.support import settings_for
from tests.tls_support import Authority, for_service

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ENHANCE_YOUR_CALM = 11
MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE = 3, 6


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serve(settings_for(tmp_path, NOWHERE)) as server:
        yield server


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """The connection of another caller, which is there before and has to work afterwards."""
    async with channel_to(server) as channel:
        await ask(channel)
        yield channel
        await ask(channel)


@contextlib.contextmanager
def refused_by_grpc() -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Returns a frame of HTTP/2 about the connection as a whole, by RFC 9113, section 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, 0, 0, 0, 0, 0)) + payload


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """Yields kind and payload of what comes until the end of the connection."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readexactly(9)
            yield head[3], await reader.readexactly(int.from_bytes(head[:3], "big"))


async def test_a_request_that_is_too_large_is_refused(
    server: Server, channel: grpc.aio.Channel
) -> None:
    async with channel_to(server) as hostile:
        stub = SessionServiceStub(hostile)
        with refused_by_grpc():
            await stub.GetStats(pb.GetStatsRequest(user_id="7" * MAX_REQUEST_BYTES))
        await ask(hostile)


async def test_metadata_that_is_too_large_is_refused(
    server: Server, channel: grpc.aio.Channel
) -> None:
    async with channel_to(server) as hostile:
        for size in (MAX_METADATA_BYTES, 2 * MAX_METADATA_BYTES, 512 * 1024):
            with refused_by_grpc():
                await ask(hostile, (("x-large", "a" * size),))
        await ask(hostile, (("x-large", "a" * (MAX_METADATA_BYTES // 2)),))


async def test_streams_beyond_the_limit_wait_and_take_nothing_from_other_connections(
    server: Server, channel: grpc.aio.Channel
) -> None:
    async with channel_to(server) as hostile:
        health = cast(Any, health_pb2_grpc).HealthStub(hostile)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(MAX_STREAMS)]
        await asyncio.gather(*(watch.read() for watch in watches))
        waiting = asyncio.create_task(ask(hostile))
        for _ in range(20):
            await ask(channel)
        assert not waiting.done()
        watches[0].cancel()
        await waiting
        for watch in watches:
            watch.cancel()


async def test_each_connection_is_told_its_limits(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(PREFACE + frame(SETTINGS))
    async with asyncio.timeout(10):
        kind, payload = await anext(frames(reader))
    assert kind == SETTINGS
    told = dict(struct.iter_unpack(">HI", payload))
    assert told[MAX_CONCURRENT_STREAMS] == MAX_STREAMS
    assert told[MAX_HEADER_LIST_SIZE] == MAX_METADATA_BYTES
    writer.close()


async def test_a_flood_of_pings_ends_the_connection(
    server: Server, channel: grpc.aio.Channel
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(PREFACE + frame(SETTINGS) + frame(PING, b"pingping") * (MAX_PING_STRIKES + 100))
    async with asyncio.timeout(10):
        codes = [
            int.from_bytes(payload[4:8], "big")
            async for kind, payload in frames(reader)
            if kind == GOAWAY
        ]
    assert codes[-1] == ENHANCE_YOUR_CALM
    writer.close()


async def test_a_ping_now_and_then_is_answered(server: Server, channel: grpc.aio.Channel) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(PREFACE + frame(SETTINGS) + frame(PING, b"pingping"))
    async with asyncio.timeout(10):
        async for kind, payload in frames(reader):
            if kind == PING:
                assert payload == b"pingping"
                break
            assert kind != GOAWAY
        else:
            raise AssertionError("the connection has ended")
    writer.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_connection_that_says_nothing_is_closed(
    encrypted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "grpc.server_handshake_timeout_ms"
    assert dict(SERVER_OPTIONS)[name] == 10_000
    shorter = tuple((dict(SERVER_OPTIONS) | {name: 300}).items())
    monkeypatch.setattr(server_module, "SERVER_OPTIONS", shorter)
    given = for_service(Authority(tmp_path).service()) if encrypted else {}
    async with serve(settings_for(tmp_path, NOWHERE, **given)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 10)  # whatever it says first, then the end
        writer.close()


async def test_an_answer_that_is_too_large_is_an_error_in_json_and_the_next_is_none() -> None:
    fake = FakeService()
    async with fake.serve(), gateway_before(fake) as http:
        good = fake.answers["GetStats"]
        fake.answers["GetStats"] = b"\0" * (MAX_RESPONSE_BYTES + 1)
        error_of(await http.get(STATS), "INTERNAL", 500)
        assert (await http.post(SESSION, json={})).status_code == 200
        fake.answers["GetStats"] = good
        assert (await http.get(STATS)).status_code == 200
