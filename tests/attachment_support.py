"""What the tests of attachments share: all that is around `Attachments`, as real as can be."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import openai
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from session_service.conversation.attachment_files import AttachmentFiles, open_attachment_files
from session_service.conversation.attachments import Attachments
from session_service.conversation.links import Link, Links, link_key
from session_service.conversation.openai_files import OpenAIFiles
from session_service.errors import AttachmentNotFound
from session_service.stores.conversations import Attachment, ConversationStore
from tests.attachment_examples import BASE_URL, EXAMPLES, PNG, link_of
from tests.support import serve

API_KEY = "sk-test-of-attachments"
MAX_BYTES = 1024 * 1024


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class Counted:
    """Chunks that know how many of them were asked for."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.taken = 0

    def __aiter__(self) -> "Counted":
        return self

    async def __anext__(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise StopAsyncIteration
        self.taken += 1
        return chunk


class MemoryStore:
    """The attachments of a ConversationStore."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, Attachment]] = {}

    async def save_attachment(self, user_id: str, attachment: Attachment) -> None:
        if self._rows.get(attachment.id, (user_id,))[0] != user_id:
            raise AttachmentNotFound
        self._rows[attachment.id] = (user_id, attachment)

    async def attachment(self, user_id: str | None, attachment_id: str) -> Attachment | None:
        owner, attachment = self._rows.get(attachment_id, (None, None))
        return attachment if user_id in (None, owner) else None

    async def owner_of_attachment(self, attachment_id: str) -> str | None:
        return self._rows.get(attachment_id, (None,))[0]

    async def delete_attachment(self, user_id: str, attachment_id: str) -> None:
        if await self.attachment(user_id, attachment_id):
            del self._rows[attachment_id]

    async def stale_attachments(self, before_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        found = [
            (owner, attachment.id)
            for owner, attachment in self._rows.values()
            if attachment.created_ms < before_ms and attachment.thread_id is None
        ]
        return found[:limit]


@asynccontextmanager
async def open_store() -> AsyncIterator[ConversationStore]:
    yield cast(ConversationStore, MemoryStore())


@dataclass
class FilesAPI:
    """OpenAI's Files API, in as far as attachments use it."""

    url: str = ""
    files: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    """Name, type and bytes by id."""
    headers: list[dict[str, str]] = field(default_factory=list)
    failures: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    """What the next requests are answered with instead."""
    uploads: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first upload."""

    async def create(self, request: Request) -> Response:
        self.uploads += 1
        self.began.set()
        async with request.form() as form:
            file = form["file"]
            assert not isinstance(file, str)
            assert (form["purpose"], len(form)) == ("user_data", 2)
            content = await file.read()
            kept = (file.filename or "", file.content_type or "", content)
        self.headers.append(dict(request.headers))
        if self.failures:
            status, error = self.failures.pop(0)
            return JSONResponse({"error": error}, status)
        file_id = f"file-{self.uploads}"
        self.files[file_id] = kept
        return JSONResponse(
            {
                "id": file_id,
                "object": "file",
                "bytes": len(content),
                "created_at": 1_800_000_000,
                "filename": kept[0],
                "purpose": "user_data",
                "status": "processed",
            }
        )

    async def delete(self, request: Request) -> Response:
        if self.failures:
            status, error = self.failures.pop(0)
            return JSONResponse({"error": error}, status)
        file_id = request.path_params["id"]
        if self.files.pop(file_id, None) is None:
            return JSONResponse({"error": {"message": "No such File object"}}, 404)
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})


@asynccontextmanager
async def open_files_api() -> AsyncIterator[FilesAPI]:
    api = FilesAPI()
    app = Starlette(
        routes=[
            Route("/v1/files", api.create, methods=["POST"]),
            Route("/v1/files/{id}", api.delete, methods=["DELETE"]),
        ]
    )
    async with serve(app) as url:
        api.url = f"{url}/v1"
        yield api
        await asyncio.sleep(0.002)  # for uvicorn to see that our connections are closed


@asynccontextmanager
async def open_openai(base_url: str) -> AsyncIterator[AsyncOpenAI]:
    """A client as the session service opens it, but in no hurry to try again."""
    http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=False)
    async with AsyncOpenAI(
        api_key=API_KEY, base_url=base_url, http_client=http, max_retries=0
    ) as client:
        yield client


@dataclass(frozen=True, slots=True)
class World:
    """Attachments, and what is below them."""

    attachments: Attachments
    store: ConversationStore
    files: AttachmentFiles
    links: Links
    directory: Path
    openai: FilesAPI

    def on_disk(self) -> list[Path]:
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    async def add(self, user: str = "7", kind: str = "image/png") -> Attachment:
        """A file that is uploaded."""
        name, data = EXAMPLES[kind]
        return await self.attachments.upload_direct(user, name, kind, len(data), stream(data))

    async def announce(
        self, name: str = "a.png", kind: str = "image/png", size: int = len(PNG), user: str = "7"
    ) -> Link:
        """A file that is not uploaded yet, as its upload link."""
        made = await self.attachments.create(user, name, kind, size, BASE_URL)
        assert made.upload_descriptor is not None
        return link_of(str(made.upload_descriptor.url))


@asynccontextmanager
async def open_world(directory: Path, max_bytes: int = MAX_BYTES) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_files_api())
        client = await stack.enter_async_context(open_openai(api.url))
        store = await stack.enter_async_context(open_store())
        files = await stack.enter_async_context(open_attachment_files(directory))
        links = Links(link_key(API_KEY))
        attachments = Attachments(store, files, links, max_bytes, OpenAIFiles(client))
        yield World(attachments, store, files, links, directory, api)
        await attachments.drain()
