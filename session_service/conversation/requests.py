"""Requests of the ChatKit protocol, checked before anything is stored: the SDK fails half-way."""

from typing import Any

import pydantic
from chatkit.types import (
    ClientToolCallItem,
    InputTranscribeReq,
    StructuredInputItem,
    ThreadsAddClientToolOutputReq,
    ThreadsAddStructuredInputReq,
    ThreadsAddUserMessageReq,
    ThreadsCreateReq,
    ThreadsCustomActionReq,
    ThreadsRetryAfterItemReq,
    ThreadsSyncCustomActionReq,
    ThreadsUpdateReq,
    UserMessageItem,
    WidgetItem,
)

from session_service.conversation import workarounds
from session_service.conversation.context import RequestContext
from session_service.conversation.thread_store import ThreadStore
from session_service.errors import InvalidArgument

_MAX_ATTACHMENTS = 10
"""Of one message, as OpenAI's own sessions have it by default (`file_upload.max_files`)."""
_MAX_TITLE = 256


def parse(body: bytes) -> Any:
    """Returns one of `chatkit.types.ChatKitReq`. Raises InvalidArgument."""
    try:
        return workarounds.CHATKIT_REQUEST.validate_json(body)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidArgument("request", f"{where}: {first['msg']}") from None


async def check(request: Any, store: ThreadStore, context: RequestContext) -> None:
    """Raises InvalidArgument, ThreadNotFound or AttachmentNotFound for what cannot be done."""
    match request:
        case ThreadsCreateReq() | ThreadsAddUserMessageReq():
            attachment_ids = request.params.input.attachments
            if len(attachment_ids) > _MAX_ATTACHMENTS:
                raise InvalidArgument("request", f"at most {_MAX_ATTACHMENTS} attachments")
            content = request.params.input.content
            if not attachment_ids and not any(part.text.strip() for part in content):
                raise InvalidArgument("request", "the message is empty")
            for attachment_id in attachment_ids:
                attachment = await store.load_attachment(attachment_id, context)
                if attachment.upload_descriptor is not None:
                    raise InvalidArgument("request", f"{attachment_id} is not uploaded yet")
        case ThreadsRetryAfterItemReq():
            await _item(request, store, context, UserMessageItem)
        case ThreadsAddStructuredInputReq():
            item = await _item(request, store, context, StructuredInputItem)
            if item.status != "pending":
                raise InvalidArgument("request", "this has been answered already")
        case ThreadsCustomActionReq() | ThreadsSyncCustomActionReq():
            if request.params.item_id is not None:
                await _item(request, store, context, WidgetItem)
        case ThreadsAddClientToolOutputReq():
            page = await store.load_thread_items(request.params.thread_id, None, 1, "desc", context)
            match page.data:
                case [ClientToolCallItem(status="pending")]:
                    pass
                case _:
                    raise InvalidArgument("request", "no tool call waits for a result")
        case ThreadsUpdateReq():
            title = request.params.title
            if not title.strip() or len(title) > _MAX_TITLE or "\0" in title:
                raise InvalidArgument("request", f"a title has 1 to {_MAX_TITLE} characters")
        case InputTranscribeReq():
            raise InvalidArgument("request", "dictation is not offered")


async def _item(request: Any, store: ThreadStore, context: RequestContext, kind: type) -> Any:
    item = await store.load_item(request.params.thread_id, request.params.item_id, context)
    if not isinstance(item, kind):
        raise InvalidArgument("request", f"{item.id} is a {item.type}")
    return item
