"""The attachment calls over gRPC: both ways to upload, and what clients do wrong."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from protos.chatkit.v1 import conversation_service_pb2 as pb
from protos.chatkit.v1.conversation_service_pb2_grpc import (
    ConversationServiceStub,
    add_ConversationServiceServicer_to_server,
)
from protos.chatkit.v1.errors import ErrorDetails, reason_of, to_status
from session_service.conversation.attachment_servicer import AttachmentServicer, Authorize, Context
from session_service.conversation.links import Link
from session_service.errors import ServiceError, Unauthenticated
from session_service.interceptors import STATUS_CODES
from session_service.stores.base import Session
from tests.attachment_examples import BASE_URL, EXAMPLES, PDF, PNG, link_of
from tests.attachment_support import World, open_world
from tests.support import eventually, refused

if TYPE_CHECKING:
    from protos.chatkit.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub

SECRET = "ck_secret"
CHUNK = bytes([65]) * 64 * 1024
MEGABYTE = 1024 * 1024
LARGE = bytes([65]) * 50 * MEGABYTE
"""More than what is on the way in HTTP/2 and TCP."""


async def authorize(client_secret: str) -> Session:
    if client_secret != SECRET:
        raise Unauthenticated
    return Session("cksess_1", "cksess_1", "7", "", 0, 1, mode="self_hosted")


class Servicer(AttachmentServicer):
    """With the statuses of errors, which are the interceptor's."""

    async def UploadAttachment(
        self, request_iterator: AsyncIterator[pb.UploadAttachmentRequest], context: Context
    ) -> pb.UploadAttachmentResponse:
        try:
            return await super().UploadAttachment(request_iterator, context)
        except ServiceError as error:
            await _abort(context, error)
            raise

    async def ReadAttachment(
        self, request: pb.ReadAttachmentRequest, context: Context
    ) -> AsyncGenerator[pb.ReadAttachmentResponse, None]:
        try:
            async for response in super().ReadAttachment(request, context):
                yield response
        except ServiceError as error:
            await _abort(context, error)

    async def Process(
        self, request: pb.ProcessRequest, context: Context
    ) -> AsyncGenerator[pb.ProcessResponse, None]:
        yield pb.ProcessResponse()

    async def DeleteUserData(
        self, request: pb.DeleteUserDataRequest, context: Context
    ) -> pb.DeleteUserDataResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)


async def _abort(context: Context, error: ServiceError) -> None:
    details = ErrorDetails(error.reason, field_violations=error.field_violations)
    status = to_status(STATUS_CODES[error.reason], str(error), details)
    await context.abort(status.code, status.details, status.trailing_metadata or ())


@dataclass(frozen=True, slots=True)
class Service:
    """A served world and a client of it."""

    world: World
    stub: "ConversationServiceAsyncStub"
    address: str

    async def upload(self, *parts: pb.UploadAttachmentRequest) -> dict[str, Any]:
        answer = await self.stub.UploadAttachment(iter(parts))
        shown: dict[str, Any] = json.loads(answer.attachment)
        return shown

    async def read(self, link: Link) -> tuple[pb.ReadAttachmentHead, bytes]:
        request = pb.ReadAttachmentRequest(link=message(link))
        head, *rest = [response async for response in self.stub.ReadAttachment(request)]
        assert head.WhichOneof("part") == "head"
        return head.head, b"".join(part.data for part in rest)

    def read_link(self, attachment_id: str) -> Link:
        return self.world.links.link("read", attachment_id, time.time())


@asynccontextmanager
async def open_service(
    directory: Path, max_bytes: int, authorize: Authorize = authorize
) -> AsyncIterator[Service]:
    async with open_world(directory, max_bytes) as world:
        server = grpc.aio.server()
        servicer = Servicer(world.attachments, authorize)
        add_ConversationServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            address = f"127.0.0.1:{port}"
            async with grpc.aio.insecure_channel(address) as channel:
                yield Service(world, ConversationServiceStub(channel), address)
        finally:
            await server.stop(None)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with open_service(tmp_path, MEGABYTE) as opened:
        yield opened


def message(link: Link) -> pb.AttachmentLink:
    return pb.AttachmentLink(
        attachment_id=link.attachment_id, expires_at=link.expires_at, signature=link.signature
    )


def direct(
    name: str = "a.txt", kind: str = "text/plain", secret: str = SECRET, size: int = 0
) -> pb.UploadAttachmentRequest:
    head = pb.UploadAttachmentHead(
        client_secret=secret, name=name, mime_type=kind, base_url=BASE_URL, size=size
    )
    return pb.UploadAttachmentRequest(head=head)


def second_phase(link: Link, kind: str = "", size: int = 0) -> pb.UploadAttachmentRequest:
    head = pb.UploadAttachmentHead(link=message(link), mime_type=kind, base_url=BASE_URL, size=size)
    return pb.UploadAttachmentRequest(head=head)


END = pb.UploadAttachmentRequest(end=True)


def data(content: bytes, step: int = 64 * 1024) -> list[pb.UploadAttachmentRequest]:
    starts = range(0, len(content), step)
    return [*(pb.UploadAttachmentRequest(data=content[at : at + step]) for at in starts), END]


@pytest.mark.parametrize("step", [1, 7, 64 * 1024])
async def test_a_direct_upload_answers_what_chatkit_shows(service: Service, step: int) -> None:
    shown = await service.upload(direct("../ñ.png", "image/png", size=len(PNG)), *data(PNG, step))
    preview = link_of(shown.pop("preview_url"))
    attachment_id = shown.pop("id")
    assert shown == {"name": "ñ.png", "mime_type": "image/png", "type": "image"}
    assert preview.attachment_id == attachment_id
    head, content = await service.read(preview)
    assert (head.name, head.mime_type, head.size) == ("ñ.png", "image/png", len(PNG))
    assert content == PNG
    row = await service.world.store.attachment("7", attachment_id)
    assert row is not None
    assert await service.world.store.attachment("8", attachment_id) is None


async def test_a_two_phase_upload_answers_what_chatkit_shows(service: Service) -> None:
    link = await service.world.announce("a.pdf", "application/pdf", len(PDF))
    shown = await service.upload(second_phase(link, "application/pdf"), *data(PDF, 10))
    assert shown == {
        "id": link.attachment_id,
        "name": "a.pdf",
        "mime_type": "application/pdf",
        "type": "file",
    }
    assert (await service.read(service.read_link(link.attachment_id)))[1] == PDF


@pytest.mark.parametrize("kind", EXAMPLES)
async def test_every_type_comes_back_as_it_went(service: Service, kind: str) -> None:
    name, content = EXAMPLES[kind]
    shown = await service.upload(direct(name, kind), *data(content))
    head, read = await service.read(service.read_link(shown["id"]))
    assert (head.name, head.mime_type, read) == (name, kind, content)


BAD_HEADS: Iterable[tuple[list[pb.UploadAttachmentRequest], str]] = [
    ([], "head"),
    ([pb.UploadAttachmentRequest()], "head"),
    (data(b"a"), "head"),
    ([pb.UploadAttachmentRequest(head=pb.UploadAttachmentHead(name="a"))], "head.authority"),
    (
        [pb.UploadAttachmentRequest(head=pb.UploadAttachmentHead(client_secret=SECRET))],
        "head.base_url",
    ),
    ([direct(), direct()], "data"),
    ([direct(), data(b"a")[0], direct(), *data(b"a")], "data"),
    ([direct(), pb.UploadAttachmentRequest()], "data"),
    ([direct(), END], "data"),
    ([direct()], "end"),
    ([direct(), data(b"a")[0]], "end"),
    ([direct(size=-1)], "size"),
]


@pytest.mark.parametrize(("parts", "field"), BAD_HEADS)
async def test_a_stream_that_is_out_of_order_is_refused(
    service: Service, parts: list[pb.UploadAttachmentRequest], field: str
) -> None:
    with refused("INVALID_ARGUMENT") as refusal:
        await service.upload(*parts)
    assert refusal.details.field_violations.keys() == {field}
    assert service.world.on_disk() == []
    assert await service.world.store.stale_attachments(2**50, 10) == []


@pytest.mark.parametrize("base_url", ["", "chat.example.com", "ftp://a", "http://[", "https://"])
async def test_links_need_an_address_to_begin_with(service: Service, base_url: str) -> None:
    head = pb.UploadAttachmentHead(client_secret=SECRET, name="a.txt", base_url=base_url)
    with refused("INVALID_ARGUMENT"):
        await service.upload(pb.UploadAttachmentRequest(head=head))


@pytest.mark.parametrize("secret", ["", "ck_other"])
async def test_an_unknown_secret_may_not_upload(service: Service, secret: str) -> None:
    with refused("UNAUTHENTICATED"):
        await service.upload(direct(secret=secret), *data(b"a"))
    assert service.world.on_disk() == []


async def test_a_link_that_is_none_opens_nothing(service: Service) -> None:
    attachment = await service.world.add()
    read = service.world.links.link("read", attachment.id, time.time())
    expired = service.world.links.link("read", attachment.id, time.time() - 601)
    upload = service.world.links.link("upload", attachment.id, time.time())
    for link in (Link("", 0, ""), Link(attachment.id, read.expires_at, "x"), expired, upload):
        with refused("ATTACHMENT_NOT_FOUND"):
            await service.read(link)
    for link in (Link("", 0, ""), read, upload):  # the last was filled before
        with refused("ATTACHMENT_NOT_FOUND"):
            await service.upload(second_phase(link), *data(PNG))
    assert (await service.read(read))[1] == PNG


@pytest.mark.parametrize(
    ("head", "content", "reason"),
    [
        (direct("a.pdf", "application/pdf"), PNG, "ATTACHMENT_TYPE_NOT_ALLOWED"),
        (direct("a.svg", "image/svg+xml"), b"<svg/>", "ATTACHMENT_TYPE_NOT_ALLOWED"),
        (direct(size=513 * MEGABYTE), b"", "ATTACHMENT_TOO_LARGE"),
        (direct(), b"a" * (MEGABYTE + 1), "ATTACHMENT_TOO_LARGE"),
    ],
)
async def test_what_is_not_allowed_is_refused(
    service: Service, head: pb.UploadAttachmentRequest, content: bytes, reason: str
) -> None:
    with refused(reason):
        await service.upload(head, *data(content))
    assert service.world.on_disk() == []


async def test_a_client_that_goes_on_after_a_refusal_hears_of_it(service: Service) -> None:
    sent = 0

    def parts() -> Iterator[pb.UploadAttachmentRequest]:
        nonlocal sent
        yield direct("a.pdf", "application/pdf")
        while sent < 1000:
            sent += 1
            yield pb.UploadAttachmentRequest(data=CHUNK)

    def upload() -> grpc.RpcError | None:
        # Not by grpc.aio, which may lose the status to its own failing write:
        # https://github.com/grpc/grpc/issues/36066
        with grpc.insecure_channel(service.address) as channel:
            stub = ConversationServiceStub(channel)
            try:
                stub.UploadAttachment(parts(), timeout=10)
            except grpc.RpcError as error:
                return error
        return None

    error = await asyncio.to_thread(upload)
    assert error is not None
    assert reason_of(error) == "ATTACHMENT_TYPE_NOT_ALLOWED"
    assert sent < 1000


async def test_a_client_that_leaves_leaves_nothing_behind(service: Service) -> None:
    async def parts() -> AsyncIterator[pb.UploadAttachmentRequest]:
        yield direct()
        for _ in range(10):
            yield pb.UploadAttachmentRequest(data=CHUNK)
        await asyncio.Event().wait()

    call = service.stub.UploadAttachment(parts())

    async def begun() -> bool:
        return any(file.stat().st_size for file in service.world.on_disk())

    await eventually(begun)
    call.cancel()

    async def gone() -> bool:
        rows = await service.world.store.stale_attachments(2**50, 10)
        return not rows and not service.world.on_disk()

    await eventually(gone)


async def test_who_sends_faster_than_we_take_has_to_wait(tmp_path: Path) -> None:
    goes_on = asyncio.Event()
    sent = 0

    async def slowly(client_secret: str) -> Session:
        await goes_on.wait()
        return await authorize(client_secret)

    async def parts() -> AsyncIterator[pb.UploadAttachmentRequest]:
        nonlocal sent
        yield direct()
        for part in data(LARGE):
            sent += len(part.data)
            yield part

    async with open_service(tmp_path, len(LARGE), slowly) as service:
        call = service.stub.UploadAttachment(parts())
        before = -1
        while sent > before:  # until no more goes out
            before = sent
            await asyncio.sleep(0.2)
        assert 0 < sent < len(LARGE) / 2
        goes_on.set()
        shown = json.loads((await call).attachment)
        assert await service.world.files.size(shown["id"]) == sent == len(LARGE)


async def test_who_reads_slower_than_we_give_makes_us_wait(tmp_path: Path) -> None:
    async with open_service(tmp_path, len(LARGE)) as service:
        shown = await service.upload(direct(), *data(LARGE))
        request = pb.ReadAttachmentRequest(link=message(service.read_link(shown["id"])))
        responses = aiter(service.stub.ReadAttachment(request))
        await anext(responses)
        received = 0
        await asyncio.sleep(0.5)  # time enough to read it all
        await service.world.files.remove(shown["id"])
        with refused("ATTACHMENT_NOT_FOUND"):
            async for response in responses:
                received += len(response.data)
        assert 0 < received < len(LARGE) / 2
