"""What `make run` makes of the settings that there are, and what it says."""

import datetime
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from run import QUESTION, Plan, introduction, make_plan

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-the-dashboard-of-these-tests"


BEFORE = datetime.date(2026, 11, 22)
AFTER = datetime.date(2026, 11, 30)
"""From this day on there is no Agent Builder."""


def said_of(plan: Plan) -> str:
    return introduction(plan, BEFORE)


def token_in(said: str) -> str:
    found = re.search(r"Token +(\S+)", said)
    assert found
    return found[1]


def curl_in(said: str) -> list[str]:
    (line,) = [line for line in said.splitlines() if line.startswith("  curl ")]
    return shlex.split(line)


def claims_in(said: str, secret: str, **checks: Any) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token_in(said), secret, algorithms=["HS256"], **checks)
    return claims


def test_with_nothing_set_everything_is_made_up() -> None:
    plan = make_plan({})
    assert plan.made_secret
    assert plan.emulator
    assert plan.settings["OPENAI_BASE_URL"] == f"http://{plan.emulator}/v1"
    assert plan.settings["OPENAI_API_KEY"].startswith("sk-")
    assert plan.settings["OPENAI_CHATKIT_WORKFLOW_ID"].startswith("wf_")
    assert plan.settings["SESSION_SERVICE_TARGET"] == plan.settings["SESSION_SERVICE_LISTEN"]
    assert len(plan.settings["JWT_SECRET"]) >= 32
    assert make_plan({}).settings["JWT_SECRET"] != plan.settings["JWT_SECRET"]
    said = said_of(plan)
    assert "the built-in emulator" in said
    assert "OPENAI_API_KEY into .env" in said
    assert "a secret made for this run" in said
    assert plan.settings["JWT_SECRET"] not in said
    claims = claims_in(said, plan.settings["JWT_SECRET"])
    assert claims["userId"] == 7
    assert isinstance(claims["exp"], int)
    assert claims["exp"] > time.time() + 60


def test_the_curl_line_is_for_this_address_and_this_token() -> None:
    plan = make_plan({"GATEWAY_LISTEN": "127.0.0.1:9999"})
    said = said_of(plan)
    curl = curl_in(said)
    assert curl[:4] == ["curl", "-X", "POST", "http://127.0.0.1:9999/api/chatkit/session"]
    assert f"Authorization: Bearer {token_in(said)}" in curl
    assert "Content-Type: application/json" in curl
    assert curl[-2:] == ["-d", '{"userId": 7}']


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("localhost:80", "http://localhost:80"),
        ("[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_address_is_one_to_connect_to(listen: str, address: str) -> None:
    said = said_of(make_plan({"GATEWAY_LISTEN": listen}))
    assert f"Address   {address} " in said
    assert f"{address}/api/chatkit/session" in curl_in(said)


def test_with_a_key_it_is_openais() -> None:
    given = {"OPENAI_API_KEY": "sk-real", "OPENAI_CHATKIT_WORKFLOW_ID": "wf_real"}
    plan = make_plan(given)
    assert plan.emulator is None
    assert "OPENAI_BASE_URL" not in plan.settings
    said = said_of(plan)
    assert "https://api.openai.com/v1" in said
    assert "Workflow  wf_real" in said
    assert "emulator" not in said
    assert "sk-real" not in said


def test_with_a_key_and_no_workflow_it_says_what_is_missing() -> None:
    plan = make_plan({"OPENAI_API_KEY": "sk-real"})
    assert "OPENAI_CHATKIT_WORKFLOW_ID" not in plan.settings
    assert "OPENAI_CHATKIT_WORKFLOW_ID=wf_" in said_of(plan)


def test_an_own_address_of_openai_is_kept_with_a_key() -> None:
    plan = make_plan({"OPENAI_API_KEY": "sk-real", "OPENAI_BASE_URL": "https://proxy.example/v1"})
    assert plan.emulator is None
    assert "https://proxy.example/v1" in said_of(plan)


def test_with_a_secret_the_token_is_the_dashboards() -> None:
    given = {
        "JWT_SECRET": SECRET,
        "JWT_USER_CLAIM": "uid",
        "JWT_ISSUER": "issuer",
        "JWT_AUDIENCE": "chat",
    }
    plan = make_plan(given)
    assert not plan.made_secret
    said = said_of(plan)
    assert "your JWT_SECRET" in said
    assert SECRET not in said
    claims = claims_in(said, SECRET, audience="chat", issuer="issuer")
    assert claims["uid"] == 7
    assert "userId" not in claims


def test_a_short_secret_is_no_reason_to_warn_twice() -> None:
    assert token_in(said_of(make_plan({"JWT_SECRET": "short"})))


def test_with_anothers_keys_there_is_no_token_to_give() -> None:
    plan = make_plan({"JWT_JWKS_URL": "https://issuer.example/keys"})
    assert "JWT_SECRET" not in plan.settings
    assert not plan.made_secret
    said = said_of(plan)
    assert "ask the issuer" in said
    assert "Authorization: Bearer YOUR_TOKEN" in curl_in(said)


@pytest.mark.parametrize(
    "given",
    [
        {"GATEWAY_LISTEN": "127.0.0.1:1", "SESSION_SERVICE_LISTEN": "127.0.0.1:2"},
        {"SESSION_SERVICE_TARGET": "127.0.0.1:3", "DATABASE_URL": "sqlite:///x.db"},
        {"OPENAI_CHATKIT_WORKFLOW_ID": "wf_mine", "JWT_SECRET": SECRET, "PATH": "/bin"},
    ],
)
def test_what_is_given_is_kept(given: dict[str, str]) -> None:
    plan: Plan = make_plan(given)
    assert {name: plan.settings[name] for name in given} == given


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_runs_here_needs_no_proxy(name: str) -> None:
    settings = make_plan({name: "intranet.example"}).settings
    # Programs read either, and prefer the lower case.
    for variable in ("NO_PROXY", "no_proxy"):
        assert "127.0.0.1" in settings.get(variable, settings["NO_PROXY"]).split(",")
    assert "intranet.example" in settings[name].split(",")


def test_the_mode_is_said_and_the_end_of_agent_builder_just_once() -> None:
    said = said_of(make_plan({}))
    assert "Mode      hosted" in said
    assert said.count("2026-11-30") == 1
    assert "make run MODE=self_hosted" in said
    assert "self_hosted: " not in said


def test_when_agent_builder_has_closed_it_says_so() -> None:
    plan = make_plan({"OPENAI_API_KEY": "sk-real", "OPENAI_CHATKIT_WORKFLOW_ID": "wf_real"})
    assert "until OpenAI closes Agent Builder on 2026-11-30" in introduction(plan, BEFORE)
    said = introduction(plan, AFTER)
    assert "OpenAI closed Agent Builder on 2026-11-30" in said
    assert "make run MODE=self_hosted" in said


def test_hosted_mode_has_no_answer_to_stream() -> None:
    assert "curl -N" not in said_of(make_plan({}))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "Model     gpt-5-mini"),
        ({"CHATKIT_MODEL": "gpt-5"}, "Model     gpt-5"),
        ({"CHATKIT_MODEL": "gpt-5", "CHATKIT_AGENT": "mine.agents:agent"}, "Agent     mine."),
    ],
)
def test_in_self_hosted_mode_it_says_what_answers(given: dict[str, str], line: str) -> None:
    said = said_of(make_plan({"CHATKIT_MODE": "self_hosted", **given}))
    assert "Mode      self_hosted" in said
    assert line in said
    assert "Workflow" not in said
    assert "2026-11-30" not in said


def test_in_self_hosted_mode_two_lines_to_paste_stream_an_answer() -> None:
    plan = make_plan({"CHATKIT_MODE": "self_hosted", "GATEWAY_LISTEN": "127.0.0.1:9999"})
    lines = said_of(plan).splitlines()
    (first,) = [line for line in lines if line.startswith("  SECRET=$(")]
    second = lines[lines.index(first) + 1]
    assert "/api/chatkit/session " in first
    assert f"Bearer {token_in(said_of(plan))}" in first
    curl = shlex.split(second)
    assert curl[:5] == ["curl", "-N", "-X", "POST", "http://127.0.0.1:9999/api/chatkit"]
    assert "Authorization: Bearer $SECRET" in curl
    assert json.loads(curl[curl.index("-d") + 1]) == QUESTION


def test_the_secret_to_paste_is_taken_from_the_answer(tmp_path: Path) -> None:
    lines = said_of(make_plan({"CHATKIT_MODE": "self_hosted"})).splitlines()
    (line,) = [line for line in lines if line.startswith("  SECRET=$(")]
    (tmp_path / "curl").write_text(
        """#!/bin/sh\necho '{"success": true, "data": {"client_secret": "cksec_1"}}'\n"""
    )
    (tmp_path / "curl").chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line.strip()}\necho $SECRET"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "cksec_1\n"


@pytest.mark.parametrize("mode", ["selfhosted", "Hosted", "self-hosted"])
def test_a_mode_that_there_is_not_is_refused_clearly(mode: str) -> None:
    with pytest.raises(SystemExit) as caught:
        make_plan({"CHATKIT_MODE": mode})
    said = str(caught.value.code)
    assert repr(mode) in said
    assert "hosted or self_hosted" in said
    assert "MODE=" in said


def test_make_run_passes_the_mode_on() -> None:
    def dry(*arguments: str) -> str:
        stamps = ("-o", ".venv/runtime")
        command = ["make", "--dry-run", *stamps, "run", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout

    assert "CHATKIT_MODE='self_hosted' .venv/bin/python run.py" in dry("MODE=self_hosted")
    assert "CHATKIT_MODE" not in dry("MODE=")
