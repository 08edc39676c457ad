"""A stranger's first minutes: what `make run` prints works as it is printed."""

import asyncio
import contextlib
import json
import re
from pathlib import Path

import jwt

from tests.e2e import processes
from tests.e2e.conftest import ORIGIN
from tests.e2e.dashboard import (
    STATE_VARIABLES,
    VERBATIM,
    Dashboard,
    EmulatorControl,
    open_dashboard,
)
from tests.e2e.processes import PATIENCE_SECONDS, System
from tests.gateway_support import error_of


async def test_with_no_settings_at_all_the_printed_curl_line_gives_a_client_secret(
    directory: Path,
) -> None:
    with processes.make_run(directory) as system:
        curl = await asyncio.create_subprocess_shell(
            system.curl, env=processes.environment(), stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await asyncio.wait_for(curl.communicate(), PATIENCE_SECONDS)
        answer = json.loads(printed)
        assert answer["success"] is True
        assert answer["data"]["client_secret"].startswith("ek_")
        assert (directory / "data" / "chatkit.db").exists()
        # The secret was made for this run, so the token says who but nothing else can check it.
        claims = jwt.decode(system.token, options={"verify_signature": False})
        assert claims["userId"] == 7
        assert claims["exp"] - claims["iat"] == 7 * 24 * 60 * 60
        async with open_dashboard(system.url, token="") as stranger:
            error_of(await stranger.http.get("/api/chatkit/stats"), "UNAUTHENTICATED", 401)
        assert "a secret made for this run" in system.process.output
        assert "the built-in emulator" in system.process.output
        assert system.process.stop() == 0


async def test_in_self_hosted_mode_the_printed_line_gives_a_secret_of_our_own(
    directory: Path,
) -> None:
    with processes.make_run(directory, CHATKIT_MODE="self_hosted") as system:
        line = system.process.wait_for(r"(?m)^ +(SECRET=\$\(.*)$")[1]
        shell = await asyncio.create_subprocess_shell(
            f"{line}\necho $SECRET",
            env=processes.environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await asyncio.wait_for(shell.communicate(), PATIENCE_SECONDS)
        assert re.fullmatch(rb"cksec_[\w-]{43}\n", printed)
        output = system.process.output
        assert re.search(r"Mode +self_hosted", output)
        assert re.search(r"Model +gpt-5-mini", output)
        assert printed.decode().strip() not in output
        async with open_dashboard(system.url, token=system.token) as dashboard:
            created = await dashboard.create()
            found = await dashboard.get(created["session_id"])
        assert (created["mode"], created["workflow_id"]) == ("self_hosted", None)
        assert found["workflow_id"] is None
        with contextlib.closing(EmulatorControl(system.emulator)) as openai:
            assert openai.requests("sessions.create") == []
        assert system.process.stop() == 0


async def test_the_token_is_signed_with_the_secret_that_there_is(system: System) -> None:
    assert jwt.decode(system.token, processes.SECRET, algorithms=["HS256"])["userId"] == 7
    assert "by your JWT_SECRET" in system.process.output
    assert processes.SECRET not in system.process.output


async def test_the_dashboards_verbatim_request_gets_what_it_looks_for(
    system: System, openai: EmulatorControl
) -> None:
    async with open_dashboard(system.url, 7) as dashboard:
        answer = await dashboard.http.post(
            "/api/chatkit/session",
            content=VERBATIM,
            headers={
                "Content-Type": "application/json",
                "Origin": ORIGIN,
                "X-Request-Id": "verbatim-1",
            },
        )
    data = Dashboard.data(answer)
    assert data["client_secret"].startswith("ek_")
    assert isinstance(data["expires_at"], int)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    sent = next(r for r in openai.requests() if r["headers"]["x-client-request-id"] == "verbatim-1")
    assert sent["body"]["user"] == "7"
    assert sent["body"]["workflow"]["state_variables"] == STATE_VARIABLES
    assert "user7@example.com" not in json.dumps(sent)


async def test_a_role_in_the_body_makes_nobody_an_administrator(system: System) -> None:
    async with open_dashboard(system.url, 7) as dashboard:
        body = {**json.loads(VERBATIM), "userId": 8}
        error_of(
            await dashboard.http.post("/api/chatkit/session", json=body), "PERMISSION_DENIED", 403
        )
        query = {"userId": "8", "role": "admin"}
        error_of(
            await dashboard.http.get("/api/chatkit/stats", params=query), "PERMISSION_DENIED", 403
        )


async def test_a_company_proxy_is_not_in_the_way_of_what_runs_here(directory: Path) -> None:
    nowhere = f"http://127.0.0.1:{processes.free_port()}"
    proxies = {"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": "intranet.example.com"}
    with processes.make_run(directory, **proxies) as system:
        async with open_dashboard(system.url, token=system.token) as dashboard:
            assert (await dashboard.create())["client_secret"].startswith("ek_")


async def test_a_socks_proxy_does_not_keep_the_gateway_from_starting(directory: Path) -> None:
    proxy = f"socks5://127.0.0.1:{processes.free_port()}"
    with processes.gateway(directory, "127.0.0.1:1", ALL_PROXY=proxy) as gateway:
        async with open_dashboard(gateway.url) as dashboard:
            assert (await dashboard.http.get("/healthz")).status_code == 200


async def test_a_gateway_speaks_with_its_service_and_not_with_a_proxy(
    directory: Path, own_emulator: str
) -> None:
    # gRPC takes a proxy from these, in lower case, for whatever it connects to.
    nowhere = f"http://127.0.0.1:{processes.free_port()}"
    with (
        processes.session_service(directory, own_emulator) as service,
        processes.gateway(directory, service.address, https_proxy=nowhere) as gateway,
    ):
        async with open_dashboard(gateway.url) as dashboard:
            assert (await dashboard.stats())["totalSessions"] == 0
