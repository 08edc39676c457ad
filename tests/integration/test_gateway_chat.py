"""POST /api/chatkit, from a socket of a browser to a socket of the conversation service."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.errors import RETRYABLE
from gateway.texts import chat_message
from protos.chatkit.v1 import conversation_service_pb2 as pb
from tests.gateway_support import (
    CHAT,
    CLIENT_SECRET,
    ORIGIN,
    REASONS,
    Context,
    FakeConversations,
    FakeService,
    error_of,
    gateway_before,
    refuse,
)
from tests.support import eventually

STREAM, JSON = "text/event-stream", "application/json"
HEADERS = {"Authorization": f"Bearer {CLIENT_SECRET}", "Content-Type": JSON}
REQUEST = {"type": "threads.create", "params": {"input": {"content": []}}, "metadata": {}}
EVENT = b'data: {"type":"progress_update","text":"ok"}\n\n'
CHAT_DETAILS = {
    "UNAUTHENTICATED": "secret",
    "SESSION_DELETED": "chat",
    "RATE_LIMITED": "requests",
}


def head(content_type: str = STREAM) -> pb.ProcessResponse:
    return pb.ProcessResponse(head=pb.ProcessHead(content_type=content_type))


def data(content: bytes) -> pb.ProcessResponse:
    return pb.ProcessResponse(data=content)


def answering(content_type: str, *parts: bytes) -> Any:
    async def process(_: pb.ProcessRequest, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        yield head(content_type)
        for part in parts:
            yield data(part)

    return process


@pytest.fixture
def chat() -> FakeConversations:
    return FakeConversations(process=answering(STREAM, EVENT))


@pytest.fixture
async def fake(chat: FakeConversations) -> AsyncIterator[FakeService]:
    async with FakeService(conversations=chat).serve() as fake:
        yield fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(fake) as http:
        yield http


async def post(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await http.post(CHAT, json=REQUEST, headers={**HEADERS, **headers})


async def test_a_stream_comes_as_it_is_said(
    http: httpx.AsyncClient, chat: FakeConversations
) -> None:
    go_on = asyncio.Event()

    async def process(_: pb.ProcessRequest, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        yield head()
        yield data(EVENT)
        await go_on.wait()
        yield data(EVENT * 2)

    chat.process = process
    headers = {**HEADERS, "Origin": ORIGIN, "X-Request-Id": "one"}
    async with http.stream("POST", CHAT, json=REQUEST, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(STREAM)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["x-request-id"] == "one"
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        said = answer.aiter_raw()
        assert await anext(said) == EVENT  # before the service has said more
        go_on.set()
        assert b"".join([part async for part in said]) == EVENT * 2


async def test_json_is_the_components_own_and_not_our_envelope(
    http: httpx.AsyncClient, chat: FakeConversations
) -> None:
    chat.process = answering(JSON, b'{"data": [', b'], "has_more"', b": false}")
    answer = await post(http)
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert answer.json() == {"data": [], "has_more": False}
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]


async def test_the_service_gets_the_request_as_it_was_sent(
    http: httpx.AsyncClient, chat: FakeConversations
) -> None:
    seen: list[tuple[pb.ProcessRequest, dict[str, Any], float]] = []

    async def process(
        request: pb.ProcessRequest, context: Context
    ) -> AsyncIterator[pb.ProcessResponse]:
        metadata = dict(context.invocation_metadata() or ())
        seen.append((request, metadata, context.time_remaining() or 0))
        yield head(JSON)
        yield data(b"{}")

    chat.process = process
    body = b'{ "type":"items.list",  "params": {"x": 1e400, "\\ud800": 0} }'  # not ours to judge
    for language in ("en-GB", "es", ""):
        headers = {**HEADERS, "X-Request-Id": "one", "Accept-Language": language}
        answer = await http.post(CHAT, content=body, headers=headers)
        assert answer.status_code == 200
    assert [request.language for request, _, _ in seen] == ["en", "es", "es"]
    request, metadata, remaining = seen[0]
    assert (request.request, request.client_secret) == (body, CLIENT_SECRET)
    assert request.base_url == str(http.base_url).rstrip("/")
    assert metadata["x-request-id"] == "one"
    assert 65 < remaining < 71  # twice the limit of an answer, and a little


@pytest.mark.parametrize("host", ["chat.example.com", "chat.example.com:8443", "[::1]:8080", "a_b"])
async def test_links_lead_to_where_the_request_came(
    http: httpx.AsyncClient, chat: FakeConversations, host: str
) -> None:
    chat.process = _base_url_of
    answer = await post(http, Host=host)
    assert answer.json() == f"http://{host}"


async def _base_url_of(request: pb.ProcessRequest, _: Context) -> AsyncIterator[pb.ProcessResponse]:
    yield head(JSON)
    yield data(json.dumps(request.base_url).encode())


@pytest.mark.parametrize("host", ["", "a/b", "a@b", "a b", 'a"', "a:b", "a:123456", "<a>"])
async def test_a_host_that_is_none_is_400(http: httpx.AsyncClient, host: str) -> None:
    error_of(await post(http, Host=host), "INVALID_ARGUMENT", 400)


async def test_the_public_url_wins_over_the_host(
    fake: FakeService, chat: FakeConversations
) -> None:
    chat.process = _base_url_of
    async with gateway_before(fake, gateway_public_url="https://chat.example.com/x") as http:
        assert (await post(http)).json() == "https://chat.example.com/x"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Basic abc",
        "Bearer a b",
        "Bearer " + "x" * 513,
        "Bearer \xf1",
    ],
)
async def test_without_a_secret_it_is_401_with_a_text_of_its_own(
    http: httpx.AsyncClient, authorization: str | None
) -> None:
    del http.headers["Authorization"]
    headers = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]
    answer = await http.post(CHAT, json=REQUEST, headers=headers)
    body = error_of(answer, "UNAUTHENTICATED", 401)
    assert "client_secret" in body["hint"]
    assert "login" not in body["error"]
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("language", ["es", "en"])
@pytest.mark.parametrize("reason", REASONS)
async def test_before_the_first_byte_a_failure_is_a_status(
    http: httpx.AsyncClient, chat: FakeConversations, reason: str, language: Any
) -> None:
    async def process(_: pb.ProcessRequest, context: Context) -> AsyncIterator[pb.ProcessResponse]:
        await refuse(context, reason, retry_after_seconds=7)
        yield head()

    chat.process = process
    answer = await post(http, **{"Accept-Language": language})
    body = error_of(answer, reason, REASONS[reason][0])
    assert answer.headers["content-language"] == language
    assert answer.headers["retry-after"] == "7"
    assert body["error"].rstrip(".") in chat_message(reason, CHAT_DETAILS.get(reason), language)


@pytest.mark.parametrize("language", ["es", "en"])
@pytest.mark.parametrize("reason", REASONS)
async def test_in_mid_stream_a_failure_is_chatkits_error_event(
    http: httpx.AsyncClient, chat: FakeConversations, reason: str, language: Any
) -> None:
    async def process(_: pb.ProcessRequest, context: Context) -> AsyncIterator[pb.ProcessResponse]:
        yield head()
        yield data(EVENT + b'data: {"half of an ev')
        await refuse(context, reason)

    chat.process = process
    with capture_logs() as logged:
        answer = await post(http, **{"Accept-Language": language})
    assert answer.status_code == 200
    events = answer.text.split("\n\n")
    assert events[0] == EVENT.decode().strip()
    assert json.loads(events[1].removeprefix("data: ")) == {
        "type": "error",
        "code": "custom",
        "message": chat_message(reason, CHAT_DETAILS.get(reason), language),
        "allow_retry": RETRYABLE[reason],
    }
    assert events[2:] == [""]
    assert [line["reason"] for line in logged if line["event"] == "answer broken off"] == [reason]


@pytest.mark.parametrize(
    ("content_type", "before"), [(STREAM, 0), (JSON, 0), (JSON, 1), (STREAM, 1)]
)
async def test_a_service_that_dies_is_unavailable(
    chat: FakeConversations, content_type: str, before: int
) -> None:
    """Before the head, or where nothing has been sent yet, by status; else by event."""
    came = asyncio.Event()

    async def process(_: pb.ProcessRequest, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        if before:
            yield head(content_type)
            yield data(EVENT)
        came.set()
        await asyncio.Event().wait()

    chat.process = process
    fake = FakeService(conversations=chat)
    service = contextlib.AsyncExitStack()
    await service.enter_async_context(fake.serve())
    async with gateway_before(fake) as http:
        waiting = asyncio.create_task(post(http))
        await came.wait()
        await service.aclose()
        answer = await waiting
    if before and content_type == STREAM:
        assert answer.status_code == 200
        assert '"allow_retry":true' in answer.text
    else:
        error_of(answer, "UNAVAILABLE", 503)


@pytest.mark.parametrize(
    ("language", "guide"), [("es", "docs/migration.es.md"), ("en", "docs/migration.md")]
)
async def test_in_hosted_mode_the_chat_is_not_found_and_says_why(language: str, guide: str) -> None:
    async with FakeService().serve() as fake, gateway_before(fake) as http:
        body = error_of(await post(http, **{"Accept-Language": language}), "NOT_FOUND", 404)
    assert "hosted" in body["error"]
    assert "CHATKIT_MODE=self_hosted" in body["hint"]
    assert guide in body["hint"]


@pytest.mark.parametrize("parts", [[], [data(EVENT)], [head("text/html"), data(b"<p>")]])
async def test_an_answer_without_a_head_is_a_defect(
    http: httpx.AsyncClient, chat: FakeConversations, parts: Sequence[pb.ProcessResponse]
) -> None:
    async def process(_: pb.ProcessRequest, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        for part in parts:
            yield part

    chat.process = process
    error_of(await post(http), "INTERNAL", 500)


@pytest.mark.parametrize("cut", [1, 7, len(EVENT), 1000])
async def test_however_the_service_cuts_it_the_stream_is_the_same(
    http: httpx.AsyncClient, chat: FakeConversations, cut: int
) -> None:
    large = b'data: "' + b"x" * 3000 + b'"\n\n'
    said = EVENT * 3 + large + EVENT + b": no end"
    parts = [said[start : start + cut] for start in range(0, len(said), cut)]
    chat.process = answering(STREAM, *parts)
    assert (await post(http)).content == said


async def test_an_event_that_is_larger_than_what_is_kept_comes_through(
    http: httpx.AsyncClient, chat: FakeConversations
) -> None:
    large = b'data: "' + b"x" * 3 * 1024 * 1024 + b'"\n\n'
    parts = [large[start : start + 50_000] for start in range(0, len(large), 50_000)]
    chat.process = answering(STREAM, *parts, EVENT)
    assert (await post(http)).content == large + EVENT


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data"])
async def test_a_chat_request_is_json(http: httpx.AsyncClient, kind: str) -> None:
    headers = {**HEADERS, "Content-Type": kind}
    answer = await http.post(CHAT, content=b"{}", headers=headers)
    error_of(answer, "UNSUPPORTED_MEDIA_TYPE", 415)


async def test_an_empty_body_is_no_chat_request(http: httpx.AsyncClient) -> None:
    answer = await http.post(CHAT, headers=HEADERS)
    assert "request" in error_of(answer, "INVALID_ARGUMENT", 400)["error"]


async def test_a_request_that_the_service_does_not_understand_names_the_field(
    http: httpx.AsyncClient, chat: FakeConversations
) -> None:
    async def process(_: pb.ProcessRequest, context: Context) -> AsyncIterator[pb.ProcessResponse]:
        await refuse(context, "INVALID_ARGUMENT", field_violations={"request": "unknown type"})
        yield head()

    chat.process = process
    assert "(request)" in error_of(await post(http), "INVALID_ARGUMENT", 400)["error"]


async def pieces(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 10_000):
        yield b"x" * min(10_000, size - start)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("size", "status"),
    [(512 * 1024, 200), (512 * 1024 + 1, 413), (1_000_000, 413), (5_000_000, 413)],
)
async def test_half_a_megabyte_is_taken_and_no_byte_more(
    http: httpx.AsyncClient, size: int, status: int, chunked: bool
) -> None:
    content = pieces(size) if chunked else b"x" * size
    answer = await http.post(CHAT, content=content, headers={**HEADERS, "Origin": ORIGIN})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    if status == 413:
        assert "512 KiB" in error_of(answer, "PAYLOAD_TOO_LARGE", 413)["hint"]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_browser_that_goes_away_ends_the_call_at_once(
    http: httpx.AsyncClient, chat: FakeConversations, begun: bool
) -> None:
    came, ended = asyncio.Event(), asyncio.Event()

    async def process(_: pb.ProcessRequest, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        try:
            if begun:
                yield head()
                yield data(EVENT)
            came.set()
            await asyncio.Event().wait()  # and says nothing more
        finally:
            ended.set()

    chat.process = process
    reader, writer = await open_chat(http)
    await came.wait()
    if begun:
        await reader.readuntil(EVENT)
    with capture_logs() as logged:
        writer.close()
        async with asyncio.timeout(1):
            await ended.wait()
        await is_logged(logged)
    (line,) = logged
    assert (line["event"], line["status"]) == ("request", 200 if begun else 499)


async def is_logged(lines: Sequence[Any]) -> None:
    """Waits for a line in the log, which comes after the answer."""

    async def found() -> bool:
        return bool(lines)

    await eventually(found)


async def open_chat(
    http: httpx.AsyncClient,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends a chat request on a socket of its own."""
    body = json.dumps(REQUEST)
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {CLIENT_SECRET}\r\n"
        f"Content-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return reader, writer


async def test_a_browser_that_goes_away_in_mid_request_is_no_defect(
    http: httpx.AsyncClient,
) -> None:
    _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    with capture_logs() as logged:
        writer.write(
            f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {CLIENT_SECRET}\r\n"
            f"Content-Type: {JSON}\r\nContent-Length: 100\r\n\r\n{{".encode()
        )
        await writer.drain()
        await http.get("/healthz")  # by then the gateway has begun
        logged.clear()
        writer.close()
        await is_logged(logged)
    assert [(line["event"], line["status"]) for line in logged] == [("request", 499)]


async def test_a_browser_that_stops_reading_stops_the_service(
    http: httpx.AsyncClient, chat: FakeConversations
) -> None:
    said = 0
    enough = 2000
    event = b"data: " + b"x" * 64 * 1024 + b"\n\n"

    async def process(_: pb.ProcessRequest, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        nonlocal said
        yield head()
        for _number in range(enough):
            yield data(event)
            said += 1

    chat.process = process
    reader, writer = await open_chat(http)
    await reader.readuntil(b"\r\n\r\n")
    stalled_at = await at_rest(lambda: said)
    # Sockets' and gRPC's buffers are full by then: some megabytes, of 125.
    assert stalled_at * len(event) < 32 * 1024 * 1024
    read = 0
    while read < enough * len(event):
        read += len(await reader.read(1024 * 1024))
    assert said == enough
    writer.close()


async def at_rest(count: Callable[[], int]) -> int:
    """Returns where a count stays for half a second."""
    async with asyncio.timeout(10):
        before = -1
        while before != count():
            before = count()
            await asyncio.sleep(0.5)
    return before


async def test_many_streams_at_once_do_not_mix(
    http: httpx.AsyncClient, chat: FakeConversations
) -> None:
    async def process(request: pb.ProcessRequest, _: Context) -> AsyncIterator[pb.ProcessResponse]:
        yield head()
        for _number in range(50):
            yield data(b"data: " + request.request + b"\n\n")

    chat.process = process

    async def one(number: int) -> None:
        answer = await http.post(CHAT, content=b"%d" % number, headers=HEADERS)
        assert answer.text == f"data: {number}\n\n" * 50

    await asyncio.gather(*(one(number) for number in range(20)))


async def test_a_stream_has_its_line_in_the_log_when_it_ends(
    http: httpx.AsyncClient, chat: FakeConversations
) -> None:
    with capture_logs() as logged:
        async with http.stream("POST", CHAT, json=REQUEST, headers=HEADERS) as answer:
            await answer.aread()
        await is_logged(logged)
    (line,) = logged
    assert (line["path"], line["status"]) == (CHAT, 200)
    assert CLIENT_SECRET not in str(logged)
