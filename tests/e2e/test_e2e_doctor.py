"""`make doctor` and its two halves, as people and scripts start them."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from session_service.agent_builder import EMULATOR_KEY, is_closed, utc_today
from tests.e2e.processes import (
    REPOSITORY,
    SECRET,
    WORKFLOW,
    emulator,
    free_port,
    has_loaded,
    is_alive,
    running,
)

SERVICE, GATEWAY = ("-m", "session_service", "doctor"), ("-m", "gateway", "doctor")
BOTH = (str(REPOSITORY / "doctor.py"),)
WHOLE = {
    "OPENAI_API_KEY": EMULATOR_KEY,  # whose workflows have no end
    "OPENAI_CHATKIT_WORKFLOW_ID": WORKFLOW,
    "JWT_SECRET": SECRET,
}


def told(*arguments: str, cwd: Path, **settings: str) -> tuple[int, str]:
    """Returns the exit code and all that is printed, once it is certain that no secret is."""
    free = {
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "SESSION_SERVICE_LISTEN": (listen := f"127.0.0.1:{free_port()}"),
        "SESSION_SERVICE_TARGET": listen,
        "NO_PROXY": "127.0.0.1",
    }
    with running(*arguments, cwd=cwd, **{**free, **settings}) as process:
        return process.wait(), process.output


def test_on_a_fresh_clone_it_says_calmly_what_is_missing(tmp_path: Path) -> None:
    code, said = told(*BOTH, cwd=tmp_path)
    assert code == 1
    assert "\nServicio de sesiones\n" in said
    assert "\nGateway\n" in said
    # From its end on Agent Builder is the fourth: `make run` does not need it either.
    amiss = 3 + is_closed(utc_today())
    assert said.count("✗") == amiss
    for missing in ("Falta OPENAI_API_KEY", "Falta OPENAI_CHATKIT_WORKFLOW_ID", "Falta JWT_SECRET"):
        assert missing in said
    assert "sin clave, make run usa un emulador" in said
    assert said.splitlines()[-1].startswith(f"{amiss} de ")
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_with_everything_in_order_it_ends_with_0_in_the_language_of_the_locale(
    tmp_path: Path,
) -> None:
    with emulator(tmp_path) as openai:
        url = f"{openai.url}/v1"
        code, said = told(*BOTH, cwd=tmp_path, LANG="en_US.UTF-8", OPENAI_BASE_URL=url, **WHOLE)
        assert code == 0, said
        assert "✗" not in said
        assert said.splitlines()[-1].startswith("Nothing to be mended: ")
        code, said = told(*SERVICE, "--json", cwd=tmp_path, OPENAI_BASE_URL=url, **WHOLE)
    report: dict[str, Any] = json.loads(said)  # and nothing else is printed, logs neither
    assert code == 0
    assert report["state"] == "passed"
    assert {check["process"] for check in report["checks"]} == {"session_service"}


@pytest.mark.parametrize(
    ("command", "name"), [(SERVICE, "openai.key"), (GATEWAY, "gateway.tokens")]
)
def test_each_process_tells_of_itself(command: tuple[str, ...], name: str, tmp_path: Path) -> None:
    code, said = told(*command, "--json", cwd=tmp_path)
    missing = [check["name"] for check in json.loads(said)["checks"] if check["state"] == "failed"]
    assert code == 1
    assert name in missing


def test_the_terminals_encoding_may_lack_the_signs(tmp_path: Path) -> None:
    code, said = told(*GATEWAY, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert code == 1
    assert "Traceback" not in said
    assert "? Puerto del gateway" in said


def test_an_openai_that_never_answers_holds_it_up_for_seconds(tmp_path: Path) -> None:
    with emulator(tmp_path) as openai:
        openai.process.send(signal.SIGSTOP)
        url = f"{openai.url}/v1"
        code, said = told(*SERVICE, "--json", cwd=tmp_path, OPENAI_BASE_URL=url, **WHOLE)
        openai.process.send(signal.SIGCONT)
    checks = {check["name"]: check for check in json.loads(said)["checks"]}
    assert code == 1
    assert checks["openai.reachable"]["cause"] == "timeout"
    assert checks["openai.permission"]["state"] == "skipped"
    assert checks["database.usable"]["state"] == "passed"


def test_who_has_read_enough_of_it_is_no_defect(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m gateway doctor | true; exit ${{PIPESTATUS[0]}}"
    with running("-c", shell, cwd=tmp_path, program="bash", JWT_SECRET=SECRET) as process:
        assert process.wait() in (0, 1)
    assert process.output == ""


def test_ctrl_c_ends_it_at_any_moment_without_a_traceback(tmp_path: Path) -> None:
    with running(*BOTH, cwd=tmp_path) as process:
        while not has_loaded(process.pid, "cygrpc"):  # in the middle of what it loads
            assert is_alive(process.pid)
        process.send(signal.SIGINT)
        assert process.wait() == 130
    assert process.output == ""
