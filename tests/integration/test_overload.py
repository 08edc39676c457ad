"""Our processes, asked for three times as much as they can do; ten thousand who ask nothing."""

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from runtime.open_files import raise_open_files_limit
from tests.bench.contestants import running_chain, running_upstream
from tests.bench.overload import overload
from tests.e2e import processes
from tests.e2e.dashboard import token_of
from tests.gateway_support import FakeService

SETTINGS = {"GATEWAY_LISTEN": "127.0.0.1:0", "JWT_SECRET": processes.SECRET}
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "
HALF_BODY = (
    b"POST /api/chatkit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)


async def test_three_times_too_much_is_mostly_refused_and_the_rest_is_served(
    tmp_path: Path,
) -> None:
    """Bounds are for machines that are busy with more than this; `make bench` says how good it is.

    Without refusals the accepted ones wait longer and longer: as long as they come.
    """
    async with (
        running_upstream(tmp_path) as upstream,
        running_chain(tmp_path, upstream.port, tmp_path / "overload.db") as chain,
    ):
        seen = await overload(chain, seconds=1)
    figures = seen.at_times
    assert figures.lost == 0
    assert figures.refused_per_second > seen.best.per_second / 2
    assert seen.kept > 0.15
    assert figures.accepted_p99_ms < 20 * seen.best.p99_ms
    assert figures.refused_p50_ms < figures.accepted_p50_ms
    lines = (tmp_path / "chain-gateway.log").read_text()
    assert '"event":"overload"' in lines
    assert '"status":503' not in lines  # not one line each


@contextlib.asynccontextmanager
async def connections(
    address: str, count: int, sent: bytes = b""
) -> AsyncIterator[list[socket.socket]]:
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            connection = stack.enter_context(socket.create_connection((host, port), timeout=20))
            connection.sendall(sent)
            return connection

        yield await asyncio.to_thread(lambda: [connect() for _ in range(count)])


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def test_ten_thousand_connections_that_ask_nothing_disturb_nobody(tmp_path: Path) -> None:
    count = min(10_000, raise_open_files_limit() - 1_000)
    async with FakeService().serve() as fake:
        target = f"127.0.0.1:{fake.port}"
        with processes.gateway(tmp_path, target) as gateway:
            async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
                http.headers["Authorization"] = f"Bearer {token_of(7)}"
                assert (await http.get("/api/chatkit/stats")).status_code == 200
                before = resident_bytes(gateway.process.pid)
                async with (
                    connections(gateway.address, count - 1000),
                    connections(gateway.address, 500, HALF_HEAD),
                    connections(gateway.address, 500, HALF_BODY),
                ):
                    assert (await http.get("/healthz")).status_code == 200  # it has accepted them
                    each = (resident_bytes(gateway.process.pid) - before) / count
                    latencies = []
                    for _ in range(100):
                        started = time.perf_counter()
                        assert (await http.get("/api/chatkit/stats")).status_code == 200
                        latencies.append(time.perf_counter() - started)
                assert each < 40_000
                assert sorted(latencies)[-2] < 1
                assert (await http.get("/api/chatkit/stats")).status_code == 200


async def test_who_has_few_descriptors_left_turns_connections_away(tmp_path: Path) -> None:
    """Instead of failing to accept them, again and again."""
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
        " from gateway.__main__ import main; main()"
    )
    with processes.running("-c", limited, cwd=tmp_path, **SETTINGS) as gateway:
        address = gateway.wait_for(processes.LISTENS["gateway"])[1]
        async with connections(address, 60) as kept, connections(address, 120) as others:
            for connection in kept:
                connection.sendall(HEALTH)
                assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
            ends = [await asyncio.to_thread(end_of, connection) for connection in others[40:]]
            assert set(ends) == {b""}
        async with connections(address, 1, HEALTH) as (connection,):
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert gateway.stop() == 0
        assert "cannot accept" not in gateway.output


def end_of(connection: socket.socket) -> bytes:
    """Returns what comes until the other side closes the connection."""
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(4096)
    return b""
