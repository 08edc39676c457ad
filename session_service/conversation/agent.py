"""The agent that answers: the documented workflow as ours, or one that the user brings."""

import contextlib
import importlib
import math
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import agents
import openai
from agents.models.openai_responses import OpenAIResponsesModel

from runtime.hops import Attribute, Hop
from session_service.circuit import Circuit
from session_service.conversation.openai_failures import asking, attempt_failures
from session_service.retries import ask


class BadAgent(Exception):
    """CHATKIT_AGENT does not name what it should; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the documented workflow is made of."""

    model: str
    system_message: str
    tools: frozenset[str]
    """Of "search", "file_upload" and "code_interpreter"."""
    vector_store_ids: Sequence[str] = ()
    import_path: str | None = None
    """`package.module:attribute`, an `agents.Agent` or a factory of one, instead."""


deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)
"""When the answer has to be there, in event loop time; set where a run begins."""


class Model(OpenAIResponsesModel):
    """Asks by the rules of hosted mode; the SDK's own know neither deadline nor quota."""

    def __init__(self, name: str, client: openai.AsyncOpenAI, circuit: Circuit) -> None:
        super().__init__(name, client)
        self._circuit = circuit

    async def _fetch_response(self, *args: Any, **kwargs: Any) -> Any:
        fetch = super()._fetch_response

        async def send() -> Any:
            with attempt_failures():
                return await fetch(*args, **kwargs)

        # What is not streamed is silent until it is complete, which may be a while.
        may_be_slow = not kwargs.get("stream")
        return await ask(self._circuit, send, deadline.get(), may_be_slow=may_be_slow)

    async def get_response(self, *args: Any, **kwargs: Any) -> agents.ModelResponse:
        with self._asking():
            return await super().get_response(*args, **kwargs)

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Ends with the last event, though the connection may stay open after it."""
        with self._asking() as hop:
            events: Any = super().stream_response(*args, **kwargs)
            is_first = True
            async with contextlib.aclosing(events):
                async for event in events:
                    if is_first:
                        is_first = False
                        hop.event("first event")
                    if event.type == "response.completed" and (usage := event.response.usage):
                        hop.attributes["gen_ai.usage.input_tokens"] = usage.input_tokens
                        hop.attributes["gen_ai.usage.output_tokens"] = usage.output_tokens
                    yield event
                    if event.type == "response.completed":
                        return

    def _asking(self) -> contextlib.AbstractContextManager[Hop]:
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": str(self.model),
            "server.address": self._client.base_url.host,
        }
        return asking(f"chat {self.model}", attributes)


class ModelProvider(agents.ModelProvider):
    """Every model through our one client; the default where an agent names none."""

    def __init__(self, client: openai.AsyncOpenAI, circuit: Circuit, default_model: str) -> None:
        self._client = client
        self._circuit = circuit
        self._default_model = default_model

    def get_model(self, model_name: str | None) -> agents.Model:
        return Model(model_name or self._default_model, self._client, self._circuit)


def create_agent(settings: AgentSettings) -> agents.Agent[Any]:
    """Returns the agent. Raises BadAgent."""
    if settings.import_path is not None:
        return _imported(settings.import_path)
    tools: list[agents.Tool] = []
    include: list[Any] = []
    if "search" in settings.tools:
        tools.append(agents.WebSearchTool())
        include.append("web_search_call.action.sources")
        if settings.vector_store_ids:
            tools.append(agents.FileSearchTool(vector_store_ids=list(settings.vector_store_ids)))
            include.append("file_search_call.results")
    if "code_interpreter" in settings.tools:
        config: Any = {"type": "code_interpreter", "container": {"type": "auto"}}
        tools.append(agents.CodeInterpreterTool(tool_config=config))
    return agents.Agent(
        name="Movonte Dashboard",
        instructions=settings.system_message,
        model=settings.model,
        # We keep the conversation; a copy at OpenAI could not be deleted with it.
        model_settings=agents.ModelSettings(store=False, response_include=include or None),
        tools=tools,
    )


def _imported(path: str) -> agents.Agent[Any]:
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise BadAgent(f"CHATKIT_AGENT must be package.module:attribute, not {path!r}")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        if not isinstance(found, agents.Agent) and callable(found):
            found = found()
    except Exception as error:  # it is other people's code: whatever it raises is to be told
        raise BadAgent(f"CHATKIT_AGENT={path}: {type(error).__name__}: {error}") from error
    if not isinstance(found, agents.Agent):
        raise BadAgent(f"CHATKIT_AGENT={path} is a {type(found).__name__}, not an agents.Agent")
    return found
