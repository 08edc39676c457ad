"""What the emulated model answers: the events of each scenario, and what they carry."""

import time
from itertools import groupby
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent

from tests.integration.emulator.conftest import last_request, shape

BEGIN = ["response.created", "response.in_progress"]
MESSAGE = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
CITING_MESSAGE = [*MESSAGE[:3], "response.output_text.annotation.added", *MESSAGE[3:]]
END = ["response.completed"]
WEB_SEARCH: Any = {"type": "web_search"}
CODE_INTERPRETER: Any = {"type": "code_interpreter", "container": {"type": "auto"}}
FILE_SEARCH: Any = {"type": "file_search", "vector_store_ids": ["vs_1"]}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    "strict": True,
}


@pytest.fixture(autouse=True)
async def at_once(http: httpx.AsyncClient) -> None:
    await shape(http, times=None)


async def events(client: AsyncOpenAI, text: Any, **request: Any) -> list[ResponseStreamEvent]:
    stream = await client.responses.create(model="gpt-5", input=text, stream=True, **request)
    found = [event async for event in stream]
    assert [event.sequence_number for event in found] == list(range(len(found)))
    return found


def types(found: list[ResponseStreamEvent]) -> list[str]:
    """Their types in order, of deltas in a row one."""
    return [kind for kind, _ in groupby(event.type for event in found)]


def completed(found: list[ResponseStreamEvent]) -> Response:
    last = found[-1]
    assert last.type == "response.completed"
    return last.response


async def test_a_plain_answer_quotes_the_user_word_by_word(client: AsyncOpenAI) -> None:
    found = await events(client, "¿Qué tal?", instructions="Habla como un pirata.")
    assert types(found) == [*BEGIN, *MESSAGE, *END]
    deltas = [event.delta for event in found if event.type == "response.output_text.delta"]
    response = completed(found)
    assert "".join(deltas) == response.output_text
    assert "«¿Qué tal?»" in response.output_text
    assert "pirata" not in response.output_text
    assert len(deltas) == len(response.output_text.split())


async def test_a_response_has_the_documented_fields(client: AsyncOpenAI) -> None:
    before = int(time.time())
    found = await events(client, "Hola", instructions="Sé breve.", metadata={"thread": "thr_1"})
    created, response = found[0], completed(found)
    assert created.type == "response.created"
    assert (created.response.status, created.response.output) == ("in_progress", [])
    assert created.response.usage is None
    assert created.response.id == response.id
    assert response.id.startswith("resp_")
    assert before <= response.created_at <= time.time()
    assert (response.status, response.model) == ("completed", "gpt-5")
    assert (response.instructions, response.metadata) == ("Sé breve.", {"thread": "thr_1"})
    assert (response.temperature, response.top_p, response.tool_choice) == (1, 1, "auto")
    assert (response.truncation, response.parallel_tool_calls) == ("disabled", True)


async def test_the_usage_grows_with_the_lengths(client: AsyncOpenAI) -> None:
    short = completed(await events(client, "palabra"))
    long = completed(await events(client, "palabra " * 1000))
    for response in (short, long):
        usage = response.usage
        assert usage
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
        assert usage.output_tokens == len(response.output_text.split())
    assert short.usage
    assert long.usage
    assert short.usage.input_tokens < 10
    assert 1900 < long.usage.input_tokens < 2100
    assert short.usage.input_tokens_details.cached_tokens == 0
    assert long.usage.input_tokens_details.cached_tokens == 1024


async def test_the_sdks_stream_helper_accumulates_the_same(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="gpt-5", input="Hola") as stream:
        async for _ in stream:
            pass
        response = await stream.get_final_response()
    assert "«Hola»" in response.output_text


async def test_without_a_stream_the_response_comes_as_a_whole(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="gpt-5", input="Hola")
    assert response.status == "completed"
    assert "«Hola»" in response.output_text


async def test_deltas_are_padded_unless_told_otherwise(client: AsyncOpenAI) -> None:
    padded = await events(client, "Hola")
    plain = await events(client, "Hola", stream_options={"include_obfuscation": False})
    padding = ["obfuscation" in (event.model_extra or {}) for event in (padded[4], plain[4])]
    assert (padded[4].type, padding) == ("response.output_text.delta", [True, False])


async def test_a_web_search_cites_a_page(client: AsyncOpenAI) -> None:
    include: Any = ["web_search_call.action.sources"]
    found = await events(client, "Busca hoteles", tools=[WEB_SEARCH], include=include)
    assert types(found) == [
        *BEGIN,
        "response.output_item.added",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
        "response.output_item.done",
        *CITING_MESSAGE,
        *END,
    ]
    call, message = completed(found).output
    assert call.type == "web_search_call"
    assert call.action.type == "search"
    assert call.action.query == "Busca hoteles"
    assert call.action.sources
    assert message.type == "message"
    text = message.content[0]
    assert text.type == "output_text"
    (citation,) = text.annotations
    assert citation.type == "url_citation"
    assert citation.url in [source.url for source in call.action.sources]
    assert text.text[citation.start_index : citation.end_index].startswith("([example.com]")


async def test_the_code_interpreter_cites_a_file_of_its_container(client: AsyncOpenAI) -> None:
    include: Any = ["code_interpreter_call.outputs"]
    found = await events(client, "calculate 6 * 7", tools=[CODE_INTERPRETER], include=include)
    assert types(found) == [
        *BEGIN,
        "response.output_item.added",
        "response.code_interpreter_call.in_progress",
        "response.code_interpreter_call_code.delta",
        "response.code_interpreter_call_code.done",
        "response.code_interpreter_call.interpreting",
        "response.code_interpreter_call.completed",
        "response.output_item.done",
        *CITING_MESSAGE,
        *END,
    ]
    call, message = completed(found).output
    assert call.type == "code_interpreter_call"
    assert call.outputs
    assert call.outputs[0].type == "logs"
    code = [e.delta for e in found if e.type == "response.code_interpreter_call_code.delta"]
    assert "".join(code) == call.code
    assert message.type == "message"
    text = message.content[0]
    assert text.type == "output_text"
    (citation,) = text.annotations
    assert citation.type == "container_file_citation"
    assert citation.container_id == call.container_id


async def test_a_file_search_cites_the_latest_file(client: AsyncOpenAI) -> None:
    file = await client.files.create(file=("manual.pdf", b"%PDF"), purpose="assistants")
    include: Any = ["file_search_call.results"]
    found = await events(client, "¿Qué dice el documento?", tools=[FILE_SEARCH], include=include)
    assert types(found) == [
        *BEGIN,
        "response.output_item.added",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.output_item.done",
        *CITING_MESSAGE,
        *END,
    ]
    call, message = completed(found).output
    assert call.type == "file_search_call"
    assert call.results
    assert call.results[0].file_id == file.id
    assert message.type == "message"
    text = message.content[0]
    assert text.type == "output_text"
    (citation,) = text.annotations
    assert citation.type == "file_citation"
    assert (citation.file_id, citation.filename) == (file.id, "manual.pdf")


async def test_results_and_sources_are_shown_only_when_asked_for(client: AsyncOpenAI) -> None:
    tools = [WEB_SEARCH, CODE_INTERPRETER, FILE_SEARCH]
    found = await events(client, "busca, calcula, documento", tools=tools)
    search, code, files, message = completed(found).output
    assert search.type == "web_search_call"
    assert search.action.type == "search"
    assert search.action.sources is None
    assert code.type == "code_interpreter_call"
    assert code.outputs is None
    assert files.type == "file_search_call"
    assert files.results is None
    assert message.type == "message"


async def test_a_function_is_called_and_its_output_quoted(client: AsyncOpenAI) -> None:
    text = 'call get_weather {"city": "Ávila"}'
    found = await events(client, text, tools=[WEATHER])
    assert types(found) == [
        *BEGIN,
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        *END,
    ]
    (call,) = completed(found).output
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("get_weather", '{"city": "Ávila"}')

    output = {"type": "function_call_output", "call_id": call.call_id, "output": "20 grados"}
    again = [{"role": "user", "content": text}, call.to_dict(), output]
    found = await events(client, again, tools=[WEATHER])
    assert types(found) == [*BEGIN, *MESSAGE, *END]
    assert "«20 grados»" in completed(found).output_text

    previous = completed(await events(client, "call get_weather", tools=[WEATHER]))
    (call,) = previous.output
    assert call.type == "function_call"
    assert call.arguments == "{}"
    output = output | {"call_id": call.call_id}
    found = await events(client, [output], previous_response_id=previous.id)
    assert "«20 grados»" in completed(found).output_text


@pytest.mark.parametrize("text", ["Hola", "call get_weather_of_mars", "call get_time"])
async def test_a_tool_that_is_not_asked_for_is_not_used(client: AsyncOpenAI, text: str) -> None:
    tools = [WEATHER, WEB_SEARCH, CODE_INTERPRETER, FILE_SEARCH]
    assert types(await events(client, text, tools=tools)) == [*BEGIN, *MESSAGE, *END]


async def test_the_choice_of_a_tool_is_obeyed(client: AsyncOpenAI) -> None:
    tools = [WEATHER, CODE_INTERPRETER]

    async def used(text: str, tool_choice: Any) -> list[str]:
        found = await events(client, text, tools=tools, tool_choice=tool_choice)
        return [item.type for item in completed(found).output]

    assert await used("calcula", "none") == ["message"]
    assert await used("Hola", "required") == ["function_call"]
    assert await used("Hola", {"type": "code_interpreter"}) == ["code_interpreter_call", "message"]
    assert await used("Hola", {"type": "function", "name": "get_weather"}) == ["function_call"]


async def test_the_answer_names_what_is_attached_to_the_last_message(client: AsyncOpenAI) -> None:
    old = await client.files.create(file=("viejo.pdf", b"%PDF"), purpose="user_data")
    new = await client.files.create(file=("nuevo.pdf", b"%PDF"), purpose="user_data")
    photo = await client.files.create(file=("foto.png", b"\x89PNG"), purpose="vision")
    parts = [
        {"type": "input_text", "text": "Mira"},
        {"type": "input_file", "file_id": new.id},
        {"type": "input_image", "file_id": photo.id},
        {"type": "input_image", "image_url": "data:image/gif;base64,R0lGODlh"},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aG9sYQ=="},
    ]
    found = await events(
        client,
        [
            {"role": "user", "content": [{"type": "input_file", "file_id": old.id}]},
            {"role": "assistant", "content": "Lo he leído."},
            {"role": "user", "content": parts},
        ],
    )
    said = completed(found).output_text
    assert f"nuevo.pdf ({new.id}); foto.png ({photo.id}); image/gif, 6 bytes; a.txt" in said
    assert "viejo" not in said


async def test_a_whole_history_can_be_sent_back(client: AsyncOpenAI) -> None:
    tools = [WEB_SEARCH, CODE_INTERPRETER, FILE_SEARCH]
    first = completed(await events(client, "busca, calcula, documento", tools=tools))
    history = [item.to_dict() for item in first.output]
    found = await events(client, [*history, {"role": "user", "content": "¿Y?"}], tools=tools)
    assert "«¿Y?»" in completed(found).output_text


async def test_an_answer_is_no_longer_than_it_may_be(client: AsyncOpenAI) -> None:
    found = await events(client, "palabra " * 50, max_output_tokens=16)
    last = found[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert len(last.response.output_text.split()) == 16


async def test_an_answer_can_be_shaped(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    await http.delete("/_emulator/answers")
    await shape(http, text="uno dos tres", pause_seconds=0.02)
    await shape(http, text="uno dos", deltas=1000)
    started = time.perf_counter()
    slow = await events(client, "Hola")
    assert time.perf_counter() - started >= 0.04
    many = await events(client, "Hola")
    assert completed(slow).output_text == "uno dos tres"
    assert sum(event.type == "response.output_text.delta" for event in many) == 1000
    assert completed(many).output_text == "uno dos " * 500
    await shape(http, text="nada", times=None)
    await http.delete("/_emulator/answers")
    await shape(http)
    assert "«Hola»" in completed(await events(client, "Hola")).output_text


async def test_the_log_shows_what_was_asked_and_sent(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    found = await events(client, "Hola", user="7")
    seen = await last_request(http, "responses.create")
    assert seen["body"] == {"model": "gpt-5", "input": "Hola", "stream": True, "user": "7"}
    assert (seen["status"], seen["left_early"]) == (200, False)
    assert seen["sent_deltas"] == len(completed(found).output_text.split())
