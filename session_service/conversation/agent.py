"""The agent that answers: the documented workflow as ours, or one that the user brings."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import agents
import openai
from agents.models.openai_responses import OpenAIResponsesModel


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


class ModelProvider(agents.ModelProvider):
    """Every model through our one client; the default where an agent names none."""

    def __init__(self, client: openai.AsyncOpenAI, default_model: str) -> None:
        self._client = client
        self._default_model = default_model

    def get_model(self, model_name: str | None) -> agents.Model:
        return OpenAIResponsesModel(model_name or self._default_model, self._client)


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
