"""A gateway in self-hosted mode as its contract has it, in memory, that fails when told to."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.client_script import create_client_script
from gateway.errors import APIError, error_response, json_response
from gateway.middleware import CORS

TOKEN = "the-dashboards-token"
SESSION, REFRESH, CHAT = "/api/chatkit/session", "/api/chatkit/refresh", "/api/chatkit"
ATTACHMENTS = "/api/chatkit/attachments"
AT = "2026-11-24T09:00:00Z"

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came in, whatever became of it."""

    path: str
    authorization: str | None
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class StandIn:
    """What the stand-in does, and what it has been asked."""

    lifetime_seconds: float = 600
    fail: dict[str, list[Response | APIError]] = field(default_factory=dict)
    """By path: what the next requests are answered instead."""
    hold: dict[str, asyncio.Event] = field(default_factory=dict)
    """By path: what answers wait for."""
    stream: list[Event] = field(default_factory=list)
    """What the next answer of the model is; empty is an answer of its own."""
    seen: list[Seen] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    """Those that are good."""
    threads: dict[str, list[Event]] = field(default_factory=dict)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Is set when a browser goes away in mid-answer."""
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def requests(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    async def wait_for(self, path: str, count: int = 1) -> None:
        """Waits for the request of that number."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests(path)) >= count)

    def expire(self) -> None:
        """Lets all secrets expire, whatever was said when they were given out."""
        self.secrets.clear()

    # --- the routes ---

    async def session(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise APIError("UNAUTHENTICATED")
        secret = f"ck_{next(self._numbers)}"
        self.secrets.add(secret)
        expires_at = int(time.time() + self.lifetime_seconds)
        data = {"session_id": "cksess_1", "client_secret": secret, "expires_at": expires_at}
        return json_response({"success": True, "data": data})

    async def chat(self, request: Request) -> Response:
        self._check(request)
        asked = await request.json()
        params = asked["params"]
        match asked["type"]:
            case "threads.list":
                data = [{"id": name, "title": "Proyectos"} for name in self.threads]
                return json_response({"data": data, "has_more": False, "after": None})
            case "threads.get_by_id":
                items = {"data": self.threads[params["thread_id"]], "has_more": False}
                return json_response({**_thread(params["thread_id"]), "items": items})
        return StreamingResponse(
            self._frames(self._answer(asked["type"], params)), media_type="text/event-stream"
        )

    async def attachment(self, request: Request) -> Response:
        self._check(request)
        async with request.form() as form:
            file = form["file"]
            assert isinstance(file, UploadFile)
            number = next(self._numbers)
            attachment = {
                "id": f"atc_{number}",
                "type": "file",
                "name": file.filename,
                "mime_type": file.content_type,
            }
        return json_response(attachment)

    def _check(self, request: Request) -> None:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or secret not in self.secrets:
            raise APIError("UNAUTHENTICATED")

    def _answer(self, kind: str, params: Event) -> list[Event]:
        events: list[Event] = []
        name = params.get("thread_id")
        if name is None:
            name = f"thr_{next(self._numbers)}"
            self.threads[name] = []
            events.append({"type": "thread.created", "thread": _thread(name)})
        items = self.threads[name]
        if kind == "threads.retry_after_item":
            at = [item["id"] for item in items].index(params["item_id"])
            del items[at + 1 :]
        else:
            given = params["input"]
            message = {
                **self._item("user_message"),
                "content": given["content"],
                "attachments": [
                    {"id": id, "type": "file", "name": f"{id}.txt", "mime_type": "text/plain"}
                    for id in given["attachments"]
                ],
            }
            items.append(message)
            events.append({"type": "thread.item.done", "item": message})
        if self.stream:
            events, self.stream = [*events, *self.stream], []
        else:
            events += self._model()
        items += [e["item"] for e in events if e["type"] == "thread.item.done"][-1:]
        return [*events, {"type": "thread.updated", "thread": _thread(name)}]

    def _model(self) -> list[Event]:
        """Returns a search, and an answer that cites what it has found."""
        workflow = self._item("workflow")
        task = {"type": "web_search", "title": "Buscar: proyectos activos"}
        found = {
            "type": "annotation",
            "index": 20,
            "source": {"type": "url", "title": "Proyectos", "url": "https://example.com/p"},
        }
        message = self._item("assistant_message")
        words = ["Tienes tres ", "proyectos ", "activos."]
        part = {"type": "output_text", "text": "", "annotations": []}
        done = {**part, "text": "".join(words), "annotations": [found]}
        in_part = {"content_index": 0}

        def tasks(status: str) -> Event:
            return {"type": "custom", "tasks": [{**task, "status_indicator": status}]}

        def updated(item: Event, kind: str, **update: Any) -> Event:
            return {
                "type": "thread.item.updated",
                "item_id": item["id"],
                "update": {"type": kind, **update},
            }

        return [
            {
                "type": "thread.item.added",
                "item": {**workflow, "workflow": {"type": "custom", "tasks": []}},
            },
            updated(
                workflow, "workflow.task.added", task_index=0, task=tasks("loading")["tasks"][0]
            ),
            {"type": "thread.item.done", "item": {**workflow, "workflow": tasks("complete")}},
            {"type": "thread.item.added", "item": {**message, "content": []}},
            updated(message, "assistant_message.content_part.added", content=part, **in_part),
            *(
                updated(message, "assistant_message.content_part.text_delta", delta=word, **in_part)
                for word in words
            ),
            updated(
                message,
                "assistant_message.content_part.annotation_added",
                annotation=found,
                annotation_index=0,
                **in_part,
            ),
            {"type": "thread.item.done", "item": {**message, "content": [done]}},
        ]

    def _item(self, kind: str) -> Event:
        return {"id": f"item_{next(self._numbers)}", "type": kind, "created_at": AT}

    async def _frames(self, events: list[Event]) -> AsyncIterator[bytes]:
        done = False
        try:
            for event in events:
                if event["type"] == "hold":
                    await event["until"].wait()
                elif event["type"] == "cut":
                    raise ConnectionAbortedError
                else:
                    yield f"data: {json.dumps(event)}\n\n".encode()
            done = True
        finally:
            if not done:
                self.left.set()

    def app(self, allow_origins: tuple[str, ...]) -> ASGIApp:
        """Returns the application, with the gateway's own CORS and its own script."""
        script = create_client_script()

        async def client_script(request: Request) -> Response:
            return script.script_response("self_hosted", None)

        def route(path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
            async def respond(request: Request) -> Response:
                authorization = request.headers.get("authorization")
                async with self.arrived:
                    self.seen.append(Seen(path, authorization, await request.body()))
                    self.arrived.notify_all()
                if path in self.hold:
                    await self.hold[path].wait()
                try:
                    if self.fail.get(path):
                        failure = self.fail[path].pop(0)
                        if isinstance(failure, Response):
                            return failure
                        raise failure
                    return await answer(request)
                except APIError as error:
                    return error_response(error, "req_1", "es")

            return Route(path, respond, methods=["POST"])

        app = Starlette(
            routes=[
                route(SESSION, self.session),
                route(REFRESH, self.session),
                route(CHAT, self.chat),
                route(ATTACHMENTS, self.attachment),
                route("/elsewhere", self.elsewhere),
                Route("/chatkit-client.js", client_script),
            ]
        )
        return CORS(app, allow_origins)

    async def elsewhere(self, request: Request) -> Response:
        """Is on the gateway's origin, but not ChatKit's."""
        return json_response({})


def redirect_to(url: str) -> Response:
    return RedirectResponse(url, 307)


def _thread(name: str) -> Event:
    return {"id": name, "title": "Proyectos", "created_at": AT, "status": {"type": "active"}}
