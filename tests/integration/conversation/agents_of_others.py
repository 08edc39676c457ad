"""Agents as somebody may bring them by CHATKIT_AGENT; their tools are called by the emulator."""

import asyncio
from typing import Any

import agents
from agents import RunContextWrapper, function_tool
from chatkit.agents import AgentContext, ClientToolCall
from chatkit.errors import CustomStreamError
from chatkit.widgets import Card, Text

from session_service.conversation.context import RequestContext

Context = RunContextWrapper[AgentContext[RequestContext]]


@function_tool
async def who_is_it(context: Context) -> str:
    """Says what the dashboard knows of the user."""
    request = context.context.request_context
    return f"{request.user_id} {dict(request.user)} {request.language}"


@function_tool
async def show_widget(context: Context) -> str:
    """Shows a widget."""
    await context.context.stream_widget(Card(children=[Text(value="¡Un widget!")]))
    return "shown"


@function_tool
async def on_the_page(context: Context) -> str:
    """Asks the page to do something."""
    context.context.client_tool_call = ClientToolCall(name="open_ticket", arguments={"id": 12})
    return "asked"


@function_tool
async def hang() -> str:
    """Never returns."""
    await asyncio.Event().wait()
    raise AssertionError


@function_tool(failure_error_function=None)
async def crash() -> str:
    """Has a defect."""
    raise ZeroDivisionError("a secret detail")


@function_tool(failure_error_function=None)
async def refuse() -> str:
    """Says in its own words what is wrong."""
    raise CustomStreamError("Hoy no, gracias.", allow_retry=False)


TOOLS: list[Any] = [who_is_it, show_widget, on_the_page, hang, crash, refuse]

agent: agents.Agent[Any] = agents.Agent(
    name="Theirs",
    instructions="Eres otro asistente.",
    tools=TOOLS,
    tool_use_behavior=agents.StopAtTools(stop_at_tool_names=["on_the_page"]),
)


def factory() -> agents.Agent[Any]:
    return agents.Agent(name="Made", model="gpt-theirs", instructions="Hecho por una función.")


@agents.input_guardrail
async def no_secrets(
    context: RunContextWrapper[Any], agent: agents.Agent[Any], said: Any
) -> agents.GuardrailFunctionOutput:
    return agents.GuardrailFunctionOutput(None, tripwire_triggered="contraseña" in str(said))


guarded: agents.Agent[Any] = agents.Agent(name="Guarded", input_guardrails=[no_secrets])

not_an_agent = 7


def broken() -> agents.Agent[Any]:
    raise RuntimeError("no such workflow")
