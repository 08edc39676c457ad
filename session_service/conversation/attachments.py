"""The rules of attachments: what may be attached, who fills and reads it, what the model gets."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import structlog
from chatkit.types import AttachmentUploadDescriptor, FileAttachment, ImageAttachment
from openai.types.responses import ResponseInputFileParam, ResponseInputImageParam
from pydantic import AnyUrl

from session_service.conversation.attachment_files import AttachmentFiles
from session_service.conversation.file_names import sanitized_name
from session_service.conversation.file_types import (
    TypeCheck,
    allowed_type,
    is_image,
    is_unspecific,
    plain_type,
    with_extension,
)
from session_service.conversation.links import Link, Links
from session_service.conversation.openai_files import OpenAIFiles
from session_service.errors import (
    AttachmentNotFound,
    AttachmentTooLarge,
    AttachmentTypeNotAllowed,
    InvalidArgument,
    Unavailable,
)
from session_service.stores.conversations import Attachment, ConversationStore

ChatKitAttachment: TypeAlias = FileAttachment | ImageAttachment
ModelInput: TypeAlias = ResponseInputImageParam | ResponseInputFileParam

STALE_MS = 24 * 60 * 60 * 1000
"""How long an attachment waits for its message."""

_PAGE = 100
_DELETES_AT_ONCE = 8

log = structlog.get_logger()


class Attachments:
    """`max_bytes` is the limit of one. Users meet their own alone, and those of a link."""

    def __init__(
        self,
        store: ConversationStore,
        files: AttachmentFiles,
        links: Links,
        max_bytes: int,
        openai_files: OpenAIFiles,
        *,
        allowed: bool = True,
    ) -> None:
        """With `allowed` false there are no new ones, and those that there are stay."""
        self._allowed = allowed
        self._store = store
        self._files = files
        self._links = links
        self._max_bytes = max_bytes
        self._openai_files = openai_files
        self._being_filled: set[str] = set()
        self._copies: dict[str, asyncio.Task[str]] = {}

    async def create(
        self, user_id: str, name: str, mime_type: str, size: int, base_url: str
    ) -> ChatKitAttachment:
        """Announces an attachment whose bytes come by a link: ChatKit's two-phase upload.

        Raises AttachmentTypeNotAllowed, AttachmentTooLarge and InvalidArgument.
        """
        if size < 1:
            raise InvalidArgument("size", "must be at least 1 byte")
        return self.to_chatkit(await self._add(user_id, name, mime_type, size), base_url)

    async def upload_to(
        self, link: Link, mime_type: str, size: int, chunks: AsyncIterator[bytes]
    ) -> Attachment:
        """Fills an announced attachment, once. `size` is 0 where it is not known before.

        Raises AttachmentNotFound, AttachmentTypeNotAllowed, AttachmentTooLarge, InvalidArgument.
        """
        self._links.check("upload", link, time.time())
        owner = await self._store.owner_of_attachment(link.attachment_id)
        attachment = await self._store.attachment(None, link.attachment_id)
        if owner is None or attachment is None or attachment.uploaded:
            raise AttachmentNotFound
        self._check_size(size)
        if not is_unspecific(mime_type) and plain_type(mime_type) != attachment.mime_type:
            raise AttachmentTypeNotAllowed
        return await self._fill(owner, attachment, attachment.size, chunks)

    async def upload_direct(
        self, user_id: str, name: str, mime_type: str, size: int, chunks: AsyncIterator[bytes]
    ) -> Attachment:
        """Makes an attachment of bytes that come at once: ChatKit's direct upload.

        `size` is 0 where it is not known before. Raises as `create` does.
        """
        attachment = await self._add(user_id, name, mime_type, size)
        try:
            return await self._fill(user_id, attachment, self._max_bytes, chunks)
        except BaseException:
            await asyncio.shield(self._undo(user_id, attachment))
            raise

    async def read(self, link: Link) -> tuple[Attachment, AsyncIterator[bytes]]:
        """Returns an attachment and its bytes, in pieces of 64 KiB. Raises AttachmentNotFound."""
        self._links.check("read", link, time.time())
        attachment = await self._store.attachment(None, link.attachment_id)
        if attachment is None or not attachment.uploaded:
            raise AttachmentNotFound
        # From the disk, as the receiver counts on it; and now, while there still is a status.
        size = await self._files.size(attachment.id)
        return replace(attachment, size=size), self._files.chunks(attachment.id)

    def to_chatkit(self, attachment: Attachment, base_url: str) -> ChatKitAttachment:
        """Returns an attachment as ChatKit shows it; its links are good for ten minutes."""
        descriptor = None
        if not attachment.uploaded:
            link = self._links.link("upload", attachment.id, time.time())
            descriptor = AttachmentUploadDescriptor(url=AnyUrl(link.url(base_url)), method="POST")
        if not is_image(attachment.mime_type):
            return FileAttachment(
                id=attachment.id,
                name=attachment.name,
                mime_type=attachment.mime_type,
                thread_id=attachment.thread_id,
                upload_descriptor=descriptor,
            )
        return ImageAttachment(
            id=attachment.id,
            name=attachment.name,
            mime_type=attachment.mime_type,
            thread_id=attachment.thread_id,
            upload_descriptor=descriptor,
            preview_url=self.preview_url(attachment.id, base_url),
        )

    def preview_url(self, attachment_id: str, base_url: str) -> AnyUrl:
        """Returns a link to the bytes of an image, good for ten minutes."""
        return AnyUrl(self._links.link("read", attachment_id, time.time()).url(base_url))

    async def to_model(self, attachment: Attachment, *, renew: bool = False) -> ModelInput:
        """Returns an attachment as the model takes it, copied to OpenAI the first time.

        With `renew` it is copied again, as OpenAI has lost the copy. Raises AttachmentNotFound
        where there are no bytes, and UpstreamError.
        """
        file_id = None if renew else attachment.openai_file_id
        if file_id is None:
            file_id = await self._copied(attachment)
        if is_image(attachment.mime_type):
            return {"type": "input_image", "file_id": file_id, "detail": "auto"}
        return {"type": "input_file", "file_id": file_id}

    async def delete(self, user_id: str, attachment_id: str) -> None:
        """Deletes an attachment of the user. Raises AttachmentNotFound."""
        attachment = await self._store.attachment(user_id, attachment_id)
        if attachment is None:
            raise AttachmentNotFound
        await self._store.delete_attachment(user_id, attachment_id)
        await self.discard([attachment])

    async def discard(self, attachments: Sequence[Attachment]) -> None:
        """Removes the bytes of attachments that the store has no more, and the copies at OpenAI.

        What cannot be removed is logged.
        """
        for attachment in attachments:
            with contextlib.suppress(Unavailable):  # it is in the log
                await self._files.remove(attachment.id)
        copies = [a.openai_file_id for a in attachments if a.openai_file_id]
        at_once = asyncio.Semaphore(_DELETES_AT_ONCE)

        async def delete(file_id: str) -> None:
            async with at_once:
                await self._openai_files.delete(file_id)

        await asyncio.gather(*(delete(file_id) for file_id in copies))

    async def remove_stale(self, now_ms: int) -> int:
        """Deletes what was attached 24 hours ago and never sent. Returns how many there were."""
        removed = 0
        while page := await self._store.stale_attachments(now_ms - STALE_MS, _PAGE):
            for user_id, attachment_id in page:
                attachment = await self._store.delete_unsent_attachment(user_id, attachment_id)
                if attachment is not None:  # else its user, or another process, was faster
                    await self.discard([attachment])
                    removed += 1
        return removed

    async def drain(self) -> None:
        """Waits for copies that are being made."""
        await asyncio.gather(*self._copies.values(), return_exceptions=True)

    async def _add(self, user_id: str, name: str, mime_type: str, size: int) -> Attachment:
        if not self._allowed:
            raise AttachmentTypeNotAllowed(
                "Attachments are off: CHATKIT_TOOLS lacks file_upload", metadata={"cause": "off"}
            )
        self._check_size(size)
        name = sanitized_name(name)
        attachment = Attachment(
            # Not to be guessed, though a link is needed as well.
            id=f"atc_{secrets.token_hex(16)}",
            name=name,
            mime_type=allowed_type(mime_type, name),
            created_ms=time.time_ns() // 1_000_000,
            size=size,
        )
        await self._store.save_attachment(user_id, attachment)
        return attachment

    async def _undo(self, user_id: str, attachment: Attachment) -> None:
        # Should this fail as well, it goes when it is stale.
        with contextlib.suppress(Unavailable):
            await self._store.delete_attachment(user_id, attachment.id)
            await self._files.remove(attachment.id)

    def _check_size(self, size: int) -> None:
        if size < 0:
            raise InvalidArgument("size", "must not be negative")
        if size > self._max_bytes:
            raise AttachmentTooLarge

    async def _fill(
        self, user_id: str, attachment: Attachment, limit: int, chunks: AsyncIterator[bytes]
    ) -> Attachment:
        check = TypeCheck(attachment.mime_type)
        with self._once(attachment.id):
            async with self._files.incoming(attachment.id) as file:
                async for data in chunks:
                    if file.size + len(data) > limit:
                        announced = limit < self._max_bytes
                        message = "The attachment is larger than announced" if announced else None
                        raise AttachmentTooLarge(message)
                    check.feed(data)
                    await file.write(data)
                if not file.size:
                    raise InvalidArgument("data", "the attachment is empty")
                # That took a while: another process may have filled it, its user deleted it.
                current = await self._store.attachment(user_id, attachment.id)
                if current is None or current.uploaded:
                    raise AttachmentNotFound
                await file.keep(check.finish)
                filled = replace(current, size=file.size, uploaded=True)
                try:
                    await self._store.save_attachment(user_id, filled)
                except (AttachmentNotFound, Unavailable):
                    with contextlib.suppress(Unavailable):
                        await self._files.remove(attachment.id)
                    raise
                return filled

    @contextlib.contextmanager
    def _once(self, attachment_id: str) -> Iterator[None]:
        if attachment_id in self._being_filled:
            raise AttachmentNotFound
        self._being_filled.add(attachment_id)
        try:
            yield
        finally:
            self._being_filled.remove(attachment_id)

    async def _copied(self, attachment: Attachment) -> str:
        """Copies it to OpenAI: once for all who want that now, and even if they leave."""
        if attachment.id not in self._copies:
            copying = asyncio.create_task(self._copy(attachment))
            self._copies[attachment.id] = copying

            def done(task: asyncio.Task[str]) -> None:
                del self._copies[attachment.id]
                if not task.cancelled():
                    task.exception()  # who waited has seen it

            copying.add_done_callback(done)
        return await asyncio.shield(self._copies[attachment.id])

    async def _copy(self, attachment: Attachment) -> str:
        owner = await self._store.owner_of_attachment(attachment.id)
        if owner is None or not attachment.uploaded:
            raise AttachmentNotFound
        file_id = await self._openai_files.upload(
            self._files.path(attachment.id),
            with_extension(attachment.name, attachment.mime_type),
            attachment.mime_type,
        )
        try:
            current = await self._store.attachment(owner, attachment.id)
            if current is None:  # deleted meanwhile
                raise AttachmentNotFound
            await self._store.save_attachment(owner, replace(current, openai_file_id=file_id))
        except (AttachmentNotFound, Unavailable):
            await self._openai_files.delete(file_id)
            raise
        return file_id
