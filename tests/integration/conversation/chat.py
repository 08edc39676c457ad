"""A user of the self-hosted mode: speaks the ChatKit protocol over gRPC, as the gateway does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import orjson

from protos.chatkit.v1 import conversation_service_pb2 as pb
from protos.chatkit.v1.conversation_service_pb2_grpc import ConversationServiceStub
from session_service.config import Settings
from tests.support import SessionService, open_session_service

if TYPE_CHECKING:
    from protos.chatkit.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub

Event = dict[str, Any]

BASE_URL = "https://chat.example.com"


def message(text: str, *attachments: str) -> dict[str, Any]:
    """Returns what the component sends as `input`."""
    content = [{"type": "input_text", "text": text}]
    return {"content": content, "attachments": list(attachments), "inference_options": {}}


class Answer:
    """A streamed answer, event by event."""

    def __init__(self, call: "grpc.aio.UnaryStreamCall[pb.ProcessRequest, pb.ProcessResponse]"):
        self.call = call
        self._rest = b""

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for part in self.call:
            if part.WhichOneof("part") == "head":
                assert part.head.content_type == "text/event-stream"
                continue
            *frames, self._rest = (self._rest + part.data).split(b"\n\n")
            for frame in frames:
                yield orjson.loads(frame.removeprefix(b"data: "))
        assert self._rest == b""

    async def events(self) -> list[Event]:
        return [event async for event in self]

    async def until(self, kind: str) -> Event:
        """Reads up to the first event of that kind, by the name that `kinds` has for it."""
        async for event in self:
            if kinds([event]) == [kind]:
                return event
        raise AssertionError(f"the answer has no {kind}")


class Chat:
    """One session of a user."""

    def __init__(self, service: SessionService, secret: str, session_id: str) -> None:
        self.service = service
        self.secret = secret
        self.session_id = session_id
        self.stub: ConversationServiceAsyncStub = ConversationServiceStub(service.channel)

    def stream(self, request: str, /, *, language: str = "es", **params: Any) -> Answer:
        return Answer(self.stub.Process(self._request(request, language, params)))

    async def ask(self, request: str, /, *, language: str = "es", **params: Any) -> Any:
        """Returns the JSON of a request that is not streamed."""
        parts = [part async for part in self.stub.Process(self._request(request, language, params))]
        assert parts[0].head.content_type == "application/json"
        return orjson.loads(b"".join(part.data for part in parts[1:]))

    async def say(self, text: str, thread_id: str | None = None, **more: Any) -> list[Event]:
        """Sends a message, into a new thread where none is named, and returns the answer."""
        return await self.begin(text, thread_id, **more).events()

    def begin(self, text: str, thread_id: str | None = None, **more: Any) -> Answer:
        if thread_id is None:
            return self.stream("threads.create", input=message(text), **more)
        return self.stream(
            "threads.add_user_message", thread_id=thread_id, input=message(text), **more
        )

    async def upload(self, head: pb.UploadAttachmentHead, content: bytes) -> dict[str, Any]:
        """Returns the attachment as ChatKit shows it."""
        parts = (
            pb.UploadAttachmentRequest(head=head),
            pb.UploadAttachmentRequest(data=content),
            pb.UploadAttachmentRequest(end=True),
        )
        shown: dict[str, Any] = orjson.loads(
            (await self.stub.UploadAttachment(iter(parts))).attachment
        )
        return shown

    async def attach(self, name: str, content: bytes) -> str:
        """Returns the id of a new attachment."""
        head = pb.UploadAttachmentHead(client_secret=self.secret, name=name, base_url=BASE_URL)
        return str((await self.upload(head, content))["id"])

    async def new_thread(self, text: str = "Hola") -> str:
        """Returns the id of a thread with a message and its answer."""
        return thread_id_of(await self.say(text))

    async def items(self, thread_id: str) -> list[dict[str, Any]]:
        page = await self.ask("items.list", thread_id=thread_id, order="asc", limit=100)
        items: list[dict[str, Any]] = page["data"]
        return items

    def _request(self, kind: str, language: str, params: dict[str, Any]) -> pb.ProcessRequest:
        body = orjson.dumps({"type": kind, "params": params, "metadata": {}})
        return pb.ProcessRequest(
            client_secret=self.secret, request=body, language=language, base_url=BASE_URL
        )


@asynccontextmanager
async def open_chat(settings: Settings, user: str = "7") -> AsyncIterator[Chat]:
    """Starts a session service and a session in it."""
    async with open_session_service(settings) as service:
        yield await new_chat(service, user)


async def new_chat(service: SessionService, user: str = "7") -> Chat:
    created = await service.create(user)
    return Chat(service, created.client_secret, created.session.id)


def kinds(events: list[Event]) -> list[str]:
    """Names events as people speak of them, repeated ones once: `item.done(user_message)`."""
    names: list[str] = []
    for event in events:
        name = event["type"].removeprefix("thread.")
        if "item" in event:
            name += f"({event['item']['type']})"
        elif "update" in event:
            name = event["update"]["type"].removeprefix("assistant_message.")
        if names[-1:] != [name]:
            names.append(name)
    return names


def thread_id_of(events: list[Event]) -> str:
    return str(next(event["thread"]["id"] for event in events if "thread" in event))


def text_of(events: list[Event]) -> str:
    """Returns what the deltas say together."""
    return "".join(event.get("update", {}).get("delta", "") for event in events)


def texts(items: list[dict[str, Any]]) -> list[str]:
    """Returns the text of messages."""
    return [
        "".join(part["text"] for part in item["content"]) for item in items if "content" in item
    ]
