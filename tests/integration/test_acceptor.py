"""How connections are accepted: many at a turn, and not at all while there is no room."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from gateway.acceptor import Acceptor
from tests.support import eventually


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"x")
        transport.close()


class Hasty(Acceptor):
    pause_seconds = 0.1


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener


@contextlib.contextmanager
def accepting(listener: socket.socket) -> Iterator[None]:
    acceptor = Hasty(listener, Greeting)
    try:
        yield
    finally:
        acceptor.close()


def connect(listener: socket.socket) -> socket.socket:
    connection = socket.create_connection(listener.getsockname())
    connection.setblocking(False)
    return connection


async def greeted(connection: socket.socket) -> bool:
    return await asyncio.get_running_loop().sock_recv(connection, 1) == b"x"


async def test_all_that_wait_are_accepted_in_a_few_turns(listener: socket.socket) -> None:
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connect(listener)) for _ in range(300)]
        with accepting(listener):
            for _ in range(10):
                await asyncio.sleep(0)
            assert [connection.recv(1) for connection in waiting] == [b"x"] * 300


async def test_without_descriptors_it_waits_and_goes_on(listener: socket.socket) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connect(listener) as connection, capture_logs() as logged:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            with accepting(listener):

                async def is_logged() -> bool:
                    return len(logged) == 2

                await eventually(is_logged)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert await greeted(connection)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {line["problem"] for line in logged} == {"EMFILE"}
