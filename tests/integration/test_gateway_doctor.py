"""The gateway's checklist, alone: each way in which something can be amiss."""

import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from gateway.doctor import examine
from protos.chatkit.v1 import session_service_pb2 as pb
from runtime.checklist import Check
from runtime.checklist_remedies import EXPLANATIONS
from runtime.checklist_report import as_json, as_text
from runtime.checklist_texts import TITLES
from session_service.server import serve
from tests.gateway_support import FakeService, gateway_before, refusal_of
from tests.integration.conftest import Machine
from tests.integration.test_grpc_callers import GATEWAYS, NOWHERE, REPORTS, tokens
from tests.integration.token_issuer import Issuer
from tests.support import serve as serve_http
from tests.support import settings_for
from tests.tls_support import Authority, as_environment, for_gateway, for_service

SECRET = "a-secret-of-32-bytes-or-some-more"
WHOLE = {"JWT_SECRET": SECRET, "CORS_ALLOW_ORIGINS": "https://dashboard.example.com"}


@pytest.fixture
def machine(machine: Machine) -> Machine:
    machine.set(GATEWAY_LISTEN="127.0.0.1:0", SESSION_SERVICE_TARGET="127.0.0.1:1")
    return machine


async def checked() -> dict[str, Check]:
    """Returns all checks by name, once it is certain that each can be told, with no secret."""
    checks = await examine()
    for language in ("es", "en"):
        told = as_text({"gateway": checks}, language, colours=False)
        assert "{" not in told
        told += as_json({"gateway": checks}, language)
        assert not any(secret in told for secret in (SECRET, GATEWAYS, REPORTS))
    for check in checks:
        assert check.name in TITLES
        known = {"", f"{check.name}.{check.cause}", f"*.{check.cause}"}
        assert not check.cause or known & EXPLANATIONS.keys(), check
    assert len({check.name for check in checks}) == len(checks)
    return {check.name: check for check in checks}


async def test_all_is_in_order_before_a_service_that_runs(machine: Machine, tmp_path: Path) -> None:
    async with serve(settings_for(tmp_path, NOWHERE)) as server:
        machine.set(**WHOLE, SESSION_SERVICE_TARGET=f"127.0.0.1:{server.port}")
        checks = await checked()
    assert {check.state for check in checks.values()} == {"passed"}


async def test_on_a_new_machine_the_secret_is_missing_and_the_rest_is_looked_at(
    machine: Machine,
) -> None:
    checks = await checked()
    assert (checks["gateway.tokens"].state, checks["gateway.tokens"].cause) == ("failed", "missing")
    assert (checks["gateway.cors"].state, checks["gateway.cors"].cause) == ("warning", "none")
    service = checks["gateway.service"]
    assert (service.state, service.cause) == ("skipped", "not_running")


@pytest.mark.parametrize(
    ("settings", "name", "state", "cause"),
    [
        ({"JWT_SECRET": "short"}, "gateway.tokens", "warning", "short"),
        ({"CORS_ALLOW_ORIGINS": "*"}, "gateway.cors", "warning", "any"),
        ({"CORS_ALLOW_ORIGINS": "http://dashboard.lan"}, "gateway.cors", "warning", "plain"),
        ({"CORS_ALLOW_ORIGINS": "http://localhost:3000"}, "gateway.cors", "passed", ""),
        ({"CORS_ALLOW_ORIGINS": "dashboard.lan"}, "gateway.settings", "failed", "malformed"),
        ({"GATEWAY_PUBLIC_URL": "http://chat.lan"}, "gateway.public_url", "warning", "plain"),
        ({"GATEWAY_PUBLIC_URL": "https://chat.lan"}, "gateway.public_url", "passed", ""),
        ({"GATEWAY_LISTEN": "192.0.2.1:80"}, "gateway.listen", "failed", "impossible"),
        ({"SESSION_SERVICE_TARGET": "nowhere"}, "gateway.rest", "skipped", "settings"),
    ],
)
async def test_what_is_amiss_in_the_settings(
    machine: Machine, settings: dict[str, str], name: str, state: str, cause: str
) -> None:
    machine.set(**{**WHOLE, **settings})
    check = (await checked())[name]
    assert (check.state, check.cause) == (state, cause)


async def test_a_variable_of_the_shell_that_contradicts_the_file_is_named_without_its_value(
    machine: Machine,
) -> None:
    machine.write(JWT_SECRET="another", CORS_ALLOW_ORIGINS=WHOLE["CORS_ALLOW_ORIGINS"])
    machine.set(**WHOLE)
    check = (await checked())["gateway.overrides"]
    assert (check.cause, check.details) == ("overridden", {"settings": "JWT_SECRET"})


async def test_published_keys_are_fetched(machine: Machine) -> None:
    issuer = Issuer()
    async with serve_http(issuer) as url:
        address = url.removeprefix("http://")
        machine.set(JWT_JWKS_URL=f"http://us:not-shown@{address}/keys?token=not-to-be-shown")
        checks = await checked()
        assert (checks["gateway.jwt_keys"].state, issuer.asked) == ("passed", 1)
        assert checks["gateway.jwt_keys"].details == {"url": f"{url}/keys", "keys": "1"}
        assert checks["gateway.claims"].cause == "unbound"
        assert "gateway.tokens" not in checks
        issuer.answers("nothing of use")
        machine.set(JWT_AUDIENCE="chat")
        checks = await checked()
        assert (checks["gateway.jwt_keys"].state, checks["gateway.jwt_keys"].cause) == (
            "failed",
            "unusable",
        )
        assert checks["gateway.claims"].state == "passed"
    checks = await checked()
    assert checks["gateway.jwt_keys"].cause == "unreachable"


async def test_a_port_that_another_program_has_is_named(machine: Machine) -> None:
    async with serve_http(Issuer()) as url:
        machine.set(**WHOLE, GATEWAY_LISTEN=url.removeprefix("http://"))
        assert (await checked())["gateway.listen"].cause == "taken"


async def test_a_port_that_our_own_gateway_has_is_in_order(machine: Machine) -> None:
    async with FakeService().serve() as service, gateway_before(service) as http:
        machine.set(**WHOLE, GATEWAY_LISTEN=f"127.0.0.1:{http.base_url.port}")
        check = (await checked())["gateway.listen"]
    assert (check.state, check.cause) == ("passed", "running")


# The session service


async def reached(
    machine: Machine, directory: Path, of_service: Mapping[str, object], of_gateway: dict[str, str]
) -> Check:
    async with serve(settings_for(directory, NOWHERE, **of_service)) as server:
        machine.set(**WHOLE, SESSION_SERVICE_TARGET=f"127.0.0.1:{server.port}", **of_gateway)
        return (await checked())["gateway.service"]


async def test_a_token_that_the_service_does_not_know(machine: Machine, tmp_path: Path) -> None:
    known = tokens(GATEWAYS)
    for mine, cause in ((f"gateway:{GATEWAYS}", ""), (REPORTS, "refused")):
        of_gateway = {"SESSION_SERVICE_TOKEN": mine}
        check = await reached(machine, tmp_path, known, of_gateway)
        assert (check.state, check.cause) == ("failed" if cause else "passed", cause)


async def test_over_tls(machine: Machine, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    service = for_service(authority.service())
    check = await reached(machine, tmp_path, service, {})
    assert (check.state, check.cause) == ("failed", "unencrypted")
    check = await reached(machine, tmp_path, service, as_environment(for_gateway(stranger)))
    assert (check.state, check.cause) == ("failed", "certificate")
    check = await reached(machine, tmp_path, service, as_environment(for_gateway(authority)))
    assert check.state == "passed"


async def test_each_of_several_services_has_to_be_there(machine: Machine) -> None:
    async with FakeService({"Diagnose": pb.DiagnoseResponse()}).serve() as service:
        there = f"127.0.0.1:{service.port}"
        machine.set(**WHOLE, SESSION_SERVICE_TARGET=f"{there},127.0.0.1:1")
        check = (await checked())["gateway.service"]
        assert (check.cause, check.details["target"]) == ("not_running", "127.0.0.1:1")
        machine.set(SESSION_SERVICE_TARGET=f"{there},{there}")
        assert (await checked())["gateway.service"].state == "passed"


async def test_a_service_on_another_machine_has_to_be_there(machine: Machine) -> None:
    machine.set(
        **WHOLE,
        SESSION_SERVICE_TARGET="nowhere.invalid:50051",
        SESSION_SERVICE_PLAINTEXT="true",
    )
    check = (await checked())["gateway.service"]
    assert (check.state, check.cause) == ("failed", "unreachable")


async def test_what_is_no_session_service(machine: Machine) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        machine.set(**WHOLE, SESSION_SERVICE_TARGET=f"127.0.0.1:{listener.getsockname()[1]}")
        check = (await checked())["gateway.service"]
    assert (check.state, check.cause) == ("failed", "unencrypted")


async def test_a_service_that_lacks_something_says_so(machine: Machine, tmp_path: Path) -> None:
    check = await reached(machine, tmp_path, {"openai_api_key": None}, {})
    assert (check.state, check.cause) == ("warning", "unwell")
    assert check.details["checks"] == "openai.key"


async def test_a_service_that_is_too_busy_to_tell(machine: Machine) -> None:
    refusal = refusal_of("UNAVAILABLE", metadata={"cause": "overload"})
    async with FakeService({"Diagnose": refusal}).serve() as service:
        machine.set(**WHOLE, SESSION_SERVICE_TARGET=f"127.0.0.1:{service.port}")
        check = (await checked())["gateway.service"]
    assert (check.cause, check.details["reason"]) == ("silent", "UNAVAILABLE")


@pytest.mark.parametrize(
    ("mode", "origin", "cause"),
    [
        ("self_hosted", "https://dashboard.example.com", "missing"),
        ("self_hosted", "http://localhost:3000", "as_asked"),
        ("hosted", "https://dashboard.example.com", None),
    ],
)
async def test_in_self_hosted_mode_links_need_a_public_address(
    machine: Machine, mode: str, origin: str, cause: str | None
) -> None:
    settings = pb.Check(name="service.settings", details={"mode": mode})
    diagnosis = pb.DiagnoseResponse(checks=[settings])
    async with FakeService({"Diagnose": diagnosis}).serve() as service:
        machine.set(
            JWT_SECRET=SECRET,
            CORS_ALLOW_ORIGINS=origin,
            SESSION_SERVICE_TARGET=f"127.0.0.1:{service.port}",
        )
        check = (await checked()).get("gateway.public_url")
    assert (check.cause if check else None) == cause
