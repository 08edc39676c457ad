"""A streamed answer of OpenAI's Responses API as bytes, of which each event is a chunk of HTTP."""

import itertools
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DELTAS = 200
"""Of every answer: as many tokens as a long paragraph has."""

_WORD = " palabra"
_ID = f"msg_{'0' * 48}".encode()
_DELTA = "response.output_text.delta"
_STAMP = b"@" + b"0" * 20
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class StreamedAnswer:
    """Made once: of each further one the id of the message alone is new, as stores want it."""

    def __init__(self) -> None:
        events = list(_answer())
        chunks = [_chunk(number, *event) for number, event in enumerate(events)]
        self._whole = (_HEAD + b"".join(chunks) + b"0\r\n\r\n").split(_ID)
        first = next(n for n, (kind, _) in enumerate(events) if kind == _DELTA)
        self._opening = (_HEAD + b"".join(chunks[:first])).split(_ID)
        kind, fields = events[first]
        self._delta = _chunk(first, kind, fields | {"delta": _STAMP.decode()})
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count()

    def next(self) -> bytes:
        """Returns a whole answer."""
        return self._message_id().join(self._whole)

    def begin(self) -> tuple[bytes, Sequence[bytes]]:
        """Returns the beginning of an answer, and what a `stamp()` joins to another delta."""
        message_id = self._message_id()
        delta = self._delta.replace(_ID, message_id)
        return message_id.join(self._opening), delta.split(_STAMP)

    def _message_id(self) -> bytes:
        return f"msg_{self._run}{next(self._numbers):032x}".encode()


def stamp() -> bytes:
    """Returns what a delta is to say: when it is written, always as many bytes."""
    return b"@%020d" % time.monotonic_ns()


def _chunk(number: int, kind: str, fields: Mapping[str, Any]) -> bytes:
    data = json.dumps({"type": kind, "sequence_number": number, **fields}, separators=(",", ":"))
    event = f"event: {kind}\ndata: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


def _answer() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the events in the order of the API, each with what the official SDK requires."""
    begun = _response("in_progress", [], None)
    item = {"id": _ID.decode(), "type": "message", "status": "in_progress", "role": "assistant"}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    place = {"item_id": _ID.decode(), "output_index": 0, "content_index": 0}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    yield "response.output_item.added", {"output_index": 0, "item": item | {"content": []}}
    yield "response.content_part.added", place | {"part": part}
    for number in range(DELTAS):
        # OpenAI pads deltas so that their lengths say nothing to who looks on.
        padding = "QxT3vLbN8sKd0WfY"[: 1 + number % 16]
        delta = {"delta": _WORD, "logprobs": [], "obfuscation": padding}
        yield _DELTA, place | delta
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
