"""What reaches the gateway before any route: HTTP itself, bodies, request ids, CORS."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests.gateway_support import (
    ORIGIN,
    REFRESH,
    SESSION,
    STATS,
    FakeService,
    error_of,
    gateway_before,
    refusal_of,
    token,
)

JSON = {"Content-Type": "application/json"}
LIMIT = 64 * 1024


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    async with FakeService().serve() as fake:
        yield fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(fake) as http:
        yield http


async def exchange(http: httpx.AsyncClient, *sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Sends bytes as they are; returns status, headers and body of the first answer."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    try:
        for part in sent:
            writer.write(part)
        async with asyncio.timeout(5):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body
    finally:
        writer.close()


def head(method: str, path: str, **headers: object) -> bytes:
    given = {"Host": "a", "Authorization": f"Bearer {token()}", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /api/chatkit/session HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /api/chatkit/session HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9" + b"9" * 30 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_json_that_leads_to_the_log(
    http: httpx.AsyncClient, sent: bytes
) -> None:
    with capture_logs() as logged:
        status, headers, body = await exchange(http, sent)
    assert status == 400
    assert headers["content-type"] == "application/json"
    answer = json.loads(body)
    assert (answer["success"], answer["code"]) == (False, "INVALID_ARGUMENT")
    assert answer["requestId"] == headers["x-request-id"]
    assert [line["request_id"] for line in logged] == [answer["requestId"]]
    assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("path", [SESSION, REFRESH])
@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"[]",
        b"1",
        b"null",
        b'"text"',
        b"{",
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b'{"username": NaN}',
        b"[" * 20_000 + b"]" * 20_000,
        b'{"a":' * 10_000 + b"{}" + b"}" * 10_000,
        b'{"username": "\xe9"}',
        '{"username": "é"}'.encode("utf-16"),
        b'{"\\ud800": 1}',
        b'{"username": "\\udc00\\ud800"}',
        b"{}\x00",
    ],
)
async def test_a_body_that_is_no_json_object_is_400(
    http: httpx.AsyncClient, fake: FakeService, path: str, body: bytes
) -> None:
    answer = await http.post(path, content=body, headers=JSON)
    assert "body" in error_of(answer, "INVALID_ARGUMENT", 400)["error"]
    assert not fake.calls


async def test_an_empty_body_needs_no_type(http: httpx.AsyncClient) -> None:
    assert (await http.post(SESSION)).status_code == 200
    assert (await http.post(SESSION, headers={"Content-Type": "text/plain"})).status_code == 200


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
async def test_json_has_one_type(http: httpx.AsyncClient, kind: str) -> None:
    answer = await http.post(SESSION, content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["", "text/plain", "application/jsonp", "multipart/form-data"])
async def test_another_type_is_415(http: httpx.AsyncClient, kind: str) -> None:
    answer = await http.post(SESSION, content=b"{}", headers={"Content-Type": kind})
    error_of(answer, "UNSUPPORTED_MEDIA_TYPE", 415)


def padded(size: int) -> bytes:
    return b'{"x":"' + b"x" * (size - 8) + b'"}'


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413), (70 * 1024, 413), (2 * 1024 * 1024, 413)]
)
async def test_64_kib_are_taken_and_no_byte_more(
    http: httpx.AsyncClient, fake: FakeService, size: int, status: int, chunked: bool
) -> None:
    for _ in range(5):  # the answer must come through while the rest is still being sent
        body = padded(size)
        content = chunks(body) if chunked else body
        answer = await http.post(SESSION, content=content, headers={**JSON, "Origin": ORIGIN})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        if status == 413:
            error_of(answer, "PAYLOAD_TOO_LARGE", 413)
    assert len(fake.calls) == (5 if status == 200 else 0)


async def test_what_is_too_large_is_refused_before_it_is_sent(http: httpx.AsyncClient) -> None:
    request = head("POST", SESSION, Content_Length=10**9, Expect="100-continue", **JSON)
    status, _, body = await exchange(http, request)
    assert (status, json.loads(body)["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("path", [SESSION, REFRESH])
async def test_a_user_who_is_null_is_not_named(
    http: httpx.AsyncClient, fake: FakeService, path: str
) -> None:
    body = {"userId": None, "existingSecret": "ek_1"}
    assert (await http.post(path, json=body)).status_code == 200
    assert fake.calls[0].request.user_id == "7"


@pytest.mark.parametrize("name", ["a", "~" * 128, 'with spaces and "quotes"', "7"])
async def test_a_sane_request_id_is_taken(http: httpx.AsyncClient, name: str) -> None:
    for path, status in ((STATS, 200), ("/nothing", 404)):
        answer = await http.get(path, headers={"X-Request-Id": name})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, name)


@pytest.mark.parametrize("name", ["", "~" * 129, "tab\tinside", "ñ"])
async def test_another_request_id_is_replaced(
    http: httpx.AsyncClient, fake: FakeService, name: str
) -> None:
    sent = head("GET", STATS, X_Request_Id=name)
    minted = [(await exchange(http, sent))[1]["x-request-id"] for _ in range(2)]
    assert minted[0] != minted[1]
    assert name not in minted
    assert all(8 < len(m) <= 128 and m.isascii() and m.isprintable() for m in minted)
    assert [call.metadata["x-request-id"] for call in fake.calls] == minted


async def test_each_request_has_one_line_in_the_log_without_its_query(
    http: httpx.AsyncClient,
) -> None:
    with capture_logs() as logged:
        await http.get(f"{STATS}?days=3&secret=ek_1")
        await http.get("/line%0abreak")
        await http.post(SESSION, content=b"[", headers=JSON)
        await http.get("/healthz")
    seen = [(line["method"], line["path"], line["status"]) for line in logged[:3]]
    assert seen == [("GET", STATS, 200), ("GET", "/line%0abreak", 404), ("POST", SESSION, 400)]
    assert [line["log_level"] for line in logged] == ["info", "info", "info", "debug"]
    assert all(line["duration_ms"] >= 0 for line in logged)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (SESSION, "POST, OPTIONS"),
        (REFRESH, "POST, OPTIONS"),
        (f"{SESSION}/cksess_1", "DELETE, GET, HEAD, OPTIONS"),
        (STATS, "GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ],
)
async def test_methods(http: httpx.AsyncClient, path: str, allowed: str) -> None:
    answer = await http.request("PATCH", path)
    error_of(answer, "METHOD_NOT_ALLOWED", 405)
    assert set(answer.headers["allow"].split(", ")) == set(allowed.split(", "))
    asked = await http.request("OPTIONS", path)
    assert (asked.status_code, asked.json()["success"]) == (200, True)
    assert asked.headers["allow"] == answer.headers["allow"]
    got, headed = await http.get(path), await http.head(path)
    assert headed.status_code == got.status_code
    assert headed.content == b""
    assert headed.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path", ["/api", f"{SESSION}/", f"{STATS}/", f"/{STATS}", "/%2e%2e/etc/passwd", "/a%00"]
)
async def test_there_are_no_other_routes_and_no_redirects(
    http: httpx.AsyncClient, path: str
) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        request = head(method, path, Content_Length=0)
        status, headers, body = await exchange(http, request)
        assert (status, json.loads(body)["code"]) == (404, "NOT_FOUND")
        assert "location" not in headers


PREFLIGHT = {
    "Access-Control-Request-Method": "DELETE",
    "Access-Control-Request-Headers": "authorization, content-type, x-request-id",
}


async def test_a_preflight_of_the_dashboard_is_let_through(http: httpx.AsyncClient) -> None:
    answer = await http.options(SESSION, headers={"Origin": ORIGIN, **PREFLIGHT})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    methods = answer.headers["access-control-allow-methods"]
    assert {"GET", "POST", "DELETE"} <= set(methods.split(", "))
    headers = answer.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type", "x-request-id"} <= set(headers.split(", "))
    assert "origin" in answer.headers["vary"].lower()
    assert "x-request-id" in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example.com", **PREFLIGHT},
        {"Origin": "null", **PREFLIGHT},
        {"Origin": ORIGIN + ".evil.example", **PREFLIGHT},
        {"Origin": "https://elsewhere.example.com", "Access-Control-Request-Method": "PUT"},
    ],
)
async def test_another_origins_preflight_is_refused_in_json(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await http.options(SESSION, headers=headers)
    assert "CORS_ALLOW_ORIGINS" in error_of(answer, "PERMISSION_DENIED", 403)["hint"]
    assert "access-control-allow-methods" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Access-Control-Request-Method": "PUT"},
        {**PREFLIGHT, "Access-Control-Request-Headers": "x-other"},
    ],
)
async def test_a_preflight_for_too_much_is_not_told_to_add_its_origin(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await http.options(SESSION, headers={"Origin": ORIGIN, **headers})
    hint = error_of(answer, "PERMISSION_DENIED", 403)["hint"]
    assert "CORS_ALLOW_ORIGINS" not in hint
    assert {"DELETE", "Authorization"} <= set(hint.replace(",", "").split())


@pytest.mark.parametrize(
    ("method", "path", "authorization", "status"),
    [
        ("GET", STATS, f"Bearer {token()}", 200),
        ("GET", STATS, "", 401),
        ("POST", REFRESH, f"Bearer {token()}", 400),
        ("GET", "/nothing", "", 404),
        ("PUT", STATS, "", 405),
        ("POST", SESSION, f"Bearer {token()}", 429),
    ],
)
async def test_the_dashboard_may_read_every_answer_and_others_none(
    http: httpx.AsyncClient,
    fake: FakeService,
    method: str,
    path: str,
    authorization: str,
    status: int,
) -> None:
    fake.answers["CreateSession"] = refusal_of("RATE_LIMITED", retry_after_seconds=3)
    for origin in (ORIGIN, "https://elsewhere.example.com"):
        headers = {"Origin": origin, "Authorization": authorization}
        answer = await http.request(method, path, headers=headers)
        assert answer.status_code == status
        allowed: Any = answer.headers.get("access-control-allow-origin")
        assert allowed == (ORIGIN if origin == ORIGIN else None)
        if allowed:
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"X-Request-Id", "Retry-After"} <= set(exposed)
            assert "origin" in answer.headers["vary"].lower()


async def test_no_origin_is_allowed_where_none_is_configured(fake: FakeService) -> None:
    async with gateway_before(fake, cors_allow_origins=()) as http:
        answer = await http.get(STATS, headers={"Origin": ORIGIN})
        assert "access-control-allow-origin" not in answer.headers
        answer = await http.options(SESSION, headers={"Origin": ORIGIN, **PREFLIGHT})
        error_of(answer, "PERMISSION_DENIED", 403)
