"""The examples of docs/internal-services.md, run as they stand there against a real service."""

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import playwright
import pytest
import trustme
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from protos.chatkit.v1 import conversation_service_pb2, session_service_pb2
from tests.support import Emulator, SessionService, open_session_service, settings_for

ROOT = Path(__file__).parents[2]
NODE = Path(playwright.__file__).parent / "driver" / "node"
MODULES = Path(sys.prefix) / "node" / "node_modules"
"""See .ci/node."""

ADDRESS = "127.0.0.1:50051"
TOKEN = "console:" + "t" * 40
MESSAGES = session_service_pb2.DESCRIPTOR.message_types_by_name
SERVICES = {
    service.full_name: service
    for file in (session_service_pb2.DESCRIPTOR, conversation_service_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
}


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs/internal-services.md").read_text("utf-8")
    return re.findall(rf"(?s)```{language}\n(.*?)```", page)


def block(language: str, *, having: str) -> str:
    (found,) = [code for code in blocks(language) if having in code]
    return found


async def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Returns what a program prints, which ends well and complains of nothing."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, ""), out.decode()
    return out.decode()


async def run_python(code: str, service: SessionService, **more: Any) -> str:
    own = code.replace(ADDRESS, address_of(service))
    return await run(sys.executable, "-W", "error", "-c", own, **more)


def address_of(service: SessionService) -> str:
    return f"127.0.0.1:{service.server.port}"


@pytest.fixture
async def guarded(emulator: Emulator, tmp_path: Path) -> AsyncIterator[SessionService]:
    """A service with a token and a certificate, whose authority is in tls/ca.pem."""
    (tmp_path / "tls").mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("session-service")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls/service.pem")
    authority.cert_pem.write_to_path(tmp_path / "tls/ca.pem")
    settings = settings_for(
        tmp_path,
        emulator.url,
        session_service_token=TOKEN,
        session_service_tls_cert=tmp_path / "tls/service.pem",
        session_service_tls_key=tmp_path / "tls/service.pem",
    )
    async with open_session_service(settings) as service:
        yield service


async def test_the_python_client(service: SessionService) -> None:
    example = block("python", having="RateLimited")
    assert ADDRESS in example
    printed = await run_python(example, service)
    assert re.fullmatch(
        r"created (cksess_\w+)\nactive \1 20[\d-]+ [\d:+.]+\ntoday 1\nSESSION_NOT_FOUND\n", printed
    )


async def test_the_python_client_when_openai_refuses(
    service: SessionService, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", status=404)
    printed = await run_python(block("python", having="RateLimited"), service)
    assert re.fullmatch(r"WORKFLOW_NOT_FOUND None \w{32}\n", printed)


async def test_the_python_client_with_token_and_tls(
    guarded: SessionService, tmp_path: Path
) -> None:
    printed = await run_python(
        block("python", having="authorities="),
        guarded,
        cwd=tmp_path,
        CHATKIT_ADDRESS=address_of(guarded),
        CHATKIT_TOKEN=TOKEN.partition(":")[2],
    )
    assert printed == "[0, 0, 0, 0, 0, 0, 0]\n"


async def test_the_python_stubs(service: SessionService) -> None:
    printed = await run_python(block("python", having="insecure_channel"), service)
    assert re.fullmatch(
        r"created cksess_\w+\nINVALID_ARGUMENT \{'days': 'must be 1 to 366'\}\n", printed
    )


async def test_the_node_example(service: SessionService, tmp_path: Path) -> None:
    """Two pages, an error with its reason, and a stream."""
    (before,) = [(await service.create()).session.id]
    (example,) = blocks("js")
    (tmp_path / "example.mjs").write_text(example)
    (tmp_path / "node_modules").symlink_to(MODULES)
    printed = await run(NODE, tmp_path / "example.mjs", CHATKIT_ADDRESS=address_of(service))
    first, *active, error, today = printed.splitlines()
    created = first.removeprefix("created ")
    assert active == [f"active {created}", f"active {before}"]
    assert (error, today) == ("SESSION_NOT_FOUND", "today 2")


def calls() -> list[list[str]]:
    lines = "".join(blocks("bash")).splitlines()
    return [shlex.split(line) for line in lines if line.startswith("grpcurl")]


def method_of(words: list[str]) -> MethodDescriptor:
    service, _, name = words[-1].rpartition("/")
    return SERVICES[service].methods_by_name[name]


@pytest.mark.parametrize("words", calls(), ids=lambda words: words[-1])
def test_grpcurl_is_told_what_the_contract_has(words: list[str]) -> None:
    """It is in no package registry, so what it is given is read as it would."""
    if words[-2] == "describe":
        assert words[-1] in SERVICES
        return
    request = json.loads(words[words.index("-d") + 1])
    json_format.ParseDict(request, GetMessageClass(method_of(words).input_type)())


def test_the_go_example_has_the_names_of_the_contract() -> None:
    """To build it takes modules that no package registry of ours has; names are what changes."""
    (example,) = blocks("go")
    service = SERVICES["chatkit.v1.SessionService"]
    methods = re.findall(r"sessions\.(\w+)\(", example)
    assert methods == ["CreateSession", "ListSessions", "WatchStats"]
    assert set(methods) <= set(service.methods_by_name)
    literals = re.findall(r"&pb\.(\w+)\{(.*?)\}", example)
    assert len(literals) == 3
    for name, fields in literals:
        for field in re.findall(r"(\w+):", fields):
            assert field in in_go(MESSAGES[name])
    for name, fields in {
        "CreateSessionResponse": ["Session"],
        "Session": ["Id"],
        "ListSessionsResponse": ["Sessions", "NextPageToken"],
        "WatchStatsResponse": ["Stats"],
        "GetStatsResponse": ["SessionsToday"],
    }.items():
        for field in fields:
            assert f".{field}" in example
            assert field in in_go(MESSAGES[name])


def in_go(message: Descriptor) -> set[str]:
    return {field.camelcase_name[0].upper() + field.camelcase_name[1:] for field in message.fields}
