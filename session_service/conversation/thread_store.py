"""ChatKit's `Store` over ours: its models to JSON and back, always in the name of the user."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import chatkit.store
import pydantic
from chatkit.store import StoreItemType
from chatkit.types import (
    Attachment,
    AttachmentCreateParams,
    ImageAttachment,
    Page,
    ThreadItem,
    ThreadMetadata,
    UserMessageItem,
)

from session_service.conversation.attachments import Attachments
from session_service.conversation.context import RequestContext
from session_service.errors import AttachmentNotFound, ServiceError, ThreadNotFound
from session_service.stores.conversations import ConversationStore, Item, Thread

_MAX_PAGE_SIZE = 100
_THREAD_ITEM: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ThreadItem)
_PREFIXES: dict[StoreItemType, str] = {
    "thread": "thr",
    "message": "msg",
    "tool_call": "tc",
    "task": "tsk",
    "workflow": "wf",
    "attachment": "atc",
    "sdk_hidden_context": "shcx",
}


class ThreadStore(chatkit.store.Store[RequestContext]):
    """Raises ThreadNotFound and AttachmentNotFound for what is not there, or another user's."""

    def __init__(self, store: ConversationStore, attachments: Attachments) -> None:
        self._store = store
        self._attachments = attachments

    # The SDK's own ids have 32 random bits.

    def generate_thread_id(self, context: RequestContext) -> str:
        if context.new_thread_id is None:
            context.new_thread_id = f"thr_{secrets.token_hex(16)}"
        return context.new_thread_id

    def generate_item_id(
        self, item_type: StoreItemType, thread: ThreadMetadata, context: RequestContext
    ) -> str:
        return f"{_PREFIXES[item_type]}_{secrets.token_hex(16)}"

    async def load_thread(self, thread_id: str, context: RequestContext) -> ThreadMetadata:
        thread = await self._store.thread(context.user_id, thread_id)
        if thread is None:
            raise ThreadNotFound
        return ThreadMetadata.model_validate_json(thread.data)

    async def save_thread(self, thread: ThreadMetadata, context: RequestContext) -> None:
        is_new = thread.id == context.new_thread_id
        if not is_new:  # or its title would bring back one that was deleted in mid-answer
            await self.load_thread(thread.id, context)
        # It may come with its items, which are kept by themselves.
        data = thread.model_dump_json(exclude={"items"}, exclude_none=True).encode()
        kept = Thread(thread.id, _milliseconds(thread.created_at), data)
        await self._store.save_thread(context.user_id, kept, context.session.root_id)
        if is_new:
            context.thread_id, context.new_thread_id = thread.id, None

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: RequestContext
    ) -> Page[ThreadMetadata]:
        size = _page_size(limit)
        threads = await self._store.threads(context.user_id, size + 1, after, _order(order))
        return _page([ThreadMetadata.model_validate_json(thread.data) for thread in threads], size)

    async def delete_thread(self, thread_id: str, context: RequestContext) -> None:
        if await self._store.thread(context.user_id, thread_id) is None:
            raise ThreadNotFound
        await self._attachments.discard(await self._store.delete_thread(context.user_id, thread_id))

    async def load_thread_items(
        self,
        thread_id: str,
        after: str | None,
        limit: int,
        order: str,
        context: RequestContext,
    ) -> Page[ThreadItem]:
        size = _page_size(limit)
        items = await self._store.items(context.user_id, thread_id, size + 1, after, _order(order))
        if not items and await self._store.thread(context.user_id, thread_id) is None:
            raise ThreadNotFound
        return _page([self._item(item, context) for item in items], size)

    async def load_item(self, thread_id: str, item_id: str, context: RequestContext) -> Any:
        item = await self._store.item(context.user_id, thread_id, item_id)
        if item is None:
            raise ThreadNotFound
        return self._item(item, context)

    async def add_thread_item(self, thread_id: str, item: Any, context: RequestContext) -> None:
        kept = Item(item.id, item.type, _stored(item), _milliseconds(item.created_at))
        try:
            await self._store.add_item(context.user_id, thread_id, kept)
        except ServiceError as error:
            context.fail(error)  # in mid-answer ChatKit would keep the reason for itself
            raise

    async def save_item(self, thread_id: str, item: Any, context: RequestContext) -> None:
        await self.add_thread_item(thread_id, item, context)

    async def delete_thread_item(
        self, thread_id: str, item_id: str, context: RequestContext
    ) -> None:
        await self._store.delete_item(context.user_id, thread_id, item_id)

    async def load_attachment(self, attachment_id: str, context: RequestContext) -> Attachment:
        attachment = await self._store.attachment(context.user_id, attachment_id)
        if attachment is None:
            raise AttachmentNotFound
        return self._attachments.to_chatkit(attachment, context.base_url)

    async def save_attachment(self, attachment: Attachment, context: RequestContext) -> None:
        """Keeps in which thread it was sent; the rest is known since it was made."""
        kept = await self._store.attachment(context.user_id, attachment.id)
        if kept is None:
            raise AttachmentNotFound
        if attachment.thread_id != kept.thread_id:
            kept = replace(kept, thread_id=attachment.thread_id)
            await self._store.save_attachment(context.user_id, kept)

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        """Done by `AttachmentStore.delete_attachment`, which ChatKit calls just before."""

    def _item(self, item: Item, context: RequestContext) -> Any:
        loaded = _THREAD_ITEM.validate_json(item.data)
        if isinstance(loaded, UserMessageItem):
            for attachment in loaded.attachments:
                if isinstance(attachment, ImageAttachment):
                    attachment.preview_url = self._attachments.preview_url(
                        attachment.id, context.base_url
                    )
        return loaded


class AttachmentStore(chatkit.store.AttachmentStore[RequestContext]):
    """ChatKit's view of `Attachments`."""

    def __init__(self, attachments: Attachments) -> None:
        self._attachments = attachments

    async def create_attachment(
        self, input: AttachmentCreateParams, context: RequestContext
    ) -> Attachment:
        return await self._attachments.create(
            context.user_id, input.name, input.mime_type, input.size, context.base_url
        )

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        await self._attachments.delete(context.user_id, attachment_id)


def _stored(item: Any) -> bytes:
    """Returns the JSON of an item, without links to attachments: they are made when it is read."""
    if isinstance(item, UserMessageItem) and item.attachments:
        item = item.model_copy(deep=True)
        for attachment in item.attachments:
            if isinstance(attachment, ImageAttachment):
                attachment.preview_url = pydantic.AnyUrl("attachment:preview")
    data: bytes = _THREAD_ITEM.dump_json(item, exclude_none=True)
    return data


def _page(entries: Sequence[Any], size: int) -> Page[Any]:
    """Returns a page of one more entry than it holds, which tells whether there are more."""
    has_more = len(entries) > size
    data = list(entries[:size])
    return Page(data=data, has_more=has_more, after=data[-1].id if has_more else None)


def _page_size(limit: int) -> int:
    return min(max(1, limit), _MAX_PAGE_SIZE)


def _order(order: str) -> Literal["asc", "desc"]:
    return "asc" if order == "asc" else "desc"


def _milliseconds(at: datetime) -> int:
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
