"""The session service's checklist, alone: each way in which something can be amiss."""

import datetime
import email.utils
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from runtime.checklist import Check
from runtime.checklist_remedies import EXPLANATIONS
from runtime.checklist_report import as_json, as_text
from runtime.checklist_texts import TITLES
from session_service.agent_builder import CLOSES
from session_service.doctor import examine
from session_service.server import serve
from tests.integration.conftest import Machine
from tests.integration.peer import answering, http, listening
from tests.support import (
    BEFORE_THE_END,
    Emulator,
    open_session_service,
    settings_for,
)
from tests.tls_support import Authority, as_environment, for_service

KEY = "sk-test-that-nobody-may-see"
HOSTED = {"OPENAI_API_KEY": KEY, "OPENAI_CHATKIT_WORKFLOW_ID": "wf_test"}
SELF_HOSTED = {"OPENAI_API_KEY": KEY, "CHATKIT_MODE": "self_hosted"}
AT_OPENAI = (
    "openai.reachable",
    "openai.key_accepted",
    "openai.permission",
    "openai.quota",
    "workflow.found",
    "workflow.project",
)


@pytest.fixture
def machine(machine: Machine, emulator: Emulator) -> Machine:
    machine.set(OPENAI_BASE_URL=emulator.url, SESSION_SERVICE_LISTEN="127.0.0.1:0")
    return machine


async def checked(today: datetime.date = BEFORE_THE_END) -> dict[str, Check]:
    """Returns all checks by name, once it is certain that each can be told, with no secret."""
    checks = await examine(lambda: today)
    for language in ("es", "en"):
        told = as_text({"session_service": checks}, language, colours=False)
        told += as_json({"session_service": checks}, language)
        assert KEY not in told
        assert "{" not in as_text({"session_service": checks}, language, colours=False)
    for check in checks:
        assert check.name in TITLES
        known = {"", f"{check.name}.{check.cause}", f"*.{check.cause}"}
        assert not check.cause or known & EXPLANATIONS.keys(), check
    assert len({check.name for check in checks}) == len(checks)
    return {check.name: check for check in checks}


def states(checks: dict[str, Check], names: Sequence[str] = AT_OPENAI) -> list[str]:
    return [checks[name].state for name in names]


async def test_all_is_in_order_and_costs_one_session_which_is_cancelled(
    machine: Machine, emulator: Emulator
) -> None:
    machine.set(**HOSTED)
    checks = await checked()
    assert {check.state for check in checks.values()} == {"passed", "warning"}
    assert [c.name for c in checks.values() if c.state == "warning"] == ["agent_builder"]
    assert checks["agent_builder"].details["days"] == "8"
    asked = [(seen["operation"], seen["status"]) for seen in await emulator.requests()]
    assert asked == [("sessions.create", 200), ("sessions.cancel", 200)]


async def test_what_is_missing_on_a_new_machine_is_said_and_nobody_is_asked(
    machine: Machine, emulator: Emulator
) -> None:
    checks = await checked()
    assert (checks["openai.key"].state, checks["openai.key"].cause) == ("failed", "missing")
    assert checks["workflow.configured"].cause == "missing"
    assert set(states(checks)) == {"skipped"}
    assert checks["database.migrated"].cause == "new"
    assert await emulator.requests() == []
    assert list(machine.directory.iterdir()) == []


async def test_the_key_alone_is_tried_before_there_is_a_workflow(
    machine: Machine, emulator: Emulator
) -> None:
    machine.set(OPENAI_API_KEY=KEY)
    checks = await checked()
    assert states(checks) == ["passed", "passed", *["skipped"] * 4]
    assert checks["workflow.found"].details["check"] == "workflow.configured"
    assert [seen["operation"] for seen in await emulator.requests()] == ["threads.list"]
    machine.set(OPENAI_API_KEY="sk-noscope")
    assert states(await checked())[:4] == ["passed", "passed", "failed", "skipped"]


@pytest.mark.parametrize(
    ("settings", "name", "state", "cause"),
    [
        ({"OPENAI_API_KEY": "sk-wrong"}, "openai.key_accepted", "failed", "rejected"),
        ({"OPENAI_API_KEY": "sk-noscope"}, "openai.permission", "failed", "missing"),
        ({"OPENAI_API_KEY": "sk-noquota"}, "openai.quota", "failed", "exhausted"),
        (
            {"OPENAI_CHATKIT_WORKFLOW_ID": "wf_missing"},
            "workflow.found",
            "failed",
            "not_found",
        ),
    ],
)
async def test_one_answer_tells_what_is_in_order_and_what_is_not(
    machine: Machine,
    emulator: Emulator,
    settings: dict[str, str],
    name: str,
    state: str,
    cause: str,
) -> None:
    machine.set(**{**HOSTED, **settings})
    checks = await checked()
    place = AT_OPENAI.index(name)
    assert states(checks) == [*["passed"] * place, state, *["skipped"] * (5 - place)]
    assert checks[name].cause == cause
    assert len(await emulator.requests()) == 1


async def test_a_404_cannot_tell_elsewhere_from_nowhere_and_says_so(machine: Machine) -> None:
    machine.set(OPENAI_API_KEY=KEY, OPENAI_CHATKIT_WORKFLOW_ID="wf_missing1")
    checks = await checked()
    assert checks["workflow.found"].details["workflow"] == "wf_missing1"
    assert checks["workflow.project"].cause == "untold"


async def test_after_its_end_agent_builder_is_the_likely_cause(machine: Machine) -> None:
    machine.set(OPENAI_API_KEY=KEY, OPENAI_CHATKIT_WORKFLOW_ID="wf_missing")
    checks = await checked(CLOSES)
    assert checks["workflow.found"].cause == "closed"
    assert (checks["agent_builder"].state, checks["agent_builder"].cause) == ("failed", "closed")


async def test_the_emulator_has_no_end(machine: Machine) -> None:
    machine.set(OPENAI_API_KEY="sk-emulator", OPENAI_CHATKIT_WORKFLOW_ID="wf_emulator")
    checks = await checked(CLOSES)
    assert {check.state for check in checks.values()} == {"passed"}


@pytest.mark.parametrize(
    ("failure", "name", "state", "cause"),
    [
        ({"status": 429}, "openai.quota", "warning", "rate_limited"),
        ({"status": 500}, "openai.reachable", "failed", "error"),
        ({"status": 503, "raw_body": "<html>"}, "openai.reachable", "failed", "error"),
        ({"status": 400}, "workflow.found", "failed", "refused"),
        ({"status": 404, "raw_body": "nothing"}, "openai.reachable", "failed", "not_openai"),
        ({"status": 302, "raw_body": ""}, "openai.reachable", "failed", "not_openai"),
        ({"kind": "malformed"}, "openai.reachable", "failed", "not_openai"),
        ({"kind": "reset"}, "openai.reachable", "failed", "unreachable"),
    ],
)
async def test_openai_is_asked_once_however_it_fails(
    machine: Machine,
    emulator: Emulator,
    failure: dict[str, Any],
    name: str,
    state: str,
    cause: str,
) -> None:
    machine.set(**HOSTED)
    await emulator.fail("*", times=None, **failure)
    checks = await checked()
    assert (checks[name].state, checks[name].cause) == (state, cause)
    assert len(await emulator.requests()) == 1


async def test_a_key_that_openai_quotes_is_not_repeated(
    machine: Machine, emulator: Emulator
) -> None:
    machine.set(**HOSTED)
    error = {"message": f"You have insufficient permissions, {KEY}. Missing scopes: api.chatkit"}
    await emulator.fail("sessions.create", status=403, body={"error": error})
    with capture_logs():  # without what takes secrets out of a process's log
        said = (await checked())["openai.permission"].details["said"]
    assert "[redacted]" in said
    assert "Missing scopes: api.chatkit" in said


async def test_an_address_at_which_nobody_is_is_named(machine: Machine) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    machine.set(**HOSTED, OPENAI_BASE_URL=address)
    check = (await checked())["openai.reachable"]
    assert (check.cause, check.details["url"]) == ("unreachable", address)


async def test_an_address_without_v1_is_not_openai(machine: Machine, emulator: Emulator) -> None:
    machine.set(**HOSTED, OPENAI_BASE_URL=emulator.url.removesuffix("/v1"))
    assert (await checked())["openai.reachable"].cause == "not_openai"


@pytest.mark.parametrize(
    ("seconds", "cause"), [(0, ""), (25, ""), (-25, ""), (90, "slow"), (-90, "fast")]
)
async def test_the_clock_is_compared_with_openais(
    machine: Machine, seconds: int, cause: str
) -> None:
    date = email.utils.formatdate(time.time() + seconds, usegmt=True)
    async with listening(answering(http(b"{}", "401 Unauthorized", date=date))) as openai:
        machine.set(**HOSTED, OPENAI_BASE_URL=openai.url)
        check = (await checked())["clock"]
    assert check.cause == cause
    assert check.state == ("warning" if cause else "passed")


# Self-hosted mode


async def test_self_hosted_mode_needs_the_model_and_no_workflow(
    machine: Machine, emulator: Emulator
) -> None:
    machine.set(**SELF_HOSTED)
    checks = await checked(CLOSES)
    assert {check.state for check in checks.values()} == {"passed"}
    assert not {"agent_builder", "workflow.configured", "workflow.found"} & checks.keys()
    assert {"model.found", "attachments.writable"} <= checks.keys()
    assert [seen["path"] for seen in await emulator.requests()] == ["/v1/models/gpt-5-mini"]


@pytest.mark.parametrize(
    ("settings", "name", "state", "cause"),
    [
        ({"CHATKIT_MODEL": "gpt-missing"}, "model.found", "failed", "not_found"),
        ({"OPENAI_API_KEY": "sk-noscope"}, "model.found", "warning", "unreadable"),
        ({"OPENAI_API_KEY": "sk-wrong"}, "openai.key_accepted", "failed", "rejected"),
        ({"OPENAI_API_KEY": "sk-noquota"}, "openai.quota", "failed", "exhausted"),
        (
            {"CHATKIT_MODEL": "gpt-missing", "CHATKIT_AGENT": "mine:agent"},
            "model.found",
            "skipped",
            "own_agent",
        ),
    ],
)
async def test_what_self_hosted_mode_needs_of_openai(
    machine: Machine, settings: dict[str, str], name: str, state: str, cause: str
) -> None:
    machine.set(**{**SELF_HOSTED, **settings})
    check = (await checked())[name]
    assert (check.state, check.cause) == (state, cause)


async def test_a_folder_of_attachments_that_cannot_be_written(machine: Machine) -> None:
    (machine.directory / "file").write_text("in the way")
    machine.set(**SELF_HOSTED, CHATKIT_ATTACHMENTS_DIR=str(machine.directory / "file"))
    check = (await checked())["attachments.writable"]
    assert (check.state, check.cause) == ("failed", "unwritable")


# Settings


async def test_every_bad_setting_is_named_and_the_rest_waits(machine: Machine) -> None:
    machine.set(**HOSTED, DATABASE_URL=KEY, CHATKIT_TOOLS="search,magic")
    checks = await checked()
    problems = checks["service.settings"].details["problems"].splitlines()
    assert [problem.partition(":")[0] for problem in problems] == ["DATABASE_URL", "CHATKIT_TOOLS"]
    assert checks["service.rest"].state == "skipped"


async def test_a_variable_of_the_shell_that_contradicts_the_file_is_named_without_its_value(
    machine: Machine,
) -> None:
    machine.write(OPENAI_API_KEY="sk-another", OPENAI_CHATKIT_WORKFLOW_ID="wf_test", LOG_LEVEL="")
    machine.set(**HOSTED, LOG_LEVEL="debug")
    check = (await checked())["service.overrides"]
    assert (check.state, check.cause) == ("warning", "overridden")
    assert check.details == {"settings": "OPENAI_API_KEY"}


# Where it listens


async def test_a_port_that_another_program_has_is_named(machine: Machine) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        machine.set(**HOSTED, SESSION_SERVICE_LISTEN=address)
        listener.listen(0)
        check = (await checked())["service.listen"]
    assert (check.state, check.cause) == ("failed", "taken")
    assert check.details["address"] == address


async def test_an_address_of_another_machine_cannot_be_listened_on(machine: Machine) -> None:
    machine.set(**HOSTED, SESSION_SERVICE_LISTEN="192.0.2.1:50051", SESSION_SERVICE_PLAINTEXT="1")
    assert (await checked())["service.listen"].cause == "impossible"


async def test_beside_a_service_that_runs_all_is_in_order(
    machine: Machine, emulator: Emulator, tmp_path: Path
) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        await service.create()
        machine.set(
            **HOSTED,
            DATABASE_URL=f"sqlite:///{tmp_path}/chatkit.db",
            SESSION_SERVICE_LISTEN=f"127.0.0.1:{service.server.port}",
        )
        checks = await checked()
        assert (checks["service.listen"].state, checks["service.listen"].cause) == (
            "passed",
            "running",
        )
        assert states(checks, ("database.usable", "database.migrated")) == ["passed", "passed"]
        assert (await service.stats()).total_sessions == 1


async def test_a_service_that_speaks_tls_is_known_as_our_own(
    machine: Machine, emulator: Emulator, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    for clients in (None, authority):
        files = for_service(authority.service(), clients)
        settings = settings_for(tmp_path, emulator.url, **files)
        async with serve(settings) as server:
            listen = {"SESSION_SERVICE_LISTEN": f"127.0.0.1:{server.port}"}
            machine.set(**{**HOSTED, **as_environment(files), **listen})
            assert (await checked())["service.listen"].cause == "running"


async def test_a_session_that_cannot_be_cancelled_ends_by_itself(
    machine: Machine, emulator: Emulator
) -> None:
    machine.set(**HOSTED)
    await emulator.fail("sessions.cancel", times=None, status=400)
    assert states(await checked()) == ["passed"] * 6
    asked = [seen["operation"] for seen in await emulator.requests()]
    assert asked == ["sessions.create", "sessions.cancel"]
