"""OpenAI's ChatKit operations, and what the browser would have caused, on a state in memory."""

import secrets
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from session_service.openai_emulator.chatkit_schema import (
    ListQuery,
    SessionRequest,
    ThreadListQuery,
)
from session_service.openai_emulator.errors import JSON, NonEmpty, Strict, not_found

# Sessions live for ten minutes; this is what a busy bench makes in that time.
_REMEMBERED_SESSIONS = 50_000

Timestamp = Annotated[int, Field(ge=0)]


class NewThread(Strict):
    user: NonEmpty
    title: str | None = None
    created_at: Timestamp | None = None


class NewItems(Strict):
    type: Literal[
        "chatkit.user_message",
        "chatkit.assistant_message",
        "chatkit.widget",
        "chatkit.client_tool_call",
        "chatkit.task",
        "chatkit.task_group",
    ]
    text: str = ""
    created_at: Timestamp | None = None
    count: Annotated[int, Field(ge=1, le=10_000)] = 1


class ChatKit:
    """One method for each operation; a missing object raises `APIError`. `now` is Unix seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.sessions: dict[str, JSON] = {}
        self.threads: dict[str, JSON] = {}
        self.items: dict[str, list[JSON]] = {}

    def create_session(self, body: SessionRequest) -> JSON:
        if body.workflow.id.startswith("wf_missing"):
            raise not_found("Workflow", body.workflow.id)
        session = {
            "id": f"cksess_{secrets.token_hex(16)}",
            "object": "chatkit.session",
            "status": "active",
            "client_secret": f"ek_{secrets.token_hex(16)}_{secrets.token_urlsafe(32)}",
            "expires_at": int(self.now()) + body.expires_after.seconds,
            "max_requests_per_1_minute": body.rate_limits.max_requests_per_1_minute,
            **body.model_dump(exclude={"expires_after"}),
        }
        self.sessions[session["id"]] = session
        if len(self.sessions) > _REMEMBERED_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        return session

    def cancel_session(self, id: str) -> JSON:
        session = _find(self.sessions, "Chatkit Session", id)
        if session["status"] == "active":
            expired = self.now() >= session["expires_at"]
            session["status"] = "expired" if expired else "cancelled"
        return session

    def list_threads(self, query: ThreadListQuery) -> JSON:
        threads = [t for t in self.threads.values() if query.user in (None, t["user"])]
        return _page(threads, query, "Chatkit Thread")

    def retrieve_thread(self, id: str) -> JSON:
        return _find(self.threads, "Chatkit Thread", id)

    def delete_thread(self, id: str) -> JSON:
        _find(self.threads, "Chatkit Thread", id)
        del self.threads[id], self.items[id]
        return {"id": id, "object": "chatkit.thread.deleted", "deleted": True}

    def list_items(self, id: str, query: ListQuery) -> JSON:
        _find(self.threads, "Chatkit Thread", id)
        return _page(self.items[id], query, "Chatkit Thread Item")

    def add_thread(self, body: NewThread) -> JSON:
        thread: JSON = {
            "id": f"cthr_{secrets.token_hex(16)}",
            "object": "chatkit.thread",
            "created_at": int(self.now()) if body.created_at is None else body.created_at,
            "title": body.title,
            "status": {"type": "active"},
            "user": body.user,
        }
        self.threads[thread["id"]] = thread
        self.items[thread["id"]] = []
        return thread

    def add_items(self, id: str, body: NewItems) -> list[JSON]:
        _find(self.threads, "Chatkit Thread", id)
        items = [
            {
                "id": f"cthi_{secrets.token_hex(16)}",
                "object": "chatkit.thread_item",
                "created_at": int(self.now()) if body.created_at is None else body.created_at,
                "thread_id": id,
                "type": body.type,
                **_content(body),
            }
            for _ in range(body.count)
        ]
        self.items[id] += items
        return items


def _find(known: dict[str, JSON], kind: str, id: str) -> JSON:
    if id not in known:
        raise not_found(kind, id)
    return known[id]


def _page(entries: list[JSON], query: ListQuery, kind: str) -> JSON:
    """The page between the cursors: next to `before` if that is the only one, else the first."""
    entries = sorted(entries, key=lambda entry: entry["created_at"])
    if query.order == "desc":
        entries.reverse()
    positions = {entry["id"]: position for position, entry in enumerate(entries)}
    start, end = 0, len(entries)
    if query.after is not None:
        if query.after not in positions:
            raise not_found(kind, query.after, param="after")
        start = positions[query.after] + 1
    if query.before is not None:
        if query.before not in positions:
            raise not_found(kind, query.before, param="before")
        end = positions[query.before]
    between = entries[start:end]
    backwards = query.after is None and query.before is not None
    data = between[-query.limit :] if backwards else between[: query.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(data) < len(between),
    }


def _content(item: NewItems) -> JSON:
    match item.type:
        case "chatkit.user_message":
            content = [{"type": "input_text", "text": item.text}]
            return {"content": content, "attachments": [], "inference_options": None}
        case "chatkit.assistant_message":
            return {"content": [{"type": "output_text", "text": item.text, "annotations": []}]}
        case "chatkit.widget":
            return {"widget": item.text}
        case "chatkit.client_tool_call":
            call = {"call_id": f"call_{secrets.token_hex(12)}", "name": item.text}
            return call | {"arguments": "{}", "output": None, "status": "completed"}
        case "chatkit.task":
            return {"task_type": "custom", "heading": item.text, "summary": None}
        case "chatkit.task_group":
            return {"tasks": [{"type": "custom", "heading": item.text, "summary": None}]}
