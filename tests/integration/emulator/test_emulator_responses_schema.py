"""What `responses.create` refuses, as OpenAI does."""

from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.integration.emulator.conftest import sdk, shape

RESPONSES = "/v1/responses"
REQUEST: dict[str, Any] = {"model": "gpt-5", "input": "Hola"}
FUNCTION: dict[str, Any] = {"type": "function", "name": "f", "parameters": {}, "strict": False}
CALL: dict[str, Any] = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "f",
    "arguments": "{}",
}
OUTPUT: dict[str, Any] = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
PNG = "data:image/png;base64,iVBORw0KGgo="


async def refused(http: httpx.AsyncClient, change: dict[str, Any], status: int = 400) -> Any:
    answer = await http.post(RESPONSES, json=REQUEST | change)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (status, "invalid_request_error"), error
    return error


def user(*parts: object) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "invalid_type"),
        ({"messages": []}, "messages", "unknown_parameter"),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": 7}, "input", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {}}, "stream_options", None),
        ({"instructions": ["x"]}, "instructions", "invalid_type"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"top_p": -1}, "top_p", "decimal_below_min_value"),
        ({"max_output_tokens": 1}, "max_output_tokens", "integer_below_min_value"),
        ({"metadata": {"n": 1}}, "metadata.n", "invalid_type"),
        ({"metadata": {"n": "x" * 513}}, "metadata.n", "string_above_max_length"),
        ({"include": ["everything"]}, "include[0]", "invalid_value"),
        ({"truncation": "yes"}, "truncation", "invalid_value"),
        ({"background": True}, "background", "invalid_value"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
        (
            {"model": "gpt-4.1", "reasoning": {"effort": "low"}},
            "reasoning.effort",
            "unsupported_parameter",
        ),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
        ({"previous_response_id": "1"}, "previous_response_id", "invalid_value"),
        (
            {"previous_response_id": "resp_1"},
            "previous_response_id",
            "previous_response_not_found",
        ),
        ({"safety_identifier": "x" * 129}, "safety_identifier", "string_above_max_length"),
    ],
)
async def test_a_field_that_the_api_does_not_document_is_refused(
    http: httpx.AsyncClient, change: dict[str, Any], param: str, code: str | None
) -> None:
    error = await refused(http, change)
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize(
    ("item", "param", "code"),
    [
        ("Hola", "input[0]", "invalid_type"),
        ({"type": "chat"}, "input[0].type", "invalid_value"),
        ({"role": "bot", "content": "x"}, "input[0].role", "invalid_value"),
        ({"role": "user"}, "input[0].content", "missing_required_parameter"),
        ({"role": "user", "content": 7}, "input[0].content", "invalid_type"),
        ({"role": "user", "content": "x", "name": "y"}, "input[0].name", "unknown_parameter"),
        ({"role": "user", "content": "x", "id": "cthi_1"}, "input[0].id", "invalid_value"),
        (user("x"), "input[0].content[0]", "invalid_type"),
        (user({"text": "x"}), "input[0].content[0].type", "missing_required_parameter"),
        (user({"type": "text", "text": "x"}), "input[0].content[0].type", "invalid_value"),
        (user({"type": "output_text", "text": "x"}), "input[0].content[0].type", "invalid_value"),
        (
            {"role": "assistant", "content": [{"type": "input_text", "text": "x"}]},
            "input[0].content[0].type",
            "invalid_value",
        ),
        (
            user({"type": "input_text"}),
            "input[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            user({"type": "input_image"}),
            "input[0].content[0].file_id",
            "missing_required_parameter",
        ),
        (
            user({"type": "input_image", "image_url": PNG, "file_id": "file-1"}),
            "input[0].content[0]",
            "mutually_exclusive_parameters",
        ),
        (
            user({"type": "input_image", "image_url": "attachment:1"}),
            "input[0].content[0].image_url",
            "invalid_value",
        ),
        (
            user({"type": "input_image", "image_url": "data:text/plain;base64,aG9sYQ=="}),
            "input[0].content[0].image_url",
            "invalid_value",
        ),
        (
            user({"type": "input_file", "filename": "a.pdf", "file_data": "aG9sYQ=="}),
            "input[0].content[0].file_data",
            "invalid_value",
        ),
        (
            user({"type": "input_file", "file_data": "data:application/pdf;base64,aG9sYQ=="}),
            "input[0].content[0].filename",
            "missing_required_parameter",
        ),
        (
            user({"type": "input_file", "file_id": "x" * 65}),
            "input[0].content[0].file_id",
            "string_above_max_length",
        ),
        (CALL | {"id": "cthi_1"}, "input[0].id", "invalid_value"),
        (CALL | {"arguments": {}}, "input[0].arguments", "invalid_type"),
        (OUTPUT | {"output": {}}, "input[0].output", "invalid_type"),
        (CALL, "input", None),
        (OUTPUT, "input", None),
        ({"type": "web_search_call", "id": "1", "status": "completed"}, "input[0].id", None),
        ({"type": "reasoning", "id": "rs_1"}, "input[0].summary", "missing_required_parameter"),
    ],
)
async def test_an_item_that_the_api_does_not_document_is_refused(
    http: httpx.AsyncClient, item: object, param: str, code: str | None
) -> None:
    error = await refused(http, {"input": [item]})
    assert error["param"] == param
    assert code in (None, error["code"])


@pytest.mark.parametrize(
    ("tool", "param", "code"),
    [
        ("web_search", "tools[0]", "invalid_type"),
        ({}, "tools[0].type", "missing_required_parameter"),
        ({"type": "web"}, "tools[0].type", "invalid_value"),
        ({"type": "web_search", "max": 1}, "tools[0].max", "unknown_parameter"),
        ({"type": "file_search"}, "tools[0].vector_store_ids", "missing_required_parameter"),
        (
            {"type": "file_search", "vector_store_ids": []},
            "tools[0].vector_store_ids",
            "empty_array",
        ),
        (
            {"type": "file_search", "vector_store_ids": ["1"]},
            "tools[0].vector_store_ids[0]",
            "invalid_value",
        ),
        ({"type": "code_interpreter"}, "tools[0].container", "missing_required_parameter"),
        (
            {"type": "code_interpreter", "container": {"type": "new"}},
            "tools[0].container.type",
            "invalid_value",
        ),
        (
            {"type": "code_interpreter", "container": "mine"},
            "tools[0].container",
            "invalid_value",
        ),
        (FUNCTION | {"name": "get weather"}, "tools[0].name", "invalid_value"),
        (
            {"type": "function", "function": {"name": "f"}},
            "tools[0].name",
            "missing_required_parameter",
        ),
        (FUNCTION | {"strict": True}, "tools[0].parameters", "invalid_function_parameters"),
    ],
)
async def test_a_tool_that_the_api_does_not_document_is_refused(
    http: httpx.AsyncClient, tool: object, param: str, code: str
) -> None:
    error = await refused(http, {"tools": [tool]})
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize(
    "choice", ["always", 7, {}, {"type": "function"}, {"type": "function", "name": "g"}]
)
async def test_a_tool_that_is_not_offered_cannot_be_chosen(
    http: httpx.AsyncClient, choice: object
) -> None:
    error = await refused(http, {"tools": [FUNCTION], "tool_choice": choice})
    assert error["param"].startswith("tool_choice")


async def test_a_model_or_vector_store_may_be_missing(client: AsyncOpenAI) -> None:
    create = client.responses.create
    with pytest.raises(openai.NotFoundError) as raised:
        await create(model="gpt-missing-1", input="Hola")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    tools: Any = [{"type": "file_search", "vector_store_ids": ["vs_missing"]}]
    with pytest.raises(openai.NotFoundError, match="vs_missing"):
        await create(model="gpt-5", input="Hola", tools=tools)


async def test_what_the_emulator_does_not_keep_is_not_found(http: httpx.AsyncClient) -> None:
    await refused(http, {"conversation": "conv_1"}, 404)
    await refused(http, {"prompt": {"id": "pmpt_1"}}, 404)
    await refused(http, {"input": [{"type": "item_reference", "id": "msg_1"}]}, 404)


async def test_a_file_has_to_be_uploaded_and_of_the_kind(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    image = await client.files.create(file=("foto.png", b"a"), purpose="vision")
    text = await client.files.create(file=("a.pdf", b"a"), purpose="user_data")
    gone = await client.files.create(file=("b.pdf", b"a"), purpose="user_data")
    await client.files.delete(gone.id)
    for id in ("file-unknown", gone.id):
        for kind in ("input_file", "input_image"):
            error = await refused(http, {"input": [user({"type": kind, "file_id": id})]}, 404)
            assert error["param"] == "input[0].content[0].file_id"
        container = {"type": "auto", "file_ids": [id]}
        tools = [{"type": "code_interpreter", "container": container}]
        await refused(http, {"tools": tools}, 404)
    for kind, id in (("input_file", image.id), ("input_image", text.id)):
        await refused(http, {"input": [user({"type": kind, "file_id": id})]})


async def test_what_the_api_documents_is_accepted(http: httpx.AsyncClient) -> None:
    await shape(http)
    request = {
        "model": "gpt-5",
        "input": [
            {"role": "developer", "content": "Sé breve."},
            {"type": "message", **user({"type": "input_text", "text": "Hola"})},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            CALL,
            OUTPUT | {"output": [{"type": "input_text", "text": "1"}]},
        ],
        "tools": [FUNCTION, {"type": "mcp", "server_label": "x"}],
        "tool_choice": "auto",
        "include": ["reasoning.encrypted_content"],
        "temperature": 1,
        "reasoning": {"effort": "low", "summary": None},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "context_management": [{"type": "compaction", "compact_threshold": 1000}],
        "conversation": None,
        "background": False,
        "service_tier": "auto",
        "prompt_cache_key": "7",
        "prompt_cache_retention": "24h",
        "safety_identifier": "7",
        "max_tool_calls": 3,
        "top_logprobs": 0,
        "store": False,
    }
    answer = await http.post(RESPONSES, json=request)
    assert answer.status_code == 200, answer.text


async def test_the_method_the_content_type_and_the_query_are_checked(
    http: httpx.AsyncClient,
) -> None:
    assert (await http.get(RESPONSES)).status_code == 405
    answers = [
        await http.post(RESPONSES, data={"model": "gpt-5"}),
        await http.post(RESPONSES, json=REQUEST, params={"x": "1"}),
        await http.post(RESPONSES, content=b"{", headers={"Content-Type": "application/json"}),
    ]
    assert {answer.status_code for answer in answers} == {400}
    codes = [answer.json()["error"]["code"] for answer in answers]
    assert codes == ["unsupported_content_type", "unknown_parameter", None]


async def test_no_beta_header_is_needed(base_url: str) -> None:
    async with httpx.AsyncClient(headers={"Authorization": "Bearer sk-test"}) as http:
        answer = await http.post(base_url + RESPONSES, json=REQUEST)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("sk-wrong", openai.AuthenticationError),
        ("sk-noscope", openai.PermissionDeniedError),
        ("sk-noquota", openai.RateLimitError),
    ],
)
async def test_the_key_decides_here_too(
    base_url: str, key: str, expected: type[openai.APIStatusError]
) -> None:
    async with sdk(base_url, key) as client:
        with pytest.raises(expected):
            await client.responses.create(model="gpt-5", input="Hola", stream=True)
