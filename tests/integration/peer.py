"""A TCP server that answers as OpenAI never should, and a ChatKitAPI to ask it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from session_service.circuit import Circuit, patience_seconds
from session_service.issuer import IssuedSession
from session_service.openai_api import ChatKitAPI
from session_service.openai_client import open_client
from tests.support import eventually

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SESSION = b'{"id": "cksess_1", "client_secret": "ek_1", "expires_at": 1800000000}'
MEGABYTE = 1024 * 1024


class Peer:
    """A TCP server that reads requests and lets `handler` answer, or not."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.url = ""
        self.requests: list[bytes] = []
        self.accepted = 0
        self.open = 0
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = dict(headers_of(head)).get("content-length", "0")
                self.requests.append(head + await reader.readexactly(int(length)))
                await self.handler(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def all_closed(self) -> bool:
        return self.open == 0


def headers_of(request: bytes) -> list[tuple[str, str]]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    pairs = [line.partition(": ") for line in lines]
    return [(name.lower(), value) for name, _, value in pairs]


def http(body: bytes, status: str = "200 OK", **headers: object) -> bytes:
    fields = {"content_length": len(body), "content_type": "application/json", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def answering(data: bytes, *, then_close: bool = False) -> Handler:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if then_close:
            writer.close()

    return handler


def stalling(data: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read()  # until the client leaves

    return handler


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Lingering for no time at all makes the kernel send RST, see socket(7).
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[Peer]:
    """The block must have closed its connections when it ends, or close them then."""
    peer = Peer(handler)
    async with await asyncio.start_server(peer.serve, "127.0.0.1", 0) as server:
        peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield peer
        await eventually(peer.all_closed)


@asynccontextmanager
async def api_of(url: str, **others: Any) -> AsyncIterator[ChatKitAPI]:
    async with open_client(url) as client:
        values = {"api_key": "sk-test", "workflow_id": "wf_test", "file_upload": True, **others}
        yield ChatKitAPI(client, Circuit("chatkit", patience_seconds(30)), **values)


def within(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def create(api: ChatKitAPI, seconds: float = 10) -> IssuedSession:
    return await api.create_session("7", {}, within(seconds))
