"""A wire that can be cut: a TCP proxy that stalls, resets and half-closes what goes through it."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

_CHUNK = 64 * 1024


class Proxy:
    """Forwards connections to one address, until it is told otherwise."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._connections: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self.address = ""

    def stall(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        self._flows.clear()

    def reset(self) -> None:
        """Breaks all connections off, and every new one at once."""
        self._refuses = True
        for pair in list(self._connections):
            for writer in pair:
                _reset(writer)

    def half_close(self) -> None:
        """Tells the gateway that no more will come, though the service goes on; resets new ones."""
        self._refuses = True
        for client, _ in list(self._connections):
            if client.can_write_eof() and not client.is_closing():
                client.write_eof()

    def heal(self) -> None:
        self._refuses = False
        self._flows.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handles one connection."""
        if self._refuses:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        pair = (writer, far_writer)
        self._connections.add(pair)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._connections.discard(pair)
            for end in pair:
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # it has ended, or was told that it has
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    # Lingering for no time at all makes the kernel send RST instead of FIN, see socket(7).
    linger = struct.pack("ii", 1, 0)
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def open_proxy(target: str) -> AsyncIterator[Proxy]:
    """Opens a proxy before that address, on a free port."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.address = f"{host}:{port}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.reset()
