"""Clients that nobody wants: they vanish, dawdle, or send what is no request at all."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Awaitable, Callable

import orjson

from tests.chaos.stage import Stage
from tests.e2e.dashboard import token_of
from tests.integration.conversation.chat import message

Disturbance = Callable[[Stage], Awaitable[None]]

_AT_ONCE = 4
_PAUSE_SECONDS = 0.02
_LONG_SECONDS = 3.0


async def repeat(disturbance: Disturbance, stage: Stage, until: float) -> None:
    """Does it several times at once, until then."""

    async def one() -> None:
        while time.monotonic() < until:
            await once(disturbance, stage)
            await asyncio.sleep(_PAUSE_SECONDS)

    await asyncio.gather(*(one() for _ in range(_AT_ONCE)))


async def once(disturbance: Disturbance, stage: Stage) -> None:
    """Does it, for some seconds at most; what it meets is its own affair."""
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_LONG_SECONDS):
            await disturbance(stage)


async def leave_early(stage: Stage) -> None:
    """Asks for a session and closes the connection before the answer, or in mid-request."""
    _, writer = await _connect(stage.gateway.address)
    request = _request("POST", "/api/chatkit/session", _token(), b"{}")
    writer.write(request[: random.choice((len(request), len(request) // 2))])
    await writer.drain()
    await asyncio.sleep(random.uniform(0, 0.01))
    writer.close()


async def leave_stream(stage: Stage) -> None:
    """Begins a chat and leaves in the middle of the answer."""
    reader, writer = await _begin_chat(stage)
    with contextlib.closing(writer):
        await reader.readuntil(b"text_delta")


async def read_slowly(stage: Stage) -> None:
    """Begins a chat and takes some bytes of the answer now and then."""
    reader, writer = await _begin_chat(stage)
    with contextlib.closing(writer):
        while await reader.read(64):  # noqa: ASYNC110 - it is a client that sleeps
            await asyncio.sleep(0.05)


async def send_noise(stage: Stage) -> None:
    """Random bytes, to the gateway and to the service."""
    for address in (stage.gateway.address, stage.services[0].address):
        await _send(address, random.randbytes(random.randrange(1, 4096)))


async def send_wrong_http(stage: Stage) -> None:
    """What is nearly a request."""
    await _send(stage.gateway.address, random.choice(_WRONG))


async def send_http_to_grpc(stage: Stage) -> None:
    """HTTP/1.1 and broken HTTP/2 to the port of gRPC."""
    address = stage.services[0].address
    await _send(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await _send(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random.randbytes(256))


GARBAGE = (send_noise, send_wrong_http, send_http_to_grpc)

_WRONG = (
    b"GET / HTTP/9.9\r\n\r\n",
    b"\r\n\r\n\r\n\r\n",
    b"POST /api/chatkit/session HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/chatkit/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Header: y\r\n" * 6000 + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # a TLS ClientHello
    b"POST /api/chatkit/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 4\r\nAuthorization: Bearer \xff\xfe\r\n\r\n{{{{",
)


async def _begin_chat(stage: Stage) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    create = _request("POST", "/api/chatkit/session", _token(), b"{}")
    reader, writer = await _connect(stage.gateway.address)
    writer.write(create)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    secret = orjson.loads(await reader.readexactly(length))["data"]["client_secret"]
    body = {"type": "threads.create", "params": {"input": message("Cuéntame todo " * 50)}}
    writer.write(_request("POST", "/api/chatkit", secret, orjson.dumps(body)))
    return reader, writer


def _token() -> str:
    """Returns that of somebody new: whoever asks too often is refused."""
    return token_of(f"disturber-{random.getrandbits(64)}")


def _request(method: str, path: str, token: str, body: bytes) -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _send(address: str, data: bytes) -> None:
    """Sends bytes, and reads what comes back for a moment."""
    reader, writer = await _connect(address)
    with contextlib.closing(writer), contextlib.suppress(TimeoutError):
        writer.write(data)
        async with asyncio.timeout(0.1):
            await reader.read()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    near = socket.socket()
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that slow readers hold much up
    await asyncio.get_running_loop().sock_connect(near, (host, int(port)))
    return await asyncio.open_connection(sock=near, limit=16 * 1024)
