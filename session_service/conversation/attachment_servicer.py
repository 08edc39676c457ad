"""The attachment calls of chatkit.v1.ConversationService: translates, and decides nothing."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeAlias
from urllib.parse import urlsplit

import grpc

from protos.chatkit.v1 import conversation_service_pb2 as pb
from protos.chatkit.v1 import conversation_service_pb2_grpc as pb_grpc
from session_service.conversation.attachments import Attachments, ChatKitAttachment
from session_service.conversation.links import Link
from session_service.errors import InvalidArgument
from session_service.stores.base import Session
from session_service.stores.conversations import Attachment

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"
Authorize: TypeAlias = Callable[[str], Awaitable[Session]]
"""Returns the session of a client secret. Raises Unauthenticated and SessionDeleted."""


class AttachmentServicer(pb_grpc.ConversationServiceServicer):
    """Two of the calls of the contract; `ConversationServicer` has the others.

    Each chunk is asked for when the one before is on its way to the disk, or to the caller, so that
    HTTP/2 makes whoever is faster than that wait.
    """

    def __init__(self, attachments: Attachments, authorize: Authorize) -> None:
        self._attachments = attachments
        self._authorize = authorize

    async def UploadAttachment(
        self, request_iterator: AsyncIterator[pb.UploadAttachmentRequest], context: Context
    ) -> pb.UploadAttachmentResponse:
        head = await _head(request_iterator)
        attachment = await self._upload(head, _data(request_iterator))
        shown = self._attachments.to_chatkit(attachment, head.base_url)
        return pb.UploadAttachmentResponse(attachment=chatkit_json(shown))

    async def ReadAttachment(
        self, request: pb.ReadAttachmentRequest, context: Context
    ) -> AsyncGenerator[pb.ReadAttachmentResponse, None]:
        attachment, chunks = await self._attachments.read(_link(request.link))
        head = pb.ReadAttachmentHead(
            name=attachment.name, mime_type=attachment.mime_type, size=attachment.size
        )
        yield pb.ReadAttachmentResponse(head=head)
        async for data in chunks:
            yield pb.ReadAttachmentResponse(data=data)

    async def _upload(
        self, head: pb.UploadAttachmentHead, chunks: AsyncIterator[bytes]
    ) -> Attachment:
        if head.WhichOneof("authority") == "link":
            return await self._attachments.upload_to(
                _link(head.link), head.mime_type, head.size, chunks
            )
        session = await self._authorize(head.client_secret)
        return await self._attachments.upload_direct(
            session.user_id, head.name, head.mime_type, head.size, chunks
        )


def chatkit_json(attachment: ChatKitAttachment) -> bytes:
    """Returns an attachment as ChatKitServer writes it into its answers."""
    context = {"exclude_metadata": True}
    return attachment.model_dump_json(by_alias=True, exclude_none=True, context=context).encode()


async def _head(requests: AsyncIterator[pb.UploadAttachmentRequest]) -> pb.UploadAttachmentHead:
    request = await anext(requests, None)
    if request is None or request.WhichOneof("part") != "head":
        raise InvalidArgument("head", "must be the first message")
    if request.head.WhichOneof("authority") is None:
        raise InvalidArgument("head.authority", "must be a client secret or a link")
    _check_base_url(request.head.base_url)
    return request.head


async def _data(requests: AsyncIterator[pb.UploadAttachmentRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        match request.WhichOneof("part"):
            case "data":
                yield request.data
            case "end":
                return
            case _:
                raise InvalidArgument("data", "must be in all messages but the first and the last")
    # A client that leaves looks the same at first as one that has sent all.
    raise InvalidArgument("end", "is missing: the upload broke off")


def _check_base_url(base_url: str) -> None:
    url = None
    with contextlib.suppress(ValueError):
        url = urlsplit(base_url)
    if url is None or url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidArgument("head.base_url", "must be an http:// or https:// address")


def _link(link: pb.AttachmentLink) -> Link:
    return Link(link.attachment_id, link.expires_at, link.signature)
