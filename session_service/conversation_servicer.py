"""chatkit.v1.ConversationService: translates between protobuf and conversations, no more."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeAlias

import grpc

from protos.chatkit.v1 import conversation_service_pb2 as pb
from session_service.conversation.attachment_servicer import AttachmentServicer
from session_service.conversation.attachments import Attachments
from session_service.conversation.conversations import Conversations

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"

_MAX_DATA_BYTES = 256 * 1024
"""Of one message: callers take 4 MiB at most, unless told otherwise."""


class ConversationServicer(AttachmentServicer):
    """The calls of the contract; those for attachments are inherited."""

    def __init__(self, conversations: Conversations, attachments: Attachments) -> None:
        super().__init__(attachments, conversations.authorize_upload)
        self._conversations = conversations

    async def Process(
        self, request: pb.ProcessRequest, context: Context
    ) -> AsyncGenerator[pb.ProcessResponse, None]:
        async with self._conversations.process(
            request.client_secret, request.request, request.language, request.base_url
        ) as reply:
            yield pb.ProcessResponse(head=pb.ProcessHead(content_type=reply.content_type))
            async for data in _pieces(reply.chunks):
                yield pb.ProcessResponse(data=data)

    async def DeleteUserData(
        self, request: pb.DeleteUserDataRequest, context: Context
    ) -> pb.DeleteUserDataResponse:
        deleted = await self._conversations.delete_user(request.user_id)
        return pb.DeleteUserDataResponse(
            sessions=deleted.sessions,
            threads=deleted.threads,
            attachments=len(deleted.attachments),
        )


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        for start in range(0, len(chunk), _MAX_DATA_BYTES):
            yield chunk[start : start + _MAX_DATA_BYTES]
