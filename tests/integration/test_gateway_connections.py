"""How the gateway's connections bear clients that cut, offer, stall and leave."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message
from structlog.testing import capture_logs

from gateway.http_protocol import HTTPProtocol
from protos.chatkit.v1 import conversation_service_pb2 as pb
from tests.gateway_support import (
    ATTACHMENTS,
    CHAT,
    CLIENT_SECRET,
    REFRESH,
    SESSION,
    STATS,
    Context,
    FakeConversations,
    FakeService,
    gateway_before,
    token,
)
from tests.support import eventually

JSON = {"Content-Type": "application/json"}
OFFER = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
BODY = b'{"existingSecret": "ek_1"}'
LINK = "?expires=1&signature=a"


class Hasty(HTTPProtocol):
    """Waits for nothing longer than tests do."""

    head_seconds = 0.2
    body_seconds = 0.2
    least_body_bytes = 2
    untaken_seconds = 0.2


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    async with FakeService(conversations=FakeConversations()).serve() as fake:
        yield fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(fake) as http:
        yield http


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(http: httpx.AsyncClient) -> Connection:
    return await asyncio.open_connection(http.base_url.host, http.base_url.port)


def request(method: str, path: str, body: Any = b"", **headers: object) -> bytes:
    given = {"Host": "a", "Authorization": f"Bearer {token()}", "Content-Length": len(body)}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in given.items()]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    return head.encode() + bytes(body)


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Returns status and body of the next answer."""
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))


async def send(writer: asyncio.StreamWriter, parts: Sequence[bytes]) -> None:
    """Sends each part in a segment of its own."""
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.001)  # for the other side to read it


def refreshed(fake: FakeService) -> list[str]:
    return [call.request.client_secret for call in fake.calls]


OFFERING = request("POST", REFRESH, BODY, **JSON, **OFFER)


@pytest.mark.parametrize(
    "cut",
    [
        *range(OFFERING.index(b"\r\nUpgrade:") - 1, OFFERING.index(b"\r\nUpgrade:") + 13),
        *range(OFFERING.index(b"\r\n\r\n"), OFFERING.index(b"\r\n\r\n") + 6),
    ],
)
async def test_a_body_survives_an_offer_to_upgrade_wherever_it_is_cut(
    http: httpx.AsyncClient, fake: FakeService, cut: int
) -> None:
    reader, writer = await connect(http)
    await send(writer, (OFFERING[:cut], OFFERING[cut:]))
    status, body = await answer_of(reader)
    assert (status, body["success"], refreshed(fake)) == (200, True, ["ek_1"])
    writer.close()


@pytest.mark.parametrize(
    ("size", "name"), [(1, "Upgrade"), (7, "UPGRADE"), (100, "upgrade"), (1000, "Upgrade")]
)
async def test_offers_in_a_row_are_all_answered(
    http: httpx.AsyncClient, fake: FakeService, size: int, name: str
) -> None:
    """One after the other without waiting, in pieces of any size, other requests among them."""
    plain = request("POST", REFRESH, BODY, **JSON)
    sent = (OFFERING + plain + OFFERING + OFFERING).replace(b"Upgrade:", f"{name}:".encode())
    reader, writer = await connect(http)
    await send(writer, [sent[start : start + size] for start in range(0, len(sent), size)])
    assert [(await answer_of(reader))[0] for _ in range(4)] == [200] * 4
    assert refreshed(fake) == ["ek_1"] * 4
    writer.close()


async def test_an_offer_keeps_a_chunked_body_and_one_that_waits_to_be_asked_for(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    reader, writer = await connect(http)
    head = request("POST", REFRESH, **JSON, **OFFER).replace(
        b"Content-Length: 0", b"Expect: 100-continue\r\nTransfer-Encoding: chunked"
    )
    writer.write(head)
    assert b" 100 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    await send(writer, (b"%x\r\n%s" % (len(BODY), BODY), b"\r\n0\r\n\r\n"))
    assert (await answer_of(reader))[0] == 200
    assert refreshed(fake) == ["ek_1"]
    writer.close()


@pytest.mark.parametrize("headers", [{}, OFFER])
async def test_a_body_may_speak_of_upgrades(
    http: httpx.AsyncClient, fake: FakeService, headers: dict[str, str]
) -> None:
    name = "a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nb"
    body = json.dumps({"username": "x"}).replace("x", "Upgrade: h2c ").encode()
    body += b"\r\n\r\n\r\nUpgrade: h2c\r\n\r\n".replace(b"Upgrade", b" " * 7).replace(b": h2c", b"")
    reader, writer = await connect(http)
    writer.write(request("POST", SESSION, body, **JSON, **headers))
    assert (await answer_of(reader))[0] == 200
    assert fake.calls[0].request.state_variables["username"].string_value == "Upgrade: h2c "
    escaped = json.dumps({"username": name}).encode()
    writer.write(request("POST", SESSION, escaped, **JSON, **headers))
    assert (await answer_of(reader))[0] == 200
    assert fake.calls[1].request.state_variables["username"].string_value == name
    writer.close()


async def test_an_offer_is_refused_as_other_requests_are(http: httpx.AsyncClient) -> None:
    reader, writer = await connect(http)
    writer.write(request("GET", "/nothing", **OFFER) + request("GET", STATS, **OFFER))
    assert [(await answer_of(reader))[0] for _ in range(2)] == [404, 200]
    writer.close()


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: a\r\nA:"]
)
async def test_a_request_that_never_comes_is_not_waited_for(fake: FakeService, sent: bytes) -> None:
    async with gateway_before(fake, protocol=Hasty) as http:
        reader, writer = await connect(http)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()
        if sent:  # nothing at all would be the keep-alive, of five seconds
            reader, writer = await connect(http)
            writer.write(request("GET", "/healthz"))
            assert (await answer_of(reader))[0] == 200
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 2) == b""
            writer.close()


async def test_a_head_without_end_is_not_kept(http: httpx.AsyncClient) -> None:
    reader, writer = await connect(http)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 20_000)
    status, body = await answer_of(reader)
    assert (status, body["code"]) == (400, "INVALID_ARGUMENT")
    writer.close()


@pytest.mark.parametrize("path", [SESSION, REFRESH, CHAT, ATTACHMENTS])
@pytest.mark.parametrize("begun", [b"", b"{"])
async def test_a_body_that_never_comes_is_not_waited_for(
    fake: FakeService, path: str, begun: bytes
) -> None:
    kind = "multipart/form-data; boundary=b" if path == ATTACHMENTS else "application/json"
    async with gateway_before(fake, protocol=Hasty) as http:
        reader, writer = await connect(http)
        head = request("POST", path, Content_Type=kind).replace(
            b"Content-Length: 0", b"Content-Length: 20"
        )
        writer.write(head + (b"--b" if begun and path == ATTACHMENTS else begun))
        status, body = await answer_of(reader)
        assert (status, body["code"]) == (400, "INVALID_ARGUMENT")
        assert "Content-Length" in body["hint"]
        assert await asyncio.wait_for(reader.read(), 2) == b""  # and the connection is closed
        writer.close()


async def test_a_body_that_drips_is_not_waited_for(fake: FakeService) -> None:
    async with gateway_before(fake, protocol=Hasty) as http:
        reader, writer = await connect(http)
        head = request("POST", SESSION, **JSON)
        writer.write(head.replace(b"Content-Length: 0", b"Content-Length: 10"))
        answering = asyncio.create_task(answer_of(reader))
        for _ in range(10):
            writer.write(b" ")
            await asyncio.wait((answering,), timeout=0.15)
        assert answering.done()  # before the last byte, a second and a half after the first
        assert (await answering)[1]["code"] == "INVALID_ARGUMENT"
        writer.close()
    assert not fake.calls


async def test_a_file_may_take_its_time_as_long_as_it_comes(fake: FakeService) -> None:
    conversations = fake.conversations
    assert conversations
    slow = asyncio.Event()

    async def upload(requests: Any, _: Context) -> pb.UploadAttachmentResponse:
        size = sum([len(request.data) async for request in requests])
        await slow.wait()
        return pb.UploadAttachmentResponse(attachment=json.dumps({"size": size}).encode())

    conversations.upload = upload
    async with gateway_before(fake, protocol=Hasty) as http:
        reader, writer = await connect(http)
        head = request("POST", f"{ATTACHMENTS}/atc_1{LINK}", Content_Type="text/plain")
        writer.write(head.replace(b"Content-Length: 0", b"Content-Length: 40"))
        for _ in range(10):
            await asyncio.sleep(0.06)
            writer.write(b"xxxx")
        await asyncio.sleep(0.3)  # with the file there, it is the service that takes its time
        slow.set()
        assert await answer_of(reader) == (200, {"size": 40})
        writer.close()


@pytest.mark.parametrize("what", ["chat", "attachment"])
async def test_who_stops_reading_is_cut_off(fake: FakeService, what: str) -> None:
    conversations, ended = fake.conversations, asyncio.Event()
    assert conversations
    much = b"x" * 1_000_000

    async def process(_: Any, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        try:
            yield pb.ProcessResponse(head=pb.ProcessHead(content_type="text/event-stream"))
            while True:
                yield pb.ProcessResponse(data=much + b"\n\n")
        finally:
            ended.set()

    async def read(_: Any, __: Context) -> AsyncIterator[pb.ReadAttachmentResponse]:
        try:
            yield pb.ReadAttachmentResponse(head=pb.ReadAttachmentHead(size=10**9))
            while True:
                yield pb.ReadAttachmentResponse(data=much)
        finally:
            ended.set()

    conversations.process, conversations.read = process, read
    async with gateway_before(fake, protocol=Hasty) as http:
        _, writer = await connect(http)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        if what == "chat":
            writer.write(
                request("POST", CHAT, b"{}", Authorization=f"Bearer {CLIENT_SECRET}", **JSON)
            )
        else:
            writer.write(request("GET", f"{ATTACHMENTS}/atc_1{LINK}"))
        await asyncio.wait_for(ended.wait(), 5)
        writer.close()


async def test_who_reads_slowly_is_not_cut_off(fake: FakeService) -> None:
    conversations = fake.conversations
    assert conversations
    size = 12_000_000

    async def read(_: Any, __: Context) -> AsyncIterator[pb.ReadAttachmentResponse]:
        yield pb.ReadAttachmentResponse(head=pb.ReadAttachmentHead(size=size))
        yield pb.ReadAttachmentResponse(data=bytes(3_000_000))
        yield pb.ReadAttachmentResponse(data=bytes(3_000_000))
        yield pb.ReadAttachmentResponse(data=bytes(3_000_000))
        yield pb.ReadAttachmentResponse(data=bytes(3_000_000))

    conversations.read = read
    async with gateway_before(fake, protocol=Hasty) as http:
        reader, writer = await connect(http)
        writer.write(request("GET", f"{ATTACHMENTS}/atc_1{LINK}"))
        await reader.readuntil(b"\r\n\r\n")
        received = 0
        while received < size:
            received += len(await asyncio.wait_for(reader.readexactly(1_000_000), 5))
            await asyncio.sleep(0.06)
        assert received == size
        writer.close()


async def leave(
    http: httpx.AsyncClient, fake: FakeService, method: str, sent: bytes
) -> tuple[asyncio.Event, asyncio.Event, list[Any]]:
    """Sends a request, and leaves as soon as the service has it.

    Returns what is set where the call is cancelled, where it is finished, and what is logged.
    """
    came, go_on = asyncio.Event(), asyncio.Event()
    cancelled, finished = asyncio.Event(), asyncio.Event()
    answer = fake.answers[method]

    async def slow(_: Context) -> Message:
        came.set()
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        finished.set()
        assert isinstance(answer, Message)
        return answer

    fake.answers[method] = slow
    _, writer = await connect(http)
    with capture_logs() as logged:
        writer.write(sent)
        await asyncio.wait_for(came.wait(), 5)
        writer.close()
        if method == "DeleteSession":
            # The gateway has seen that the client is gone by the time that it has answered another.
            assert (await http.get("/healthz")).status_code == 200
            go_on.set()

        async def is_logged() -> bool:
            return any(
                line["event"] == "request" for line in logged if line.get("path") != "/healthz"
            )

        await eventually(is_logged, within=2)
    return cancelled, finished, [line for line in logged if line.get("path") != "/healthz"]


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("CreateSession", request("POST", SESSION)),
        ("RefreshSession", request("POST", REFRESH, BODY, **JSON)),
        ("GetSession", request("GET", f"{SESSION}/cksess_1")),
        ("GetStats", request("GET", STATS)),
        # Who sends several at once leaves all of them.
        ("CreateSession", request("POST", SESSION) + request("GET", STATS)),
    ],
)
async def test_who_leaves_cancels_the_call(
    http: httpx.AsyncClient, fake: FakeService, method: str, sent: bytes
) -> None:
    cancelled, finished, logged = await leave(http, fake, method, sent)
    await asyncio.wait_for(cancelled.wait(), 1)
    assert not finished.is_set()
    assert [(line["event"], line["status"]) for line in logged] == [("request", 499)]
    assert [call.method for call in fake.calls] == [method]


async def test_a_delete_goes_on_when_who_asked_for_it_leaves(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    sent = request("DELETE", f"{SESSION}/cksess_1")
    cancelled, finished, logged = await leave(http, fake, "DeleteSession", sent)
    assert finished.is_set()
    assert not cancelled.is_set()
    assert [(line["event"], line["status"]) for line in logged] == [("request", 200)]


async def test_who_leaves_in_the_middle_of_a_body_is_logged_and_no_more(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    head = request("POST", SESSION, **JSON, Expect="100-continue")
    reader, writer = await connect(http)
    with capture_logs() as logged:
        writer.write(head.replace(b"Content-Length: 0", b"Content-Length: 20"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"{")
        writer.close()

        async def is_logged() -> bool:
            return bool(logged)

        await eventually(is_logged)
    assert [(line["event"], line["status"]) for line in logged] == [("request", 499)]
    assert not fake.calls
