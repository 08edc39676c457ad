"""What one turn took: its tokens, tool calls and time, counted however it ends."""

import contextlib
import time
from typing import Any

import agents
import orjson
import structlog
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)

from session_service.conversation.context import RequestContext
from session_service.conversation.tool_tasks import ToolTasks
from session_service.errors import ServiceError, SessionDeleted, ThreadNotFound, Unavailable
from session_service.sessions import now_ms
from session_service.stores.conversations import (
    ANSWERED,
    BROKEN_OFF,
    DEFECT,
    ConversationStore,
    Turn,
)

_CHARACTERS_PER_TOKEN = 4
"""OpenAI's rule of thumb: https://platform.openai.com/tokenizer"""
_MOST_TOKENS = 10**9
"""Of one turn: what is more is a mistake."""

log = structlog.get_logger()


class UnfinishedMessage:
    """What the agent was saying when it failed."""

    def __init__(self) -> None:
        self._item: AssistantMessageItem | None = None
        self._text: list[str] = []

    def follow(self, event: ThreadStreamEvent) -> None:
        match event:
            case ThreadItemUpdatedEvent(update=AssistantMessageContentPartTextDelta(delta=delta)):
                self._text.append(delta)
            case ThreadItemAddedEvent(item=AssistantMessageItem() as item):
                self._item = item
                self._text.clear()
            case ThreadItemDoneEvent(item=AssistantMessageItem()):
                self._item = None

    def message(self) -> AssistantMessageItem | None:
        """Returns it as far as it came, None where nothing was said."""
        if self._item is None or not self._text:
            return None
        content = [AssistantMessageContent(text="".join(self._text))]
        return self._item.model_copy(update={"content": content})


class TurnRecorder:
    """Follows one run of the agent; `record` once, when it is over."""

    def __init__(self, store: ConversationStore, thread_id: str, context: RequestContext) -> None:
        self._store = store
        self._thread_id = thread_id
        self._context = context
        self._started_ms = now_ms()
        self._started = time.monotonic()
        self._answered = False
        self._run: agents.RunResultStreaming | None = None
        self._tasks: ToolTasks | None = None
        self._input_characters = 0
        self._output_characters = 0
        self._model_spoke = False

    def follow(self, run: agents.RunResultStreaming, tasks: ToolTasks, history: list[Any]) -> None:
        self._run = run
        self._tasks = tasks
        self._input_characters = len(orjson.dumps(history, default=str))

    def heard(self, event: Any) -> None:
        """Notes an event of the Responses API."""
        self._model_spoke = True
        if event.type == "response.output_text.delta":
            self._output_characters += len(event.delta)

    def answered(self) -> None:
        self._answered = True

    async def record(self) -> None:
        input_tokens, output_tokens = self._tokens()
        turn = Turn(
            thread_id=self._thread_id,
            started_ms=self._started_ms,
            duration_ms=round((time.monotonic() - self._started) * 1000),
            outcome=self._outcome(),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            estimated=self._is_estimate(),
            tool_calls=self._tasks.calls if self._tasks else 0,
        )
        log.info(
            "turn",
            thread_id=turn.thread_id,
            outcome=turn.outcome or "ANSWERED",
            duration_ms=turn.duration_ms,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            estimated=turn.estimated,
            tool_calls=turn.tool_calls,
            upstream_request_ids=self._upstream_request_ids(),
        )
        with contextlib.suppress(Unavailable):  # the store has logged it; the answer matters more
            session = self._context.session
            await self._store.count_turn(session.user_id, turn, session.root_id)

    def _upstream_request_ids(self) -> list[str]:
        """Returns what OpenAI calls its answers, for its support."""
        responses = self._run.raw_responses if self._run else []
        return [response.request_id for response in responses if response.request_id]

    def _outcome(self) -> str:
        match self._context.failure:
            case SessionDeleted() | ThreadNotFound():  # by the user, or by somebody for them
                return BROKEN_OFF
            case ServiceError() as failure:
                return failure.reason
            case None:
                return ANSWERED if self._answered else BROKEN_OFF
        return DEFECT

    def _is_estimate(self) -> bool:
        """OpenAI tells the tokens with the last event of an answer, and not at all before."""
        return self._model_spoke and not self._answered

    def _tokens(self) -> tuple[int, int]:
        usage = self._run.context_wrapper.usage if self._run else None
        known = (usage.input_tokens, usage.output_tokens) if usage else (0, 0)
        if self._is_estimate():
            known = (
                max(known[0], self._input_characters // _CHARACTERS_PER_TOKEN),
                max(known[1], self._output_characters // _CHARACTERS_PER_TOKEN),
            )
        return min(max(0, known[0]), _MOST_TOKENS), min(max(0, known[1]), _MOST_TOKENS)
