"""Attachments through the gateway, in both of ChatKit's ways, from socket to socket."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from protos.chatkit.v1 import conversation_service_pb2 as pb
from tests.gateway_support import (
    ATTACHMENTS,
    CLIENT_SECRET,
    ORIGIN,
    Context,
    FakeConversations,
    FakeService,
    error_of,
    gateway_before,
    refuse,
)
from tests.support import eventually

MB = 1024 * 1024
HEADERS = {"Authorization": f"Bearer {CLIENT_SECRET}", "Origin": ORIGIN}
LINK = {"expires": "1800000000", "signature": "c2lnbmF0dXJl_-"}
PATH = f"{ATTACHMENTS}/atc_1"
JSON = b'{"id":"atc_1","type":"file","name":"a.txt","mime_type":"text/plain"}'
BOUNDED = 32 * MB
"""What sockets and gRPC hold between them, with room to spare, against files of 100 MB."""


@dataclass(slots=True)
class Uploads:
    """What the conversation service has been sent."""

    head: pb.UploadAttachmentHead | None = None
    size: int = 0
    largest: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    whole: bool = False
    broken_off: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    refuse_after: int | None = None

    async def upload(
        self, requests: AsyncIterator[pb.UploadAttachmentRequest], context: Context
    ) -> pb.UploadAttachmentResponse:
        try:
            async for request in requests:
                if request.HasField("head"):
                    self.head = request.head
                    self.begun.set()
                    await self.go_on.wait()
                self.whole = request.end
                self.size += len(request.data)
                self.largest = max(self.largest, len(request.data))
                self.digest.update(request.data)
                if self.refuse_after is not None and self.size > self.refuse_after:
                    await refuse(context, "ATTACHMENT_TOO_LARGE")
        finally:
            if not self.whole:
                self.broken_off.set()
        return pb.UploadAttachmentResponse(attachment=JSON)


@pytest.fixture
def uploads() -> Uploads:
    uploads = Uploads()
    uploads.go_on.set()
    return uploads


@pytest.fixture
def conversations(uploads: Uploads) -> FakeConversations:
    return FakeConversations(upload=uploads.upload, read=reading(b"hello"))


@pytest.fixture
async def http(conversations: FakeConversations) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        FakeService(conversations=conversations).serve() as fake,
        gateway_before(fake) as http,
    ):
        del http.headers["Authorization"]
        yield http


def reading(*parts: bytes, **head: Any) -> Any:
    named = {"name": "a.txt", "mime_type": "text/plain", "size": sum(map(len, parts)), **head}

    async def read(
        request: pb.ReadAttachmentRequest, _: Context
    ) -> AsyncIterator[pb.ReadAttachmentResponse]:
        yield pb.ReadAttachmentResponse(head=pb.ReadAttachmentHead(**named))
        for part in parts:
            yield pb.ReadAttachmentResponse(data=part)

    return read


async def test_a_direct_upload_makes_an_attachment(
    http: httpx.AsyncClient, uploads: Uploads
) -> None:
    files = {"file": ("informe ñ.pdf", b"%PDF-1.7", "application/pdf")}
    answer = await http.post(ATTACHMENTS, files=files, headers=HEADERS)
    assert (answer.status_code, answer.content) == (200, JSON)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert uploads.head == pb.UploadAttachmentHead(
        client_secret=CLIENT_SECRET,
        name="informe ñ.pdf",
        mime_type="application/pdf",
        base_url=str(http.base_url).rstrip("/"),
    )
    assert uploads.digest.digest() == hashlib.sha256(b"%PDF-1.7").digest()
    assert uploads.whole


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 3 * MB])
async def test_what_a_link_was_given_for_can_be_uploaded_to_it(
    http: httpx.AsyncClient, uploads: Uploads, size: int
) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    headers = {"Content-Type": "Image/PNG; x=y", "Origin": ORIGIN}
    answer = await http.post(PATH, params=LINK, content=content, headers=headers)
    assert (answer.status_code, answer.content) == (200, JSON)
    assert uploads.head == pb.UploadAttachmentHead(
        link=pb.AttachmentLink(
            attachment_id="atc_1", expires_at=1_800_000_000, signature=LINK["signature"]
        ),
        mime_type="image/png",
        base_url=str(http.base_url).rstrip("/"),
        size=size,
    )
    assert uploads.digest.digest() == hashlib.sha256(content).digest()
    assert uploads.largest <= 64 * 1024


async def test_a_body_of_unknown_length_is_announced_as_such(
    http: httpx.AsyncClient, uploads: Uploads
) -> None:
    answer = await http.post(PATH, params=LINK, content=blocks(10 * MB))
    assert answer.status_code == 200
    assert uploads.head is not None
    assert (uploads.head.size, uploads.size) == (0, 10 * MB)


BLOCK = bytes(range(256)) * 4096


async def blocks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // len(BLOCK)):
        yield BLOCK


def form_of(size: int) -> tuple[bytes, bytes]:
    head = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    return head, b"\r\n--b--\r\n"


@pytest.mark.parametrize("direct", [True, False])
async def test_100_mb_pass_through_and_wait_for_the_service(
    http: httpx.AsyncClient, uploads: Uploads, direct: bool
) -> None:
    uploads.go_on.clear()  # the service takes the head, and then nothing for a while
    sent = 0
    start, end = form_of(100 * MB) if direct else (b"", b"")

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield start
        async for block in blocks(100 * MB):
            yield block
            sent += len(block)
        yield end

    if direct:
        headers = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
        posting = http.post(ATTACHMENTS, content=body(), headers=headers, timeout=60)
    else:
        posting = http.post(PATH, params=LINK, content=body(), timeout=60)
    waiting = asyncio.create_task(posting)
    await uploads.begun.wait()
    assert await at_rest(lambda: sent) < BOUNDED
    uploads.go_on.set()
    assert (await waiting).status_code == 200
    assert (uploads.size, uploads.whole) == (100 * MB, True)
    whole = hashlib.sha256()
    for _ in range(100):
        whole.update(BLOCK)
    assert uploads.digest.digest() == whole.digest()


async def at_rest(count: Callable[[], int]) -> int:
    """Returns where a count stays for half a second."""
    async with asyncio.timeout(20):
        before = -1
        while before != count():
            before = count()
            await asyncio.sleep(0.5)
    return before


@pytest.mark.parametrize("direct", [True, False])
async def test_a_refusal_in_mid_upload_is_the_answer(
    http: httpx.AsyncClient, uploads: Uploads, direct: bool
) -> None:
    uploads.refuse_after = MB
    for _ in range(10):  # it is chance whether the gateway is writing when it is refused
        uploads.size = 0
        if direct:
            files = {"file": ("a.bin", BLOCK * 20)}
            answer = await http.post(ATTACHMENTS, files=files, headers=HEADERS)
        else:
            answer = await http.post(PATH, params=LINK, content=BLOCK * 20)
        error_of(answer, "ATTACHMENT_TOO_LARGE", 413)
        assert uploads.size < 2 * MB
    assert (await http.get("/healthz")).status_code == 200


async def test_a_refusal_does_not_wait_for_a_client_that_sends_nothing(
    http: httpx.AsyncClient, conversations: FakeConversations
) -> None:
    async def upload(_: Any, context: Context) -> pb.UploadAttachmentResponse:
        await refuse(context, "ATTACHMENT_NOT_FOUND")
        raise AssertionError

    conversations.upload = upload
    reader, writer = await begin_upload(http, 10 * MB)
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 404 Not Found\r\n"
    writer.close()


async def begin_upload(
    http: httpx.AsyncClient, size: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(
        f"POST {PATH}?expires=1800000000&signature=a HTTP/1.1\r\nHost: a\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {size}\r\n\r\nthe beginning".encode()
    )
    await writer.drain()
    return reader, writer


async def test_a_browser_that_goes_away_leaves_no_half_of_a_file(
    http: httpx.AsyncClient, uploads: Uploads
) -> None:
    with capture_logs() as logged:
        _, writer = await begin_upload(http, 10 * MB)
        await uploads.begun.wait()
        writer.close()
        async with asyncio.timeout(1):
            await uploads.broken_off.wait()

        async def line() -> bool:
            return bool(logged)

        await eventually(line)
    assert not uploads.whole
    assert [(line["event"], line["status"]) for line in logged] == [("request", 499)]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"garbage"),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\nx\r\n--b--',
        ),
    ],
)
async def test_a_form_without_a_file_is_400_and_the_service_is_not_asked(
    http: httpx.AsyncClient, uploads: Uploads, content_type: str, body: bytes
) -> None:
    headers = {**HEADERS, "Content-Type": content_type, "Accept-Language": "en"}
    answer = await http.post(ATTACHMENTS, content=body, headers=headers)
    assert "file" in error_of(answer, "INVALID_ARGUMENT", 400)["error"]
    assert uploads.head is None


async def test_a_form_that_breaks_off_is_400_and_no_half_of_a_file_is_kept(
    http: httpx.AsyncClient, uploads: Uploads
) -> None:
    start, _ = form_of(MB)
    headers = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
    answer = await http.post(ATTACHMENTS, content=start + BLOCK, headers=headers)
    error_of(answer, "INVALID_ARGUMENT", 400)
    async with asyncio.timeout(5):
        await uploads.broken_off.wait()
    assert not uploads.whole


@pytest.mark.parametrize("kind", ["", "application/json", "application/octet-stream"])
async def test_a_direct_upload_is_a_form(http: httpx.AsyncClient, kind: str) -> None:
    headers = {**HEADERS, "Content-Type": kind}
    answer = await http.post(ATTACHMENTS, content=b"{}", headers=headers)
    assert "multipart/form-data" in error_of(answer, "UNSUPPORTED_MEDIA_TYPE", 415)["hint"]


async def test_a_direct_upload_needs_a_secret(http: httpx.AsyncClient, uploads: Uploads) -> None:
    answer = await http.post(ATTACHMENTS, files={"file": ("a", b"x")})
    assert "client_secret" in error_of(answer, "UNAUTHENTICATED", 401)["hint"]
    assert uploads.head is None


@pytest.mark.parametrize("path", [ATTACHMENTS, f"{PATH}?expires=1800000000&signature=a"])
async def test_what_can_never_be_allowed_is_refused_before_it_is_sent(
    http: httpx.AsyncClient, uploads: Uploads, path: str
) -> None:
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\n"
        f"Content-Length: {513 * MB + 1}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
        assert b'"code":"ATTACHMENT_TOO_LARGE"' in await reader.readuntil(b"}")
    writer.close()
    assert uploads.head is None


HOSTILE: list[dict[str, str]] = [
    {},
    {"expires": "1"},
    {"signature": "a"},
    {"expires": "", "signature": ""},
    {"expires": "-1", "signature": "a"},
    {"expires": "1.5", "signature": "a"},
    {"expires": "9" * 19, "signature": "a"},
    {"expires": "\u0661", "signature": "a"},
    {"expires": "1\n", "signature": "a"},
    {"expires": "1", "signature": "a b"},
    {"expires": "1", "signature": "ñ"},
    {"expires": "1", "signature": "a\x00"},
    {"expires": "1", "signature": "a" * 513},
]


@pytest.mark.parametrize("query", HOSTILE)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_is_no_link_of_ours_is_404(
    http: httpx.AsyncClient, uploads: Uploads, method: str, query: dict[str, str]
) -> None:
    answer = await http.request(method, PATH, params=query)
    error_of(answer, "ATTACHMENT_NOT_FOUND", 404)
    assert uploads.head is None


@pytest.mark.parametrize("name", ["a..", "a.b", "a%00", "%C3%B1", "x" * 129, "a%20b"])
async def test_what_is_no_id_of_ours_is_404(http: httpx.AsyncClient, name: str) -> None:
    url = httpx.URL(http.base_url).copy_with(
        raw_path=f"{ATTACHMENTS}/{name}?expires=1&signature=a".encode()
    )
    assert (await http.get(url)).status_code == 404


async def test_a_file_is_read_through_its_link(
    http: httpx.AsyncClient, conversations: FakeConversations
) -> None:
    seen: list[pb.ReadAttachmentRequest] = []

    async def read(
        request: pb.ReadAttachmentRequest, context: Context
    ) -> AsyncIterator[pb.ReadAttachmentResponse]:
        seen.append(request)
        async for response in reading(b"hel", b"lo")(request, context):
            yield response

    conversations.read = read
    answer = await http.get(PATH, params=LINK, headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["content-length"] == "5"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == (
        "sandbox; default-src 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert seen[0].link == pb.AttachmentLink(
        attachment_id="atc_1", expires_at=1_800_000_000, signature=LINK["signature"]
    )
    headed = await http.head(PATH, params=LINK)
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-length"] == "5"


@pytest.mark.parametrize(
    ("name", "mime_type", "disposition"),
    [
        ("a.png", "image/png", "inline; filename=\"a.png\"; filename*=UTF-8''a.png"),
        ("a.html", "text/html", "attachment; filename=\"a.html\"; filename*=UTF-8''a.html"),
        (
            'ñ "x"\r\nSet-Cookie: a=b',
            "application/pdf",
            'attachment; filename="_ _x___Set-Cookie_ a_b";'
            " filename*=UTF-8''%C3%B1%20%22x%22%0D%0ASet-Cookie%3A%20a%3Db",
        ),
        (
            "🙂/../a",
            "image/webp",
            "inline; filename=\"__.._a\"; filename*=UTF-8''%F0%9F%99%82%2F..%2Fa",
        ),
    ],
)
async def test_images_are_shown_and_the_rest_is_saved_under_its_name(
    http: httpx.AsyncClient,
    conversations: FakeConversations,
    name: str,
    mime_type: str,
    disposition: str,
) -> None:
    conversations.read = reading(b"x", name=name, mime_type=mime_type)
    answer = await http.get(PATH, params=LINK)
    assert answer.headers["content-disposition"] == disposition
    assert answer.headers["content-type"] == mime_type
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "mime_type", ["", "nonsense", "text/html\r\nX: y", "image/png; a=b", "ñ/ñ"]
)
async def test_a_type_that_is_none_is_just_bytes(
    http: httpx.AsyncClient, conversations: FakeConversations, mime_type: str
) -> None:
    conversations.read = reading(b"x", mime_type=mime_type)
    answer = await http.get(PATH, params=LINK)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize("reason", ["ATTACHMENT_NOT_FOUND", "UNAVAILABLE", "INTERNAL"])
async def test_a_file_that_cannot_be_read_is_a_status(
    http: httpx.AsyncClient, conversations: FakeConversations, reason: str
) -> None:
    async def read(_: Any, context: Context) -> AsyncIterator[pb.ReadAttachmentResponse]:
        await refuse(context, reason)
        yield pb.ReadAttachmentResponse()

    conversations.read = read
    answer = await http.get(PATH, params=LINK)
    error_of(answer, reason, {"ATTACHMENT_NOT_FOUND": 404, "UNAVAILABLE": 503}.get(reason, 500))


async def test_a_file_that_breaks_off_does_not_look_whole(
    http: httpx.AsyncClient, conversations: FakeConversations
) -> None:
    async def read(_: Any, context: Context) -> AsyncIterator[pb.ReadAttachmentResponse]:
        head = pb.ReadAttachmentHead(name="a", mime_type="text/plain", size=10)
        yield pb.ReadAttachmentResponse(head=head)
        yield pb.ReadAttachmentResponse(data=b"12345")
        await refuse(context, "INTERNAL")

    conversations.read = read
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get(PATH, params=LINK)


async def test_who_stops_reading_a_file_stops_the_service_and_who_leaves_ends_it(
    http: httpx.AsyncClient, conversations: FakeConversations
) -> None:
    read_bytes = 0
    ended = asyncio.Event()

    async def read(_: Any, __: Context) -> AsyncIterator[pb.ReadAttachmentResponse]:
        nonlocal read_bytes
        head = pb.ReadAttachmentHead(name="a", mime_type="text/plain", size=100 * MB)
        try:
            yield pb.ReadAttachmentResponse(head=head)
            for _number in range(100 * MB // 65_536):
                yield pb.ReadAttachmentResponse(data=BLOCK[:65_536])
                read_bytes += 65_536
        finally:
            ended.set()

    conversations.read = read
    async with contextlib.AsyncExitStack() as stack:
        request = http.stream("GET", PATH, params=LINK)
        answer = await stack.enter_async_context(request)
        assert answer.headers["content-length"] == str(100 * MB)
        assert await at_rest(lambda: read_bytes) < BOUNDED
        assert not ended.is_set()
    async with asyncio.timeout(1):
        await ended.wait()
    assert read_bytes < BOUNDED


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_in_hosted_mode_there_are_no_attachments(method: str) -> None:
    async with FakeService().serve() as fake, gateway_before(fake) as http:
        answer = await http.request(method, PATH, params=LINK)
        assert "CHATKIT_MODE" in error_of(answer, "NOT_FOUND", 404)["hint"]
        answer = await http.post(ATTACHMENTS, files={"file": ("a", b"x")}, headers=HEADERS)
        assert "CHATKIT_MODE" in error_of(answer, "NOT_FOUND", 404)["hint"]
