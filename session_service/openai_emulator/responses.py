"""OpenAI's `responses.create`: checks a request, and answers it for as long as the client stays."""

import asyncio
from collections.abc import Callable, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from session_service.openai_emulator.answers import AnswerShape, answer, prompt_of
from session_service.openai_emulator.errors import JSON, APIError, parse
from session_service.openai_emulator.failures import (
    Exchange,
    client_left,
    exchange_of,
    use_up,
)
from session_service.openai_emulator.responses_input import check_calls, check_files, check_input
from session_service.openai_emulator.responses_schema import (
    ResponseRequest,
    check_consistency,
    check_tool_choice,
    check_tools,
)
from session_service.openai_emulator.turn import Turn

_REMEMBERED_RESPONSES = 10_000


class Responses:
    """The operation, and the shapes that wait for the next answers. `now` is Unix seconds."""

    def __init__(self, now: Callable[[], float], files: Mapping[str, JSON]) -> None:
        self.now = now
        self.files = files
        self.shapes: list[AnswerShape] = []
        # Of those that were stored: the calls of functions whose output is to come.
        self.stored: dict[str, list[str]] = {}

    async def create(self, request: Request) -> Response:
        body = self._checked(await request.body())
        shape = use_up(self.shapes) or AnswerShape()
        output = answer(body, prompt_of(body.input, self.files), shape, self.files)
        exchange = exchange_of(request)
        turn = Turn(body, output, shape, exchange, self.now)
        return _Answer(turn, exchange, self._remember, is_stream=bool(body.stream))

    def add_shape(self, body: AnswerShape) -> JSON:
        self.shapes.append(body)
        return body.model_dump()

    def clear_shapes(self) -> JSON:
        self.shapes.clear()
        return {"cleared": True}

    def _checked(self, content: bytes) -> ResponseRequest:
        body = parse(ResponseRequest, content)
        body.input = check_input(body.input)
        body.tools = check_tools(body.tools)
        check_tool_choice(body.tool_choice, body.tools)
        check_consistency(body)
        check_files(body.input, body.tools, self.files)
        before: list[str] = []
        if id := body.previous_response_id:
            if id not in self.stored:
                message = f"Previous response with id '{id}' not found."
                code = "previous_response_not_found"
                raise APIError(400, message, param="previous_response_id", code=code)
            before = self.stored[id]
        check_calls(body.input, before)
        return body

    def _remember(self, response: JSON) -> None:
        if response["store"] and response["status"] == "completed":
            calls = [item for item in response["output"] if item["type"] == "function_call"]
            self.stored[response["id"]] = [call["call_id"] for call in calls]
            if len(self.stored) > _REMEMBERED_RESPONSES:
                del self.stored[next(iter(self.stored))]


class _Answer(Response):
    """Writes a turn as it comes, or as a whole, until it ends or the client leaves."""

    def __init__(
        self,
        turn: Turn,
        exchange: Exchange,
        remember: Callable[[JSON], None],
        *,
        is_stream: bool,
    ) -> None:
        self.turn = turn
        self.exchange = exchange
        self.remember = remember
        self.is_stream = is_stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        write = self._write_stream(send) if self.is_stream else self._write(scope, receive, send)
        # uvicorn takes what is written after the client has left, and says nothing.
        writing = asyncio.ensure_future(write)
        leaving = asyncio.ensure_future(client_left(receive))
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
            else:
                self.exchange.seen.left_early = not self.turn.is_broken_off
        finally:
            writing.cancel()
            leaving.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)

    async def _write_stream(self, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def send_event(event: bytes) -> None:
            await send({"type": "http.response.body", "body": event, "more_body": True})

        await self.turn.run(send_event)
        self.remember(self.turn.response)
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.turn.run()
        self.remember(self.turn.response)
        status, body = 200, self.turn.response
        if error := self.turn.error:
            status, body = error.status, error.body
        response = Response(orjson.dumps(body), status, media_type="application/json")
        await response(scope, receive, send)
