"""The bytes of attachments, from the browser to the session service and back, as they come."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import grpc
import structlog
from starlette.types import Receive, Scope, Send

from gateway.channel import learn, rpc_hop
from gateway.errors import APIError, from_conversation_rpc
from gateway.multipart import FileForm
from protos.chatkit.v1 import conversation_service_pb2 as pb
from protos.chatkit.v1.errors import details_of
from runtime import hops
from runtime.hops import Hop

_SERVICE = "/chatkit.v1.ConversationService"
_PIECE_BYTES = 64 * 1024

_ATTACHMENT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_EXPIRES_AT = re.compile(r"[0-9]{1,18}")
_SIGNATURE = re.compile(r"[\x21-\x7e]{1,512}")
_MIME_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")

log = structlog.get_logger()

Result = TypeVar("Result")

UploadCall: TypeAlias = (
    "grpc.aio.StreamUnaryCall[pb.UploadAttachmentRequest, pb.UploadAttachmentResponse]"
)
ReadCall: TypeAlias = (
    "grpc.aio.UnaryStreamCall[pb.ReadAttachmentRequest, pb.ReadAttachmentResponse]"
)


def link_of(attachment_id: str, query: Mapping[str, str]) -> pb.AttachmentLink:
    """Returns what a link says. Raises APIError for one that we cannot have given out."""
    expires_at, signature = query.get("expires", ""), query.get("signature", "")
    if not (
        _ATTACHMENT_ID.fullmatch(attachment_id)
        and _EXPIRES_AT.fullmatch(expires_at)
        and _SIGNATURE.fullmatch(signature)
    ):
        raise APIError("ATTACHMENT_NOT_FOUND")
    return pb.AttachmentLink(
        attachment_id=attachment_id, expires_at=int(expires_at), signature=signature
    )


async def form_parts(
    head: pb.UploadAttachmentHead, content_type: str, body: AsyncIterator[bytes]
) -> AsyncIterator[pb.UploadAttachmentRequest]:
    """Yields what `UploadAttachment` takes for the file in a form. Raises APIError."""
    form = FileForm(content_type)
    begun = False
    async for chunk in body:
        data = form.feed(chunk)
        if form.head and not begun:
            begun = True
            head.name, head.mime_type = form.head.name, form.head.mime_type
            yield pb.UploadAttachmentRequest(head=head)
        for part in _data_parts(data):
            yield part
    form.finish()
    yield pb.UploadAttachmentRequest(end=True)


async def raw_parts(
    head: pb.UploadAttachmentHead, body: AsyncIterator[bytes]
) -> AsyncIterator[pb.UploadAttachmentRequest]:
    """Yields what `UploadAttachment` takes for a file that is the body itself."""
    yield pb.UploadAttachmentRequest(head=head)
    async for chunk in body:
        for part in _data_parts(chunk):
            yield part
    yield pb.UploadAttachmentRequest(end=True)


async def upload(
    begin: Callable[[], UploadCall], parts: AsyncIterator[pb.UploadAttachmentRequest]
) -> bytes:
    """Uploads and returns ChatKit's JSON of the attachment. Raises APIError.

    Stops reading the parts as soon as the service has refused, and cancels the call where they end
    with an exception.
    """
    first = await anext(parts)  # the service is not asked before there is a file
    with rpc_hop(f"{_SERVICE}/UploadAttachment") as hop:
        return await _upload(begin(), first, parts, hop)


async def _upload(
    call: UploadCall,
    first: pb.UploadAttachmentRequest,
    parts: AsyncIterator[pb.UploadAttachmentRequest],
    hop: Hop,
) -> bytes:
    ending = _Ending()
    call.add_done_callback(ending.keep)
    sending = asyncio.create_task(_send(call, first, parts))
    answering = asyncio.create_task(_answer(call))
    try:
        await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            sending.result()
        attachment = await answering
        learn(hop, await call.trailing_metadata())
        return attachment
    except grpc.aio.AioRpcError as error:
        ended = ending.error or error
        learn(hop, ended.trailing_metadata())
        raise from_conversation_rpc(ended) from error
    finally:
        call.cancel()
        sending.cancel()
        answering.cancel()
        await asyncio.gather(sending, answering, return_exceptions=True)


async def _send(
    call: UploadCall,
    first: pb.UploadAttachmentRequest,
    parts: AsyncIterator[pb.UploadAttachmentRequest],
) -> None:
    try:
        await call.write(first)
        async for part in parts:
            await call.write(part)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass  # the service has answered before the end: its answer says why


class _Ending:
    """Keeps the status with which the service ends a call.

    Where it does so while we write, the write fails, and grpc.aio makes an INTERNAL of that, before
    the service's own status or over it: https://github.com/grpc/grpc/issues/36066.
    """

    def __init__(self) -> None:
        self.error: grpc.aio.AioRpcError | None = None

    def keep(self, call: UploadCall) -> None:
        code = _at_once(call.code())
        if code is not grpc.StatusCode.OK:
            trailing = _at_once(call.trailing_metadata())
            details = _at_once(call.details())
            error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)
            if code is not grpc.StatusCode.INTERNAL or details_of(error):
                self.error = error


def _at_once(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Returns what a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    raise RuntimeError("the status of a call that has ended is not known")


async def _answer(call: UploadCall) -> bytes:
    return (await call).attachment


def _data_parts(data: bytes) -> list[pb.UploadAttachmentRequest]:
    return [
        pb.UploadAttachmentRequest(data=data[start : start + _PIECE_BYTES])
        for start in range(0, len(data), _PIECE_BYTES)
    ]


@dataclass(frozen=True, slots=True)
class AttachmentContent:
    """An ASGI response: the bytes of an attachment; a failure before the first is an APIError."""

    read: Callable[[], ReadCall]
    """Begins the call."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with rpc_hop(f"{_SERVICE}/ReadAttachment") as hop:
            await self._relay(self.read(), hop, scope, send)

    async def _relay(self, call: ReadCall, hop: Hop, scope: Scope, send: Send) -> None:
        begun = False
        try:
            messages = aiter(call)
            first = await anext(messages, None)
            if first is None or not first.HasField("head"):
                raise RuntimeError("the session service has answered without a head")
            begun = True
            learn(hop, await call.initial_metadata())
            hop.note()
            headers = _headers(first.head)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] != "HEAD":
                async for message in messages:
                    body = {"type": "http.response.body", "body": message.data, "more_body": True}
                    await send(body)
            await send({"type": "http.response.body"})
        except grpc.aio.AioRpcError as error:
            failure = from_conversation_rpc(error)
            learn(hop, error.trailing_metadata())
            if not begun:
                raise failure from error
            # The server closes the connection before the promised length: nobody takes it for whole
            hops.fail(failure.reason)
            log.warning("attachment broken off", reason=failure.reason)
        finally:
            call.cancel()


def _headers(head: pb.ReadAttachmentHead) -> list[tuple[bytes, bytes]]:
    """Whoever uploaded the file wrote it: it must not run as ours, whatever it is."""
    known = _MIME_TYPE.fullmatch(head.mime_type)
    mime_type = head.mime_type if known else "application/octet-stream"
    disposition = "inline" if mime_type.startswith("image/") else "attachment"
    # RFC 6266: the first name is for clients that do not know the second.
    ascii_name = re.sub(r"[^A-Za-z0-9._ -]", "_", head.name)
    encoded_name = quote(head.name, safe="")
    headers = {
        "Content-Type": mime_type,
        "Content-Length": str(head.size),
        "Content-Disposition": (
            f"{disposition}; filename=\"{ascii_name}\"; filename*=UTF-8''{encoded_name}"
        ),
        "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
        "Cache-Control": "private, no-store",
        "Cross-Origin-Resource-Policy": "cross-origin",  # an <img> in the dashboard shows it
    }
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
