"""The gateway as its own process: how it ends, and what passing files through costs it."""

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from google.protobuf.message import Message

from protos.chatkit.v1 import conversation_service_pb2 as pb
from tests.e2e import processes
from tests.gateway_support import (
    ATTACHMENTS,
    CHAT,
    CLIENT_SECRET,
    ORIGIN,
    SESSION,
    Context,
    FakeConversations,
    FakeService,
)

MB = 1024 * 1024
EVENT = b"data: {}\n\n"
LINK = {"expires": "1", "signature": "a"}
PATH = f"{ATTACHMENTS}/atc_1"


@pytest.fixture
def conversations() -> FakeConversations:
    return FakeConversations()


@pytest.fixture
async def fake(conversations: FakeConversations) -> AsyncIterator[FakeService]:
    async with FakeService(conversations=conversations).serve() as fake:
        yield fake


@pytest.fixture
def gateway(fake: FakeService, tmp_path: Path) -> Iterator[processes.Part]:
    with processes.gateway(tmp_path, f"127.0.0.1:{fake.port}") as gateway:
        yield gateway


@pytest.fixture
def hasty_gateway(fake: FakeService, tmp_path: Path) -> Iterator[processes.Part]:
    """Its requests have half a second after SIGTERM."""
    target, origins = f"127.0.0.1:{fake.port}", {"CORS_ALLOW_ORIGINS": ORIGIN}
    with processes.gateway(tmp_path, target, grace_seconds=0.5, **origins) as gateway:
        yield gateway


@pytest.fixture
async def http(gateway: processes.Part) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {CLIENT_SECRET}"}
    async with httpx.AsyncClient(
        base_url=gateway.url, headers=headers, trust_env=False, verify=False, timeout=60
    ) as http:
        yield http


def peak_memory(process: processes.Process) -> int:
    """Returns the most bytes that the process has had in memory at once."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def test_an_answer_in_flight_is_finished_after_sigterm(
    http: httpx.AsyncClient, gateway: processes.Part, conversations: FakeConversations
) -> None:
    go_on = asyncio.Event()

    async def process(_: pb.ProcessRequest, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        yield pb.ProcessResponse(head=pb.ProcessHead(content_type="text/event-stream"))
        yield pb.ProcessResponse(data=EVENT)
        await go_on.wait()
        yield pb.ProcessResponse(data=EVENT)

    conversations.process = process
    async with http.stream("POST", CHAT, json={}) as answer:
        said = answer.aiter_raw()
        assert await anext(said) == EVENT
        gateway.process.send(signal.SIGTERM)
        await asyncio.to_thread(gateway.process.wait_for, "gateway draining")
        go_on.set()
        assert b"".join([part async for part in said]) == EVENT
    assert await asyncio.to_thread(gateway.process.wait) == 0
    assert "Traceback" not in gateway.process.output
    assert CLIENT_SECRET not in gateway.process.output


async def refused_in_the_end(gateway: processes.Part, reader: asyncio.StreamReader) -> None:
    """Ends the gateway while it has the request `cut-off`, and looks at what the client gets."""
    gateway.process.send(signal.SIGTERM)
    answer = (await asyncio.wait_for(reader.read(), 10)).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 503 "), answer
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
    assert headers["x-request-id"] == "cut-off"
    assert headers["access-control-allow-origin"] == ORIGIN
    assert headers["content-type"] == "application/json"
    assert int(headers["retry-after"]) >= 1
    assert json.loads(body)["code"] == "UNAVAILABLE"
    assert json.loads(body)["requestId"] == "cut-off"
    assert await asyncio.to_thread(gateway.process.wait) == 0
    output = gateway.process.output
    assert "Traceback" not in output
    assert re.search(r'"event":"request".*"status":503.*"request_id":"cut-off"', output)


@contextlib.asynccontextmanager
async def begun(
    gateway: processes.Part, head: str, body: bytes
) -> AsyncIterator[asyncio.StreamReader]:
    """Sends a request of the dashboard with this much of its body of 20 bytes."""
    host, _, port = gateway.address.rpartition(":")
    token = jwt.encode({"userId": 7, "exp": int(time.time()) + 600}, processes.SECRET)
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = (head, "Host: a", f"Authorization: Bearer {token}", f"Origin: {ORIGIN}")
    sent = "\r\n".join((*lines, "X-Request-Id: cut-off", "Content-Length: 20", "", ""))
    writer.write(sent.encode() + body)
    try:
        yield reader
    finally:
        writer.close()


async def test_what_does_not_end_in_time_after_sigterm_is_503(
    fake: FakeService, hasty_gateway: processes.Part
) -> None:
    came = asyncio.Event()

    async def hang(_: Context) -> Message:
        came.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    fake.answers["CreateSession"] = hang
    head = f"POST {SESSION} HTTP/1.1\r\nContent-Type: application/json"
    async with begun(hasty_gateway, head, b'{"username": "Ada"} ') as reader:
        await asyncio.wait_for(came.wait(), 5)
        await refused_in_the_end(hasty_gateway, reader)


async def test_a_body_that_is_not_whole_in_time_after_sigterm_is_503(
    hasty_gateway: processes.Part,
) -> None:
    head = f"POST {SESSION} HTTP/1.1\r\nContent-Type: application/json\r\nExpect: 100-continue"
    async with begun(hasty_gateway, head, b"{") as reader:
        asked = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
        await refused_in_the_end(hasty_gateway, reader)


async def test_an_answer_that_does_not_end_in_time_after_sigterm_ends_with_an_event(
    hasty_gateway: processes.Part, conversations: FakeConversations
) -> None:
    ended = asyncio.Event()

    async def process(_: pb.ProcessRequest, __: Context) -> AsyncIterator[pb.ProcessResponse]:
        try:
            yield pb.ProcessResponse(head=pb.ProcessHead(content_type="text/event-stream"))
            yield pb.ProcessResponse(data=EVENT + b"data: half an ev")
            await asyncio.Event().wait()
        finally:
            ended.set()

    conversations.process = process
    headers = {"Authorization": f"Bearer {CLIENT_SECRET}"}
    async with (
        httpx.AsyncClient(base_url=hasty_gateway.url, trust_env=False, verify=False) as http,
        http.stream("POST", CHAT, json={}, headers=headers) as answer,
    ):
        said = answer.aiter_raw()
        assert await anext(said) == EVENT
        hasty_gateway.process.send(signal.SIGTERM)
        last = b"".join([part async for part in said])  # to its proper end
    event = json.loads(last.removeprefix(b"data: "))
    assert (event["type"], event["allow_retry"]) == ("error", True)
    assert await asyncio.to_thread(hasty_gateway.process.wait) == 0
    await asyncio.wait_for(ended.wait(), 5)
    assert "Traceback" not in hasty_gateway.process.output


async def test_a_secret_in_a_path_is_not_in_the_output(
    http: httpx.AsyncClient, gateway: processes.Part
) -> None:
    headers = {"X-Request-Id": "the-mistake"}
    await http.get(f"{SESSION}/ek_a1b2c3d4", headers=headers)
    await asyncio.to_thread(gateway.process.wait_for, "the-mistake")
    assert "a1b2c3d4" not in gateway.process.output


async def test_files_of_100_mb_pass_through_little_memory(
    http: httpx.AsyncClient, gateway: processes.Part, conversations: FakeConversations
) -> None:
    received = 0

    async def upload(requests: Any, _: Context) -> pb.UploadAttachmentResponse:
        nonlocal received
        async for request in requests:
            received += len(request.data)
        return pb.UploadAttachmentResponse(attachment=b"{}")

    async def read(_: Any, __: Context) -> AsyncIterator[pb.ReadAttachmentResponse]:
        head = pb.ReadAttachmentHead(name="a", mime_type="text/plain", size=100 * MB)
        yield pb.ReadAttachmentResponse(head=head)
        for _number in range(100):
            yield pb.ReadAttachmentResponse(data=bytes(MB))

    conversations.upload, conversations.read = upload, read
    assert (await http.post(PATH, params=LINK, content=b"x")).status_code == 200
    before = peak_memory(gateway.process)

    files = {"file": ("a", bytes(100 * MB))}
    assert (await http.post(ATTACHMENTS, files=files)).status_code == 200
    assert (await http.post(PATH, params=LINK, content=bytes(100 * MB))).status_code == 200
    assert received == 200 * MB + 1
    size = 0
    async with http.stream("GET", PATH, params=LINK) as answer:
        async for part in answer.aiter_raw():
            size += len(part)
    assert size == 100 * MB
    assert peak_memory(gateway.process) - before < 40 * MB


async def test_forms_that_cannot_be_read_do_not_fill_the_log(
    http: httpx.AsyncClient, gateway: processes.Part
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b", "X-Request-Id": "the-form"}
    answer = await http.post(ATTACHMENTS, content=b"garbage", headers=headers)
    assert answer.status_code == 400
    await asyncio.to_thread(gateway.process.wait_for, "the-form")
    assert "boundary" not in gateway.process.output


def test_the_gateway_does_not_load_the_sdk(tmp_path: Path) -> None:
    code = "import sys, gateway.__main__; print(*{name.partition('.')[0] for name in sys.modules})"
    with processes.running("-c", code, cwd=tmp_path) as process:
        assert process.wait() == 0
        loaded = set(process.output.split())
    assert "starlette" in loaded
    assert not loaded & {"chatkit", "agents", "openai", "session_service"}
