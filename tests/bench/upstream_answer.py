"""A streamed answer of OpenAI's Responses API as bytes, of which each event is a chunk of HTTP."""

import itertools
import json
import secrets
from collections.abc import Iterator
from typing import Any

DELTAS = 200
"""Of every answer: as many tokens as a long paragraph has."""

_WORD = " palabra"
_ID = f"msg_{'0' * 48}"
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class StreamedAnswer:
    """Made once: of each further one the id of the message alone is new, as stores want it."""

    def __init__(self) -> None:
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in _events())
        self._parts = (_HEAD + chunks + b"0\r\n\r\n").split(_ID.encode())
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count()

    def next(self) -> bytes:
        return f"msg_{self._run}{next(self._numbers):032x}".encode().join(self._parts)


def _events() -> Iterator[bytes]:
    kinds = itertools.count()
    for kind, fields in _answer():
        event = {"type": kind, "sequence_number": next(kinds), **fields}
        yield f"event: {kind}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


def _answer() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the events in the order of the API, each with what the official SDK requires."""
    begun = _response("in_progress", [], None)
    item = {"id": _ID, "type": "message", "status": "in_progress", "role": "assistant"}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    place = {"item_id": _ID, "output_index": 0, "content_index": 0}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    yield "response.output_item.added", {"output_index": 0, "item": item | {"content": []}}
    yield "response.content_part.added", place | {"part": part}
    for number in range(DELTAS):
        # OpenAI pads deltas so that their lengths say nothing to who looks on.
        padding = "QxT3vLbN8sKd0WfY"[: 1 + number % 16]
        delta = {"delta": _WORD, "logprobs": [], "obfuscation": padding}
        yield "response.output_text.delta", place | delta
    text = _WORD * DELTAS
    yield "response.output_text.done", place | {"text": text, "logprobs": []}
    yield "response.content_part.done", place | {"part": part | {"text": text}}
    done = item | {"status": "completed", "content": [part | {"text": text}]}
    yield "response.output_item.done", {"output_index": 0, "item": done}
    usage = {
        "input_tokens": 50,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": DELTAS,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 50 + DELTAS,
    }
    yield "response.completed", {"response": _response("completed", [done], usage)}


def _response(status: str, output: list[Any], usage: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": f"resp_{'0' * 48}",
        "object": "response",
        "created_at": 1_780_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-5-mini",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage,
    }
