"""What the gateway refuses when there is too much of it, and how; what it never does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from structlog.testing import capture_logs

from gateway.http_protocol import HTTPProtocol
from protos.chatkit.v1 import conversation_service_pb2 as pb
from protos.chatkit.v1 import session_service_pb2
from runtime.admission import Admission
from tests.gateway_support import (
    CHAT,
    CLIENT_SECRET,
    ORIGIN,
    SESSION,
    STATS,
    Context,
    FakeConversations,
    FakeService,
    error_of,
    gateway_before,
    token,
)
from tests.support import eventually

HEAD = f"POST {SESSION} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token()}\r\n"
JSON = "Content-Type: application/json\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    async with FakeService(conversations=FakeConversations()).serve() as fake:
        yield fake


@pytest.fixture
async def refusing(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway for which one request at a time is too many."""
    async with gateway_before(fake, admission=Admission(few=0, most=0)) as http:
        yield http


async def connect(http: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(http.base_url.host, http.base_url.port)


async def status_of(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        return int(head.split()[1])


@pytest.mark.parametrize("language", ["es", "en", None])
@pytest.mark.parametrize("origin", [ORIGIN, "https://elsewhere.example.com", None])
async def test_a_refusal_is_the_error_that_it_would_be_otherwise(
    refusing: httpx.AsyncClient, fake: FakeService, language: str | None, origin: str | None
) -> None:
    """But for how it is made: who compares it with another error of the gateway sees the same."""
    headers = {"X-Request-Id": 'a "quoted" \\ id', "Accept-Language": language, "Origin": origin}
    given = {name: value for name, value in headers.items() if value is not None}
    if language is None:
        del refusing.headers["Accept-Language"]
    answer = await refusing.get(STATS, headers=given)
    body = error_of(answer, "UNAVAILABLE", 503)
    assert body["requestId"] == 'a "quoted" \\ id'
    assert ("too many requests" in body["error"]) == (language == "en")
    assert answer.headers["Retry-After"] in ("1", "2")
    assert not fake.calls

    async with gateway_before(fake) as http:
        http.headers = refusing.headers
        other = await http.get("/nothing", headers=given)
    assert set(answer.headers) == set(other.headers) | {"retry-after"}
    for name in set(other.headers) - {"content-length", "date"}:
        assert answer.headers[name] == other.headers[name], name


@pytest.mark.parametrize("proposed", ["x" * 129, "\xe9"])
async def test_a_bad_request_id_is_replaced(refusing: httpx.AsyncClient, proposed: str) -> None:
    headers = [(b"X-Request-Id", proposed.encode("latin-1"))]
    answer = await refusing.get(STATS, headers=headers)
    assert len(error_of(answer, "UNAVAILABLE", 503)["requestId"]) == 32


async def test_who_asks_whether_we_live_is_always_answered(refusing: httpx.AsyncClient) -> None:
    assert (await refusing.get("/healthz")).status_code == 200
    assert (await refusing.get("/readyz")).status_code == 200


async def test_a_preflight_passes_or_nobody_could_read_the_refusal(
    refusing: httpx.AsyncClient,
) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert (await refusing.options(SESSION, headers=headers)).status_code == 204


async def test_a_connection_goes_on_after_a_refusal_whose_body_is_still_to_come(
    refusing: httpx.AsyncClient, fake: FakeService
) -> None:
    reader, writer = await connect(refusing)
    writer.write(f"{HEAD}{JSON}Content-Length: 1000000\r\n\r\n".encode())
    assert await status_of(reader) == 503
    for _ in range(100):
        writer.write(b"x" * 10_000)
        await writer.drain()
    writer.write(HEALTH)
    assert await status_of(reader) == 200
    assert not fake.calls
    writer.close()


async def test_many_requests_at_once_on_a_connection_are_answered_in_turn(
    refusing: httpx.AsyncClient,
) -> None:
    reader, writer = await connect(refusing)
    one = f"{HEAD}Content-Length: 0\r\n\r\n".encode()
    writer.write((HEALTH + one * 3) * 700)
    statuses = [await status_of(reader) for _ in range(2800)]
    assert statuses == [200, 503, 503, 503] * 700
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        f"{HEAD}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n",
        f"{HEAD}Content-Length: 0\r\nConnection: close\r\n\r\n",
        f"{HEAD}Content-Length: 0\r\n\r\n".replace("HTTP/1.1", "HTTP/1.0"),
    ],
)
async def test_a_refusal_is_the_last_where_no_next_request_can_follow(
    refusing: httpx.AsyncClient, head: str
) -> None:
    reader, writer = await connect(refusing)
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(), 2)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close\r\n" in answer
    writer.close()


async def test_head_is_refused_without_a_body(refusing: httpx.AsyncClient) -> None:
    answer = await refusing.head(STATS)
    assert (answer.status_code, answer.content) == (503, b"")
    assert int(answer.headers["Content-Length"]) > 100
    assert (await refusing.get("/healthz")).status_code == 200


async def test_a_flood_of_refusals_is_one_line_a_second(fake: FakeService) -> None:
    with capture_logs() as logged:
        async with gateway_before(fake, admission=Admission(few=0, most=0)) as http:
            for _ in range(20):
                await http.get(STATS)

            async def is_logged() -> bool:
                return any(line["event"] == "overload" for line in logged)

            await eventually(is_logged)
    lines = [line for line in logged if line["event"] == "overload"]
    assert sum(line["refused"] for line in lines) == 20
    assert not [line for line in logged if line["event"] == "request"]


async def test_more_than_memory_is_for_is_refused_while_they_wait(fake: FakeService) -> None:
    go_on = asyncio.Event()

    async def slow(_: Context) -> Any:
        await go_on.wait()
        return session_service_pb2.CreateSessionResponse(client_secret="ek_1")

    fake.answers["CreateSession"] = slow
    async with gateway_before(fake, admission=Admission(few=0, most=3)) as http:
        waiting = [asyncio.create_task(http.post(SESSION)) for _ in range(3)]

        async def all_wait() -> bool:
            return len(fake.calls) == 3

        await eventually(all_wait)
        error_of(await http.post(SESSION), "UNAVAILABLE", 503)
        go_on.set()
        assert [(await one).status_code for one in waiting] == [200] * 3
        assert (await http.post(SESSION)).status_code == 200


async def test_a_stream_that_has_begun_goes_on(fake: FakeService) -> None:
    go_on = asyncio.Event()
    assert fake.conversations

    async def process(_: Any, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        yield pb.ProcessResponse(head=pb.ProcessHead(content_type="text/event-stream"))
        yield pb.ProcessResponse(data=b"data: 1\n\n")
        await go_on.wait()
        yield pb.ProcessResponse(data=b"data: 2\n\n")

    fake.conversations.process = process
    async with gateway_before(fake, admission=Admission(few=0, most=1)) as http:
        headers = {"Authorization": f"Bearer {CLIENT_SECRET}", "Content-Type": "application/json"}
        async with http.stream("POST", CHAT, content=b"{}", headers=headers) as answer:
            parts = answer.aiter_bytes()
            assert await anext(parts) == b"data: 1\n\n"
            error_of(await http.get(STATS), "UNAVAILABLE", 503)
            go_on.set()
            assert b"".join([part async for part in parts]) == b"data: 2\n\n"


@contextlib.asynccontextmanager
async def late_loop() -> AsyncIterator[None]:
    """Makes the event loop late, again and again, for as long as the block runs."""

    async def block() -> None:
        while True:
            time.sleep(0.15)  # noqa: ASYNC251 - that is what this is for
            await asyncio.sleep(0)

    task = asyncio.create_task(block())
    try:
        yield
    finally:
        task.cancel()


async def shed(http: httpx.AsyncClient, refused: bool) -> None:
    """Waits until requests are refused, or are not."""

    async def tried() -> bool:
        return ((await http.get(STATS)).status_code == 503) == refused

    await eventually(tried)


async def test_a_late_event_loop_refuses_and_recovers(fake: FakeService) -> None:
    async with gateway_before(fake, admission=Admission(few=0, random=lambda: 0.999)) as http:
        async with late_loop():
            await shed(http, refused=True)
        started = time.monotonic()
        await shed(http, refused=False)
        assert time.monotonic() - started < 5  # two seconds, on a machine that has nothing to do
        assert (await http.get(STATS)).status_code == 200


class LateHealth(health_aio.HealthServicer):
    """Answers as late as a service does that has too much to do."""

    late = True

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        if self.late:
            await asyncio.sleep(0.4)
        return await super().Check(request, context)


async def test_a_late_session_service_is_spared() -> None:
    health = LateHealth()
    admission = Admission(few=0, random=lambda: 0.999)
    async with (
        FakeService(health=health).serve() as fake,
        gateway_before(fake, admission=admission) as http,
    ):
        await shed(http, refused=True)
        health.late = False
        await shed(http, refused=False)


async def test_a_session_service_that_is_gone_is_no_overload() -> None:
    async with FakeService().serve() as fake:
        pass
    async with gateway_before(fake, admission=Admission(few=0)) as http:
        await asyncio.sleep(0.7)  # three probes, and the time that a delay is tolerated
        for _ in range(5):
            body = error_of(await http.get(STATS), "UNAVAILABLE", 503)
            assert "session_service" in body["hint"]


class Narrow(HTTPProtocol):
    """Has room for two connections, and for two more to be told so."""

    most_connections = 2
    most_surplus = 2
    surplus_seconds = 0.5


async def test_a_connection_too_many_is_told_so_and_closed(fake: FakeService) -> None:
    async with gateway_before(fake, protocol=Narrow) as http:
        kept = [await connect(http) for _ in range(2)]
        reader, writer = await connect(http)
        writer.write(f"{HEAD}Accept-Language: en\r\nContent-Length: 0\r\n\r\n".encode() * 2)
        answer = await asyncio.wait_for(reader.read(), 2)
        assert answer.count(b"HTTP/1.1 503 ") == 1
        assert b"UNAVAILABLE" in answer
        assert b"too many requests" in answer
        writer.close()
        reader, writer = await connect(http)
        writer.write(HEALTH)
        assert (await asyncio.wait_for(reader.read(), 2)).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert not fake.calls
        for reader, writer in kept:
            writer.write(f"{HEAD}Content-Length: 0\r\n\r\n".encode())
            assert await status_of(reader) == 200
            writer.close()


async def test_who_comes_too_many_and_says_nothing_is_dropped(fake: FakeService) -> None:
    async with gateway_before(fake, protocol=Narrow) as http:
        connections = [await connect(http) for _ in range(5)]
        for reader, writer in reversed(connections[2:]):  # the last one at once
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 2) == b""
            writer.close()
        for reader, writer in connections[:2]:
            writer.write(HEALTH)
            assert await status_of(reader) == 200
            writer.close()


@pytest.mark.parametrize(
    "headers",
    [b"A: " + b"b" * 66_000, b"\r\n".join(b"A%d: b" % number for number in range(15_000))],
    ids=["one", "many"],
)
async def test_a_large_head_is_refused_though_it_comes_at_once(
    fake: FakeService, headers: bytes
) -> None:
    async with gateway_before(fake) as http:
        reader, writer = await connect(http)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n\r\n")
        assert await status_of(reader) == 400
        writer.close()


async def test_bodies_that_do_not_come_take_nobodys_place(fake: FakeService) -> None:
    async with gateway_before(fake, admission=Admission(few=0, most=3)) as http:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n{JSON}"
        slow = [await connect(http) for _ in range(5)]
        for _, writer in slow:
            writer.write(f"{head}Content-Length: 10\r\n\r\n{{".encode())
        for _ in range(3):
            assert (await http.get(STATS)).status_code == 200
        for _, writer in slow:
            writer.close()
        assert (await http.get(STATS)).status_code == 200
