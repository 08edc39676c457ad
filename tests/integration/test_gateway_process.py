"""The gateway as its own process: how it ends, and what passing files through costs it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from protos.chatkit.v1 import conversation_service_pb2 as pb
from tests.e2e import processes
from tests.gateway_support import (
    ATTACHMENTS,
    CHAT,
    CLIENT_SECRET,
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
