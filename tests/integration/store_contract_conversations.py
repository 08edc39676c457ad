"""What every store must do with threads, items, attachments and feedback; see store_contract.py."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from session_service.errors import AttachmentNotFound, ThreadNotFound
from session_service.stores.base import Store
from session_service.stores.conversations import Attachment, Item, Thread
from tests.integration.store_values import (
    NOON,
    add_attachment,
    add_item,
    add_thread,
    everything,
)

Order = Literal["asc", "desc"]


async def thread_of(store: Store, thread_id: str, user: str = "7") -> Thread:
    thread = await store.conversations.thread(user, thread_id)
    assert thread is not None
    return thread


async def items_of(store: Store, thread_id: str, user: str = "7") -> Sequence[Item]:
    return await store.conversations.items(user, thread_id, 1000, None, "asc")


async def pages_of_threads(store: Store, user: str, size: int, order: Order) -> list[Thread]:
    found: list[Thread] = []
    after = None
    while page := await store.conversations.threads(user, size, after, order):
        assert len(page) <= size
        found += page
        after = page[-1].id
    return found


async def pages_of_items(store: Store, thread: Thread, size: int, order: Order) -> list[Item]:
    found: list[Item] = []
    after = None
    while page := await store.conversations.items("7", thread.id, size, after, order):
        assert len(page) <= size
        found += page
        after = page[-1].id
    return found


class ThreadsContract:
    async def test_a_thread_is_kept_as_it_is_and_as_it_is_changed(self, store: Store) -> None:
        data = '{"title": "ñ \\u0000 \' 🙂"}'.encode()
        await store.conversations.save_thread("7", Thread("t", NOON, data))
        assert await store.conversations.thread("7", "t") == Thread("t", NOON, data)
        await add_item(store, Thread("t", NOON, b""), "i")
        await store.conversations.save_thread("7", Thread("t", NOON, b"{}", messages=99))
        assert await store.conversations.thread("7", "t") == Thread("t", NOON, b"{}", messages=1)

    async def test_anothers_thread_is_not_there(self, store: Store) -> None:
        thread = await add_thread(store, "t", "8")
        await add_item(store, thread, "i", user="8")
        conversations = store.conversations
        assert await conversations.thread("7", "t") is None
        assert await conversations.item("7", "t", "i") is None
        assert not await conversations.threads("7", 10, None, "asc")
        assert not await conversations.threads("7", 10, "t", "asc")
        assert not await conversations.items("7", "t", 10, None, "asc")
        for write in (
            conversations.save_thread("7", Thread("t", NOON, b"stolen")),
            conversations.add_item("7", "t", Item("i2", "task", b"{}", NOON)),
            conversations.add_item("7", "t", Item("i", "task", b"{}", NOON)),
            conversations.save_feedback("7", "t", ["i"], "negative", NOON),
            conversations.save_attachment("7", Attachment("a", "a", "b", NOON, 1, thread_id="t")),
        ):
            with pytest.raises(ThreadNotFound):
                await write
        assert not await conversations.delete_thread("7", "t")
        await conversations.delete_item("7", "t", "i")
        assert await thread_of(store, "t", "8") == replace(thread, messages=1)
        assert [item.id for item in await items_of(store, "t", "8")] == ["i"]
        assert await conversations.attachment(None, "a") is None
        assert (await everything(store, "7")).totals.messages == 0

    async def test_threads_are_listed_by_age_and_each_once(self, store: Store) -> None:
        made = [
            await add_thread(store, f"t{number:02}", "78"[number % 2], NOON + number // 5)
            for number in range(23)
        ]
        for user, mine in (("7", made[::2]), ("8", made[1::2]), ("9", [])):
            for size in (1, 4, 100):
                assert await pages_of_threads(store, user, size, "asc") == mine
                assert await pages_of_threads(store, user, size, "desc") == mine[::-1]

    async def test_after_a_thread_that_is_not_there_is_nothing(self, store: Store) -> None:
        await add_thread(store, "t")
        await add_thread(store, "theirs", "8")
        for after in ("", "gone", "theirs", "T"):
            assert not await store.conversations.threads("7", 10, after, "asc")

    async def test_a_thread_is_deleted_with_all_that_is_in_it(self, store: Store) -> None:
        thread, other = await add_thread(store, "t"), await add_thread(store, "other")
        for one in (thread, other):
            await add_item(store, one, "i")
        sent = [await add_attachment(store, name, thread=thread) for name in ("a", "b")]
        await add_attachment(store, "unsent")
        await add_attachment(store, "elsewhere", thread=other)
        await store.conversations.save_feedback("7", "t", ["i"], "positive", NOON)
        before = await everything(store, None)

        deleted = await store.conversations.delete_thread("7", "t")
        assert sorted(deleted, key=lambda attachment: attachment.id) == sent
        assert await store.conversations.thread("7", "t") is None
        assert await store.conversations.item("7", "t", "i") is None
        assert await store.conversations.attachment(None, "a") is None
        assert await store.conversations.attachment("7", "unsent") is not None
        assert await store.conversations.attachment("7", "elsewhere") is not None
        assert [item.id for item in await items_of(store, "other")] == ["i"]
        assert await everything(store, None) == before
        assert not await store.conversations.delete_thread("7", "t")

    async def test_a_thread_of_the_same_id_begins_empty(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        await add_item(store, thread, "i")
        await store.conversations.delete_thread("7", "t")
        await add_thread(store, "t", "8")
        assert (await thread_of(store, "t", "8")).messages == 0
        assert not await items_of(store, "t", "8")

    async def test_threads_are_idle_since_something_was_last_added(self, store: Store) -> None:
        quiet = await add_thread(store, "quiet", at=NOON)
        busy = await add_thread(store, "busy", "8", at=NOON - 9)
        await add_item(store, busy, "i", user="8", at=NOON + 5)
        await add_item(store, busy, "imported", user="8", at=NOON - 99)
        idle = store.conversations.idle_threads
        assert not await idle(NOON, 10)
        assert await idle(NOON + 1, 10) == [("7", "quiet")]
        assert await idle(NOON + 6, 10) == [("7", "quiet"), ("8", "busy")]
        assert await idle(NOON + 6, 1) == [("7", "quiet")]
        # Another title, or another version of an item, adds nothing.
        await store.conversations.save_thread("7", replace(quiet, data=b'{"title": "x"}'))
        await add_item(store, busy, "i", user="8", at=NOON + 50)
        assert await idle(NOON + 6, 10) == [("7", "quiet"), ("8", "busy")]

    async def test_a_thread_that_is_used_again_is_not_deleted_as_idle(self, store: Store) -> None:
        delete = store.conversations.delete_idle_thread
        thread = await add_thread(store, "t")
        attachment = await add_attachment(store, "a", thread=thread)
        await add_item(store, thread, "i", at=NOON + 5)
        assert await delete("7", "t", NOON + 5) is None
        assert await delete("8", "t", NOON + 6) is None
        assert (await thread_of(store, "t")).messages == 1
        assert await delete("7", "t", NOON + 6) == [attachment]
        assert await delete("7", "t", NOON + 6) is None
        assert await store.conversations.thread("7", "t") is None


class ItemsContract:
    async def test_an_item_is_kept_as_it_is(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        data = b'{"text": "' + bytes(range(256)) * 4_000 + b'"}'
        item = Item("i", "user_message", data, NOON + 1)
        await store.conversations.add_item("7", thread.id, item)
        assert await store.conversations.item("7", "t", "i") == item
        assert await items_of(store, "t") == [item]
        assert await store.conversations.item("7", "t", "I") is None
        assert await store.conversations.item("7", "T", "i") is None

    async def test_items_have_the_order_in_which_they_were_added(self, store: Store) -> None:
        threads = [await add_thread(store, name) for name in ("t", "u")]
        added: list[list[Item]] = [[], []]
        for number in range(23):  # in both threads, and with times that say nothing
            for which, thread in enumerate(threads):
                name = f"i{number * 7 % 23}"
                item = await add_item(store, thread, name, "task", at=NOON - number % 5)
                added[which].append(item)
        for thread, expected in zip(threads, added, strict=True):
            for size in (1, 5, 100):
                assert await pages_of_items(store, thread, size, "asc") == expected
                assert await pages_of_items(store, thread, size, "desc") == expected[::-1]

    async def test_pages_go_on_where_they_were_while_items_come_and_go(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        for number in range(6):
            await add_item(store, thread, f"i{number}")
        first = await store.conversations.items("7", "t", 2, None, "desc")
        await add_item(store, thread, "new")
        await store.conversations.delete_item("7", "t", "i3")
        second = await store.conversations.items("7", "t", 2, first[-1].id, "desc")
        assert [item.id for item in (*first, *second)] == ["i5", "i4", "i2", "i1"]

    async def test_after_an_item_that_is_not_there_is_nothing(self, store: Store) -> None:
        thread, other = await add_thread(store, "t"), await add_thread(store, "other")
        await add_item(store, thread, "i")
        await add_item(store, other, "elsewhere")
        for after in ("", "gone", "elsewhere", "I"):
            assert not await store.conversations.items("7", "t", 10, after, "asc")

    async def test_an_item_is_replaced_where_it_is(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        for name in "abc":
            await add_item(store, thread, name)
        after = replace(await add_item(store, thread, "b"), data=b'{"more": true}')
        await store.conversations.add_item("7", "t", after)
        assert [item.id for item in await items_of(store, "t")] == ["a", "b", "c"]
        assert await store.conversations.item("7", "t", "b") == after

    async def test_items_of_two_threads_may_have_one_id(self, store: Store) -> None:
        for name, user in zip("tuv", "778", strict=True):
            await add_item(store, await add_thread(store, name, user), "i", user=user)
        await store.conversations.delete_item("7", "t", "i")
        assert not await items_of(store, "t")
        assert len(await items_of(store, "u")) == len(await items_of(store, "v", "8")) == 1

    async def test_nothing_is_added_to_a_thread_that_is_not_there(self, store: Store) -> None:
        before = await everything(store, None)
        with pytest.raises(ThreadNotFound):
            await store.conversations.add_item("7", "t", Item("i", "user_message", b"{}", NOON))
        assert await everything(store, None) == before

    async def test_a_thread_knows_its_messages(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        kinds = ("user_message", "assistant_message", "task", "workflow", "user_message")
        for number, kind in enumerate(kinds):
            await add_item(store, thread, f"i{number}", kind)
        assert (await thread_of(store, "t")).messages == 3
        await add_item(store, thread, "i1", "assistant_message")
        await store.conversations.delete_item("7", "t", "i2")
        assert (await thread_of(store, "t")).messages == 3
        for _ in range(2):
            await store.conversations.delete_item("7", "t", "i0")
        (listed,) = await store.conversations.threads("7", 10, None, "asc")
        assert listed.messages == (await thread_of(store, "t")).messages == 2
        # What becomes a message, or stops being one.
        await add_item(store, thread, "i3", "assistant_message")
        assert (await thread_of(store, "t")).messages == 3
        await add_item(store, thread, "i4", "hidden_context_item")
        assert (await thread_of(store, "t")).messages == 2

    async def test_items_that_are_added_at_once_are_all_there(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        await asyncio.gather(
            *(add_item(store, thread, f"i{n % 50}", at=NOON + n) for n in range(100))
        )
        assert {item.id for item in await items_of(store, "t")} == {f"i{n}" for n in range(50)}
        assert (await thread_of(store, "t")).messages == 50
        assert (await everything(store, "7")).totals.messages == 50


class AttachmentsContract:
    async def test_an_attachment_is_kept_as_it_is_and_as_it_is_changed(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        attachment = Attachment("a", "ñ 🙂.pdf", "application/pdf", NOON, 2**40)
        for changed in (
            attachment,
            replace(attachment, uploaded=True, size=3),
            replace(attachment, thread_id=thread.id),
            replace(attachment, openai_file_id="file-1", name="b", mime_type="c", created_ms=1),
        ):
            await store.conversations.save_attachment("7", changed)
            assert await store.conversations.attachment("7", "a") == changed
            assert await store.conversations.attachment(None, "a") == changed

    async def test_anothers_attachment_is_not_there(self, store: Store) -> None:
        attachment = await add_attachment(store, "a", "8")
        assert await store.conversations.attachment("7", "a") is None
        with pytest.raises(AttachmentNotFound):
            await store.conversations.save_attachment("7", replace(attachment, name="mine"))
        await store.conversations.delete_attachment("7", "a")
        assert await store.conversations.attachment("8", "a") == attachment
        assert await store.conversations.owner_of_attachment("a") == "8"

    async def test_a_deleted_attachment_has_no_owner(self, store: Store) -> None:
        await add_attachment(store, "a")
        for _ in range(2):
            await store.conversations.delete_attachment("7", "a")
        assert await store.conversations.attachment(None, "a") is None
        assert await store.conversations.owner_of_attachment("a") is None

    async def test_an_attachment_cannot_outlive_its_thread(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        sent = await add_attachment(store, "a", thread=thread)
        assert await store.conversations.delete_thread("7", "t") == [sent]
        with pytest.raises(ThreadNotFound):
            await store.conversations.save_attachment("7", replace(sent, openai_file_id="file-1"))
        assert await store.conversations.attachment(None, "a") is None

    async def test_what_was_never_sent_becomes_stale(self, store: Store) -> None:
        for number in range(4):
            await add_attachment(store, f"a{number}", "78"[number % 2], at=NOON + number)
        await add_attachment(store, "sent", thread=await add_thread(store, "t"), at=NOON)
        stale = store.conversations.stale_attachments
        assert not await stale(NOON, 10)
        assert await stale(NOON + 3, 10) == [("7", "a0"), ("8", "a1"), ("7", "a2")]
        assert await stale(NOON + 9, 2) == [("7", "a0"), ("8", "a1")]
        await store.conversations.delete_attachment("7", "a0")
        assert await stale(NOON + 1, 10) == []

    async def test_an_attachment_that_was_sent_is_not_deleted_as_stale(self, store: Store) -> None:
        delete = store.conversations.delete_unsent_attachment
        sent = await add_attachment(store, "sent", thread=await add_thread(store, "t"))
        unsent = await add_attachment(store, "unsent")
        assert await delete("7", "sent") is None
        assert await delete("8", "unsent") is None
        assert await delete("7", "unsent") == unsent
        assert await delete("7", "unsent") is None
        assert await store.conversations.attachment("7", "sent") == sent


class FeedbackContract:
    async def test_feedback_is_on_items_that_are_there(self, store: Store) -> None:
        thread, other = await add_thread(store, "t"), await add_thread(store, "other")
        for name in ("i", "j"):
            await add_item(store, thread, name)
        await add_item(store, other, "elsewhere")
        save = store.conversations.save_feedback
        await save("7", "t", ["i", "j"], "positive", NOON)
        await save("7", "t", ["i"], "negative", NOON + 1)
        await save("7", "t", [], "negative", NOON + 1)
        for thread_id, items in (("t", ["i", "gone"]), ("t", ["elsewhere"]), ("gone", [])):
            with pytest.raises(ThreadNotFound):
                await save("7", thread_id, items, "negative", NOON)


class ConversationsContract(ThreadsContract, ItemsContract, AttachmentsContract, FeedbackContract):
    """All of it."""
