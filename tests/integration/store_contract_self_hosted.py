"""What every store must do with both modes, turns and users who leave; see store_contract.py."""

import asyncio
import itertools
from collections import Counter

import pytest

from session_service.errors import SessionDeleted
from session_service.stores.base import (
    DAY_MS,
    Day,
    Distributions,
    Rollup,
    Store,
    Totals,
    answer_time_bucket,
)
from session_service.stores.conversations import BROKEN_OFF, Attachment, Deleted, Thread
from session_service.stores.deletions import Deletion, Kind
from tests.integration.store_values import (
    LIFETIME,
    NOON,
    TODAY,
    add,
    add_attachment,
    add_item,
    add_thread,
    everything,
    found,
    new_session,
    refresh,
    secret_hash,
    turn,
)
from tests.support import eventually


class ModesContract:
    async def test_the_mode_of_a_session_is_kept(self, store: Store) -> None:
        for session in (await add(store, "a"), await add(store, "b", mode="self_hosted")):
            assert await store.get(session.id) == session
            assert await store.get_by_secret(secret_hash(session.id)) == session
        assert [s.mode for s in await store.list("7", 10, None)] == ["self_hosted", "hosted"]

    async def test_openai_has_nothing_to_cancel_of_a_self_hosted_session(
        self, store: Store
    ) -> None:
        await add(store, "a", mode="self_hosted")
        assert not await store.delete("a", NOON, NOON + 5)
        assert not await store.claim_cancels(NOON + 5, NOON + 9, 10)
        assert (await found(store, "a")).deleted_ms == NOON
        assert (await everything(store, "7")).totals.deleted == 1

    async def test_a_chain_may_change_its_mode(self, store: Store) -> None:
        first = await add(store, "a")
        second = await refresh(store, first, "b", NOON + 1, "self_hosted")
        third = await refresh(store, second, "c", NOON + 2, "self_hosted")
        await refresh(store, third, "d", NOON + 3, "hosted")
        totals = (await everything(store, "7")).totals
        assert (totals.sessions, totals.refreshes) == (1, 3)
        assert sorted(await store.delete("a", NOON + 4, NOON + 5)) == ["a", "d"]
        assert sorted(await store.claim_cancels(NOON + 5, NOON + 9, 10)) == ["a", "d"]
        for session_id in "abcd":
            assert (await found(store, session_id)).deleted_ms == NOON + 4

    async def test_messages_are_looked_for_at_openai_for_hosted_sessions_alone(
        self, store: Store
    ) -> None:
        first = await add(store, "a", mode="self_hosted")
        assert not await store.claim_usage(NOON, NOON + 1, 10)
        second = await refresh(store, first, "b", NOON + 5, "hosted")
        await refresh(store, second, "c", NOON + 9, "self_hosted")
        (user,) = await store.claim_usage(NOON + 9, NOON + 10, 10)
        assert user.active_until_ms == NOON + 5 + LIFETIME


class MessageCountsContract:
    async def test_a_new_message_counts_for_its_user_on_its_day(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        midnight = (TODAY + 1) * DAY_MS
        await add_item(store, thread, "i1", "user_message", at=midnight - 1)
        await add_item(store, thread, "i2", "assistant_message", at=midnight)
        await add_item(store, thread, "i3", "workflow", at=midnight + 5)
        counted = Totals(messages=2, last_activity_ms=midnight, messages_updated_ms=midnight)
        days = [Day(TODAY, messages=1), Day(TODAY + 1, messages=1)]
        for user in (None, "7"):
            assert await everything(store, user) == Rollup(counted, 0, 0, days)
        assert await everything(store, "8") == Rollup(Totals(), 0, 0, [])

    async def test_a_message_counts_once_and_for_ever(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        for _ in range(3):
            await add_item(store, thread, "i")
        before = await everything(store, None)
        assert before.totals.messages == 1
        await store.conversations.delete_item("7", "t", "i")
        await store.conversations.delete_thread("7", "t")
        assert await everything(store, None) == before

    async def test_a_late_message_does_not_turn_time_back(self, store: Store) -> None:
        thread = await add_thread(store, "t")
        await add_item(store, thread, "i1", at=NOON)
        await add_item(store, thread, "i2", at=NOON - DAY_MS)
        for user in (None, "7"):
            totals = (await everything(store, user)).totals
            assert totals == Totals(messages=2, last_activity_ms=NOON, messages_updated_ms=NOON)


class TurnsContract:
    async def test_a_turn_counts_on_the_day_on_which_it_ended(self, store: Store) -> None:
        midnight = (TODAY + 1) * DAY_MS
        late = turn("", midnight - 10, 1500, 1000, 50, tool_calls=3)
        await store.conversations.count_turn("7", late)
        await store.conversations.count_turn("8", turn(BROKEN_OFF, NOON, 700, 5, 1, True, 1))
        mine = Day(TODAY + 1, turns=1, input_tokens=1000, output_tokens=50, tool_calls=3)
        theirs = Day(TODAY, turns=1, input_tokens=5, output_tokens=1, tool_calls=1)
        times = Distributions(answer_times={answer_time_bucket(1500): 1})
        assert await everything(store, "7") == Rollup(
            Totals(turns=1, input_tokens=1000, output_tokens=50, tool_calls=3),
            0,
            0,
            [mine],
            times,
            {TODAY + 1: times},
        )
        assert await everything(store, "8") == Rollup(
            Totals(turns=1, input_tokens=5, output_tokens=1, estimated_turns=1, tool_calls=1),
            0,
            0,
            [theirs],
        )
        assert await everything(store, None) == Rollup(
            Totals(turns=2, input_tokens=1005, output_tokens=51, estimated_turns=1, tool_calls=4),
            0,
            0,
            [theirs, mine],
            times,
            {TODAY + 1: times},
        )

    async def test_a_failed_turn_has_a_reason_and_no_answer_time(self, store: Store) -> None:
        for reason in ("UPSTREAM_TIMEOUT", "INTERNAL", "UPSTREAM_TIMEOUT"):
            await store.conversations.count_turn("7", turn(reason))
        reasons = Distributions(failures={"UPSTREAM_TIMEOUT": 2, "INTERNAL": 1})
        for user in (None, "7"):
            rollup = await everything(store, user)
            assert (rollup.totals.turns, rollup.totals.failed_turns) == (3, 3)
            assert rollup.totals.failures == 0
            assert (rollup.total, rollup.by_day) == (reasons, {TODAY: reasons})
            assert [(day.turns, day.failed_turns) for day in rollup.days] == [(3, 3)]

    async def test_what_the_user_broke_off_is_no_failure(self, store: Store) -> None:
        await store.conversations.count_turn("7", turn(BROKEN_OFF))
        rollup = await everything(store, "7")
        assert (rollup.totals.turns, rollup.totals.failed_turns) == (1, 0)
        assert (rollup.total, rollup.by_day) == (Distributions(), {})

    async def test_failures_of_sessions_and_of_turns_share_their_reasons(
        self, store: Store
    ) -> None:
        await store.count_failure("7", "UPSTREAM_TIMEOUT", NOON)
        await store.count_failure("7", "INVALID_API_KEY", NOON - DAY_MS)
        await store.conversations.count_turn("7", turn("UPSTREAM_TIMEOUT"))
        for user in (None, "7"):
            rollup = await everything(store, user)
            assert (rollup.totals.failures, rollup.totals.failed_turns) == (2, 1)
            assert rollup.total.failures == {"UPSTREAM_TIMEOUT": 2, "INVALID_API_KEY": 1}
            assert {day: of.failures for day, of in rollup.by_day.items()} == {
                TODAY: {"UPSTREAM_TIMEOUT": 2},
                TODAY - 1: {"INVALID_API_KEY": 1},
            }

    async def test_all_days_count_however_few_are_asked_for(self, store: Store) -> None:
        for age, duration in enumerate((1000, 1000, 30_000)):
            await store.conversations.count_turn("7", turn("", NOON - age * DAY_MS, duration))
        rollup = await store.rollup("7", NOON, TODAY)
        buckets = {answer_time_bucket(1000): 2, answer_time_bucket(30_000): 1}
        assert rollup.total == Distributions(answer_times=buckets)
        today = Distributions(answer_times={answer_time_bucket(1000): 1})
        assert rollup.by_day == {TODAY: today}
        assert [day.turns for day in rollup.days] == [1]

    async def test_turns_outlive_their_thread(self, store: Store) -> None:
        await add_thread(store, "t")
        await store.conversations.count_turn("7", turn())
        before = await everything(store, None)
        await store.conversations.delete_thread("7", "t")
        assert await everything(store, None) == before
        await store.conversations.count_turn("7", turn())
        assert (await everything(store, None)).totals.turns == 2

    async def test_turns_that_end_at_once_all_count(self, store: Store) -> None:
        async def look() -> None:
            while (rollup := await everything(store, None)).totals.turns < 400:
                assert sum(rollup.total.answer_times.values()) == rollup.totals.turns
                assert sum(day.turns for day in rollup.days) == rollup.totals.turns

        looking = asyncio.create_task(look())
        for begin in range(0, 400, 20):
            await asyncio.gather(
                *(
                    store.conversations.count_turn(f"u{n % 4}", turn("", NOON, 1 + n * n))
                    for n in range(begin, begin + 20)
                )
            )
        await looking
        each = [(await everything(store, f"u{n}")).totals for n in range(4)]
        assert [totals.turns for totals in each] == [100] * 4
        assert (await everything(store, None)).totals.input_tokens == 400 * 100


class DeleteUserContract:
    async def fill(self, store: Store, user: str) -> list[Attachment]:
        """Something of everything, with ids that end in the user's."""
        first = await add(store, f"a{user}", user)
        await refresh(store, first, f"b{user}", NOON + 1)
        await add(store, f"c{user}", user, mode="self_hosted")
        await add(store, f"d{user}", user)
        await store.delete(f"d{user}", NOON + 2, NOON + 3)
        await store.add_threads(user, [f"hosted{user}"])
        thread = await add_thread(store, f"t{user}", user)
        await add_item(store, thread, "i", user=user)
        await store.conversations.save_feedback(user, thread.id, ["i"], "positive", NOON)
        await store.conversations.count_turn(user, turn("", thread=thread.id))
        await store.conversations.count_turn(user, turn("INTERNAL", thread=thread.id))
        await store.count_failure(user, "UPSTREAM_TIMEOUT", NOON)
        await store.rate_limit("sessions", 30).admit(user)
        return [
            await add_attachment(store, f"sent{user}", user, thread),
            await add_attachment(store, f"unsent{user}", user),
        ]

    async def test_nothing_of_a_user_is_left_and_nothing_of_others_is_lost(
        self, store: Store
    ) -> None:
        attachments = await self.fill(store, "7")
        await self.fill(store, "8")
        theirs = await everything(store, "8")
        deleted = await store.conversations.delete_user("7", NOON + 5, NOON + 20)
        assert (deleted.sessions, deleted.threads) == (3, 1)
        assert sorted(deleted.attachments, key=lambda a: a.id) == attachments
        assert sorted(deleted.to_cancel) == ["a7", "b7", "d7"]

        assert await everything(store, "7") == Rollup(Totals(), 0, 0, [])
        assert not await store.list("7", 10, None)
        assert await store.get("a7") is None
        assert await store.get_by_secret(secret_hash("b7")) is None
        assert await store.conversations.thread("7", "t7") is None
        assert not await store.conversations.threads("7", 10, None, "asc")
        for attachment in attachments:
            assert await store.conversations.attachment(None, attachment.id) is None
        assert not await store.known_threads("7", ["hosted7"])
        due = await store.claim_usage(NOON + DAY_MS, NOON + DAY_MS, 10)
        assert [user.user_id for user in due] == ["8"]
        assert await store.claim_cancels(NOON + 5, NOON + 9, 10) == ["d8"]
        # But for what OpenAI still has to hear: theirs it would keep alive.
        again = await store.claim_cancels(NOON + 20, NOON + 29, 10)
        assert sorted(again) == ["a7", "b7", "d7", "d8"]

        assert await everything(store, "8") == theirs
        assert len(await store.list("8", 10, None)) == 4
        assert (await store.conversations.threads("8", 10, None, "asc"))[0].messages == 1
        assert await store.conversations.item("8", "t8", "i") is not None
        assert await store.conversations.attachment("8", "unsent8") is not None
        assert await store.known_threads("8", ["hosted8"]) == {"hosted8"}

    @pytest.mark.parametrize("later", [0, 300_000, LIFETIME, DAY_MS])
    async def test_what_counts_everybody_stays_as_it_was(self, store: Store, later: int) -> None:
        """Their living sessions are among the active ones until they would have ended."""
        await self.fill(store, "7")
        await self.fill(store, "8")
        at = NOON + 5 + later
        before = await everything(store, None, at)
        await store.conversations.delete_user("7", NOON + 5, NOON + 20)
        assert await everything(store, None, at) == before
        assert before.active == (4 if later < LIFETIME - 5 else 0)

    async def test_what_is_expired_or_cancelled_is_not_to_be_cancelled(self, store: Store) -> None:
        await self.fill(store, "7")
        await store.cancelled("d7")
        deleted = await store.conversations.delete_user("7", NOON + LIFETIME, NOON + 20)
        assert deleted.to_cancel == ["b7"]

    async def test_whom_nobody_knows_can_be_deleted(self, store: Store) -> None:
        await self.fill(store, "7")
        await store.conversations.delete_user("7", NOON + 5, NOON + 20)
        before = await everything(store, None)
        for user in ("7", "9"):
            assert await store.conversations.delete_user(user, NOON, NOON + 20) == Deleted(
                0, 0, [], []
            )
        assert await everything(store, None) == before

    async def test_a_session_that_went_with_its_user_is_gone_for_good(self, store: Store) -> None:
        first = await add(store, "a")
        await store.conversations.delete_user("7", NOON, NOON + 20)
        late = new_session("b", at=NOON + 1, refreshes=first)
        assert not await store.replace(late, secret_hash("b"))
        assert not await store.delete("a", NOON + 1, NOON + 2)
        assert await store.get("b") is None
        assert (await everything(store, None)).totals.refreshes == 0
        assert await everything(store, "7") == Rollup(Totals(), 0, 0, [])

    async def test_who_comes_back_begins_at_nothing(self, store: Store) -> None:
        await self.fill(store, "7")
        await store.conversations.delete_user("7", NOON + 5, NOON + 20)
        await add(store, "again", at=NOON + 9)
        rollup = await everything(store, "7", NOON + 9)
        assert (rollup.totals.sessions, rollup.totals.turns, rollup.active) == (1, 0, 1)
        assert (await everything(store, None, NOON + 9)).totals.sessions == 4


class AnswersContract:
    async def test_one_answers_in_a_thread_at_a_time(self, store: Store) -> None:
        inside: Counter[str] = Counter()
        most: Counter[str] = Counter()

        async def answer(thread: str) -> None:
            async with store.conversations.answering("7", thread, never):
                inside[thread] += 1
                most[thread] = max(most[thread], inside[thread])
                await together(thread)
                inside[thread] -= 1

        async def together(thread: str) -> None:
            if thread != "t":  # both of them wait here for each other
                await barrier.wait()

        barrier = asyncio.Barrier(2)
        await asyncio.gather(*map(answer, ("t", "t", "t", "u", "v")))
        assert most == {"t": 1, "u": 1, "v": 1}

    async def test_of_another_user_a_thread_is_another(self, store: Store) -> None:
        answering = store.conversations.answering
        async with answering("7", "t", never), answering("8", "t", never):
            pass

    async def test_who_stops_waiting_leaves_no_lock(self, store: Store) -> None:
        answering = store.conversations.answering

        async def answer() -> None:
            async with answering("7", "t", never):
                pass

        async with answering("7", "t", never):
            waiting = [asyncio.create_task(answer()) for _ in range(3)]
            await asyncio.sleep(0.01)
            for one in waiting[:2]:
                one.cancel()
        await asyncio.gather(*waiting[:2], return_exceptions=True)
        await waiting[2]

    async def test_what_is_deleted_is_told(self, store: Store) -> None:
        told: list[Deletion] = []

        async def listen() -> None:
            async for deletion in store.deletions():
                if deletion is not None:
                    told.append(deletion)

        async def has_begun() -> bool:
            """Whoever has just begun to listen may miss the first."""
            name = f"s{next(numbers)}"
            await add(store, name)
            await store.delete(name, NOON, NOON + 5)
            return bool(told)

        numbers = itertools.count()
        listening = asyncio.create_task(listen())
        await eventually(has_begun)
        await add(store, "a")
        await add_thread(store, "t")
        told.clear()
        await store.delete("none", NOON, NOON + 5)
        await store.conversations.delete_thread("8", "t")
        await store.conversations.delete_thread("7", "t")
        await store.delete("a", NOON, NOON + 5)
        await store.conversations.delete_user("7", NOON, NOON + 20)
        wanted = [
            Deletion(Kind.THREAD, "t"),
            Deletion(Kind.SESSION, "a"),
            Deletion(Kind.USER, "7"),
        ]

        async def all_told() -> bool:
            return [one for one in told if not one.id.startswith("s")] == wanted

        await eventually(all_told)
        listening.cancel()

    async def test_an_answer_leaves_nothing_of_a_user_who_was_deleted_meanwhile(
        self, store: Store
    ) -> None:
        root = (await add(store, "a", mode="self_hosted")).id
        conversations = store.conversations
        await conversations.save_thread("7", Thread("t", NOON, b"{}"), root)
        await conversations.delete_user("7", NOON, NOON + 20)
        before = await everything(store, None)
        with pytest.raises(SessionDeleted):
            await conversations.save_thread("7", Thread("t", NOON, b"{}"), root)
        await conversations.count_turn("7", turn("", NOON, 1000, 50, 7), root)
        await conversations.count_turn("7", turn("INTERNAL"), root)
        assert await conversations.thread("7", "t") is None
        assert await everything(store, "7") == Rollup(Totals(), 0, 0, [])
        # But it has cost what it has cost.
        totals = (await everything(store, None)).totals
        assert (totals.turns, totals.failed_turns) == (2, 1)
        assert totals.input_tokens == before.totals.input_tokens + 150

    async def test_an_answer_of_a_deleted_session_is_kept_and_counted(self, store: Store) -> None:
        root = (await add(store, "a", mode="self_hosted")).id
        await store.delete(root, NOON, NOON + 5)
        await store.conversations.save_thread("7", Thread("t", NOON, b"{}"), root)
        await store.conversations.count_turn("7", turn(BROKEN_OFF), root)
        assert await store.conversations.thread("7", "t") is not None
        assert (await everything(store, "7")).totals.turns == 1


def never() -> None:
    raise AssertionError("nobody comes between")


class SelfHostedContract(
    ModesContract, MessageCountsContract, TurnsContract, DeleteUserContract, AnswersContract
):
    """All of it."""
