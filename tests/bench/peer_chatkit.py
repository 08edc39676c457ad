"""The official way: FastAPI and ChatKitServer in one process, as OpenAI's quickstart has them.

https://openai.github.io/chatkit-python/quickstart: no secrets, no users, no limits, no logs, and a
store in memory. Run by `uvicorn --factory tests.bench.peer_chatkit:create_app`.
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import agents
from chatkit.agents import AgentContext, simple_to_agent_input, stream_agent_response
from chatkit.server import ChatKitServer, StreamingResult
from chatkit.store import NotFoundError, Store
from chatkit.types import (
    Attachment,
    Page,
    ThreadItem,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

Context = dict[str, Any]


class MemoryStore(Store[Context]):
    """Threads and items as they are."""

    def __init__(self) -> None:
        self.threads: dict[str, ThreadMetadata] = {}
        self.items: dict[str, list[ThreadItem]] = defaultdict(list)

    async def load_thread(self, thread_id: str, context: Context) -> ThreadMetadata:
        if thread_id not in self.threads:
            raise NotFoundError(f"Thread {thread_id} not found")
        return self.threads[thread_id]

    async def save_thread(self, thread: ThreadMetadata, context: Context) -> None:
        self.threads[thread.id] = thread

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Context
    ) -> Page[ThreadMetadata]:
        return Page(data=list(self.threads.values())[:limit])

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Context
    ) -> Page[ThreadItem]:
        items = self.items[thread_id]
        return Page(data=(items if order == "asc" else items[::-1])[:limit])

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Context) -> None:
        self.items[thread_id].append(item)

    async def save_item(self, thread_id: str, item: ThreadItem, context: Context) -> None:
        items = self.items[thread_id]
        items[[kept.id for kept in items].index(item.id)] = item

    async def load_item(self, thread_id: str, item_id: str, context: Context) -> ThreadItem:
        for item in self.items[thread_id]:
            if item.id == item_id:
                return item
        raise NotFoundError(f"Item {item_id} not found")

    async def delete_thread(self, thread_id: str, context: Context) -> None:
        del self.threads[thread_id]
        self.items.pop(thread_id, None)

    async def delete_thread_item(self, thread_id: str, item_id: str, context: Context) -> None:
        self.items[thread_id] = [item for item in self.items[thread_id] if item.id != item_id]

    async def save_attachment(self, attachment: Attachment, context: Context) -> None:
        raise NotImplementedError

    async def load_attachment(self, attachment_id: str, context: Context) -> Attachment:
        raise NotImplementedError

    async def delete_attachment(self, attachment_id: str, context: Context) -> None:
        raise NotImplementedError


class QuickstartServer(ChatKitServer[Context]):
    """Runs one agent over the thread."""

    assistant = agents.Agent[AgentContext[Context]](
        name="assistant", instructions="You are a helpful assistant.", model="gpt-5-mini"
    )

    async def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: Context,
    ) -> AsyncIterator[ThreadStreamEvent]:
        items = await self.store.load_thread_items(thread.id, None, 20, "asc", context)
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        result = agents.Runner.run_streamed(
            self.assistant, await simple_to_agent_input(items.data), context=agent_context
        )
        async for event in stream_agent_response(agent_context, result):
            yield event


def create_app() -> FastAPI:
    # They would be sent to api.openai.com, which no bench should wait for.
    agents.set_tracing_disabled(True)
    app = FastAPI()
    server = QuickstartServer(MemoryStore())

    @app.post("/chatkit")
    async def chatkit(request: Request) -> Response:
        result = await server.process(await request.body(), {})
        if isinstance(result, StreamingResult):
            return StreamingResponse(result, media_type="text/event-stream")
        return Response(result.json, media_type="application/json")

    return app
