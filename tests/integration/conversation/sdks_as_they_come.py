"""A program that says as JSON how the SDKs behave without our workarounds: see test_workarounds."""

import asyncio
import inspect
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

warnings.simplefilter("ignore")

import agents.result  # noqa: E402
import chatkit.agents  # noqa: E402
import chatkit.server  # noqa: E402
import chatkit.store  # noqa: E402
from agents.tracing.processors import BackendSpanExporter  # noqa: E402
from openai._models import construct_type  # noqa: E402
from openai.types.responses import ResponseStreamEvent, ResponseTextDeltaEvent  # noqa: E402
from openai.types.responses.response_output_text_annotation_added_event import (  # noqa: E402
    ResponseOutputTextAnnotationAddedEvent,
)


async def refuses_citations() -> bool:
    citation = {
        "type": "url_citation",
        "url": "https://example.com",
        "title": "T",
        "start_index": 0,
        "end_index": 1,
    }
    event = ResponseOutputTextAnnotationAddedEvent.model_validate(
        {
            "type": "response.output_text.annotation.added",
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "annotation_index": 0,
            "sequence_number": 1,
            "annotation": citation,
        }
    )
    converter = chatkit.agents.ResponseStreamConverter()
    try:
        await chatkit.agents._convert_annotation(event.annotation, converter)
    except ValueError:  # pydantic's ValidationError is one
        return True
    return False


async def leaves_a_run_that_nobody_reads() -> bool:
    cancelled = False

    async def run() -> AsyncIterator[int]:
        nonlocal cancelled
        try:
            yield 1
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled = True
            raise

    async def queue() -> AsyncIterator[int]:
        await asyncio.sleep(30)
        yield 2

    async def read() -> None:
        async for _ in chatkit.agents._merge_generators(run(), queue()):
            pass

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    reader.cancel()
    await asyncio.wait([reader])
    await asyncio.sleep(0.05)
    return not cancelled


def times_slower_than_by_type() -> float:
    data = {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": "hi",
        "sequence_number": 3,
        "logprobs": [],
    }
    event_type: Any = ResponseStreamEvent
    slow = _seconds(lambda: construct_type(type_=event_type, value=data))
    return slow / _seconds(lambda: ResponseTextDeltaEvent.model_validate(data))


def _seconds(call: Callable[[], object]) -> float:
    def once() -> float:
        started = time.perf_counter()
        for _ in range(300):
            call()
        return time.perf_counter() - started

    return min(once() for _ in range(5))


async def main() -> None:
    now: datetime = chatkit.server.datetime.now()  # type: ignore[attr-defined]
    found = {
        "refuses_citations": await refuses_citations(),
        "tells_times_without_a_zone": now.tzinfo is None,
        "leaves_a_run_that_nobody_reads": await leaves_a_run_that_nobody_reads(),
        "drops_what_nobody_has_read": not vars(agents.result)[
            "_should_drain_stream_events_before_raising"
        ](RuntimeError()),
        "log_handlers": len(logging.getLogger("chatkit").handlers),
        "parser_is_built_anew": "TypeAdapter"
        in inspect.getsource(chatkit.server.ChatKitServer.process),
        "times_slower_than_by_type": times_slower_than_by_type(),
        "length_of_ids": len(chatkit.store.default_generate_id("thread")),
        "traces_go_to": BackendSpanExporter().endpoint,
    }
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # without waiting for what was never cancelled


if __name__ == "__main__":
    asyncio.run(main())
