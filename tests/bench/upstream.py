"""A stand-in for OpenAI, far faster than what calls it: `python -m tests.bench.upstream PORT`."""

import asyncio
import itertools
import re
import secrets
import sys
import time
from typing import cast

import uvloop

SECRET_PREFIX = "ek_bench_"
SECRET_SECONDS = 600
PATH = "/v1/chatkit/sessions"

_REQUEST_LINE = f"POST {PATH} HTTP/1.1\r\n".encode()
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """Parses just enough HTTP to answer a create, kept alive, however it is cut into packets."""

    _run = secrets.token_hex(8)
    _numbers = itertools.count()

    def __init__(self) -> None:
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
            is_create = self._received.startswith(_REQUEST_LINE)
            self._received = self._received[request_end:]
            self._transport.write(self._created() if is_create else _NOT_FOUND)

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
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
