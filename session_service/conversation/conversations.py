"""The rules of conversations: who may speak, how much, and one answer at a time in a thread."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from chatkit.types import (
    ActiveStatus,
    AttachmentsCreateReq,
    ClosedStatus,
    ErrorEvent,
    NoticeEvent,
    ThreadMetadata,
    ThreadsAddUserMessageReq,
    ThreadsCreateReq,
    ThreadStreamEvent,
    is_streaming_req,
)

from runtime import log as logs
from session_service.cancellations import FIRST_RETRY_MS, Cancellations
from session_service.conversation import requests
from session_service.conversation.attachments import Attachments
from session_service.conversation.chat_server import ChatServer
from session_service.conversation.context import RequestContext
from session_service.conversation.texts import texts_in
from session_service.errors import RateLimited, ThreadNotFound, Unavailable, UpstreamTimeout
from session_service.rate_limit import RateLimit
from session_service.sessions import Sessions, check_id, now_ms
from session_service.stores.base import Session
from session_service.stores.conversations import ConversationStore, Deleted
from session_service.streams import Owner, Stream, Streams

EVENT_STREAM = "text/event-stream"
JSON = "application/json"

_BUSY = "Another answer is being written into this thread; try again"
_TAKEN = "Another service answers in this thread, after a break of the database; try again"
_FULL = "message_limit"
"""In a thread's metadata, which browsers do not see: that it was closed for being full."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request of the protocol, as far as it is there."""

    content_type: str
    chunks: AsyncIterator[bytes]


class Conversations:
    """Wherever a client secret is asked for: raises Unauthenticated and SessionDeleted."""

    def __init__(
        self,
        sessions: Sessions,
        store: ConversationStore,
        server: ChatServer,
        attachments: Attachments,
        streams: Streams,
        cancellations: Cancellations,
        *,
        answers: RateLimit,
        uploads: RateLimit,
        max_messages: int,
        timeout_seconds: float,
    ) -> None:
        """`answers` and `uploads` are limits of a session."""
        self._sessions = sessions
        self._store = store
        self._server = server
        self._attachments = attachments
        self._streams = streams
        self._cancellations = cancellations
        self._answers = answers
        self._uploads = uploads
        self._max_messages = max_messages
        self._timeout_seconds = timeout_seconds

    @contextlib.asynccontextmanager
    async def process(
        self, client_secret: str, body: bytes, language: str, base_url: str
    ) -> AsyncIterator[Reply]:
        """Processes one request. What is still being answered when the block ends is broken off.

        Raises InvalidArgument, RateLimited, ThreadNotFound, AttachmentNotFound, and what befalls an
        answer before it has begun; what does later is raised by the chunks.
        """
        heard = self._streams.deletions
        session = await self._sessions.authorize(client_secret)
        request = requests.parse(body)
        stream = Stream()
        context = RequestContext(
            session, language, base_url, logs.request_id.get(), stream.has_room
        )
        if not is_streaming_req(request):
            if isinstance(request, AttachmentsCreateReq):
                await self._uploads.admit(session.root_id)
            await requests.check(request, self._server.threads, context)
            yield Reply(JSON, _once(await self._server.result(request, context)))
            return
        await self._answers.admit(session.root_id)
        context.thread_id = getattr(request.params, "thread_id", None)
        owner = Owner(session.user_id, session.root_id, lambda: context.thread_id)
        with self._streams.running(owner, stream):
            if self._streams.deletions != heard:  # perhaps of this one, which was not running yet
                await self._sessions.authorize(client_secret)
            stream.start(self._frames(request, context, stream), context.fail)
            try:
                await stream.begun()
                yield Reply(EVENT_STREAM, stream.read())
            finally:
                await stream.close()

    async def authorize_upload(self, client_secret: str) -> Session:
        """Returns whose session it is. Raises RateLimited too."""
        session = await self._sessions.authorize(client_secret)
        await self._uploads.admit(session.root_id)
        return session

    async def delete_user(self, user_id: str) -> Deleted:
        """Deletes all that is kept of a user, at OpenAI too as far as it will."""
        check_id("user_id", user_id)
        at_ms = now_ms()
        deleted = await self._store.delete_user(user_id, at_ms, at_ms + FIRST_RETRY_MS)
        self._cancellations.start(deleted.to_cancel)
        await self._attachments.discard(deleted.attachments)
        return deleted

    async def _frames(
        self, request: Any, context: RequestContext, stream: Stream
    ) -> AsyncIterator[bytes]:
        """Yields the events of an answer, each as server-sent event."""
        stream.limit(self._timeout_seconds, RateLimited(_BUSY, retry_after_seconds=1))
        async with self._store.answering(
            context.user_id,
            self._thread_id(request, context),
            lambda: stream.end(Unavailable(_TAKEN)),
        ):
            stream.limit(self._timeout_seconds, UpstreamTimeout())
            context.deadline = asyncio.get_running_loop().time() + self._timeout_seconds
            await requests.check(request, self._server.threads, context)
            events = await self._closing(request, context)
            if events is None:
                events = self._server.events(request, context)
            async with contextlib.aclosing(events):
                async for event in events:
                    # ChatKit's own has no room for a reason: that is raised below.
                    if context.failure is None or not isinstance(event, ErrorEvent):
                        yield self._server.frame(event)
        if context.failure is not None:
            raise context.failure

    def _thread_id(self, request: Any, context: RequestContext) -> str:
        """Returns where it will be answered: others see a new thread before that has happened."""
        if isinstance(request, ThreadsCreateReq):
            return self._server.threads.generate_thread_id(context)
        thread_id: str = request.params.thread_id
        return thread_id

    async def _closing(
        self, request: Any, context: RequestContext
    ) -> AsyncGenerator[ThreadStreamEvent, None] | None:
        """Returns what there is to say instead of an answer where a thread is full, or closed.

        It is full where the message and its answer would be too many.
        """
        if not isinstance(request, ThreadsAddUserMessageReq):
            return None
        kept = await self._store.thread(context.user_id, request.params.thread_id)
        if kept is None:
            raise ThreadNotFound
        thread = ThreadMetadata.model_validate_json(kept.data)
        texts = texts_in(context.language)
        is_full = kept.messages and kept.messages + 2 > self._max_messages
        if not is_full:
            if thread.metadata.pop(_FULL, False):  # since then an answer was taken back
                thread.status = ActiveStatus()
                await self._server.store.save_thread(thread, context)
            if thread.status.type == "active":
                return None

        async def events() -> AsyncGenerator[ThreadStreamEvent, None]:
            notice = texts.limit_notice.format(limit=self._max_messages)
            if not is_full and thread.status.type != "active":  # the agent has closed it
                notice = thread.status.reason or texts.closed_notice
            elif thread.status.type == "active":
                reason = texts.limit_reason.format(limit=self._max_messages)
                thread.status = ClosedStatus(reason=reason)
                thread.metadata[_FULL] = True
                await self._server.store.save_thread(thread, context)
            yield NoticeEvent(level="warning", message=notice)
            yield self._server.updated(thread)

        return events()


async def _once(result: bytes) -> AsyncIterator[bytes]:
    yield result
