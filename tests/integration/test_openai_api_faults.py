"""ChatKitAPI against peers that do not behave: each ends in a reason of the contract, in time."""

import asyncio
import gzip
import socket
import time
import tracemalloc
from collections.abc import Callable

import orjson
import pytest
from structlog.testing import capture_logs

from session_service import retries
from session_service.errors import (
    UpstreamError,
    UpstreamUnavailable,
)
from tests.integration.peer import (
    MEGABYTE,
    SESSION,
    Handler,
    Peer,
    answering,
    api_of,
    create,
    http,
    listening,
    reset,
    stalling,
)
from tests.support import eventually


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "backoff_seconds", lambda retry: 0.001)


async def failure_of(peer: Peer, seconds: float = 10) -> str:
    """The reason that a create against the peer ends in, within its deadline."""
    async with api_of(peer.url) as api:
        started = time.monotonic()
        with pytest.raises(UpstreamError) as caught:
            await create(api, seconds)
        assert time.monotonic() - started < seconds + 1
    return caught.value.reason


def without(name: str) -> bytes:
    return orjson.dumps({k: v for k, v in orjson.loads(SESSION).items() if k != name})


def with_(**fields: object) -> bytes:
    return orjson.dumps(orjson.loads(SESSION) | fields)


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNUSABLE: dict[str, Handler] = {
    "html": answering(http(b"<html>Bad gateway</html>", content_type="text/html")),
    "empty": answering(http(b"")),
    "204": answering(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "a list": answering(http(b"[]")),
    "null": answering(http(b"null")),
    "deep": answering(http(b"[" * 100_000)),
    "not utf-8": answering(http(b'{"id": "\xff"}')),
    "no id": answering(http(without("id"))),
    "no secret": answering(http(without("client_secret"))),
    "no expiry": answering(http(without("expires_at"))),
    "empty id": answering(http(with_(id=""))),
    "endless id": answering(http(with_(id="x" * 300))),
    "empty secret": answering(http(with_(client_secret=""))),
    "number for secret": answering(http(with_(client_secret=5))),
    "text for expiry": answering(http(with_(expires_at="soon"))),
    "true for expiry": answering(http(with_(expires_at=True))),
    "no time at all": answering(http(with_(expires_at=0))),
    "the year 300,000": answering(http(with_(expires_at=10**13))),
    "too little body": answering(http(SESSION, content_length=999), then_close=True),
    "too much body": answering(http(SESSION, content_length=20), then_close=True),
    "half a chunk": answering(CHUNKED_HEAD + b"ff\r\n{", then_close=True),
    "no chunk size": answering(CHUNKED_HEAD + b"zz\r\n{}\r\n", then_close=True),
    "64 MB announced": stalling(http(b"", content_length=64 * MEGABYTE)),
    "redirect": answering(http(b"", "302 Found", location="/v1/chatkit/sessions")),
    "not modified": answering(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_an_answer_that_cannot_be_used_is_no_reason_to_ask_again(case: str) -> None:
    async with listening(UNUSABLE[case]) as peer:
        assert await failure_of(peer) == "UPSTREAM_UNAVAILABLE"
        assert len(peer.requests) == 1


NO_ANSWER: dict[str, Handler] = {
    "reset": reset,
    "closed": answering(b"", then_close=True),
    "closed in the headers": answering(b"HTTP/1.1 200 OK\r\nContent-", then_close=True),
}
NO_HTTP: dict[str, Handler] = {
    "another protocol": answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", then_close=True),
    "two lengths": answering(http(SESSION, Content_Length=5)),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("case", NO_ANSWER)
async def test_a_connection_that_fails_is_tried_three_times(case: str) -> None:
    async with listening(NO_ANSWER[case]) as peer:
        assert await failure_of(peer) == "UPSTREAM_UNAVAILABLE"
        assert len(peer.requests) == 3


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("case", NO_HTTP)
async def test_what_is_no_http_is_unavailable(case: str) -> None:
    async with listening(NO_HTTP[case]) as peer:
        assert await failure_of(peer) == "UPSTREAM_UNAVAILABLE"


QUOTED: dict[str, Handler] = {
    "no status line": answering(b"ek_quoted secret\r\n\r\n", then_close=True),
    "no chunk size": answering(CHUNKED_HEAD + b"ek_quoted\r\n{}\r\n", then_close=True),
    "no header": answering(b"HTTP/1.1 200 OK\r\nek_quoted secret\r\n\r\n", then_close=True),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("case", QUOTED)
async def test_what_an_unusable_answer_held_is_not_logged(case: str) -> None:
    async with listening(QUOTED[case]) as peer:
        with capture_logs() as captured:
            assert await failure_of(peer) == "UPSTREAM_UNAVAILABLE"
    assert captured
    assert "ek_quoted" not in f"{captured}"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error": "no"}', b'{"error": {}}'])
async def test_of_an_error_that_says_nothing_none_is_made_up(body: bytes) -> None:
    async with listening(answering(http(body, "400 Bad Request"))) as peer:
        with capture_logs() as captured:
            assert await failure_of(peer) == "UPSTREAM_REJECTED"
    (line,) = [line for line in captured if line["event"] == "openai answered"]
    assert line["error"] == "none that can be read"


@pytest.mark.usefixtures("hasty")
async def test_nobody_listening_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    async with api_of(url) as api:
        with pytest.raises(UpstreamUnavailable):
            await create(api)


@pytest.mark.parametrize("seen", [b"", b"HTTP/1.1 200 OK\r\nContent-", http(SESSION)[:-5]])
async def test_a_stall_ends_at_the_deadline(seen: bytes) -> None:
    async with listening(stalling(seen)) as peer:
        assert await failure_of(peer, 0.5) == "UPSTREAM_TIMEOUT"
        assert len(peer.requests) == 1


async def test_a_body_that_trickles_ends_at_the_deadline() -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"", content_length=100_000))
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with listening(trickle) as peer:
        assert await failure_of(peer, 0.5) == "UPSTREAM_TIMEOUT"


def flood(head: bytes, chunk: bytes) -> Callable[[Peer], Handler]:
    def of(peer: Peer) -> Handler:
        async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            while peer.sent < 64 * MEGABYTE:
                writer.write(chunk)
                await writer.drain()
                peer.sent += len(chunk)

        return handler

    return of


BLANKS = b" " * 65536
FLOODS = {
    "announced": flood(http(b"", content_length=64 * MEGABYTE), BLANKS),
    "chunked": flood(CHUNKED_HEAD, b"10000\r\n" + BLANKS + b"\r\n"),
    "an error": flood(http(b"", "400 Bad Request", content_length=64 * MEGABYTE), BLANKS),
}


@pytest.mark.parametrize("case", FLOODS)
async def test_a_huge_answer_is_not_read(case: str) -> None:
    async with listening(reset) as peer:
        peer.handler = FLOODS[case](peer)
        tracemalloc.start()
        try:
            reason = await failure_of(peer)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert reason == ("UPSTREAM_REJECTED" if case == "an error" else "UPSTREAM_UNAVAILABLE")
        assert peak < 16 * MEGABYTE
        assert len(peer.requests) == 1
    # It is known when the connection is closed.
    assert peer.sent < 32 * MEGABYTE


async def test_a_small_answer_that_unpacks_to_a_huge_one_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * (64 * MEGABYTE))
    async with listening(answering(http(bomb, content_encoding="gzip"))) as peer:
        tracemalloc.start()
        try:
            assert await failure_of(peer) == "UPSTREAM_UNAVAILABLE"
            assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
        finally:
            tracemalloc.stop()


async def test_connections_are_not_leaked_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "backoff_seconds", lambda retry: 0.001)
    async with listening(reset) as peer, api_of(peer.url) as api:
        for handler in (
            *(*UNUSABLE.values(), *NO_ANSWER.values(), *NO_HTTP.values()),
            stalling(b"HTTP/1.1 200"),
        ):
            peer.handler = handler
            with pytest.raises(UpstreamError):
                await create(api, 0.3)
        peer.handler = answering(http(SESSION))
        await create(api)

        async def one_is_left() -> bool:
            return peer.open == 1

        await eventually(one_is_left)
