"""The session service as a process: health, reflection, its start, its end, its log."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.errors import ErrorDetails, details_of
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from session_service import server
from session_service.server import CannotStart
from tests.integration.test_session_failures import silent_openai
from tests.support import (
    Emulator,
    SessionService,
    eventually,
    open_session_service,
    refused,
    settings_for,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
QUOTED = "ek_somebody-elses cksec_somebody-elses"
REPOSITORY = Path(__file__).parents[2]


def health_of(service: SessionService) -> Any:
    """The types that there are for these stubs know nothing of their asynchronous side."""
    return cast(Any, health_pb2_grpc).HealthStub(service.channel)


async def asked(emulator: Emulator, number: int = 1) -> None:
    async def enough() -> bool:
        return len(await emulator.requests("sessions.create")) >= number

    await eventually(enough)


@pytest.mark.parametrize("name", ["", "chatkit.v1.SessionService", "grpc.health.v1.Health"])
async def test_each_service_says_that_it_serves(name: str, service: SessionService) -> None:
    health = health_of(service)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == SERVING


async def test_an_unknown_service_has_no_health(service: SessionService) -> None:
    health = health_of(service)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="chatkit.v1.Nothing"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services_and_describes_ours(service: SessionService) -> None:
    stub: Any = cast(Any, reflection_pb2_grpc).ServerReflectionStub(service.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="chatkit.v1.SessionService"),
        # What our file imports has to be had from here too: clients ask for it by name.
        reflection_pb2.ServerReflectionRequest(file_by_filename="google/protobuf/timestamp.proto"),
    ]
    listed, described, imported = [
        answer async for answer in stub.ServerReflectionInfo(iter(requests))
    ]
    names = {service.name for service in listed.list_services_response.service}
    assert {"chatkit.v1.SessionService", "grpc.health.v1.Health"} <= names
    assert pb.DESCRIPTOR.serialized_pb in described.file_descriptor_response.file_descriptor_proto
    assert len(imported.file_descriptor_response.file_descriptor_proto) == 1


async def test_a_drain_finishes_what_has_begun_and_takes_no_more(
    service: SessionService, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.6)
    begun = asyncio.create_task(service.create())
    await asked(emulator)
    draining = asyncio.create_task(service.server.drain())

    async def refuses() -> bool:
        call = service.stub.GetStats(pb.GetStatsRequest(user_id="7"), timeout=1)
        return await call.code() == grpc.StatusCode.UNAVAILABLE

    await eventually(refuses)
    assert not begun.done()
    assert (await begun).client_secret.startswith("ek_")
    await asyncio.wait_for(draining, 5)


async def test_a_drain_finishes_a_refresh_that_nobody_waits_for(
    emulator: Emulator, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, emulator.url)
    async with open_session_service(settings) as service:
        created = await service.create()
        await emulator.fail("sessions.create", kind="delay", delay_seconds=0.5)
        refresh = asyncio.create_task(service.refresh(created.client_secret))
        await asked(emulator, 2)
        refresh.cancel()
        await service.server.drain()
    async with open_session_service(settings) as service:
        assert (await service.stats()).refreshes == 1


async def test_whoever_watches_hears_that_the_service_drains_and_does_not_hold_it_up(
    service: SessionService,
) -> None:
    health = health_of(service)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="chatkit.v1.SessionService"))
    assert (await watch.read()).status == SERVING
    draining = asyncio.create_task(service.server.drain())
    assert (await asyncio.wait_for(watch.read(), 5)).status == NOT_SERVING
    await asyncio.wait_for(draining, 5)


async def test_a_drain_ends_in_time_whatever_openai_does(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GRACE_SECONDS", 0.5)
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        created = await service.create()
        await emulator.fail("sessions.create", kind="hang", times=None)
        calls = [
            asyncio.create_task(service.create()),
            asyncio.create_task(service.refresh(created.client_secret)),
        ]
        await asked(emulator, 3)
        try:
            await asyncio.wait_for(service.server.drain(), 5)
        finally:
            await emulator.heal()
            ended = await asyncio.gather(*calls, return_exceptions=True)
        for answer in ended:
            assert isinstance(answer, grpc.aio.AioRpcError)
            assert answer.code() == grpc.StatusCode.UNAVAILABLE
            assert details_of(answer) == ErrorDetails("UNAVAILABLE", retry_after_seconds=1)


async def test_two_services_do_not_share_a_port(emulator: Emulator, tmp_path: Path) -> None:
    async with open_session_service(settings_for(tmp_path, emulator.url)) as service:
        address = f"127.0.0.1:{service.server.port}"
        second = settings_for(tmp_path, emulator.url, session_service_listen=address)
        with pytest.raises(CannotStart, match=address):
            async with open_session_service(second):
                raise AssertionError("it started")


async def test_a_database_that_cannot_be_used_is_named(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "chatkit.db").write_text("no database " * 100)
    with pytest.raises(CannotStart, match=r"chatkit\.db.*not a database"):
        async with open_session_service(settings_for(tmp_path, emulator.url)):
            raise AssertionError("it started")


@asynccontextmanager
async def process(
    directory: Path, openai_base_url: str, **settings: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Runs `python -m session_service`, and yields it with its port once it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "OPENAI_API_KEY": "sk-secret-key-of-this-test",
        "OPENAI_CHATKIT_WORKFLOW_ID": "wf_test",
        "OPENAI_BASE_URL": openai_base_url,
        "SESSION_SERVICE_LISTEN": f"127.0.0.1:{port}",
        "SESSION_SERVICE_METRICS_LISTEN": "off",
        **settings,
    }
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "session_service"),
        cwd=directory,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert running.stdout is not None
        line = await asyncio.wait_for(running.stdout.readline(), 20)
        assert f"127.0.0.1:{port}".encode() in line
        yield running, port
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def test_sigterm_finishes_what_has_begun_and_exits_with_0(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with (
        process(tmp_path, emulator.url) as (running, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await emulator.fail("sessions.create", kind="delay", delay_seconds=0.6)
        stub = SessionServiceStub(channel)
        begun = asyncio.ensure_future(stub.CreateSession(pb.CreateSessionRequest(user_id="7")))
        await asked(emulator)
        running.send_signal(signal.SIGTERM)
        assert (await begun).client_secret.startswith("ek_")
        assert await asyncio.wait_for(running.wait(), 10) == 0
    assert (tmp_path / "data" / "chatkit.db").exists()


async def test_hosted_mode_does_without_openais_sdks(tmp_path: Path) -> None:
    program = """
import asyncio, sys
import session_service.__main__
from session_service.config import load_settings
from session_service.server import serve

async def run():
    async with serve(load_settings()):
        print("it serves:", sorted({"agents", "chatkit", "openai", "orjson"} & sys.modules.keys()))
        print(any(name.startswith("session_service.conversation") for name in sys.modules))

asyncio.run(run())
"""
    # They take 2.3 s and 100 MB.
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "SESSION_SERVICE_LISTEN": "127.0.0.1:0"},
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await asyncio.wait_for(running.communicate(), 20))[0].decode()
    # Of the four it uses this one, so the test can see them.
    assert output.splitlines() == ["it serves: ['orjson']", "False"]


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_defect_is_logged_without_what_the_variables_held(log_format: str) -> None:
    program = """
import sys, structlog
from runtime import log
log.configure("info", sys.argv[1])

def refresh(client_secret):
    raise RuntimeError("a defect")

try:
    refresh("ek_" + "top" + "secret")
except RuntimeError:
    structlog.get_logger().exception("defect")
"""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, log_format),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await asyncio.wait_for(running.communicate(), 20))[0].decode()
    assert "a defect" in output
    assert "RuntimeError" in output
    assert "ek_topsecret" not in output


async def test_the_log_has_the_request_and_no_secret(emulator: Emulator, tmp_path: Path) -> None:
    async with (
        process(tmp_path, emulator.url, LOG_LEVEL="debug") as (running, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = SessionServiceStub(channel)
        metadata = (("x-request-id", "req-of-this-test"),)
        create = pb.CreateSessionRequest(user_id="7")
        secret = (await stub.CreateSession(create, metadata=metadata)).client_secret
        refresh = pb.RefreshSessionRequest(user_id="7", client_secret=secret)
        second = (await stub.RefreshSession(refresh)).client_secret
        # Failures of several kinds, among them a header that hardly a reader makes sense of.
        wait = "Mon, 01 Jan 2024 00:00:00 +99999999999999999"
        for failure in (
            {"status": 401},
            {"status": 429, "headers": {"retry-after": wait}},
            {"kind": "truncate"},
            {"status": 400, "body": {"error": {"message": f"{QUOTED} sk-secret-key-of-this"}}},
        ):
            await emulator.fail("sessions.create", **failure)
            with contextlib.suppress(grpc.aio.AioRpcError):  # what matters is what is logged
                await stub.RefreshSession(refresh)
        running.send_signal(signal.SIGTERM)
        output = (await running.communicate())[0].decode()
    lines = [line for line in output.splitlines() if "req-of-this-test" in line]
    assert any('"CreateSession"' in line for line in lines)
    assert any("/chatkit/sessions" in line and '"req_' in line for line in lines)
    assert "[redacted] cksec_" not in output
    assert '"message":"[redacted] [redacted] [redacted]"' in output
    for value in (secret, second, "sk-secret-key-of-this-test", *QUOTED.split()):
        assert value[:20] not in output


async def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "session_service"),
            cwd=tmp_path,
            env={"PYTHONPATH": str(REPOSITORY), "SESSION_SERVICE_LISTEN": address},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaint = await asyncio.wait_for(running.communicate(), 20)
    assert running.returncode == 1
    assert address in complaint.decode()
    assert "Traceback" not in complaint.decode()


async def test_a_second_sigterm_is_no_reason_to_break_off(tmp_path: Path) -> None:
    async with (
        silent_openai() as (url, came, _),
        process(tmp_path, url, CHATKIT_TIMEOUT_SECONDS="1") as (running, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = SessionServiceStub(channel)
        begun = asyncio.ensure_future(stub.CreateSession(pb.CreateSessionRequest(user_id="7")))
        await asyncio.wait_for(came.wait(), 5)
        running.send_signal(signal.SIGTERM)
        running.send_signal(signal.SIGINT)
        started = time.monotonic()
        with refused("UPSTREAM_TIMEOUT"):
            await begun
        assert await asyncio.wait_for(running.wait(), 10) == 0
        assert time.monotonic() - started < 10
