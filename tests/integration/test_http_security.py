"""What an intruder tries on the gateway's HTTP: headers, CORS, redirects, reflection, smuggling."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from protos.chatkit.v1 import conversation_service_pb2 as pb
from tests.gateway_support import (
    ATTACHMENTS,
    CHAT,
    CLIENT_SECRET,
    ORIGIN,
    REFRESH,
    SESSION,
    STATS,
    Context,
    FakeConversations,
    FakeService,
    gateway_before,
    token,
)

LINK = f"{ATTACHMENTS}/att_1?expires=1&signature=a"
MARK = "rEfLeCtEd"


async def process(request: Any, _: Context) -> AsyncIterator[pb.ProcessResponse]:
    kind = "text/event-stream" if b"stream" in request.request else "application/json"
    yield pb.ProcessResponse(head=pb.ProcessHead(content_type=kind))
    yield pb.ProcessResponse(
        data=b'data: {"type":"x"}\n\n' if b"stream" in request.request else b"{}"
    )


async def read(_: Any, __: Context) -> AsyncIterator[pb.ReadAttachmentResponse]:
    yield pb.ReadAttachmentResponse(
        head=pb.ReadAttachmentHead(name="a.png", mime_type="image/png", size=1)
    )
    yield pb.ReadAttachmentResponse(data=b"x")


async def upload(requests: Any, _: Context) -> pb.UploadAttachmentResponse:
    async for _request in requests:
        pass
    return pb.UploadAttachmentResponse(attachment=b"{}")


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    conversations = FakeConversations(process=process, read=read, upload=upload)
    async with FakeService(conversations=conversations).serve() as fake:
        await fake.health.set("chatkit.v1.ConversationService", 1)
        yield fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(fake) as http:
        yield http


SECURE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": None,
    "permissions-policy": None,
    "cache-control": "no-store",
}
EVERYBODYS: dict[str, str | None] = {
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "no-cache",
}
AS_CHAT = {"Authorization": f"Bearer {CLIENT_SECRET}", "Content-Type": "application/json"}
FORM = {"files": {"file": ("a.png", b"x", "image/png")}}

ANSWERS: dict[str, tuple[int, str, str, dict[str, Any], dict[str, str | None]]] = {
    "create": (200, "POST", SESSION, {}, {}),
    "refresh": (200, "POST", REFRESH, {"json": {"existingSecret": "ek_1"}}, {}),
    "get": (200, "GET", f"{SESSION}/a", {}, {}),
    "delete": (200, "DELETE", f"{SESSION}/a", {}, {}),
    "stats": (200, "GET", STATS, {}, {}),
    "chat": (200, "POST", CHAT, {"headers": AS_CHAT, "content": b"{}"}, {}),
    "stream": (200, "POST", CHAT, {"headers": AS_CHAT, "content": b'"stream"'}, {}),
    "upload": (200, "POST", ATTACHMENTS, FORM, {}),
    "upload to a link": (200, "POST", LINK, {"content": b"x"}, {}),
    "attachment": (
        200,
        "GET",
        LINK,
        {},
        {
            "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
            "cross-origin-resource-policy": "cross-origin",
            "cache-control": "private, no-store",
        },
    ),
    "health": (200, "GET", "/healthz", {}, {}),
    "readiness": (200, "GET", "/readyz", {}, {}),
    "script": (200, "GET", "/chatkit-client.js", {}, EVERYBODYS),
    "kept script": (
        304,
        "GET",
        "/chatkit-client.js",
        {"headers": {"If-None-Match": "*"}},
        EVERYBODYS,
    ),
    "types": (200, "GET", "/chatkit-client.d.ts", {}, EVERYBODYS),
    "openapi": (200, "GET", "/openapi.json", {}, {"cache-control": "no-cache"}),
    "head": (200, "HEAD", STATS, {}, {}),
    "options": (200, "OPTIONS", STATS, {}, {}),
    "400": (400, "POST", SESSION, {"json": []}, {}),
    "401": (401, "GET", STATS, {"headers": {"Authorization": ""}}, {}),
    "404": (404, "GET", "/nothing", {}, {}),
    "405": (405, "PUT", STATS, {}, {}),
    "413": (413, "POST", SESSION, {"content": b"x" * 70_000}, {}),
    "415": (415, "POST", SESSION, {"content": b"x"}, {}),
    "refused preflight": (
        403,
        "OPTIONS",
        STATS,
        {"headers": {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}},
        {},
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_answer_is_secured(http: httpx.AsyncClient, name: str) -> None:
    status, method, path, sent, differs = ANSWERS[name]
    answer = await http.request(method, path, **sent)
    assert answer.status_code == status, answer.text
    expected = {**SECURE, **differs}
    assert {header: answer.headers.get(header) for header in expected} == expected
    assert "strict-transport-security" not in answer.headers  # the proxy's, which speaks TLS


async def test_a_crash_and_what_is_no_http_are_secured_too(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    fake.answers["GetStats"] = b"\xff"
    answer = await http.get(STATS)
    assert answer.status_code == 500
    assert {header: answer.headers.get(header) for header in SECURE} == SECURE
    head, _ = await exchange(http, b"nonsense\r\n\r\n")
    assert "400 Bad Request" in head
    for header, value in SECURE.items():
        assert (f"{header}: {value}".lower() in head.lower()) is (value is not None)


async def test_the_page_runs_only_what_is_in_it_and_is_in_no_frame(http: httpx.AsyncClient) -> None:
    headers = (await http.get("/docs")).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    for kind in ("script-src", "style-src"):
        assert policy[kind].startswith("'sha256-")
        assert "unsafe" not in policy[kind]
    for kind in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[kind] == "'none'"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    for header in ("x-content-type-options", "referrer-policy", "x-frame-options"):
        assert headers[header] == SECURE[header]


NEARLY = [
    "null",
    "",
    "*",
    ORIGIN.upper(),
    ORIGIN.title(),
    f"{ORIGIN}/",
    f"{ORIGIN}.",
    f"{ORIGIN}:443",
    f"{ORIGIN}:8443",
    f"{ORIGIN}.evil.example",
    f"{ORIGIN}evil",
    f"{ORIGIN}@evil.example",
    f"{ORIGIN}%2eevil.example",
    f"{ORIGIN}, https://evil.example",
    f"https://evil.example {ORIGIN}",
    ORIGIN.removesuffix("m"),
    ORIGIN.replace("https", "http"),
    ORIGIN.replace("://", "://evil."),
    ORIGIN.replace("://", "://evil"),
    ORIGIN.replace("://dashboard.", "://"),
    ORIGIN.replace(".", "x", 1),
]


@pytest.mark.parametrize("origin", NEARLY)
async def test_what_is_nearly_the_origin_is_not_the_origin(
    http: httpx.AsyncClient, origin: str
) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        answer = await http.request(method, STATS, headers=headers)
        assert answer.status_code == (200 if method == "GET" else 403)
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers
        assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_cache_never_gives_one_origins_answer_to_another(
    http: httpx.AsyncClient, name: str
) -> None:
    _, method, path, sent, _ = ANSWERS[name]
    sent = {**sent, "headers": {**sent.get("headers", {})}}
    for origin in (None, ORIGIN):
        if origin and name != "refused preflight":
            sent["headers"]["Origin"] = origin
        answer = await http.request(method, path, **sent)
        assert "origin" in answer.headers["vary"].lower()
        assert "access-control-allow-credentials" not in answer.headers


ROUTES = [SESSION, REFRESH, f"{SESSION}/a", STATS, CHAT, ATTACHMENTS, LINK, "/nothing"]
METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH", "TRACE", "get", "*"]
HEADERS = ["authorization", "X-Request-Id", "cookie", "x-forwarded-host"]


@pytest.mark.parametrize("path", ROUTES)
async def test_a_preflight_allows_what_the_dashboard_does_and_no_more(
    http: httpx.AsyncClient, path: str
) -> None:
    for method, header in itertools.product(METHODS, HEADERS):
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": header}
        answer = await http.options(path, headers={"Origin": ORIGIN, **asked})
        fine = METHODS.index(method) < 3 and HEADERS.index(header) < 2
        assert answer.status_code == (204 if fine else 403), asked
        assert (answer.headers.get("access-control-allow-origin") == ORIGIN) is fine


async def exchange(http: httpx.AsyncClient, *sent: bytes) -> tuple[str, bytes]:
    """Sends bytes as they are; returns head and body of all that comes until the end."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    try:
        for part in sent:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode("latin-1"), body


ELSEWHERE = [
    "//evil.example",
    "//evil.example/docs",
    "/\\evil.example",
    "/%5cevil.example",
    "/%2f%2fevil.example/..",
    "/docs/",
    "/docs//",
    "//docs",
    "/docs/..",
    "/./docs",
    "/DOCS",
    "/docs%2f",
    "/docs;a",
    f"{STATS}/",
    f"{CHAT}/",
    "/%0d%0aLocation:%20https://evil.example",
    "https://evil.example/nothing",
    "http://evil.example//evil.example/",
]


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_nothing_leads_elsewhere(http: httpx.AsyncClient, target: str) -> None:
    more = ("Host: evil.example", "X-Forwarded-Host: evil.example", "Connection: close")
    for method in ("GET", "POST", "HEAD"):
        lines = (f"{method} {target} HTTP/1.1", *more, "Content-Length: 0", "", "")
        head, body = await exchange(http, "\r\n".join(lines).encode())
        assert int(head.split()[1]) in (400, 404), head
        assert "location" not in head.lower()
        assert b"evil" not in body


SENT: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", f"/{MARK}", {}),
    ("GET", f"/<{MARK}>", {}),
    ("GET", f"{STATS}?days={MARK}", {}),
    ("GET", f"{STATS}?userId={MARK}", {}),
    ("GET", f"{STATS}?{MARK}={MARK}", {}),
    ("GET", f"/docs?lang={MARK}", {}),
    ("GET", f"{ATTACHMENTS}/{MARK}?expires={MARK}&signature={MARK}", {}),
    (MARK, STATS, {}),
    ("POST", SESSION, {"json": {"userId": MARK}}),
    ("POST", SESSION, {"json": {MARK: MARK, "userId": [MARK]}}),
    ("POST", SESSION, {"content": MARK, "headers": {"Content-Type": "application/json"}}),
    ("POST", SESSION, {"content": MARK, "headers": {"Content-Type": f"{MARK}/{MARK}"}}),
    ("POST", REFRESH, {"json": {"existingSecret": [MARK], "currentClientSecret": {MARK: 1}}}),
    ("POST", CHAT, {"content": MARK, "headers": {"Content-Type": f"{MARK}/json"}}),
    ("POST", CHAT, {"json": {}, "headers": {"Host": f"<{MARK}>"}}),
    ("POST", ATTACHMENTS, {"content": MARK, "headers": {"Content-Type": MARK}}),
    *(
        ("GET", "/nothing", {"headers": {name: MARK}})
        for name in (
            *("Authorization", "Origin", "Referer", "Cookie", "Accept", "Accept-Language", "Host"),
            *("X-Forwarded-Host", "X-Forwarded-Proto", "X-Original-URL", "User-Agent"),
        )
    ),
    ("GET", STATS, {"headers": {"Authorization": f"Bearer {MARK}"}}),
    ("OPTIONS", STATS, {"headers": {"Origin": MARK, "Access-Control-Request-Method": MARK}}),
    (
        "OPTIONS",
        STATS,
        {
            "headers": {
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": MARK,
            }
        },
    ),
]


@pytest.mark.parametrize(("method", "path", "sent"), SENT)
async def test_no_answer_repeats_what_was_sent(
    http: httpx.AsyncClient, method: str, path: str, sent: dict[str, Any]
) -> None:
    answer = await http.request(method, path, **sent)
    said = answer.text + "".join(f"{name}: {value}" for name, value in answer.headers.items())
    assert MARK.lower() not in said.lower()


@pytest.mark.parametrize("proxy", ["X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Host"])
async def test_links_lead_where_the_setting_says_whatever_the_request_says(
    fake: FakeService, proxy: str
) -> None:
    asked: list[str] = []

    async def process(request: Any, _: Context) -> AsyncIterator[pb.ProcessResponse]:
        asked.append(request.base_url)
        yield pb.ProcessResponse(head=pb.ProcessHead(content_type="application/json"))

    assert fake.conversations
    fake.conversations.process = process
    sent = {**AS_CHAT, "Host": "evil.example", proxy: "host=evil.example"}
    async with gateway_before(fake, gateway_public_url="https://chat.example.com") as http:
        assert (await http.post(CHAT, content=b"{}", headers=sent)).status_code == 200
    async with gateway_before(fake) as http:
        assert (await http.post(CHAT, content=b"{}", headers=sent)).status_code == 200
    # Without the setting it is the Host, which no page of another origin can choose.
    assert asked == ["https://chat.example.com", "http://evil.example"]


def chunked(rest: bytes, *, more: bytes = b"", path: str = SESSION) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token()}\r\n".encode()
    kind = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    return head + kind + more + b"\r\n" + rest


SMUGGLED = f"GET {STATS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token()}\r\n\r\n".encode()
AMBIGUOUS = {
    "length and encoding": chunked(b"0\r\n\r\n", more=b"Content-Length: 6\r\n"),
    "encoding and length": chunked(b"0\r\n\r\n", more=b"Content-length: 100\r\n"),
    "encoding twice": chunked(b"0\r\n\r\n", more=b"Transfer-Encoding: identity\r\n"),
    "an encoding that is unknown": chunked(b"0\r\n\r\n", more=b"Transfer-Encoding: cow\r\n"),
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a length of a list": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 5\r\n\r\n",
    "a length with a sign": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    "a length in hex": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
    "a folded encoding": chunked(b"0\r\n\r\n").replace(b"ing: chunked", b"ing:\r\n chunked"),
    "space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nA\x00: b\r\n\r\n",
    "CR in a header": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc: d\r\n\r\n",
    "LF alone": b"GET / HTTP/1.1\nHost: a\n\n",
    "LF alone in a head": b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n",
    "a chunk of a negative size": chunked(b"-1\r\n\r\n0\r\n\r\n"),
    "a chunk of a huge size": chunked(b"ffffffffffffffffff\r\n"),
    "a chunk without its end": chunked(b"2\r\n{}xx0\r\n\r\n"),
    "a chunk's LF alone": chunked(b"2\n{}\n0\n\n"),
    "space in a chunk's size": chunked(b"2 1\r\n{}\r\n0\r\n\r\n"),
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "no method": b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_what_two_servers_could_read_differently_ends_the_connection(
    http: httpx.AsyncClient, fake: FakeService, name: str
) -> None:
    head, body = await exchange(http, AMBIGUOUS[name] + SMUGGLED)
    assert head.startswith("HTTP/1.1 400 "), head
    assert "connection: close" in head.lower()
    assert json.loads(body)["code"] == "INVALID_ARGUMENT"  # and nothing after it
    assert not fake.calls


async def test_trailers_are_no_headers(http: httpx.AsyncClient, fake: FakeService) -> None:
    trailers = b"X-Request-Id: mine\r\nAccept-Language: en\r\nAuthorization: Bearer x\r\n"
    sent = chunked(b"1\r\n[\r\n0\r\n" + trailers + b"\r\n", more=b"Connection: close\r\n")
    head, body = await exchange(http, sent)
    assert head.startswith("HTTP/1.1 400 ")
    assert "content-language: es" in head.lower()
    assert json.loads(body)["requestId"] != "mine"


@pytest.mark.parametrize(
    "piece", [b"A: b\r\n" * 1000, b"x" * 6000], ids=["many trailers", "one trailer"]
)
async def test_trailers_have_an_end(http: httpx.AsyncClient, piece: bytes) -> None:
    await cut_off(http, chunked(b"2\r\n{}\r\n0\r\nA: "), piece)


async def test_chunks_may_be_small_but_extensions_must_be_too(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    body = b'{"a":"' + b"x" * 60_000 + b'"}'
    small = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    head, _ = await exchange(http, chunked(small + b"0\r\n\r\n", more=b"Connection: close\r\n"))
    assert head.startswith("HTTP/1.1 200 ")
    await cut_off(http, chunked(b""), b"1;" + b"e" * 2000 + b"\r\nx\r\n")


async def cut_off(http: httpx.AsyncClient, head: bytes, piece: bytes) -> None:
    """The gateway must refuse a request that goes on and on before 4 MiB of it have come."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    try:
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(0.05)  # so that the rest comes in reads of its own
        answer = asyncio.create_task(reader.readuntil(b"\r\n"))
        for _ in range(4 * 1024 * 1024 // len(piece)):
            if answer.done():
                break
            writer.write(piece)
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            assert (await answer).startswith(b"HTTP/1.1 400 ")
    finally:
        writer.close()


async def test_garbage_after_a_request_is_not_answered_in_the_middle_of_a_stream(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    go_on = asyncio.Event()

    async def slow(_: Any, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        yield pb.ProcessResponse(head=pb.ProcessHead(content_type="text/event-stream"))
        yield pb.ProcessResponse(data=b"data: {}\n\n")
        await go_on.wait()

    assert fake.conversations
    fake.conversations.process = slow
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    try:
        writer.write(chunked(b"2\r\n{}\r\n0\r\n\r\n", path=CHAT))
        async with asyncio.timeout(10):
            await reader.readuntil(b"data: {}\n\n")
            writer.write(b"nonsense\r\n\r\n")
            rest = await reader.read()
        assert b"HTTP/1.1" not in rest
    finally:
        go_on.set()
        writer.close()


@pytest.mark.parametrize(
    ("length", "status"), [(8 * 1024, 404), (60 * 1024, 404), (66 * 1024, 400)]
)
async def test_a_long_path_is_json_and_a_short_line_in_the_log(
    http: httpx.AsyncClient, length: int, status: int
) -> None:
    with capture_logs() as logged:
        sent = b"GET /" + b"x" * length + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        head, body = await exchange(http, sent)
    assert int(head.split()[1]) == status
    assert json.loads(body)["success"] is False
    assert len(str(logged)) < 2000
