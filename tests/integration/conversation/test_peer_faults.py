"""A peer that is not OpenAI, or not today: each answer ends in a reason, in time and in bounds."""

import asyncio
import gzip
import time
import tracemalloc
from collections.abc import Callable

import pytest

from session_service import retries
from session_service.config import Settings
from session_service.conversation.http_client import MAX_EVENT_BYTES
from tests.integration.conversation.chat import open_chat
from tests.integration.peer import (
    MEGABYTE,
    Handler,
    answering,
    http,
    listening,
    reset,
    stalling,
)
from tests.support import eventually, refused

MakeSettings = Callable[..., Settings]

SECONDS = 1.5
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNAVAILABLE, TIMEOUT = "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def flood(head: bytes, piece: bytes = b"x" * 65536) -> Handler:
    """Sends 64 MB after `head`, where the client takes them."""

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _piece in range(64 * MEGABYTE // len(piece)):
            writer.write(piece)
            await writer.drain()
        writer.close()

    return handler


def drip(head: bytes) -> Handler:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(chunk(b":"))
            await writer.drain()
            await asyncio.sleep(0.05)

    return handler


BOMB = gzip.compress(b"x" * (64 * MEGABYTE))
PLAIN = chunk(b"x" * 65536)
FAULTS: dict[str, tuple[Handler, str]] = {
    "reset": (reset, UNAVAILABLE),
    "closed": (answering(b"", then_close=True), UNAVAILABLE),
    "closed in the headers": (answering(b"HTTP/1.1 200 OK\r\nCon", then_close=True), UNAVAILABLE),
    "closed after the headers": (answering(EVENTS, then_close=True), UNAVAILABLE),
    "stalled before the headers": (stalling(b""), TIMEOUT),
    "stalled in the headers": (stalling(b"HTTP/1.1 200 OK\r\nCon"), TIMEOUT),
    "stalled in the body": (stalling(EVENTS + chunk(b"data: {")), TIMEOUT),
    "stalled in an error": (stalling(http(b"{", "400 Bad Request", content_length=9)), TIMEOUT),
    "dripping": (drip(EVENTS), TIMEOUT),
    "another protocol": (answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", then_close=True), UNAVAILABLE),
    "two lengths": (answering(http(b"{}", Content_Length=5)), UNAVAILABLE),
    "too little body": (answering(http(b"{}", content_length=99), then_close=True), UNAVAILABLE),
    "too much body": (answering(http(b"{}{}", content_length=2), then_close=True), UNAVAILABLE),
    "half a chunk": (answering(EVENTS + b"ff\r\n{", then_close=True), UNAVAILABLE),
    "no chunk size": (answering(EVENTS + b"zz\r\n{}\r\n", then_close=True), UNAVAILABLE),
    "half an error": (
        answering(http(b"{", "400 Bad Request", content_length=9), then_close=True),
        "UPSTREAM_REJECTED",
    ),
    "html": (answering(http(b"<html>Hi!</html>", content_type="text/html")), UNAVAILABLE),
    "redirect": (answering(http(b"", "307 Moved", location="/v1/elsewhere")), UNAVAILABLE),
    "endless headers": (flood(b"HTTP/1.1 200 OK\r\nX-A: "), UNAVAILABLE),
    "endless event": (flood(EVENTS + chunk(b"data: "), PLAIN), UNAVAILABLE),
    "endless lines": (flood(EVENTS, chunk(b"data: " + b"x" * 65000 + b"\n")), UNAVAILABLE),
    "endless html": (flood(http(b"", content_length=64 * MEGABYTE)), UNAVAILABLE),
    "endless error": (
        flood(http(b"", "400 Bad Request", content_length=64 * MEGABYTE)),
        "UPSTREAM_REJECTED",
    ),
    "packed": (answering(http(BOMB, content_encoding="gzip")), UNAVAILABLE),
    "packed error": (
        answering(http(BOMB, "400 Bad Request", content_encoding="gzip")),
        "UPSTREAM_REJECTED",
    ),
}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "backoff_seconds", lambda retry: 0.001)


@pytest.mark.parametrize("case", FAULTS)
async def test_each_ends_in_a_reason_in_time_and_leaves_no_connection(
    case: str, settings: MakeSettings
) -> None:
    handler, reason = FAULTS[case]
    seconds = SECONDS if reason == TIMEOUT else 20
    async with (
        listening(handler) as peer,
        open_chat(settings(openai_base_url=peer.url, chatkit_timeout_seconds=seconds)) as chat,
    ):
        started = time.monotonic()
        with refused(reason):
            await chat.say("Hola")
        assert time.monotonic() - started < seconds + 2

        async def one_is_idle_at_most() -> bool:
            return peer.open <= 1

        await eventually(one_is_idle_at_most)
        assert not any(b"/v1/elsewhere" in request for request in peer.requests)


async def test_answers_without_end_are_bounded_together(settings: MakeSettings) -> None:
    at_once = 10
    async with (
        listening(flood(EVENTS + chunk(b"data: "), PLAIN)) as peer,
        open_chat(settings(openai_base_url=peer.url, chatkit_timeout_seconds=60)) as chat,
    ):

        async def refusal() -> None:
            with refused(UNAVAILABLE):
                await chat.say("Hola")

        tracemalloc.start()
        try:
            await asyncio.gather(*(refusal() for _ in range(at_once)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < at_once * 2 * MAX_EVENT_BYTES, "64 MB each would be 640 MB"
        await eventually(peer.all_closed)


async def test_who_leaves_takes_the_connection_along(settings: MakeSettings) -> None:
    async with (
        listening(stalling(EVENTS)) as peer,
        open_chat(settings(openai_base_url=peer.url)) as chat,
    ):
        for handler in (stalling(b""), stalling(EVENTS), stalling(EVENTS + chunk(b"data: {"))):
            peer.handler = handler
            asked = len(peer.requests)
            answer = chat.begin("Hola")
            reading = asyncio.create_task(answer.events())

            async def came(asked: int = asked) -> bool:
                return len(peer.requests) > asked

            await eventually(came)
            answer.call.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await eventually(peer.all_closed)
