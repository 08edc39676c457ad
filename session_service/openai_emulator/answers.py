"""What the emulated model says: calls of tools and a message, chosen by words of the user's."""

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Annotated

from pydantic import Field

from session_service.openai_emulator.errors import JSON
from session_service.openai_emulator.failures import Limited
from session_service.openai_emulator.responses_schema import ResponseRequest

# A person sees the words come one by one, and waits a second for an answer of 50.
_PAUSE_SECONDS = 0.02

_GREETING = (
    "¡Hola! Soy el emulador de OpenAI: no pienso, pero escribo como si lo hiciera. {what} "
    "Para hablar con un modelo de verdad, pon OPENAI_API_KEY en .env."
)


class AnswerShape(Limited):
    """What the next `times` answers say, and how fast."""

    text: str | None = None
    deltas: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    pause_seconds: Annotated[float, Field(ge=0)] = _PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class ToolCall:
    """An item as it begins and as it ends, and the events between; both have the same id."""

    begun: JSON
    steps: list[tuple[str, JSON]]
    done: JSON


@dataclass(frozen=True, slots=True)
class Message:
    """The words, one a delta, and what they cite."""

    words: list[str]
    annotations: list[JSON] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model goes by."""

    text: str
    """Of the last message of the user's."""
    attached: list[str]
    """The names of its files and images."""
    tool_output: str | None
    """What a function has returned, when that is the last there is."""


def prompt_of(items: list[JSON], files: Mapping[str, JSON]) -> Prompt:
    users = [item for item in items if item.get("role") == "user"]
    parts = users[-1]["content"] if users else []
    text = "\n".join(part["text"] for part in parts if part["type"] == "input_text")
    attached = [_name(part, files) for part in parts if part["type"] != "input_text"]
    last = items[-1] if items else {}
    output = None
    if last.get("type") == "function_call_output":
        output = "\n".join(part.get("text", part["type"]) for part in last["output"])
    return Prompt(text, attached, output)


def _name(part: JSON, files: Mapping[str, JSON]) -> str:
    if id := part.get("file_id"):
        return f"{files[id]['filename']} ({id})"
    if name := part.get("filename"):
        return str(name)
    url = str(part.get("image_url") or part.get("file_url"))
    if url.startswith("data:"):
        kind, _, content = url.removeprefix("data:").partition(";base64,")
        return f"{kind}, {len(content) * 3 // 4 - content[-2:].count('=')} bytes"
    return url


def answer(
    request: ResponseRequest, prompt: Prompt, shape: AnswerShape, files: Mapping[str, JSON]
) -> list[ToolCall | Message]:
    """The output of the model: what it calls, and a message unless it waits for a function."""
    calls: list[ToolCall] = []
    said, citations = _said(prompt), []
    if prompt.tool_output is None:
        for tool in _wanted(request, prompt.text):
            if tool["type"] == "function":
                calls.append(_function_call(tool["name"], prompt.text))
                continue
            act = _HOSTED[tool["type"].partition("_preview")[0].removesuffix("_2025_08_26")]
            call, cited, annotation = act(tool, prompt.text, request.include or [], files)
            calls.append(call)
            said = f"He usado {tool['type']} y he encontrado {cited}. {said}"
            citations.append((cited, annotation))
    if any(call.done["type"] == "function_call" for call in calls):
        return list(calls)
    if shape.text is not None:
        said, citations = shape.text, []
    words = re.findall(r"\s*\S+\s*", said) or [said]
    if shape.deltas is not None:
        words = list(islice(cycle(f"{word.strip()} " for word in words), shape.deltas))
        citations = []
    return [*calls, Message(words, [_placed(said, *citation) for citation in citations])]


def _said(prompt: Prompt) -> str:
    if prompt.tool_output is not None:
        return f"La función ha devuelto: «{prompt.tool_output}»."
    what = f"Has escrito: «{prompt.text}»."
    if prompt.attached:
        what += f" Has adjuntado: {'; '.join(prompt.attached)}."
    return _GREETING.format(what=what)


def _placed(said: str, cited: str, annotation: JSON) -> JSON:
    """`annotation` with the place where `said` has what it cites."""
    start = said.index(cited)
    if annotation["type"] == "file_citation":
        return annotation | {"index": start + len(cited)}
    return annotation | {"start_index": start, "end_index": start + len(cited)}


_TRIGGERS = {
    "web_search": r"\b(busca|search)",
    "code_interpreter": r"\b(calcula|calculate)",
    "file_search": r"\b(documento|document)",
}


def _wanted(request: ResponseRequest, text: str) -> Iterator[JSON]:
    """The tools to be used, in the order in which they are offered."""
    choice = request.tool_choice
    if choice == "none":
        return
    forced = request.tools[:1] if choice == "required" else []
    if isinstance(choice, dict):
        name = choice.get("name")
        named = (tool for tool in request.tools if name in (None, tool.get("name")))
        forced = [tool for tool in named if tool["type"] == choice["type"]][:1]
    for tool in request.tools:
        if tool["type"] == "function":
            trigger: str | None = rf"\bcall {re.escape(tool['name'])}(?![\w-])"
        else:
            kinds = (kind for kind in _TRIGGERS if tool["type"].startswith(kind))
            trigger = _TRIGGERS.get(next(kinds, ""))
        if trigger and (tool in forced or re.search(trigger, text, re.IGNORECASE)):
            yield tool


def _function_call(name: str, text: str) -> ToolCall:
    """With the JSON object that follows the name in `text`, if there is one, as arguments."""
    arguments = "{}"
    _, _, rest = text.partition(f"call {name}")
    if rest.lstrip().startswith("{"):
        try:
            value, _ = json.JSONDecoder().raw_decode(rest.lstrip())
            arguments = json.dumps(value, ensure_ascii=False)
        except ValueError:
            pass
    item: JSON = {
        "id": _id("fc"),
        "type": "function_call",
        "status": "completed",
        "arguments": arguments,
        "call_id": f"call_{secrets.token_hex(12)}",
        "name": name,
    }
    steps: list[tuple[str, JSON]] = [
        ("response.function_call_arguments.delta", {"delta": arguments}),
        ("response.function_call_arguments.done", {"arguments": arguments, "name": name}),
    ]
    return ToolCall(item | {"status": "in_progress", "arguments": ""}, steps, item)


def web_search_call(query: str, include: Sequence[str]) -> ToolCall:
    action: JSON = {"type": "search", "query": query, "queries": [query]}
    item: JSON = {
        "id": _id("ws"),
        "type": "web_search_call",
        "status": "completed",
        "action": action,
    }
    if "web_search_call.action.sources" in include:
        sources = [{"type": "url", "url": url} for url in (_PAGE, "https://example.org/")]
        item["action"] = action | {"sources": sources}
    phases = ("in_progress", "searching", "completed")
    steps: list[tuple[str, JSON]] = [(f"response.web_search_call.{phase}", {}) for phase in phases]
    return ToolCall(item | {"status": "in_progress", "action": action}, steps, item)


_PAGE = "https://example.com/emulator?utm_source=openai"
_Found = tuple[ToolCall, str, JSON]


def _web_search(tool: JSON, text: str, include: Sequence[str], files: Mapping[str, JSON]) -> _Found:
    annotation = {"type": "url_citation", "title": "Página de ejemplo", "url": _PAGE}
    cited = "([example.com](https://example.com/emulator))"
    return web_search_call(text, include), cited, annotation


def _run_code(tool: JSON, text: str, include: Sequence[str], files: Mapping[str, JSON]) -> _Found:
    container = tool["container"]
    container_id = container if isinstance(container, str) else _id("cntr")
    lines = ["print(6 * 7)\n", "open('resultado.csv', 'w').write('42')"]
    code = "".join(lines)
    item: JSON = {
        "id": _id("ci"),
        "type": "code_interpreter_call",
        "status": "completed",
        "code": code,
        "container_id": container_id,
        "outputs": None,
    }
    steps: list[tuple[str, JSON]] = [
        ("response.code_interpreter_call.in_progress", {}),
        *(("response.code_interpreter_call_code.delta", {"delta": line}) for line in lines),
        ("response.code_interpreter_call_code.done", {"code": code}),
        ("response.code_interpreter_call.interpreting", {}),
        ("response.code_interpreter_call.completed", {}),
    ]
    call = ToolCall(item | {"status": "in_progress", "code": ""}, steps, item)
    if "code_interpreter_call.outputs" in include:
        item["outputs"] = [{"type": "logs", "logs": "42\n"}]
    annotation = {
        "type": "container_file_citation",
        "container_id": container_id,
        "file_id": f"cfile_{secrets.token_hex(16)}",
        "filename": "resultado.csv",
    }
    return call, "[resultado.csv](sandbox:/mnt/data/resultado.csv)", annotation


def _search_files(
    tool: JSON, text: str, include: Sequence[str], files: Mapping[str, JSON]
) -> _Found:
    """Finds the file that was uploaded last, as if it were in every vector store."""
    newest = next(
        reversed(list(files.values())), {"id": "file-emulator", "filename": "emulador.pdf"}
    )
    file = {"file_id": newest["id"], "filename": newest["filename"]}
    item: JSON = {
        "id": _id("fs"),
        "type": "file_search_call",
        "status": "completed",
        "queries": [text],
        "results": None,
    }
    phases = ("in_progress", "searching", "completed")
    steps: list[tuple[str, JSON]] = [(f"response.file_search_call.{phase}", {}) for phase in phases]
    call = ToolCall(item | {"status": "in_progress", "queries": []}, steps, item)
    if "file_search_call.results" in include:
        found = {"attributes": {}, "score": 0.9, "text": "Lo que dice el documento."}
        item["results"] = [file | found]
    return call, f"«{newest['filename']}»", {"type": "file_citation", **file}


_HOSTED: dict[str, Callable[[JSON, str, Sequence[str], Mapping[str, JSON]], _Found]] = {
    "web_search": _web_search,
    "code_interpreter": _run_code,
    "file_search": _search_files,
}


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(25)}"
