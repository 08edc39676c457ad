"""What `responses.create` accepts as `input`: messages with their parts, and items of tools."""

import base64
import binascii
import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from session_service.openai_emulator.errors import (
    JSON,
    APIError,
    NonEmpty,
    Strict,
    missing_parameter,
    unsupported_value,
    validate,
    wrong_type,
)

Status = Literal["in_progress", "completed", "incomplete"]
CallStatus = Literal[
    "in_progress", "searching", "interpreting", "completed", "incomplete", "failed"
]
FileId = Annotated[str, Field(max_length=64)]


class Part(Strict):
    prompt_cache_breakpoint: JSON | None = None


class InputText(Part):
    type: Literal["input_text"]
    text: str


class InputImage(Part):
    type: Literal["input_image"]
    detail: Literal["low", "high", "auto", "original"] = "auto"
    file_id: FileId | None = None
    image_url: str | None = None


class InputFile(Part):
    type: Literal["input_file"]
    detail: Literal["low", "high", "auto"] = "auto"
    file_id: FileId | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None


class OutputText(Strict):
    type: Literal["output_text"]
    text: str
    annotations: list[JSON] = Field(default_factory=list)
    logprobs: list[JSON] | None = None


class Refusal(Strict):
    type: Literal["refusal"]
    refusal: str


_INPUT_PARTS: dict[str, type[Strict]] = {
    "input_text": InputText,
    "input_image": InputImage,
    "input_file": InputFile,
}
_OUTPUT_PARTS: dict[str, type[Strict]] = {"output_text": OutputText, "refusal": Refusal}


class Message(Strict):
    type: Literal["message"] = "message"
    id: Annotated[str, Field(pattern="^msg_")] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Any
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCall(Strict):
    type: Literal["function_call"]
    id: Annotated[str, Field(pattern="^fc_")] | None = None
    call_id: Annotated[NonEmpty, Field(max_length=64)]
    name: NonEmpty
    arguments: str
    status: Status | None = None
    async_: Annotated[bool | None, Field(alias="async")] = None
    caller: JSON | None = None
    namespace: str | None = None


class FunctionCallOutput(Strict):
    type: Literal["function_call_output"]
    id: Annotated[str, Field(pattern="^fc")] | None = None
    call_id: Annotated[NonEmpty, Field(max_length=64)]
    output: Any
    name: str | None = None
    status: Status | None = None
    caller: JSON | None = None
    namespace: str | None = None


class WebSearchCall(Strict):
    type: Literal["web_search_call"]
    id: Annotated[str, Field(pattern="^ws_")]
    action: JSON | None = None
    status: CallStatus


class CodeInterpreterCall(Strict):
    type: Literal["code_interpreter_call"]
    id: Annotated[str, Field(pattern="^ci_")]
    code: str | None = None
    container_id: str
    outputs: list[JSON] | None = None
    status: CallStatus


class FileSearchCall(Strict):
    type: Literal["file_search_call"]
    id: Annotated[str, Field(pattern="^fs_")]
    queries: list[str]
    results: list[JSON] | None = None
    status: CallStatus


class ReasoningItem(Strict):
    type: Literal["reasoning"]
    id: Annotated[str, Field(pattern="^rs_")]
    summary: list[JSON]
    content: list[JSON] | None = None
    encrypted_content: str | None = None
    status: Status | None = None


_ITEMS: dict[str, type[Strict]] = {
    "message": Message,
    "function_call": FunctionCall,
    "function_call_output": FunctionCallOutput,
    "web_search_call": WebSearchCall,
    "code_interpreter_call": CodeInterpreterCall,
    "file_search_call": FileSearchCall,
    "reasoning": ReasoningItem,
}
# Documented, and not looked into.
_OTHER_ITEMS = (
    "additional_tools",
    "apply_patch_call",
    "apply_patch_call_output",
    "compaction",
    "compaction_trigger",
    "computer_call",
    "computer_call_output",
    "configuration_update",
    "custom_tool_call",
    "custom_tool_call_output",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "program_output",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "tool_search_output",
)


def check_input(value: object) -> list[JSON]:
    """The items of `input`, with all content as parts; raises `APIError`."""
    if value is None:
        raise missing_parameter("input")
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise wrong_type("input", "one of a string or an array of input items", value)
    return [_item(item, f"input[{index}]") for index, item in enumerate(value)]


def _item(value: object, where: str) -> JSON:
    if not isinstance(value, dict):
        raise wrong_type(where, "an object", value)
    kind = value.get("type", "message" if "role" in value else "item_reference")
    if kind == "item_reference":
        raise APIError(404, f"Item with id '{value.get('id')}' not found.", param="input")
    if kind in _OTHER_ITEMS:
        return value
    if kind not in _ITEMS:
        raise unsupported_value(f"{where}.type", kind, sorted((*_ITEMS, *_OTHER_ITEMS)))
    item = validate(_ITEMS[kind], value, where)
    if isinstance(item, Message):
        parts = _parts(item.content, f"{where}.content", from_model=item.role == "assistant")
        return {"type": kind, "role": item.role, "content": parts}
    if isinstance(item, FunctionCallOutput):
        return value | {"output": _parts(item.output, f"{where}.output", from_model=False)}
    return value


def _parts(value: object, where: str, *, from_model: bool) -> list[JSON]:
    if isinstance(value, str):
        return [{"type": "output_text" if from_model else "input_text", "text": value}]
    if not isinstance(value, list):
        raise wrong_type(where, "one of an array of objects or string", value)
    known = _OUTPUT_PARTS if from_model else _INPUT_PARTS
    for index, part in enumerate(value):
        place = f"{where}[{index}]"
        if not isinstance(part, dict):
            raise wrong_type(place, "an object", part)
        if "type" not in part:
            raise missing_parameter(f"{place}.type")
        if part["type"] not in known:
            raise unsupported_value(f"{place}.type", part["type"], known)
        match validate(known[part["type"]], part, place):
            case InputImage(file_id=file_id, image_url=url):
                _check_source({"file_id": file_id, "image_url": url}, place)
                _check_url(url, f"{place}.image_url", "an image")
            case InputFile(file_id=file_id, file_data=data, file_url=url, filename=name):
                _check_source({"file_id": file_id, "file_data": data, "file_url": url}, place)
                _check_url(url, f"{place}.file_url", "a")
                _check_data(data, f"{place}.file_data", "a")
                if data is not None and name is None:
                    raise missing_parameter(f"{place}.filename")
            case _:
                pass
    return value


def _check_source(sources: Mapping[str, str | None], where: str) -> None:
    given = [name for name, source in sources.items() if source is not None]
    names = ", ".join(f"'{name}'" for name in sources)
    if not given:
        raise missing_parameter(f"{where}.{next(iter(sources))}")
    if len(given) > 1:
        message = f"Mutually exclusive parameters: Ensure you are only providing one of: {names}."
        raise APIError(400, message, param=where, code="mutually_exclusive_parameters")


def _check_url(url: str | None, where: str, kind: str) -> None:
    if url is None or url.startswith(("http://", "https://")):
        return
    if kind == "an image" and url.startswith("data:"):
        _check_data(url, where, kind)
        return
    message = f"Invalid '{where}'. Expected a valid URL, but got a value with an invalid format."
    raise APIError(400, message, param=where, code="invalid_value")


def _check_data(data: str | None, where: str, kind: str) -> None:
    """A data URL in base64, as in the browser; of `an image` or of `a` file whatever."""
    if data is None:
        return
    head, _, content = data.partition(";base64,")
    expected = "data:image/" if kind == "an image" else "data:"
    try:
        base64.b64decode(content, validate=True)
        valid = head.startswith(expected) and bool(content)
    except binascii.Error:
        valid = False
    if not valid:
        message = (
            f"Invalid '{where}'. Expected a base64-encoded data URL with {kind} MIME type (e.g. "
            f"'{expected}…;base64,aGVsbG8='), but got a value without it."
        )
        raise APIError(400, message, param=where, code="invalid_value")


def check_files(items: list[JSON], tools: list[JSON], files: Mapping[str, JSON]) -> None:
    """Raises `APIError` for a file that is not in `files`, or is not of the kind it is said to."""
    for where, part in attachments(items):
        id = part.get("file_id")
        if id is None:
            continue
        if id not in files:
            raise _file_not_found(id, f"{where}.file_id")
        name = files[id]["filename"]
        is_image = (mimetypes.guess_type(name)[0] or "").startswith("image/")
        if is_image and part["type"] == "input_file":
            message = (
                "Invalid input: Expected context stuffing file type to be a supported format: "
                f".pdf, .docx, .txt, … but got {name!r}."
            )
            raise APIError(400, message, param=where, code="unsupported_file")
        if part["type"] == "input_image" and not is_image:
            message = f"Invalid image file: {name!r} is not a supported image."
            raise APIError(400, message, param=where, code="invalid_image_format")
    for index, tool in enumerate(tools):
        if isinstance(container := tool.get("container"), dict):
            for id in container.get("file_ids") or ():
                if id not in files:
                    raise _file_not_found(id, f"tools[{index}].container.file_ids")


def _file_not_found(id: str, where: str) -> APIError:
    return APIError(404, f"File with id '{id}' not found.", param=where)


def attachments(items: list[JSON]) -> Iterator[tuple[str, JSON]]:
    """The files and images in `items`, each with where it is."""
    for index, item in enumerate(items):
        for field in ("content", "output"):
            parts = item.get(field)
            for position, part in enumerate(parts if isinstance(parts, list) else ()):
                kind = part.get("type") if isinstance(part, dict) else None
                if kind in ("input_file", "input_image"):
                    yield f"input[{index}].{field}[{position}]", part


def check_calls(items: list[JSON], waiting_before: Iterable[str]) -> None:
    """Raises `APIError` unless the calls of functions and their outputs are in pairs."""
    waiting = dict.fromkeys(waiting_before, True)
    for item in items:
        if item.get("type") == "function_call":
            waiting[item["call_id"]] = True
        elif item.get("type") == "function_call_output":
            if item["call_id"] not in waiting:
                message = (
                    f"No tool call found for function call output with call_id {item['call_id']}."
                )
                raise APIError(400, message, param="input")
            waiting[item["call_id"]] = False
    for call_id, is_waiting in waiting.items():
        if is_waiting:
            message = f"No tool output found for function call {call_id}."
            raise APIError(400, message, param="input")
