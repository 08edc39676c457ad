"""Both processes over mutual TLS with a token, as docs/transport.md says; where they refuse."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from run import QUESTION
from tests.e2e import processes
from tests.e2e.dashboard import open_dashboard
from tests.e2e.test_e2e_documents import block
from tests.e2e.test_e2e_start import refused
from tests.gateway_support import error_of

TOKEN = "0123456789abcdef0123456789abcdef"
STATS = "/api/chatkit/stats"


@pytest.fixture(scope="module")
def as_the_readme_says(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the document's certificates and its `.env`."""
    directory = tmp_path_factory.mktemp("readme")
    commands = block("docs/transport.md", "bash", having="openssl")
    subprocess.run(["bash", "-euc", commands], cwd=directory, check=True, capture_output=True)
    (directory / ".env").write_text(
        block("docs/transport.md", "ini", having="SESSION_SERVICE_TLS_CA")
        + f"SESSION_SERVICE_TOKEN=gateway:{TOKEN},reports:{TOKEN[::-1]}\n"
    )
    return directory


@pytest.mark.parametrize("mode", ["hosted", "self_hosted"])
async def test_all_works_over_mutual_tls_with_a_token_as_the_readme_says(
    mode: str, as_the_readme_says: Path, own_emulator: str
) -> None:
    with processes.pair(as_the_readme_says, own_emulator, CHATKIT_MODE=mode, LOG_LEVEL="debug") as (
        service,
        gateway,
    ):
        async with open_dashboard(gateway.url) as dashboard:
            created = await dashboard.create()
            assert (await dashboard.get(created["session_id"]))["status"] == "active"
            if mode == "self_hosted":
                headers = {"Authorization": f"Bearer {created['client_secret']}"}
                answer = await dashboard.http.post("/api/chatkit", json=QUESTION, headers=headers)
                assert "thread.item.done" in answer.text
            assert (await dashboard.http.get("/readyz")).status_code == 200
        check = await asyncio.to_thread(
            subprocess.run,
            (sys.executable, "-m", "session_service.healthcheck"),
            cwd=as_the_readme_says,
            env=processes.environment(
                SESSION_SERVICE_LISTEN=service.address,
                SESSION_SERVICE_TLS_CERT="tls/session-service.pem",
                SESSION_SERVICE_TLS_KEY="tls/session-service.key",
                SESSION_SERVICE_TLS_CLIENT_CA="tls/ca.pem",
            ),
            capture_output=True,
            check=False,
        )
        assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
        assert gateway.process.stop() == 0
        assert service.process.stop() == 0
    lines = [json.loads(line) for line in service.process.output.splitlines() if line[0] == "{"]
    (listening,) = [line for line in lines if line["event"] == "session service listening"]
    assert (listening["tls"], listening["token"]) == ("mutual", "needed")
    ours = [line for line in lines if "request_id" in line and "caller" in line]
    assert {line["caller"] for line in ours} == {"gateway"}
    assert {"rpc"} <= {line["event"] for line in ours}
    key = (as_the_readme_says / "tls" / "gateway.key").read_text().splitlines()[1]
    for output in (service.process.output, gateway.process.output):
        assert TOKEN not in output
        assert TOKEN[::-1] not in output
        assert key not in output


async def test_a_gateway_with_another_token_says_so_in_its_log_and_to_nobody_that_they_log_in(
    directory: Path, own_emulator: str
) -> None:
    with (
        processes.session_service(directory, own_emulator, SESSION_SERVICE_TOKEN=TOKEN) as service,
        processes.gateway(
            directory, service.address, SESSION_SERVICE_TOKEN=f"gateway:{TOKEN[::-1]}"
        ) as gateway,
    ):
        async with open_dashboard(gateway.url) as dashboard:
            error_of(await dashboard.http.get(STATS), "UNAVAILABLE", 503)
        gateway.process.wait_for("session service refuses this gateway")
        service.process.wait_for("caller refused")
        for part in (service, gateway):
            assert TOKEN not in part.process.output
            assert TOKEN[::-1] not in part.process.output


async def test_beyond_this_machine_both_refuse_to_speak_in_the_clear(directory: Path) -> None:
    listen = f"0.0.0.0:{processes.free_port()}"
    # Not with a token, either: it could be read on the way.
    given = {"SESSION_SERVICE_LISTEN": listen, "SESSION_SERVICE_TOKEN": TOKEN}
    said = await refused("-m", "session_service", cwd=directory, **given)
    assert said.count("SESSION_SERVICE_LISTEN: ") == 1
    for remedy in ("SESSION_SERVICE_TLS_CERT", "SESSION_SERVICE_PLAINTEXT=true"):
        assert remedy in said
    given = {"SESSION_SERVICE_TARGET": "session-service:50051", "SESSION_SERVICE_TOKEN": TOKEN}
    said += await refused("-m", "gateway", cwd=directory, JWT_SECRET=processes.SECRET, **given)
    assert said.count("SESSION_SERVICE_TARGET: ") == 1
    for remedy in ("SESSION_SERVICE_TLS_CA", "SESSION_SERVICE_PLAINTEXT=true"):
        assert remedy in said
    assert TOKEN not in said
    assert not (directory / "data").exists()


async def test_beyond_this_machine_they_speak_in_the_clear_where_it_is_meant(
    directory: Path, own_emulator: str
) -> None:
    listen = f"0.0.0.0:{processes.free_port()}"
    with (
        processes.session_service(
            directory,
            own_emulator,
            SESSION_SERVICE_LISTEN=listen,
            SESSION_SERVICE_PLAINTEXT="true",
        ) as service,
        # Which is this machine, too, but looks like any other address.
        processes.gateway(directory, listen, SESSION_SERVICE_PLAINTEXT="true") as gateway,
    ):
        assert service.address == listen
        async with open_dashboard(gateway.url) as dashboard:
            assert (await dashboard.http.get(STATS)).status_code == 200
