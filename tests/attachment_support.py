"""What the tests of attachments share: all that is around `Attachments`, as real as can be."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import openai
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from session_service.circuit import Circuit
from session_service.conversation.attachment_files import AttachmentFiles, open_attachment_files
from session_service.conversation.attachments import Attachments
from session_service.conversation.links import Link, Links, link_key
from session_service.conversation.openai_files import OpenAIFiles
from session_service.stores.conversations import Attachment, ConversationStore, Thread
from session_service.stores.sqlite import open_sqlite_store
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
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    """What uploads wait for; set from the beginning."""

    def __post_init__(self) -> None:
        self.may_end.set()

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
        await self.may_end.wait()
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
    database: str

    def on_disk(self) -> list[Path]:
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    async def add(self, user: str = "7", kind: str = "image/png") -> Attachment:
        """A file that is uploaded."""
        name, data = EXAMPLES[kind]
        return await self.attachments.upload_direct(user, name, kind, len(data), stream(data))

    async def send(self, attachment: Attachment) -> None:
        """Lets it be sent in a message, of a thread that there is then."""
        await self.store.save_thread("7", Thread("thr_1", attachment.created_ms, b"{}"))
        await self.store.save_attachment("7", replace(attachment, thread_id="thr_1"))

    async def announce(
        self, name: str = "a.png", kind: str = "image/png", size: int = len(PNG), user: str = "7"
    ) -> Link:
        """A file that is not uploaded yet, as its upload link."""
        made = await self.attachments.create(user, name, kind, size, BASE_URL)
        assert made.upload_descriptor is not None
        return link_of(str(made.upload_descriptor.url))


@asynccontextmanager
async def open_world(
    directory: Path, max_bytes: int = MAX_BYTES, *, allowed: bool = True
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_files_api())
        client = await stack.enter_async_context(open_openai(api.url))
        database = stack.enter_context(TemporaryDirectory())
        path = f"{database}/chatkit.db"
        opened = await stack.enter_async_context(open_sqlite_store(path))
        store = opened.conversations
        files = await stack.enter_async_context(open_attachment_files(directory))
        links = Links(link_key(API_KEY))
        copies = OpenAIFiles(client, Circuit("files", 5), 30)
        attachments = Attachments(store, files, links, max_bytes, copies, allowed=allowed)
        yield World(attachments, store, files, links, directory, api, path)
        await attachments.drain()
