"""The SDKs still do slowly what our workarounds mend; each test fails once one can go."""

import importlib.util
import timeit
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import agents
import aiohttp
import httpx2
import pytest
from agents import _config_coercion, model_settings, run_config
from agents.run_internal import model_retry
from openai._models import construct_type
from openai._vendor.httpx_aiohttp import transport
from openai.types.responses import ResponseStreamEvent, ResponseTextDeltaEvent

from session_service.conversation import workarounds

DELTA = {
    "type": "response.output_text.delta",
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "sequence_number": 4,
    "delta": "Hola",
    "logprobs": [],
}


async def parsed(data: object) -> Any:
    async with workarounds.Client(api_key="sk-test") as client:
        return client._process_response_data(
            data=data, cast_to=ResponseStreamEvent, response=httpx2.Response(200)
        )


async def test_an_event_is_parsed_by_its_type() -> None:
    assert await parsed(DELTA) == ResponseTextDeltaEvent.model_validate(DELTA)


@pytest.mark.parametrize(
    "data",
    [
        {"type": "response.not_known_yet", "sequence_number": 1},
        {"type": "response.output_text.delta", "delta": "Hola"},
        {"type": ["a list"]},
    ],
    ids=["an unknown type", "without all its fields", "a type that is no text"],
)
async def test_what_is_not_as_expected_is_taken_as_the_sdk_takes_it(data: object) -> None:
    assert await parsed(data) == construct_type(type_=ResponseStreamEvent, value=data)


def test_the_sdk_tries_all_types_for_every_event() -> None:
    def seconds(parse: Callable[[], object]) -> float:
        return min(timeit.repeat(parse, number=20, repeat=5))

    by_type = seconds(lambda: ResponseTextDeltaEvent.model_validate(DELTA))
    by_all = seconds(lambda: construct_type(type_=ResponseStreamEvent, value=DELTA))
    assert by_all > 4 * by_type


def test_the_sdk_tells_a_broken_connection_as_a_timeout() -> None:
    spec = importlib.util.find_spec(transport.__name__)
    assert spec is not None
    assert spec.loader is not None
    unmended = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unmended)
    assert unmended.AIOHTTP_EXC_MAP[aiohttp.ClientConnectionError] is httpx2.ConnectTimeout


async def test_the_sdk_asks_for_every_event_whether_it_may_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    @contextmanager
    def counting(disabled: bool) -> Iterator[None]:
        asked.append(disabled)
        yield

    for name in workarounds._RETRIES_DISABLED:
        monkeypatch.setattr(model_retry, name, counting)

    async def events() -> AsyncIterator[Any]:
        for _ in range(10):
            yield ResponseTextDeltaEvent.model_validate(DELTA)

    async def nothing() -> None:
        pass

    stream = model_retry.stream_response_with_retry(
        get_stream=events,
        rewind=nothing,
        retry_settings=None,
        get_retry_advice=lambda _: None,
        previous_response_id=None,
        conversation_id=None,
    )
    assert len([event async for event in stream]) == 10
    assert len(asked) > 20
    assert not any(asked)  # which is when ours do nothing


def test_the_sdk_asks_for_type_hints_with_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    hints = vars(_config_coercion)["get_type_hints"]

    def counting(owner: type) -> dict[str, Any]:
        asked.append(owner)
        return dict(hints(owner))

    monkeypatch.setattr(_config_coercion, "get_type_hints", counting)
    unmended = vars(model_settings)["_declared_model_settings_type"]
    monkeypatch.setattr(run_config, "_declared_model_settings_type", unmended)
    agents.RunConfig(model_settings=agents.ModelSettings())
    agents.RunConfig(model_settings=agents.ModelSettings())
    assert asked == [agents.RunConfig, agents.RunConfig]
