"""Relays answers of the ChatKit protocol from the session service to the browser, as they come."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import orjson
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.channel import learn, rpc_hop
from gateway.errors import RETRYABLE, APIError, from_conversation_rpc
from gateway.http_protocol import CANCELLED
from gateway.texts import Language, chat_message
from protos.chatkit.v1 import conversation_service_pb2 as pb
from runtime import hops

_METHOD = "/chatkit.v1.ConversationService/Process"
_EVENT_STREAM, _JSON = "text/event-stream", "application/json"
_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept-Language"}
_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"vary", b"Accept-Language"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the answer before it hands it on
)
_END_OF_EVENT = b"\n\n"
_MAX_HELD_BYTES = 1024 * 1024
"""Of an event that is not whole yet; from a larger one its beginning is sent."""
_MAX_JSON_BYTES = 32 * 1024 * 1024
"""Of an answer that is no stream: it is sent when it is whole, as its status is open until then."""

log = structlog.get_logger()

ProcessCall: TypeAlias = "grpc.aio.UnaryStreamCall[pb.ProcessRequest, pb.ProcessResponse]"


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """An ASGI response: what one call of `Process` answers.

    A failure before there is anything to send is an APIError, one in mid-stream ChatKit's error
    event. The next message is read once the browser has taken the one before.
    """

    process: Callable[[], ProcessCall]
    """Begins the call."""
    language: Language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with rpc_hop(_METHOD) as hop:
            call = self.process()
            try:
                messages = aiter(call)
                content_type = await _content_type(messages)
                if content_type == _EVENT_STREAM:
                    learn(hop, await call.initial_metadata())
                    hop.event("head")
                    hop.note()  # for the answer's own head, which says what is known by then
                    await self._stream(scope, messages, send)
                    return
                body = await _joined(messages)
            except grpc.aio.AioRpcError as error:
                learn(hop, error.trailing_metadata())
                raise from_conversation_rpc(error) from error
            else:
                learn(hop, await call.trailing_metadata())
            finally:
                call.cancel()
        await Response(body, headers=_HEADERS, media_type=_JSON)(scope, receive, send)

    async def _stream(
        self, scope: Scope, messages: AsyncIterator[pb.ProcessResponse], send: Send
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        rest = b""
        try:
            async for message in messages:
                # The error event could not follow half an event, which waits here for its end.
                events, rest = _whole_events(rest + message.data)
                if events:
                    await send({"type": "http.response.body", "body": events, "more_body": True})
        except grpc.aio.AioRpcError as error:
            rest = self._error_event(from_conversation_rpc(error))
        except asyncio.CancelledError:
            if CANCELLED in scope:
                raise
            rest = self._error_event(APIError("UNAVAILABLE"))  # the server ends
        await send({"type": "http.response.body", "body": rest})

    def _error_event(self, error: APIError) -> bytes:
        hops.fail(error.reason)
        log.warning("answer broken off", reason=error.reason)
        event = {
            "type": "error",
            "code": "custom",
            "message": chat_message(error.reason, error.detail, self.language),
            "allow_retry": RETRYABLE[error.reason],
        }
        return b"data: " + orjson.dumps(event) + _END_OF_EVENT


async def _content_type(messages: AsyncIterator[pb.ProcessResponse]) -> str:
    head = await anext(messages, None)
    content_type = head.head.content_type if head else ""
    if content_type not in (_EVENT_STREAM, _JSON):
        raise RuntimeError("the session service has answered without a head that is understood")
    return content_type


async def _joined(messages: AsyncIterator[pb.ProcessResponse]) -> bytes:
    body = bytearray()
    async for message in messages:
        body += message.data
        if len(body) > _MAX_JSON_BYTES:
            raise RuntimeError(f"an answer in JSON is larger than {_MAX_JSON_BYTES} bytes")
    return bytes(body)


def _whole_events(data: bytes) -> tuple[bytes, bytes]:
    """Splits after the last event that is whole."""
    if data.endswith(_END_OF_EVENT) or len(data) > _MAX_HELD_BYTES:
        return data, b""
    end = data.rfind(_END_OF_EVENT) + len(_END_OF_EVENT)
    return (data[:end], data[end:]) if end >= len(_END_OF_EVENT) else (b"", data)
