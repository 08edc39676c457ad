"""Accepts connections: all that wait, at each turn of the event loop.

uvloop's own server accepts one a turn. While turns are long, as under load, whoever comes with a
new connection would wait for seconds before anybody could as much as refuse them.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

import structlog

_AT_ONCE = 1024

log = structlog.get_logger()


class Acceptor:
    """Listens on one socket until it is closed; the socket is its owner's to close."""

    pause_seconds = 1.0
    """How long it waits where the system has no room for another connection."""

    def __init__(
        self, listener: socket.socket, protocol_factory: Callable[[], asyncio.Protocol]
    ) -> None:
        self._listener = listener
        self._protocol_factory = protocol_factory
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # it has gone while it waited
            except OSError as error:
                # Out of descriptors or memory. The listener stays readable, and we would spin.
                log.error(
                    "cannot accept connections", problem=errno.errorcode.get(error.errno or 0)
                )
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(self.pause_seconds, self._listen)
                return
            opening = self._loop.create_task(self._open(connection))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # it has gone
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._protocol_factory, connection)
            return
        connection.close()
