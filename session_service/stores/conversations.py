"""What a store keeps of conversations in self-hosted mode, and what it promises of them.

Everything belongs to a user, and every call names the user: what is another's is not there. The
contents are ChatKit's JSON, which a store keeps as it is; what it has to find, order and count by
stands beside it. Times are integer milliseconds since the epoch. Calls raise `errors.Unavailable`
where the store cannot work, and are durable when they return.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation, without what was said in it."""

    id: str
    created_ms: int
    data: bytes
    """chatkit.types.ThreadMetadata as JSON."""
    messages: int = 0
    """Of the user and of the assistant, as they are in it now; kept by the store."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a thread; entries are in the order in which they were added."""

    id: str
    kind: str
    """chatkit's `type`, such as "user_message"; `MESSAGE_KINDS` are counted."""
    data: bytes
    """chatkit.types.ThreadItem as JSON."""
    created_ms: int


MESSAGE_KINDS = frozenset(("user_message", "assistant_message"))


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a user has attached, or is about to; its bytes are kept elsewhere."""

    id: str
    name: str
    mime_type: str
    created_ms: int
    size: int
    """In bytes; as announced until it is uploaded."""
    uploaded: bool = False
    thread_id: str | None = None
    """Where it was sent; None while it waits for its message."""
    openai_file_id: str | None = None
    """Its copy at OpenAI, made when it is first sent to the model."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of the agent: from the user's message to the end of the answer."""

    thread_id: str
    started_ms: int
    duration_ms: int
    outcome: str
    """`ANSWERED`, `BROKEN_OFF`, or the reason of a failure, `DEFECT` for one of ours."""
    input_tokens: int
    output_tokens: int
    estimated: bool
    """OpenAI tells tokens at the end of an answer alone: those of others are estimates."""
    tool_calls: int


ANSWERED = ""
BROKEN_OFF = "BROKEN_OFF"
"""By the user: no failure."""
DEFECT = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Deleted:
    """What `delete_user` has deleted."""

    sessions: int
    """Chains of them, as statistics count."""
    threads: int
    attachments: Sequence[Attachment]
    """Their bytes remain."""
    to_cancel: Sequence[str] = ()
    """Sessions that OpenAI has to cancel, now or never: nothing remembers them."""


class ConversationStore(Protocol):
    """Threads, items, attachments, feedback and turns, with the counters that they change.

    What an answer writes names the chain of its session, `root_id`: it may still be written while
    its user is deleted, perhaps by another process.
    """

    def answering(
        self, user_id: str, thread_id: str, lost: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Waits until nobody else answers in a thread, in any process, and keeps it so.

        `lost` is called where that failed: another process may be answering there by now.
        """

    async def save_thread(self, user_id: str, thread: Thread, root_id: str | None = None) -> None:
        """Keeps a thread, new or changed; `messages` is not taken from it.

        Raises ThreadNotFound where the id is another user's, SessionDeleted where the chain is gone
        with its user.
        """

    async def thread(self, user_id: str, thread_id: str) -> Thread | None: ...

    async def threads(
        self, user_id: str, limit: int, after: str | None, order: Literal["asc", "desc"]
    ) -> Sequence[Thread]:
        """Lists threads by age; after the thread with that id, nothing where it is not there."""

    async def delete_thread(self, user_id: str, thread_id: str) -> Sequence[Attachment]:
        """Deletes a thread with all that is in it, and returns the attachments whose bytes remain.

        What was counted stays counted. Deleting one that is not there is nothing.
        """

    async def delete_idle_thread(
        self, user_id: str, thread_id: str, before_ms: int
    ) -> Sequence[Attachment] | None:
        """As `delete_thread`, where nothing was added since then; else, or if it is gone, None."""

    async def add_item(self, user_id: str, thread_id: str, item: Item) -> None:
        """Adds an item at the end, or replaces it where it is. A new message is counted.

        It counts on the day on which it was created. Raises ThreadNotFound.
        """

    async def item(self, user_id: str, thread_id: str, item_id: str) -> Item | None: ...

    async def items(
        self,
        user_id: str,
        thread_id: str,
        limit: int,
        after: str | None,
        order: Literal["asc", "desc"],
    ) -> Sequence[Item]:
        """Lists items in their order; at the same cost for any number of them. See `threads`."""

    async def delete_item(self, user_id: str, thread_id: str, item_id: str) -> None: ...

    async def save_attachment(self, user_id: str, attachment: Attachment) -> None:
        """Keeps an attachment, new or changed. Raises AttachmentNotFound: the id is another's.

        Raises ThreadNotFound where its thread is not there: nothing would ever delete it.
        """

    async def attachment(self, user_id: str | None, attachment_id: str) -> Attachment | None:
        """Returns an attachment of a user, or of anybody (None) to whoever has a link to it."""

    async def owner_of_attachment(self, attachment_id: str) -> str | None:
        """Returns whose it is."""

    async def delete_attachment(self, user_id: str, attachment_id: str) -> None: ...

    async def delete_unsent_attachment(self, user_id: str, attachment_id: str) -> Attachment | None:
        """Deletes an attachment that still waits for its message; returns None for any other."""

    async def stale_attachments(self, before_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        """Returns (user, attachment) of what was made before then and never sent."""

    async def save_feedback(
        self, user_id: str, thread_id: str, item_ids: Sequence[str], kind: str, at_ms: int
    ) -> None:
        """Keeps what the user thinks of items, the newest opinion of each.

        Raises ThreadNotFound where one is not there.
        """

    async def count_turn(self, user_id: str, turn: Turn, root_id: str | None = None) -> None:
        """Keeps a turn for ever and counts it: tokens, tool calls, time, failures by reason.

        It counts on the day on which it ended. The time is that of turns that were answered. Where
        the chain is gone with its user it counts for everybody alone, and is not kept.
        """

    async def idle_threads(self, before_ms: int, limit: int) -> Sequence[tuple[str, str]]:
        """Returns (user, thread) of threads to which nothing was added since then, oldest first."""

    async def delete_user(self, user_id: str, at_ms: int, cancel_again_ms: int) -> Deleted:
        """Deletes all of a user: sessions and their own statistics too. What counts all stays.

        What OpenAI has to cancel is due for another try at `cancel_again_ms`, as after a `delete`.

        Their sessions count as active there until they would have ended.
        """
