"""How the processes start, or say in one message why they do not."""

import asyncio
import json
import socket
from pathlib import Path

import jwt
import pytest

from tests.e2e import processes
from tests.e2e.dashboard import open_dashboard
from tests.e2e.processes import SECRET
from tests.gateway_support import error_of


async def refused(*arguments: str, cwd: Path, **settings: str) -> str:
    """Returns the message of a process that must not start."""
    with processes.running(*arguments, cwd=cwd, **settings) as process:
        assert await asyncio.to_thread(process.wait) == 1, process.output
        assert "Traceback" not in process.output
        return process.output


async def test_a_gateway_without_a_way_to_check_tokens_refuses(directory: Path) -> None:
    said = await refused("-m", "gateway", cwd=directory)
    assert "gateway cannot start" in said
    assert "JWT_SECRET" in said
    assert "JWT_JWKS_URL" in said
    assert "listening" not in said


BAD_GATEWAY_SETTINGS = {
    "GATEWAY_LISTEN": "bad-listen",
    "SESSION_SERVICE_TARGET": "bad-target",
    "JWT_JWKS_URL": "http://bad-jwks.example.com/keys",
    "CORS_ALLOW_ORIGINS": "bad-origin/path",
    "CHATKIT_TIMEOUT_SECONDS": "-5",
    "LOG_LEVEL": "bad-level",
    "LOG_FORMAT": "bad-format",
}


async def test_a_gateway_lists_all_its_bad_settings_at_once(directory: Path) -> None:
    said = await refused("-m", "gateway", cwd=directory, JWT_SECRET=SECRET, **BAD_GATEWAY_SETTINGS)
    assert {name for name in BAD_GATEWAY_SETTINGS if f"{name}: " not in said} == set()
    assert said.count("cannot start") == 1
    assert SECRET not in said
    assert "JWT_SECRET:" not in said


async def test_a_gateway_lists_a_missing_secret_with_the_other_bad_settings(
    directory: Path,
) -> None:
    said = await refused("-m", "gateway", cwd=directory, GATEWAY_LISTEN="bad-listen")
    assert "GATEWAY_LISTEN: " in said
    assert "JWT_SECRET: " in said


BAD_SERVICE_SETTINGS = {
    "OPENAI_BASE_URL": "bad-url",
    "CHATKIT_MODE": "bad-mode",
    "SESSION_SERVICE_LISTEN": "127.0.0.1:99999",
    "DATABASE_URL": "mysql://bad-database",
    "CHATKIT_TIMEOUT_SECONDS": "0",
    "CHATKIT_MAX_MESSAGES": "none",
    "CHATKIT_TOOLS": "search,bad-tool",
    "CHATKIT_USAGE_SYNC_SECONDS": "-1",
    "CHATKIT_SESSIONS_PER_MINUTE": "1.5",
    "LOG_LEVEL": "bad-level",
}


async def test_a_session_service_lists_all_its_bad_settings_at_once(directory: Path) -> None:
    key = "sk-key-that-nobody-may-see"
    said = await refused(
        *("-m", "session_service"), cwd=directory, OPENAI_API_KEY=key, **BAD_SERVICE_SETTINGS
    )
    assert {name for name in BAD_SERVICE_SETTINGS if f"{name}: " not in said} == set()
    assert said.count("cannot start") == 1
    assert key not in said
    assert not (directory / "data").exists()


@pytest.mark.parametrize(
    ("module", "setting"),
    [("gateway", "GATEWAY_LISTEN"), ("session_service", "SESSION_SERVICE_LISTEN")],
)
async def test_a_port_in_use_gives_one_clear_line(
    directory: Path, module: str, setting: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = {"JWT_SECRET": SECRET, setting: address}
        said = await refused("-m", module, cwd=directory, **settings)
    (line,) = [line for line in said.splitlines() if "cannot start" in line]
    assert address in line
    assert setting in line
    assert "listening" not in said


@pytest.mark.parametrize("name", ["GATEWAY_LISTEN", "SESSION_SERVICE_LISTEN"])
async def test_make_run_starts_nothing_when_a_port_is_in_use(directory: Path, name: str) -> None:
    free = {
        listen: f"127.0.0.1:{processes.free_port()}"
        for listen in ("GATEWAY_LISTEN", "SESSION_SERVICE_LISTEN")
    }
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = await refused(processes.RUN, cwd=directory, **{**free, name: address})
    assert said.splitlines() == [
        f"{address} is taken, perhaps by another `make run`: stop that, or choose another address"
        f" with {name}=127.0.0.1:PORT"
    ]


async def test_make_run_stops_and_says_why_when_a_process_cannot_start(directory: Path) -> None:
    address = "192.0.2.1:8080"  # for documentation: no machine has it
    said = await refused(
        processes.RUN,
        cwd=directory,
        GATEWAY_LISTEN=address,
        SESSION_SERVICE_LISTEN=f"127.0.0.1:{processes.free_port()}",
    )
    assert f"gateway cannot start: it cannot listen on {address}" in said
    assert said.splitlines()[-1] == "gateway stopped, and so has everything else."
    assert "is ready" not in said


async def test_each_process_prints_one_line_when_it_listens(
    directory: Path, own_emulator: str
) -> None:
    with processes.pair(directory, own_emulator, CHATKIT_MODE="self_hosted") as (service, gateway):
        async with open_dashboard(gateway.url) as dashboard:
            assert (await dashboard.http.get("/readyz")).status_code == 200
        for part in (service, gateway):
            assert len(part.process.output.splitlines()) == 1, part.process.output


async def test_hosted_mode_says_loudly_how_long_it_has_and_what_to_do(
    directory: Path, own_emulator: str
) -> None:
    with processes.session_service(directory, own_emulator) as service:
        line = json.loads(service.process.wait_for(r"(?m)^.*AGENT BUILDER.*$")[0])
    assert line["level"] == "warning"
    assert line["closes"] == "2026-11-30"
    assert "CHATKIT_MODE=self_hosted" in line["remedy"]
    assert len(service.process.output.splitlines()) == 2  # and one when it listens


async def test_whoever_just_tries_it_out_is_told_calmly(directory: Path) -> None:
    with processes.make_run(directory) as system:
        output = system.process.output
    assert "AGENT BUILDER" not in output
    assert output.count("2026-11-30") == 1
    assert "make run MODE=self_hosted" in output


async def test_a_mode_that_there_is_not_stops_the_start(directory: Path) -> None:
    said = await refused(processes.RUN, cwd=directory, CHATKIT_MODE="selfhosted")
    assert said.splitlines() == [
        "There is no mode 'selfhosted': it is hosted or self_hosted, from `make run MODE=…` or else"
        " CHATKIT_MODE"
    ]


async def test_what_is_in_the_env_file_counts_and_the_environment_counts_more(
    directory: Path,
) -> None:
    lines = ["JWT_SECRET=from-the-file-0123456789abcdefghi", "ADMIN_USER_IDS=7,8", "LOG_LEVEL=loud"]
    (directory / ".env").write_text("\n".join(lines))
    with processes.make_run(directory, LOG_LEVEL="info", ADMIN_USER_IDS="8") as system:
        claims = jwt.decode(system.token, lines[0].partition("=")[2], algorithms=["HS256"])
        assert claims["userId"] == 7
        async with open_dashboard(system.url, token=system.token) as dashboard:
            body = {"userId": 9}
            answer = await dashboard.http.post("/api/chatkit/session", json=body)
            error_of(answer, "PERMISSION_DENIED", 403)
