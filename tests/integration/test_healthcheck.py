"""`python -m session_service.healthcheck`, which containers run, before each kind of service."""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from session_service.server import Server, serve
from tests.integration.test_grpc_callers import GATEWAYS, NOWHERE, tokens
from tests.support import settings_for
from tests.tls_support import Authority, as_environment, for_service

REPOSITORY = Path(__file__).parents[2]


async def check(port: int, **settings: str) -> tuple[int | None, str]:
    """Returns the exit code and what was printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "session_service.healthcheck"),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "SESSION_SERVICE_LISTEN": f"127.0.0.1:{port}",
            **settings,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
    return process.returncode, output


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def configurations(authority: Authority, directory: Path) -> dict[str, dict[str, Any]]:
    ours = authority.identity("ours", "*.example.com")
    return {
        "in the clear": {},
        "with a token": dict(tokens(GATEWAYS)),
        "over TLS": dict(for_service(ours)),
        "over mutual TLS": dict(for_service(ours, clients=authority)),
        "over mutual TLS of another authority": dict(
            for_service(ours, clients=Authority(directory, "callers"))
        ),
    }


async def drain(server: Server) -> None:
    """Says that it does not serve, and is still there to say so."""
    await server._health.enter_graceful_shutdown()


@pytest.mark.parametrize(
    "which",
    [
        "in the clear",
        "with a token",
        "over TLS",
        "over mutual TLS",
        "over mutual TLS of another authority",
    ],
)
async def test_a_service_of_any_kind_is_healthy_while_it_runs(
    which: str, tmp_path: Path, authority: Authority
) -> None:
    given = configurations(authority, tmp_path)[which]
    environment = as_environment({n: v for n, v in given.items() if isinstance(v, Path)})
    async with serve(settings_for(tmp_path, NOWHERE, **given)) as server:
        port = server.port
        assert await check(port, **environment) == (0, "")
        if which != "over mutual TLS of another authority":  # which cannot ask
            await drain(server)
            assert (await check(port, **environment))[0] == 1
    code, output = await check(port, **environment)
    assert code == 1
    assert output.startswith("not healthy: ")


async def test_a_service_on_all_addresses_is_asked_on_this_machine(tmp_path: Path) -> None:
    given = {"session_service_listen": "0.0.0.0:0", "session_service_plaintext": True}
    async with serve(settings_for(tmp_path, NOWHERE, **given)) as server:
        listen = f"0.0.0.0:{server.port}"
        assert await check(server.port, SESSION_SERVICE_LISTEN=listen) == (0, "")


async def test_who_accepts_and_says_nothing_is_not_healthy(
    tmp_path: Path, authority: Authority
) -> None:
    environment = as_environment(for_service(authority.service(), clients=authority))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, output = await check(silent.getsockname()[1], **environment)
    assert code == 1
    assert output.startswith("not healthy: ")
