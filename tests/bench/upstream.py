"""A stand-in for OpenAI, far faster than what calls it: `python -m tests.bench.upstream PORT`.

Not the emulator, which checks what it is asked and makes each event as it goes: under load, that
would be what is measured, and on two cores it would take one from whoever asks.
"""

import asyncio
import itertools
import re
import secrets
import sys
import time
from typing import cast

import uvloop

from tests.bench.pacer import Pacer
from tests.bench.upstream_answer import StreamedAnswer

SECRET_PREFIX = "ek_bench_"
SECRET_SECONDS = 600
PATH = "/v1/chatkit/sessions"
ENDLESS = "sin fin"
"""Whoever writes this is answered without end, event by event."""

_CREATE = f"POST {PATH} HTTP/1.1\r\n".encode()
_ANSWER = b"POST /v1/responses HTTP/1.1\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """Parses just enough HTTP for a create or a streamed answer, however it is cut into packets.

    An answer is written at once, and its reader takes it as fast as it can; or event by event.
    """

    _run = secrets.token_hex(8)
    _numbers = itertools.count()

    def __init__(self, answer: StreamedAnswer, pacer: Pacer) -> None:
        self._answer = answer
        self._pacer = pacer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _CONTENT_LENGTH.search(self._received, 0, head_end + 2)
            request_end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < request_end:
                return
            request, self._received = self._received[:request_end], self._received[request_end:]
            self._transport.write(self._reply(request))

    def connection_lost(self, _: Exception | None) -> None:
        self._pacer.remove(self._transport)

    def _reply(self, request: bytes) -> bytes:
        if request.startswith(_CREATE):
            return self._created()
        if request.startswith(_ANSWER):
            if ENDLESS.encode() not in request:
                return self._answer.next()
            opening, delta = self._answer.begin()
            self._pacer.add(self._transport, delta)
            return opening
        return _NOT_FOUND

    def _created(self) -> bytes:
        """Returns a session that no other answer has: the store refuses one that comes twice."""
        unique = f"{self._run}{next(self._numbers):016x}"
        body = (
            f'{{"id":"cksess_{unique}","object":"chatkit.session","status":"active",'
            f'"expires_at":{int(time.time()) + SECRET_SECONDS},'
            f'"client_secret":"{SECRET_PREFIX}{unique}"}}'
        )
        return (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            f"x-request-id: req_{unique}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()


async def serve(port: int) -> None:
    """Serves until it is ended."""
    loop = asyncio.get_running_loop()
    answer, pacer = StreamedAnswer(), Pacer()
    await loop.create_server(lambda: Upstream(answer, pacer), "127.0.0.1", port, backlog=2048)
    await pacer.run()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
