"""What `responses.create` accepts: the fields and tools of OpenAI's Responses API.

Fields are those of the official SDK (`openai.types.responses.response_create_params`); what is in
`input` is checked in openai_emulator_responses_input.py.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from session_service.openai_emulator.errors import (
    JSON,
    APIError,
    NonEmpty,
    Omittable,
    Positive,
    Strict,
    missing_parameter,
    unsupported_value,
    validate,
    wrong_type,
)
from session_service.openai_emulator.models import check_model

Size = Literal["low", "medium", "high"]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class Reasoning(Strict):
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    mode: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class TextFormat(Strict):
    # The schema of `json_schema` is not looked into: the emulator cannot answer in it.
    model_config = ConfigDict(extra="allow")

    type: Literal["text", "json_object", "json_schema"]


class Text(Strict):
    format: TextFormat = TextFormat(type="text")
    verbosity: Size | None = "medium"


class StreamOptions(Strict):
    include_obfuscation: bool = True


class ContextManagement(Strict):
    type: Literal["compaction"]
    compact_threshold: Annotated[int, Field(ge=1000)] | None = None


class ResponseRequest(Strict):
    """The body of `responses.create`. After `parse_request`, `input` is a list of items."""

    model: NonEmpty
    input: Any = None
    instructions: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    tools: Any = Field(default_factory=list)
    tool_choice: Any = "auto"
    include: list[Includable] | None = None
    metadata: Metadata | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_output_tokens: Annotated[int, Field(ge=16)] | None = None
    max_tool_calls: Positive | None = None
    parallel_tool_calls: bool | None = True
    previous_response_id: Annotated[str, Field(pattern="^resp_")] | None = None
    conversation: Any = None
    prompt: JSON | None = None
    store: bool | None = True
    # The emulator answers while the client waits, as nobody here asks otherwise.
    background: Literal[False] | None = False
    reasoning: Reasoning | None = None
    text: Omittable[Text] = None
    truncation: Literal["auto", "disabled"] | None = "disabled"
    user: Omittable[str] = None
    safety_identifier: Annotated[str, Field(max_length=128)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=64)] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    service_tier: (
        Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None
    ) = "auto"
    context_management: list[ContextManagement] | None = None
    # Documented, and of no consequence here.
    access_programs: Omittable[JSON] = None
    background_options: Omittable[JSON] = None
    image: Omittable[JSON] = None
    moderation: JSON | None = None
    prompt_cache_options: Omittable[JSON] = None


class Tool(Strict):
    allowed_callers: list[Literal["direct", "programmatic"]] | None = None


class FunctionTool(Tool):
    type: Literal["function"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: JSON | None = None
    strict: bool | None = True
    async_: Annotated[bool | None, Field(alias="async")] = None
    defer_loading: bool | None = None
    output_schema: JSON | None = None


class Location(Strict):
    type: Literal["approximate"] = "approximate"
    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class Domains(Strict):
    allowed_domains: list[str] | None = None


class WebSearchTool(Strict):
    type: Literal["web_search", "web_search_2025_08_26"]
    filters: Domains | None = None
    search_context_size: Size | None = "medium"
    user_location: Location | None = None
    external_web_access: bool | None = None


class WebSearchPreviewTool(Strict):
    type: Literal["web_search_preview", "web_search_preview_2025_03_11"]
    search_content_types: list[Literal["text", "image"]] | None = None
    search_context_size: Size | None = "medium"
    user_location: Location | None = None


class FileSearchTool(Strict):
    type: Literal["file_search"]
    vector_store_ids: list[Annotated[str, Field(pattern="^vs_")]]
    filters: JSON | None = None
    max_num_results: Annotated[int, Field(ge=1, le=50)] | None = None
    ranking_options: JSON | None = None


class AutoContainer(Strict):
    type: Literal["auto"]
    file_ids: list[str] | None = None
    memory_limit: Literal["1g", "4g", "16g", "64g"] | None = None
    network_policy: JSON | None = None


class CodeInterpreterTool(Tool):
    type: Literal["code_interpreter"]
    container: Any


_TOOLS: dict[str, type[Strict]] = {
    "function": FunctionTool,
    "web_search": WebSearchTool,
    "web_search_2025_08_26": WebSearchTool,
    "web_search_preview": WebSearchPreviewTool,
    "web_search_preview_2025_03_11": WebSearchPreviewTool,
    "file_search": FileSearchTool,
    "code_interpreter": CodeInterpreterTool,
}
# Documented, not looked into, and never called by the emulated model.
_OTHER_TOOLS = (
    "apply_patch",
    "computer",
    "computer_use_preview",
    "custom",
    "image_generation",
    "local_shell",
    "mcp",
    "namespace",
    "programmatic_tool_calling",
    "shell",
    "tool_search",
)


def check_tools(value: object) -> list[JSON]:
    """The tools that are offered, with their defaults; raises `APIError`."""
    if not isinstance(value, list):
        raise wrong_type("tools", "an array of objects", value)
    return [_tool(tool, f"tools[{index}]") for index, tool in enumerate(value)]


def _tool(value: object, where: str) -> JSON:
    if not isinstance(value, dict):
        raise wrong_type(where, "an object", value)
    kind = value.get("type")
    if kind is None:
        raise missing_parameter(f"{where}.type")
    if kind in _OTHER_TOOLS:
        return value
    if kind not in _TOOLS:
        raise unsupported_value(f"{where}.type", kind, sorted((*_TOOLS, *_OTHER_TOOLS)))
    tool = validate(_TOOLS[kind], value, where)
    match tool:
        case CodeInterpreterTool():
            _check_container(tool.container, f"{where}.container")
        case FileSearchTool():
            _check_vector_stores(tool, f"{where}.vector_store_ids")
        case FunctionTool():
            _check_strict_schema(tool, f"{where}.parameters")
        case _:
            pass
    required = {"parameters", "strict", "type"}
    given = tool.model_fields_set | required
    return {
        name: value
        for name, value in tool.model_dump(by_alias=True).items()
        if value is not None or name in given
    }


def _check_container(container: object, where: str) -> None:
    if isinstance(container, dict):
        validate(AutoContainer, container, where)
    elif not isinstance(container, str):
        raise wrong_type(where, "one of a container ID or an object", container)
    elif not container.startswith("cntr_"):
        raise APIError(
            400,
            f"Invalid '{where}': '{container}'. Expected an ID that begins with 'cntr_'.",
            param=where,
            code="invalid_value",
        )


def _check_vector_stores(tool: FileSearchTool, where: str) -> None:
    if not tool.vector_store_ids:
        message = f"Invalid '{where}': empty array. Expected an array with minimum length 1."
        raise APIError(400, message, param=where, code="empty_array")
    for id in tool.vector_store_ids:
        if id.startswith("vs_missing"):
            raise APIError(404, f"Vector store with id '{id}' not found.", param="tools")


def _check_strict_schema(tool: FunctionTool, where: str) -> None:
    """The first rule of strict functions, and the one that is broken most."""
    if "strict" not in tool.model_fields_set or not tool.strict or tool.parameters is None:
        return
    if tool.parameters.get("additionalProperties") is not False:
        message = (
            f"Invalid schema for function '{tool.name}': In context=(), 'additionalProperties' is "
            "required to be supplied and to be false."
        )
        raise APIError(400, message, param=where, code="invalid_function_parameters")


def check_tool_choice(choice: object, tools: list[JSON]) -> None:
    """Raises `APIError` unless `choice` is documented and among `tools`."""
    if choice is None or choice in ("none", "auto", "required"):
        return
    if isinstance(choice, str):
        raise unsupported_value("tool_choice", choice, ("none", "auto", "required"))
    if not isinstance(choice, dict):
        raise wrong_type("tool_choice", "one of a tool choice mode or an object", choice)
    kind = choice.get("type")
    if kind is None:
        raise missing_parameter("tool_choice.type")
    if kind == "function" and "name" not in choice:
        raise missing_parameter("tool_choice.name")
    offered = any(
        tool["type"] == kind and choice.get("name") in (None, tool.get("name")) for tool in tools
    )
    if kind != "allowed_tools" and not offered:
        message = f"Tool choice '{kind}' not found in 'tools' parameter."
        raise APIError(400, message, param="tool_choice")


def check_consistency(request: ResponseRequest) -> None:
    """What no single field shows; raises `APIError`."""
    check_model(request.model)
    if request.stream_options and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise APIError(400, message, param="stream_options")
    if request.reasoning and request.model.startswith(("gpt-3", "gpt-4")):
        message = "Unsupported parameter: 'reasoning.effort' is not supported with this model."
        raise APIError(400, message, param="reasoning.effort", code="unsupported_parameter")
    if request.previous_response_id and request.conversation:
        message = (
            "Mutually exclusive parameters: Ensure you are only providing one of: "
            "'previous_response_id' or 'conversation'."
        )
        raise APIError(400, message, code="mutually_exclusive_parameters")
    for name in ("conversation", "prompt"):
        if reference := getattr(request, name):
            id = reference.get("id") if isinstance(reference, dict) else reference
            raise APIError(404, f"{name.title()} with id '{id}' not found.", param=name)
