"""ChatKit's server: what an answer is, and what else the protocol asks of us."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import agents
import orjson
import structlog
from agents.exceptions import InputGuardrailTripwireTriggered, OutputGuardrailTripwireTriggered
from chatkit.actions import Action
from chatkit.agents import AgentContext, ThreadItemConverter, stream_agent_response
from chatkit.errors import CustomStreamError, StreamError
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageItem,
    Attachment,
    AudioInput,
    HiddenContextItem,
    SDKHiddenContextItem,
    SyncCustomActionResponse,
    ThreadItem,
    ThreadItemDoneEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    ThreadUpdatedEvent,
    TranscriptionResult,
    UserMessageItem,
    UserMessageTagContent,
    WidgetItem,
    WorkflowItem,
)
from openai.types.responses import ResponseInputTextParam

from session_service.conversation import workarounds
from session_service.conversation.agent import ModelProvider, deadline
from session_service.conversation.attachments import Attachments
from session_service.conversation.context import RequestContext
from session_service.conversation.openai_failures import failure_of, problem_of
from session_service.conversation.texts import texts_in
from session_service.conversation.thread_store import AttachmentStore, ThreadStore
from session_service.conversation.tool_tasks import ToolTasks
from session_service.conversation.turns import TurnRecorder, UnfinishedMessage
from session_service.errors import AttachmentNotFound, InvalidArgument, UpstreamRejected
from session_service.sessions import now_ms
from session_service.stores.conversations import ConversationStore

_HISTORY_ITEMS = 100
_HISTORY_CHARACTERS = 400_000
"""About 100,000 tokens: more would cost much and helps no answer."""
_MAX_TITLE = 60
_CANCELLED = "The answer was broken off here. Do not go on with it unless the user asks."

log = structlog.get_logger()


class ChatServer(ChatKitServer[RequestContext]):
    """Answers with one agent. A failure is left in `context.failure`, and the answer ends."""

    def __init__(
        self,
        store: ConversationStore,
        attachments: Attachments,
        agent: agents.Agent[Any],
        models: ModelProvider,
    ) -> None:
        self.threads = ThreadStore(store, attachments)
        super().__init__(self.threads, AttachmentStore(attachments))
        self._conversations = store
        self._attachments = attachments
        self._agent = agent
        self._models = models

    # What `ChatKitServer.process` does, in parts: it parses anew what we have parsed, turns events
    # into bytes before anybody has seen them, and logs failures that are told by their reason.

    async def result(self, request: Any, context: RequestContext) -> bytes:
        """Returns the JSON of a request that is not streamed."""
        return await self._process_non_streaming(request, context)

    def events(
        self, request: Any, context: RequestContext
    ) -> AsyncGenerator[ThreadStreamEvent, None]:
        """Processes a request that is streamed."""
        return self._process_streaming_impl(request, context)

    def frame(self, event: ThreadStreamEvent) -> bytes:
        """Returns an event as it goes to the browser, a server-sent event."""
        return b"data: " + self._serialize(event) + b"\n\n"

    def updated(self, thread: ThreadMetadata) -> ThreadUpdatedEvent:
        return ThreadUpdatedEvent(thread=self._to_thread_response(thread))

    async def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        recorder = TurnRecorder(self._conversations, thread.id, context)
        unfinished = UnfinishedMessage()
        try:
            async for event in self._answer(thread, context, recorder):
                unfinished.follow(event)
                yield event
            recorder.answered()
        except agents.ModelRefusalError:
            recorder.answered()  # the user has read what the model would not do
        except (InputGuardrailTripwireTriggered, OutputGuardrailTripwireTriggered):
            recorder.answered()  # with a refusal, which is what a guardrail is for
            raise CustomStreamError(texts_in(context.language).refused) from None
        except Exception as error:
            if said := _own_words(error):
                raise said from None
            failure = failure_of(error)
            if failure is not None and failure is not error:  # or it was logged where it happened
                log.warning("openai did not answer", reason=failure.reason, **problem_of(error))
            context.fail(failure or error)
            if message := unfinished.message():  # which ChatKit keeps when it is cancelled alone
                yield ThreadItemDoneEvent(item=message)
            raise CustomStreamError("") from None  # whose event is not sent: see Conversations
        finally:
            await recorder.record()
            thread.title = await self._title(thread, input_user_message, context)

    async def _answer(
        self, thread: ThreadMetadata, context: RequestContext, recorder: TurnRecorder
    ) -> AsyncIterator[ThreadStreamEvent]:
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        agent_context._events = events = workarounds.RunEvents()
        tasks = ToolTasks(agent_context, texts_in(context.language))
        converter = _Converter(self._attachments, self._conversations, context)
        history = await converter.to_agent_input(await self._history(thread, context))
        deadline.set(context.deadline)
        run = agents.Runner.run_streamed(
            self._agent,
            history,
            context=agent_context,
            run_config=agents.RunConfig(
                model_provider=self._models,
                tracing_disabled=True,
                model_settings=agents.ModelSettings(
                    extra_headers={"X-Client-Request-Id": context.request_id},
                    # OpenAI can tell one user who misbehaves from all others, but not who it is.
                    extra_args={"safety_identifier": _pseudonym(context.user_id)},
                ),
            ),
        )
        recorder.follow(run, tasks, history)
        events.attach(run)
        try:
            watched = _Watched(run, recorder, tasks, context)
            async for event in stream_agent_response(agent_context, watched):  # type: ignore[arg-type]
                yield event
        finally:
            run.cancel()  # or a model that nobody listens to writes on, and is paid for

    async def _title(
        self, thread: ThreadMetadata, message: UserMessageItem | None, context: RequestContext
    ) -> str | None:
        """Returns how the thread is called: by its user, who may have renamed it just now."""
        kept = await self._conversations.thread(context.user_id, thread.id)
        title = ThreadMetadata.model_validate_json(kept.data).title if kept else None
        return title or thread.title or _title(message)

    async def _history(self, thread: ThreadMetadata, context: RequestContext) -> list[ThreadItem]:
        """Returns the newest items, oldest first."""
        page = await self.store.load_thread_items(thread.id, None, _HISTORY_ITEMS, "desc", context)
        newest: list[ThreadItem] = []
        characters = 0
        for item in page.data:
            characters += len(item.model_dump_json())
            if newest and characters > _HISTORY_CHARACTERS:
                break
            newest.append(item)
        return newest[::-1]

    async def handle_stream_cancelled(
        self, thread: ThreadMetadata, pending_items: list[ThreadItem], context: RequestContext
    ) -> None:
        """Keeps what has been said and done so far, and says to the model that it was not all."""
        if await self._conversations.thread(context.user_id, thread.id) is None:
            return  # it was deleted meanwhile
        for item in pending_items:
            if _has_content(item):
                _settle(item)
                await self.store.add_thread_item(thread.id, item, context)
        note = SDKHiddenContextItem(
            id=self.store.generate_item_id("sdk_hidden_context", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(UTC),
            content=_CANCELLED,
        )
        await self.store.add_thread_item(thread.id, note, context)
        await self.store.save_thread(thread, context)

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: str, context: RequestContext
    ) -> None:
        await self._conversations.save_feedback(
            context.user_id, thread_id, item_ids, feedback, now_ms()
        )

    async def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        """Tells the agent what the user has done with a widget, and lets it answer."""
        payload = orjson.dumps(action.payload, default=str).decode()
        widget = f" in widget {sender.id}" if sender else ""
        item = HiddenContextItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(UTC),
            content=f"The user has done {action.type!r}{widget}: {payload}",
        )
        yield ThreadItemDoneEvent(item=item)
        async for event in self.respond(thread, None, context):
            yield event

    async def sync_action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> SyncCustomActionResponse:
        """Changes nothing: an answer of the agent is no matter of one item."""
        return SyncCustomActionResponse()

    async def transcribe(
        self, audio_input: AudioInput, context: RequestContext
    ) -> TranscriptionResult:
        raise InvalidArgument("request", "dictation is not offered")


class _Watched:
    """A run as `stream_agent_response` takes it: with OpenAI's tools shown, at a reader's pace."""

    def __init__(
        self,
        run: agents.RunResultStreaming,
        recorder: TurnRecorder,
        tasks: ToolTasks,
        context: RequestContext,
    ) -> None:
        self._run = run
        self._recorder = recorder
        self._tasks = tasks
        self._context = context

    async def stream_events(self) -> AsyncIterator[Any]:
        async for event in workarounds.with_plain_annotations(self._run.stream_events()):
            if event.__class__ is agents.RawResponsesStreamEvent:
                self._recorder.heard(event.data)
                for shown in self._tasks.follow(event.data):
                    yield workarounds.wrapped(shown)
            yield event
            # Here and nowhere else: a cancellation then always passes through the SDK, which keeps
            # the half of the answer that there is.
            await self._context.has_room()


class _Converter(ThreadItemConverter):
    """What the model gets to read of a thread."""

    def __init__(
        self, attachments: Attachments, store: ConversationStore, context: RequestContext
    ) -> None:
        self._attachments = attachments
        self._store = store
        self._context = context
        self._newest: set[str] = set()

    async def attachment_to_message_content(self, attachment: Attachment) -> Any:
        kept = await self._store.attachment(self._context.user_id, attachment.id)
        if kept is None:
            return _note(f"The user had attached {attachment.name!r}, and has deleted it since.")
        try:
            return await self._attachments.to_model(kept)
        except (UpstreamRejected, AttachmentNotFound):
            if attachment.id in self._newest:
                raise
            return _note(f"The user had attached {attachment.name!r}, which cannot be read.")

    async def to_agent_input(self, thread_items: Any) -> Any:
        """What is attached to the newest message must be readable; the rest as far as it is."""
        messages = [item for item in thread_items if isinstance(item, UserMessageItem)]
        self._newest = {a.id for a in messages[-1].attachments} if messages else set()
        return await super().to_agent_input(thread_items)

    async def tag_to_message_content(self, tag: UserMessageTagContent) -> ResponseInputTextParam:
        data = orjson.dumps(tag.data, default=str).decode()
        return ResponseInputTextParam(type="input_text", text=f"{tag.text} ({tag.id}): {data}")


def _own_words(error: BaseException | None) -> StreamError | CustomStreamError | None:
    """Returns what an agent has said of its failure itself; the SDK wraps what its tools raise."""
    while error is not None and not isinstance(error, StreamError | CustomStreamError):
        error = error.__cause__
    return error


def _note(text: str) -> ResponseInputTextParam:
    return ResponseInputTextParam(type="input_text", text=text)


def _has_content(item: ThreadItem) -> bool:
    if isinstance(item, AssistantMessageItem):
        return any(part.text.strip() for part in item.content)
    return isinstance(item, WorkflowItem) and bool(item.workflow.tasks)


def _settle(item: ThreadItem) -> None:
    """Lets no task go on for ever that was broken off."""
    for task in item.workflow.tasks if isinstance(item, WorkflowItem) else ():
        if task.status_indicator == "loading":
            task.status_indicator = "none"


def _title(message: UserMessageItem | None) -> str | None:
    """Returns the beginning of what the user has asked, in whole words."""
    parts: Sequence[Any] = message.content if message else ()
    text = " ".join(" ".join(part.text for part in parts).split())
    if len(text) <= _MAX_TITLE:
        return text or None
    return text[:_MAX_TITLE].rsplit(" ", 1)[0] + "…"


def _pseudonym(user_id: str) -> str:
    return hashlib.sha256(f"chatkit user {user_id}".encode()).hexdigest()
