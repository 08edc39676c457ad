"""What the SDKs do wrong or slowly, mended in one place; a test each fails once it is not needed.

Found in openai-chatkit 1.6.5, openai-agents 0.24.0 and openai 3.54.0, which are pinned for that.
"""

import asyncio
import contextlib
import datetime
import functools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias, get_args

import agents
import agents.result
import aiohttp
import aiohttp.client
import chatkit.agents
import chatkit.server
import httpx2
import openai
import orjson
import pydantic
from agents import run_config
from agents.run_internal import model_retry
from chatkit.types import ChatKitReq, ThreadStreamEvent
from openai._vendor.httpx_aiohttp import transport
from openai.types.responses import ResponseStreamEvent

from session_service.errors import ServiceError

_Manager: TypeAlias = contextlib.AbstractContextManager[None]

CHATKIT_REQUEST: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ChatKitReq)
"""`ChatKitServer.process` builds this anew for every request, which takes 5 ms."""


_EVENTS: dict[str, type[pydantic.BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(ResponseStreamEvent)[0])
}
"""Those of the Responses API, by their type."""


def _where_true(manager: Callable[[bool], _Manager]) -> Callable[[bool], _Manager]:
    nothing = contextlib.nullcontext()
    return lambda disabled: manager(disabled) if disabled else nothing


_RETRIES_DISABLED = {
    name: _where_true(getattr(model_retry, name))
    for name in ("provider_managed_retries_disabled", "websocket_pre_event_retries_disabled")
}
_CITATIONS = frozenset(("file_citation", "url_citation", "container_file_citation", "file_path"))
_MODEL_SETTINGS_TYPE = functools.cache(vars(run_config)["_declared_model_settings_type"])


class _UTCDatetime(datetime.datetime):
    """`now()` with a time zone: without one, browsers take the server's time for their own."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return datetime.datetime.now(tz or datetime.UTC)


def apply() -> None:
    """Mends what can only be mended in the SDKs' modules. Called before any of them is used."""
    for module in (chatkit.server, chatkit.agents):
        module.datetime = _UTCDatetime  # type: ignore[attr-defined]
    # Merging the run with the queue of the agent's own events takes two tasks per event and, when
    # it is cancelled, leaves both running, and the model with them. See RunEvents.
    chatkit.agents._merge_generators = lambda a, b: a
    # Two context managers per event that say "no" anew: a tenth of all CPU.
    for name, manager in _RETRIES_DISABLED.items():
        setattr(model_retry, name, manager)
    # A RunConfig asks for the type hints of its class whenever one is made, which takes long.
    vars(run_config)["_declared_model_settings_type"] = _MODEL_SETTINGS_TYPE
    # Where a run fails it drops what the model has said and nobody has read yet.
    vars(agents.result)["_should_drain_stream_events_before_raising"] = lambda error: True
    # It installs a handler of its own on import, where LOG_LEVEL is set, and logs as a failure of
    # its own what is our way to say why an answer ends.
    logger = logging.getLogger("chatkit")
    logger.handlers.clear()
    logger.addFilter(_is_defect)
    # It logs every failure of OpenAI's that it raises, which we do where it is caught.
    logging.getLogger("openai.agents").setLevel(logging.CRITICAL)
    # A connection that breaks, which is worth another try, would be told as a timeout.
    transport.AIOHTTP_EXC_MAP[aiohttp.ClientConnectionError] = httpx2.ConnectError
    # An answer that is no HTTP would come through as aiohttp's own.
    transport.AIOHTTP_EXC_MAP[aiohttp.ClientResponseError] = httpx2.RemoteProtocolError
    # It would try again by itself what it takes for harmless: that is for `retries` to say.
    vars(aiohttp.client)["IDEMPOTENT_METHODS"] = frozenset()
    # They would be posted to api.openai.com, whatever OPENAI_BASE_URL says.
    agents.set_tracing_disabled(True)


def _is_defect(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], ServiceError))


class Client(openai.AsyncOpenAI):
    """Parses events by their type: to try 59 types for each took half of all CPU.

    What it does not know it leaves to the SDK, which takes anything; so what nobody can go on with
    is refused here.
    """

    def _process_response_data(self, *, data: object, **kwargs: Any) -> Any:
        type_ = data.get("type") if isinstance(data, dict) else None
        model = _EVENTS.get(type_) if isinstance(type_, str) else None
        try:
            orjson.dumps(data)  # a microsecond; what cannot be encoded fails only much later
        except TypeError:
            data = _without_surrogates(data)
        if model is not None:
            with contextlib.suppress(pydantic.ValidationError):
                return model.model_validate(data)
        event = super()._process_response_data(data=data, **kwargs)
        if not isinstance(data, dict) or _is_unusable(event):
            raise openai.APIResponseValidationError(kwargs["response"], body=None)
        return event


def _is_unusable(event: Any) -> bool:
    match getattr(event, "type", None):
        case "response.output_text.delta":
            return not isinstance(getattr(event, "delta", None), str)
        case "response.completed":
            response = getattr(event, "response", None)
            return not isinstance(getattr(response, "output", None), list)
    return False


def _without_surrogates(value: Any) -> Any:
    """Returns JSON without halves of characters, which nothing after it can encode."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return [_without_surrogates(entry) for entry in value]
        case dict():
            return {key: _without_surrogates(entry) for key, entry in value.items()}
    return value


class RunEvents(asyncio.Queue[Any]):
    """The queue of an `AgentContext`, which puts its events among those of the run, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._run: agents.RunResultStreaming | None = None

    def attach(self, run: agents.RunResultStreaming) -> None:
        self._run = run
        while not self.empty():  # put there before the run began
            self._forward(run, self.get_nowait())

    async def put(self, item: Any) -> None:
        if self._run is None or self._run.is_complete:
            self.put_nowait(item)
        else:
            self._forward(self._run, item)

    def _forward(self, run: agents.RunResultStreaming, event: ThreadStreamEvent) -> None:
        run._event_queue.put_nowait(wrapped(event))


def wrapped(event: ThreadStreamEvent) -> Any:
    """Returns a ChatKit event in the form in which `stream_agent_response` passes it on."""
    return chatkit.agents._EventWrapper(event)


async def with_plain_annotations(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Citations as dicts: chatkit validates them, and refuses the openai SDK's own objects."""
    async for event in events:
        if (
            event.__class__ is agents.RawResponsesStreamEvent
            and event.data.type == "response.output_text.annotation.added"
            and isinstance(event.data.annotation, pydantic.BaseModel)
        ):
            plain: Any = event.data.annotation.model_dump()
            if plain.get("type") not in _CITATIONS:
                continue  # of a kind that chatkit does not know
            event.data.annotation = plain
        yield event
