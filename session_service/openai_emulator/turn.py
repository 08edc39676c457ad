"""One response of the emulated model: its events in the order of the API, and how they fail.

The order is that of https://platform.openai.com/docs/api-reference/responses-streaming, the fields
are those of the official SDK (`openai.types.responses`).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from session_service.openai_emulator.answers import AnswerShape, Message, ToolCall, web_search_call
from session_service.openai_emulator.errors import JSON, APIError, typical_error
from session_service.openai_emulator.failures import Exchange
from session_service.openai_emulator.responses_schema import ResponseRequest

Sink = Callable[[bytes], Awaitable[None]]

_TOKENS_OF_A_CALL = 15
_TOKENS_OF_A_FILE = 300
# Without pauses, how many deltas come before others have their turn.
_DELTAS_AT_ONCE = 32
# OpenAI pads deltas so that their lengths say nothing to who looks on.
_PADDING = [b',"obfuscation":"%b"' % b"QxT3vLbN8sKd0WfY"[:length] for length in range(1, 17)]
_FAILURES = {
    "server_error": (
        "An error occurred while processing your request. You can retry your request, or contact "
        "us through our help center at help.openai.com if the error persists."
    ),
    "rate_limit_exceeded": (
        "Rate limit reached for the model on tokens per min (TPM): Limit 30000, Used 29500, "
        "Requested 1000. Please try again in 1s."
    ),
    "invalid_prompt": (
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
    ),
}


class Turn:
    """A response in the making.

    `response` is what it is so far, `error` why there is none, and `is_broken_off` whether the
    connection was closed from here.
    """

    def __init__(
        self,
        request: ResponseRequest,
        output: list[ToolCall | Message],
        shape: AnswerShape,
        exchange: Exchange,
        now: Callable[[], float],
    ) -> None:
        self.response = _begun(request, int(now()))
        self.error: APIError | None = None
        self.is_broken_off = False
        self._output = output
        self._exchange = exchange
        self._failure = exchange.failure
        self._kind = exchange.failure.kind if exchange.failure else None
        self._pause = shape.pause_seconds
        if exchange.failure and self._kind == "drip":
            self._pause = exchange.failure.delay_seconds
        self._input_tokens = _input_tokens(request)
        self._max_words = self._room(request)
        self._is_whole = True
        self._pads = request.stream_options is None or request.stream_options.include_obfuscation
        self._now = now
        self._events = 0
        self._sink: Sink = _nowhere

    def _room(self, request: ResponseRequest) -> int | None:
        """How many words are to be said at most; None if as many as there are."""
        cutting = ("error_event", "failed_event", "incomplete", "broken_stream")
        if self._failure and self._kind in cutting:
            return self._failure.after_deltas
        return request.max_output_tokens

    async def run(self, sink: Sink | None = None) -> None:
        """Gives the events to `sink`, one at a time; with some failures never ends."""
        self._sink = sink or _nowhere
        await self._emit("response.created", response=self.response)
        if self._kind == "silence":
            await _for_ever()
        await self._emit("response.in_progress", response=self.response)
        if self._kind == "stuck_tool":
            await self._call(web_search_call("…", []), until="response.web_search_call.completed")
            await _for_ever()
        for part in self._output:
            await (self._call(part) if isinstance(part, ToolCall) else self._message(part))
        match self._kind:
            case "error_event":
                await self._emit_error()
            case "failed_event":
                await self._fail()
            case "broken_stream":
                self.is_broken_off = True
                self._exchange.break_connection()
                await _for_ever()
            case _:
                await self._end()

    async def _emit(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": self._events, **fields}
        await self._send(kind, event)

    async def _send(self, kind: str, event: Any) -> None:
        self._events += 1
        await self._sink(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event)))

    async def _call(self, call: ToolCall, *, until: str | None = None) -> None:
        index = len(self.response["output"])
        await self._emit("response.output_item.added", output_index=index, item=call.begun)
        for kind, fields in call.steps:
            if kind == until:
                return
            await self._wait(min(10 * self._pause, 0.5))  # to be seen at work
            await self._emit(kind, item_id=call.done["id"], output_index=index, **fields)
        await self._emit("response.output_item.done", output_index=index, item=call.done)
        self.response["output"].append(call.done)

    async def _message(self, message: Message) -> None:
        index, words = len(self.response["output"]), message.words[: self._max_words]
        text: JSON = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        id = f"msg_{secrets.token_hex(25)}"
        item: JSON = {"id": id, "type": "message", "status": "in_progress", "role": "assistant"}
        place: JSON = {"item_id": id, "output_index": index, "content_index": 0}
        begun = item | {"content": []}
        await self._emit("response.output_item.added", output_index=index, item=begun)
        await self._emit("response.content_part.added", **place, part=text)
        await self._say(words, place)
        if self._kind in ("error_event", "failed_event", "broken_stream"):
            return
        self._is_whole = self._kind != "incomplete" and len(words) == len(message.words)
        annotations = message.annotations if self._is_whole else []
        for number, annotation in enumerate(annotations):
            at = place | {"annotation_index": number, "annotation": annotation}
            await self._emit("response.output_text.annotation.added", **at)
        text = text | {"annotations": annotations, "text": "".join(words)}
        await self._emit("response.output_text.done", **place, text=text["text"], logprobs=[])
        await self._emit("response.content_part.done", **place, part=text)
        status = "completed" if self._is_whole else "incomplete"
        done = item | {"status": status, "content": [text]}
        await self._emit("response.output_item.done", output_index=index, item=done)
        self.response["output"].append(done)

    async def _say(self, words: list[str], place: JSON) -> None:
        # Written by hand but for the word: this is what a bench makes millions of.
        kind = b"response.output_text.delta"
        fixed = orjson.dumps({"type": kind.decode(), **place, "logprobs": []})
        head = b'event: %b\ndata: %b,"sequence_number":' % (kind, fixed[:-1])
        seen, padding = self._exchange.seen, b""
        for number, word in enumerate(words):
            if number:
                await self._wait(self._pause, number)
            if self._pads:
                padding = _PADDING[-len(word) % 16]
            parts = (head, self._events, orjson.dumps(word), padding)
            self._events += 1
            await self._sink(b'%b%d,"delta":%b%b}\n\n' % parts)
            seen.sent_deltas += 1

    async def _wait(self, seconds: float, number: int = 0) -> None:
        if seconds or number % _DELTAS_AT_ONCE == 0:
            await asyncio.sleep(seconds)

    async def _emit_error(self) -> None:
        assert self._failure
        self.error = typical_error(500)
        code = self._failure.code
        event = {
            "type": "error",
            "sequence_number": self._events,
            "code": code,
            "message": _FAILURES[code],
            "param": None,
        }
        given = "body" in self._failure.model_fields_set
        await self._send("error", self._failure.body if given else event)

    async def _fail(self) -> None:
        assert self._failure
        code = self._failure.code
        self.response["error"] = {"code": code, "message": _FAILURES[code]}
        self.response["status"] = "failed"
        await self._emit("response.failed", response=self.response)

    async def _end(self) -> None:
        if self._is_whole and self._kind != "incomplete":
            self.response |= {"status": "completed", "completed_at": int(self._now())}
        else:
            reason = self._failure.reason if self._failure else "max_output_tokens"
            self.response |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
        calls = sum(item["type"] != "message" for item in self.response["output"])
        said = self._exchange.seen.sent_deltas + calls * _TOKENS_OF_A_CALL
        self.response["usage"] = {
            "input_tokens": self._input_tokens,
            "input_tokens_details": {
                "cached_tokens": self._input_tokens // 1024 * 1024,
                "cache_write_tokens": 0,
            },
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._input_tokens + said,
        }
        await self._emit(f"response.{self.response['status']}", response=self.response)


def _begun(request: ResponseRequest, created_at: int) -> JSON:
    echoed = request.model_dump(
        exclude={
            "input",
            "stream",
            "stream_options",
            "include",
            "context_management",
            "access_programs",
            "background_options",
            "image",
            "moderation",
            "prompt_cache_options",
        }
    )
    # What the API makes of null is what it makes of a field that is left out.
    defaults: JSON = {
        "tool_choice": "auto",
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "top_logprobs": 0,
        "parallel_tool_calls": True,
        "store": True,
        "background": False,
        "reasoning": {"effort": None, "summary": None},
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "truncation": "disabled",
    }
    return {
        "id": f"resp_{secrets.token_hex(25)}",
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        **echoed,
        **{name: value for name, value in defaults.items() if echoed[name] is None},
        "service_tier": "default",
    }


def _input_tokens(request: ResponseRequest) -> int:
    """About what OpenAI would count: a token is some four letters, and a file has a flat rate."""
    letters, files = len(request.instructions or ""), 0
    for item in request.input:
        for part in (*(item.get("content") or ()), *(item.get("output") or ())):
            text = part.get("text") if isinstance(part, dict) else part
            letters += len(text) if isinstance(text, str) else 0
            files += text is None
    return letters // 4 + 4 * len(request.input) + files * _TOKENS_OF_A_FILE


async def _nowhere(event: bytes) -> None:
    """What becomes of the events when only the response is asked for."""


async def _for_ever() -> None:
    """Until cancelled, when the client has left."""
    await asyncio.Event().wait()
