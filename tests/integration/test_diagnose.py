"""Diagnose of a running service, and what the gateway makes of it at /api/chatkit/checks."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from protos.chatkit.v1 import session_service_pb2 as pb
from tests.gateway_support import FakeService, error_of, gateway_before, refusal_of, token
from tests.integration.conftest import Machine
from tests.integration.test_store_faults import writers  # noqa: F401  # a fixture
from tests.integration.token_issuer import Issuer
from tests.support import (
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    serve,
    settings_for,
)

PASSED, FAILED, SKIPPED = pb.CHECK_STATE_PASSED, pb.CHECK_STATE_FAILED, pb.CHECK_STATE_SKIPPED
CHECKS = "/api/chatkit/checks"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(machine: Machine) -> Machine:
    """Checks of a running process look into the environment and `.env`, too."""
    return machine


async def diagnose(service: SessionService, *, ask: bool = False) -> dict[str, pb.Check]:
    reply = await service.stub.Diagnose(pb.DiagnoseRequest(ask_openai=ask))
    return {check.name: check for check in reply.checks}


async def test_without_asking_openai_it_tells_what_it_knows(
    service: SessionService, emulator: Emulator
) -> None:
    checks = await diagnose(service)
    assert checks["service.settings"].details["mode"] == "hosted"
    for name in ("openai.key", "workflow.configured", "database.usable", "database.migrated"):
        assert checks[name].state == PASSED
    for name in ("openai.reachable", "workflow.found", "clock"):
        assert (checks[name].state, checks[name].cause) == (SKIPPED, "not_asked")
    assert checks["agent_builder"].details["days"] == "8"
    assert await emulator.requests() == []


async def test_callers_share_one_session_at_openai_however_many_ask(
    service: SessionService, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.2)
    answers = await asyncio.gather(*(diagnose(service, ask=True) for _ in range(10)))
    answers.append(await diagnose(service, ask=True))
    assert all(answer["workflow.project"].state == PASSED for answer in answers)
    asked = [seen["operation"] for seen in await emulator.requests()]
    assert asked == ["sessions.create", "sessions.cancel"]
    assert (await service.stats("chatkit-doctor")).total_sessions == 0


async def test_when_its_caller_leaves_the_session_is_cancelled_all_the_same(
    service: SessionService, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.2)
    leaving = asyncio.create_task(diagnose(service, ask=True))

    async def asked() -> bool:
        return bool(await emulator.requests("sessions.create"))

    async def cancelled() -> bool:
        return bool(await emulator.requests("sessions.cancel"))

    await eventually(asked)
    leaving.cancel()
    await eventually(cancelled)


async def test_a_store_that_can_store_nothing_is_told(
    tmp_path: Path,
    emulator: Emulator,
    writers: list[sqlite3.Connection],  # noqa: F811
) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        writers[0].execute("PRAGMA query_only = ON")
        with capture_logs():
            checks = await diagnose(service)
        assert (checks["database.usable"].state, checks["database.usable"].cause) == (
            FAILED,
            "unusable",
        )
        assert checks["database.migrated"].state == SKIPPED
        writers[0].execute("PRAGMA query_only = OFF")


async def test_on_postgres_it_is_told_without_its_password(emulator: Emulator, url: str) -> None:
    settings = settings_for(Path(), emulator.url, database_url=url)
    async with open_session_service(settings) as service:
        assert (await diagnose(service))["database.usable"].state == PASSED


# The gateway


@asynccontextmanager
async def gateway(service: SessionService, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(FakeService(port=service.server.port), **settings) as http:
        yield http


def admin(language: str = "en") -> dict[str, str]:
    return {"Authorization": f"Bearer {token(1, role='admin')}", "Accept-Language": language}


def data_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["success"] is True
    data: dict[str, Any] = body["data"]
    return data


def by_name(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in data["checks"]}


async def test_a_user_gets_names_and_states_alone(service: SessionService) -> None:
    async with gateway(service) as http:
        data = data_of(await http.get(CHECKS))
    assert (data["mode"], data["state"]) == ("hosted", "warning")
    assert {*by_name(data)} >= {"openai.key", "database.usable", "gateway.cors", "gateway.service"}
    assert all(set(check) == {"name", "state", "title"} for check in data["checks"])


async def test_an_administrator_gets_remedies_in_their_language(service: SessionService) -> None:
    async with gateway(service) as http:
        english = by_name(data_of(await http.get(CHECKS, headers=admin("en"))))
        spanish = by_name(data_of(await http.get(CHECKS, headers=admin("es"))))
    check = english["agent_builder"]
    assert (check["state"], check["cause"], check["details"]["days"]) == ("warning", "closing", "8")
    assert "days left: 8" in check["remedy"]
    assert "días que quedan: 8" in spanish["agent_builder"]["remedy"]
    assert english["openai.reachable"]["cause"] == "not_asked"


async def test_by_post_an_administrator_has_openai_asked(
    service: SessionService, emulator: Emulator
) -> None:
    async with gateway(service) as http:
        for _ in range(3):
            data = data_of(await http.post(CHECKS, headers=admin()))
            assert by_name(data)["workflow.found"]["state"] == "passed"
    assert len(await emulator.requests("sessions.create")) == 1


async def test_by_post_a_user_is_refused_and_nobody_asked(
    service: SessionService, emulator: Emulator
) -> None:
    async with gateway(service) as http:
        body = error_of(await http.post(CHECKS), "PERMISSION_DENIED", 403)
        assert "GET" in body["hint"]
        answer = await http.get(CHECKS, headers={"Authorization": "Bearer nonsense"})
        error_of(answer, "UNAUTHENTICATED", 401)
    assert await emulator.requests() == []


async def test_keys_are_fetched_when_it_is_asked_for(service: SessionService) -> None:
    async with serve(Issuer()) as url, gateway(service, jwt_jwks_url=f"{url}/keys") as http:
        seen = by_name(data_of(await http.get(CHECKS, headers=admin())))["gateway.jwt_keys"]
        assert (seen["state"], seen["cause"]) == ("skipped", "not_asked")
        data = data_of(await http.post(CHECKS, headers=admin()))
        assert by_name(data)["gateway.jwt_keys"]["state"] == "passed"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (refusal_of("UNAUTHENTICATED", metadata={"cause": "service_token"}), "refused"),
        (refusal_of("UNAVAILABLE"), "silent"),
        (refusal_of("INTERNAL"), "silent"),
    ],
)
async def test_without_the_service_the_gateway_tells_of_itself(answer: Any, cause: str) -> None:
    async with FakeService({"Diagnose": answer}).serve() as fake, gateway_before(fake) as http:
        data = data_of(await http.get(CHECKS, headers=admin()))
    assert (data["mode"], data["state"]) == (None, "failed")
    check = by_name(data)["gateway.service"]
    assert (check["state"], check["cause"]) == ("failed", cause)
    assert check["remedy"]
    assert "gateway.tokens" in by_name(data)


async def test_another_releases_checks_are_told_as_they_are() -> None:
    check = pb.Check(name="openai.orbit", state=FAILED, cause="too_high", details={"km": "400"})
    diagnosis = pb.DiagnoseResponse(checks=[check, pb.Check(name="future", state=9)])  # type: ignore[arg-type]
    async with FakeService({"Diagnose": diagnosis}).serve() as fake, gateway_before(fake) as http:
        checks = by_name(data_of(await http.get(CHECKS, headers=admin())))
    assert checks["openai.orbit"]["title"] == "openai.orbit"
    assert checks["openai.orbit"]["details"] == {"km": "400"}
    assert checks["future"]["state"] == "skipped"
