"""What every store must do, as one suite: a subclass of `StoreContract` has the `store` fixture."""

import asyncio

import pytest

from session_service.errors import RateLimited
from session_service.stores.base import (
    DAY_MS,
    Day,
    DuplicateSession,
    Rollup,
    StateVariables,
    Store,
    Totals,
    UsageThread,
    UsageUser,
)
from tests.integration.store_contract_conversations import ConversationsContract
from tests.integration.store_contract_self_hosted import SelfHostedContract
from tests.integration.store_values import (
    LIFETIME,
    NOON,
    TODAY,
    add,
    all_pages,
    everything,
    found,
    new_session,
    refresh,
    refusals,
    secret_hash,
)


class SessionsContract:
    async def test_a_session_is_found_by_its_id_and_by_its_secret(self, store: Store) -> None:
        variables: StateVariables = {"a": "ñ\n'\"", "b": 2**62, "c": 0.5, "d": True, "e": 1}
        session = new_session("s", "7", NOON, state_variables=variables)
        await store.add(session, secret_hash("s"))
        assert await store.get("s") == session
        assert await store.get_by_secret(secret_hash("s")) == session
        kinds = [type(value) for value in (await found(store, "s")).state_variables.values()]
        assert kinds == [str, int, float, bool, int]

    async def test_what_is_unknown_is_none(self, store: Store) -> None:
        await add(store, "s")
        assert await store.get("S") is None
        assert await store.get("") is None
        assert await store.get_by_secret(secret_hash("other")) is None

    @pytest.mark.parametrize(("name", "secret"), [("s", "other"), ("other", "s")])
    async def test_an_id_and_a_secret_belong_to_one_session(
        self, store: Store, name: str, secret: str
    ) -> None:
        first = await add(store, "s")
        before = await everything(store, None)
        with pytest.raises(DuplicateSession):
            await store.add(new_session(name, "8"), secret_hash(secret))
        with pytest.raises(DuplicateSession):
            await store.replace(new_session(name, refreshes=first), secret_hash(secret))
        assert await everything(store, None) == before
        assert await everything(store, "8") == Rollup(Totals(), 0, 0, [])
        assert await store.list(None, 10, None) == [first]

    async def test_a_refresh_links_both_sessions(self, store: Store) -> None:
        first = await add(store, "a")
        second = await refresh(store, first, "b", NOON + 1)
        assert await found(store, "b") == second
        assert (await found(store, "a")).refreshed_to == "b"

    async def test_a_session_names_the_newest_that_replaced_it(self, store: Store) -> None:
        first = await add(store, "a")
        await refresh(store, first, "b", NOON + 1)
        third = await refresh(store, first, "c", NOON + 2)
        await refresh(store, third, "d", NOON + 3)
        refreshed_to = {s.id: s.refreshed_to for s in await store.list(None, 10, None)}
        assert refreshed_to == {"a": "c", "b": None, "c": "d", "d": None}

    async def test_a_delete_ends_the_chain_and_names_what_is_alive(self, store: Store) -> None:
        first = await add(store, "a")
        second = await refresh(store, first, "b", NOON + LIFETIME)
        await refresh(store, second, "c", NOON + LIFETIME + 1)
        await add(store, "stranger")
        at = NOON + LIFETIME + 2
        assert sorted(await store.delete("a", at, at + 5)) == ["b", "c"]
        for session_id in "abc":
            assert (await found(store, session_id)).deleted_ms == at
        assert (await found(store, "stranger")).deleted_ms is None

    async def test_a_second_delete_changes_nothing(self, store: Store) -> None:
        await add(store, "a")
        await store.delete("a", NOON + 1, NOON + 5)
        before = await everything(store, None, NOON + 9)
        assert not await store.delete("a", NOON + 9, NOON + 9)
        assert (await found(store, "a")).deleted_ms == NOON + 1
        assert await everything(store, None, NOON + 9) == before

    async def test_of_many_deletes_at_once_one_counts(self, store: Store) -> None:
        await add(store, "a")
        answers = await asyncio.gather(*(store.delete("a", NOON + 1, NOON + 5) for _ in range(20)))
        assert sorted(map(list, answers)) == [[]] * 19 + [["a"]]
        assert (await everything(store, None)).totals.deleted == 1

    async def test_a_deleted_session_is_not_refreshed(self, store: Store) -> None:
        first = await add(store, "a")
        await store.delete("a", NOON + 1, NOON + 5)
        before = await everything(store, None)
        late = new_session("b", at=NOON + 2, refreshes=first)
        assert not await store.replace(late, secret_hash("b"))
        assert await store.get("b") is None
        assert await everything(store, None) == before

    async def test_sessions_are_listed_newest_first_and_each_once(self, store: Store) -> None:
        made = [
            await add(store, f"s{number:02}", "78"[number % 2], NOON + number // 5)
            for number in range(23)
        ]
        for user in (None, "7", "8", "9"):
            mine = [s for s in made if user in (None, s.user_id)]
            for size in (1, 5, 23, 100):
                pages = await all_pages(store, user, size)
                assert [s for page in pages for s in page] == mine[::-1]
                assert all(len(page) == size for page in pages[:-1])

    async def test_active_sessions_are_those_whose_secrets_work(self, store: Store) -> None:
        await add(store, "expired", at=NOON - LIFETIME)
        await add(store, "expired too", "8", NOON - 5 * LIFETIME)
        first = await add(store, "refreshed", at=NOON - 9)
        newest = await refresh(store, first, "newest", NOON - 5)
        await add(store, "deleted", at=NOON - 4)
        await store.delete("deleted", NOON - 3, NOON)
        others = [await add(store, f"s{number}", "8", NOON - 8) for number in range(3)]
        await add(store, "soon expired", at=NOON - LIFETIME + 1)
        soon_expired = await found(store, "soon expired")
        for user, active in (
            (None, [newest, *others[::-1], soon_expired]),
            ("7", [newest, soon_expired]),
            ("8", others[::-1]),
            ("9", []),
        ):
            for size in (1, 2, 100):
                pages = await all_pages(store, user, size, NOON)
                assert [session for page in pages for session in page] == active
        assert await store.list("7", 10, None, NOON + 1) == [newest]

    async def test_a_session_is_found_for_its_user_alone(self, store: Store) -> None:
        mine = await add(store, "a", "7")
        for user in ("7", None):
            assert await store.get("a", user) == mine
            assert await store.get_by_secret(secret_hash("a"), user) == mine
        for another in ("8", "", "77", "7 "):
            assert await store.get("a", another) is None
            assert await store.get_by_secret(secret_hash("a"), another) is None

    async def test_a_check_changes_nothing(self, store: Store) -> None:
        await add(store, "a")
        before = await everything(store, None)
        await store.check()
        assert await everything(store, None) == before

    async def test_users_are_told_apart_to_the_letter(self, store: Store) -> None:
        users = ["a", "A", "a ", "ä", "a'", "a%", "_", "7", "07", "x" * 256]
        for number, user in enumerate(users):
            await add(store, f"s{number}", user)
        for number, user in enumerate(users):
            assert [s.id for s in await store.list(user, 10, None)] == [f"s{number}"]
            assert (await everything(store, user)).totals.sessions == 1


class CancelsContract:
    async def test_a_deleted_session_is_due_until_openai_has_cancelled_it(
        self, store: Store
    ) -> None:
        await add(store, "a")
        await store.delete("a", NOON, NOON + 5)
        assert not await store.claim_cancels(NOON + 4, NOON + 10, 10)
        assert await store.claim_cancels(NOON + 5, NOON + 10, 10) == ["a"]
        assert not await store.claim_cancels(NOON + 9, NOON + 20, 10)
        assert await store.claim_cancels(NOON + 10, NOON + 20, 10) == ["a"]
        await store.cancelled("a")
        assert not await store.claim_cancels(NOON + 99, NOON + 100, 10)

    async def test_a_session_that_is_not_kept_is_due_like_any(self, store: Store) -> None:
        for _ in range(2):
            await store.cancel_later("a", NOON + 20, NOON + 5)
        assert await store.get("a") is None
        assert not await store.claim_cancels(NOON + 4, NOON + 5, 10)
        for at in (NOON + 5, NOON + 10):
            assert await store.claim_cancels(at, at + 5, 10) == ["a"]
        assert not await store.claim_cancels(NOON + 20, NOON + 21, 10)

    async def test_an_expired_session_is_not_due(self, store: Store) -> None:
        await add(store, "a")
        await store.delete("a", NOON, NOON + 5)
        assert not await store.claim_cancels(NOON + LIFETIME, NOON + LIFETIME + 1, 10)

    async def test_those_that_wait_longest_are_first(self, store: Store) -> None:
        for number in range(5):
            await add(store, f"s{number}")
            await store.delete(f"s{number}", NOON, NOON + 10 - number)
        assert set(await store.claim_cancels(NOON + 10, NOON + 99, 2)) == {"s4", "s3"}
        assert set(await store.claim_cancels(NOON + 10, NOON + 99, 9)) == {"s0", "s1", "s2"}


class RateLimitContract:
    async def test_of_calls_at_once_as_many_are_admitted_as_may_be(self, store: Store) -> None:
        limit = store.rate_limit("sessions", 30)
        for refused in (0, 10, 20):
            assert await refusals(limit, *["7"] * 20) == refused
        with pytest.raises(RateLimited) as refusal:
            await limit.admit("7")
        assert 0 < (refusal.value.retry_after_seconds or 0) <= 60

    async def test_neither_keys_nor_limits_get_in_each_others_way(self, store: Store) -> None:
        for name in ("sessions", "answers"):
            limit = store.rate_limit(name, 2)
            keys = ["7", "07", "7 ", "ñ", "'", "x" * 256]
            assert await refusals(limit, *keys * 2) == 0
            assert await refusals(limit, *keys) == len(keys)

    async def test_0_is_no_limit(self, store: Store) -> None:
        assert await refusals(store.rate_limit("sessions", 0), *["7"] * 1000) == 0


class CountersContract:
    async def test_nothing_is_counted_at_first(self, store: Store) -> None:
        assert await everything(store, None) == Rollup(Totals(), 0, 0, [])

    async def test_a_chain_counts_once_and_lasts_until_its_newest_secret_expires(
        self, store: Store
    ) -> None:
        first = await add(store, "a")
        at = NOON + 3 * LIFETIME
        await refresh(store, first, "b", at)
        totals = Totals(sessions=1, refreshes=1, duration_ms=4 * LIFETIME, last_activity_ms=at)
        days = [Day(TODAY, sessions=1, refreshes=1)]
        for user in (None, "7"):
            assert await everything(store, user, at) == Rollup(totals, 1, LIFETIME, days)
            over = await everything(store, user, at + LIFETIME)
            assert over == Rollup(totals, 0, 0, days)

    async def test_a_deleted_chain_lasted_until_then(self, store: Store) -> None:
        await refresh(store, await add(store, "a"), "b", NOON + 10)
        await store.delete("a", NOON + 50, NOON + 99)
        totals = Totals(
            sessions=1, refreshes=1, deleted=1, duration_ms=50, last_activity_ms=NOON + 50
        )
        for user in (None, "7"):
            rollup = await everything(store, user, NOON + 50)
            assert rollup == Rollup(totals, 0, 0, [Day(TODAY, sessions=1, refreshes=1)])

    async def test_what_happens_counts_on_its_day_in_utc(self, store: Store) -> None:
        midnight = (TODAY + 1) * DAY_MS
        first = await add(store, "a", at=midnight - 1)
        await refresh(store, first, "b", midnight)
        await store.count_failure("7", "UPSTREAM_REJECTED", midnight - 1)
        await store.count_failure("8", "UPSTREAM_REJECTED", midnight)
        mine = [Day(TODAY, sessions=1, failures=1), Day(TODAY + 1, refreshes=1)]
        assert (await everything(store, "7")).days == mine
        mine[1] = Day(TODAY + 1, refreshes=1, failures=1)
        assert (await everything(store, None)).days == mine
        assert (await store.rollup(None, midnight, TODAY + 1)).days == mine[1:]

    async def test_last_activity_never_goes_back(self, store: Store) -> None:
        await add(store, "a", at=NOON + 5)
        await add(store, "b", at=NOON)
        assert (await everything(store, "7")).totals.last_activity_ms == NOON + 5

    async def test_a_failure_is_no_activity(self, store: Store) -> None:
        await store.count_failure("7", "UPSTREAM_REJECTED", NOON)
        assert (await everything(store, "7")).totals == Totals(failures=1)

    async def test_concurrent_writes_all_count(self, store: Store) -> None:
        names = [f"s{number}" for number in range(200)]
        made = await asyncio.gather(*(add(store, name, f"u{name[-1]}") for name in names))
        await asyncio.gather(
            *(refresh(store, session, f"r{session.id}", NOON + 1) for session in made[:100]),
            *(store.delete(session.id, NOON + 1, NOON + 9) for session in made[100:]),
            *(store.count_failure("u1", "UPSTREAM_REJECTED", NOON) for _ in range(50)),
        )
        everybody = (await everything(store, None)).totals
        assert (everybody.sessions, everybody.refreshes) == (200, 100)
        assert (everybody.deleted, everybody.failures) == (100, 50)
        assert everybody.duration_ms == 100 * (LIFETIME + 1) + 100
        each = [(await everything(store, f"u{digit}")).totals for digit in range(10)]
        assert [totals.sessions for totals in each] == [20] * 10
        assert sum(totals.duration_ms for totals in each) == everybody.duration_ms

    async def test_counters_are_read_as_of_one_moment(self, store: Store) -> None:
        async def write() -> None:
            for begin in range(0, 1500, 5):
                await asyncio.gather(*(add(store, f"s{begin + n}") for n in range(5)))

        writing = asyncio.create_task(write())
        try:
            while not writing.done():
                rollup = await everything(store, None)
                number = rollup.totals.sessions
                assert rollup.active == number
                assert rollup.remaining_ms == rollup.totals.duration_ms
                assert sum(day.sessions for day in rollup.days) == number
        finally:
            await writing


class UsageContract:
    async def test_users_with_a_new_session_are_due(self, store: Store) -> None:
        await add(store, "a", "7")
        await add(store, "b", "8", NOON + 1)
        assert not await store.claim_usage(NOON - 1, NOON, 10)
        assert await store.claim_usage(NOON + 1, NOON + 5, 10) == [
            UsageUser("7", NOON + LIFETIME, 0, NOON + 5),
            UsageUser("8", NOON + 1 + LIFETIME, 0, NOON + 5),
        ]
        assert not await store.claim_usage(NOON + 4, NOON + 9, 10)
        assert len(await store.claim_usage(NOON + 5, NOON + 9, 1)) == 1

    async def test_a_user_is_due_again_when_that_was_agreed(self, store: Store) -> None:
        await add(store, "a")
        (user,) = await store.claim_usage(NOON, NOON + 30, 10)
        await store.usage_counted(user, NOON, NOON + 60, 3)
        assert not await store.claim_usage(NOON + 59, NOON + 99, 10)
        assert await store.claim_usage(NOON + 60, NOON + 99, 10) == [
            UsageUser("7", NOON + LIFETIME, 3, NOON + 99)
        ]

    async def test_a_user_who_is_finished_is_due_with_the_next_session(self, store: Store) -> None:
        first, over = await add(store, "a"), NOON + LIFETIME + 60_001
        (user,) = await store.claim_usage(over, over + 30, 10)
        await store.usage_counted(user, over, None, 4)
        tomorrow = NOON + DAY_MS
        assert not await store.claim_usage(tomorrow, tomorrow + 1, 10)
        await refresh(store, first, "b", tomorrow)
        assert await store.claim_usage(tomorrow, tomorrow + 1, 10) == [
            UsageUser("7", tomorrow + LIFETIME, 0, tomorrow + 1)
        ]

    @pytest.mark.parametrize("next_in", [None, DAY_MS])
    async def test_a_session_made_while_messages_are_counted_is_not_forgotten(
        self, store: Store, next_in: int | None
    ) -> None:
        await add(store, "a")
        over = NOON + LIFETIME + 60_001
        (user,) = await store.claim_usage(over, over + 30_000, 10)
        await add(store, "b", at=over + 5)
        await store.usage_counted(user, over, next_in and over + next_in, 1)
        due = await store.claim_usage(over + 10, NOON + DAY_MS, 10)
        assert due == [UsageUser("7", over + 5 + LIFETIME, 0, NOON + DAY_MS)]

    async def test_when_messages_were_counted_is_kept(self, store: Store) -> None:
        await add(store, "a", "7")
        await add(store, "b", "8")
        users = await store.claim_usage(NOON, NOON + 30, 10)
        for number, user in enumerate(users):
            await store.usage_counted(user, NOON + number, None, 0)
        for name, at in (("7", NOON), ("8", NOON + 1), (None, NOON + 1)):
            assert (await everything(store, name)).totals.messages_updated_ms == at

    async def test_messages_are_complete_as_of_the_thread_looked_at_longest_ago(
        self, store: Store
    ) -> None:
        await add(store, "a", "7")
        (user,) = await store.claim_usage(NOON, NOON + 30, 10)
        await store.add_threads("7", ["t1", "t2", "t3"])

        async def complete(at: int) -> int | None:
            await store.usage_counted(user, at, None, 0)
            return (await everything(store, "7")).totals.messages_updated_ms

        assert await complete(NOON) is None
        await store.count_messages("7", UsageThread("t1", ""), "i", [], NOON + 1)
        await store.count_messages("7", UsageThread("t2", ""), "i", [], NOON + 2, has_more=True)
        await store.thread_is_gone("7", "t3")
        assert await complete(NOON + 2) is None
        await store.count_messages("7", UsageThread("t2", "i"), "j", [], NOON + 3)
        assert await complete(NOON + 4) == NOON + 1
        await store.count_messages("7", UsageThread("t1", "i"), "i", [], NOON + 5)
        assert await complete(NOON + 4) == NOON + 3
        assert await complete(NOON + 2) == NOON + 3

    async def test_threads_are_known_to_their_user(self, store: Store) -> None:
        await store.add_threads("7", ["t1", "t2"])
        await store.add_threads("7", ["t2", "t3"])
        known = await store.known_threads("7", ["t0", "t1", "t2", "t3"])
        assert known == {"t1", "t2", "t3"}
        assert not await store.known_threads("8", ["t1"])
        assert not await store.known_threads("7", [])
        assert len(await store.threads("7", 10, 10)) == 3

    async def test_messages_are_counted_and_the_cursor_moves(self, store: Store) -> None:
        await store.add_threads("7", ["t"])
        fresh = UsageThread("t", "")
        times = [NOON - DAY_MS, NOON, NOON + 1]
        assert await store.count_messages("7", fresh, "i3", times, NOON + 2)
        assert await store.threads("7", 1, 1) == [UsageThread("t", "i3")]
        for user in (None, "7"):
            rollup = await everything(store, user)
            assert rollup.totals == Totals(messages=3, last_activity_ms=NOON + 1)
            assert rollup.days == [Day(TODAY - 1, messages=1), Day(TODAY, messages=2)]

    async def test_messages_that_somebody_else_counted_are_not_counted_again(
        self, store: Store
    ) -> None:
        await store.add_threads("7", ["t"])
        fresh = UsageThread("t", "")
        answers = await asyncio.gather(
            *(store.count_messages("7", fresh, "i1", [NOON], NOON) for _ in range(10))
        )
        assert sorted(answers) == [False] * 9 + [True]
        assert (await everything(store, None)).totals.messages == 1

    async def test_a_look_without_messages_counts_nothing(self, store: Store) -> None:
        await store.add_threads("7", ["t"])
        assert await store.count_messages("7", UsageThread("t", ""), "", [], NOON)
        assert await everything(store, None) == Rollup(Totals(), 0, 0, [])

    async def test_the_busiest_threads_and_the_most_neglected_are_looked_at(
        self, store: Store
    ) -> None:
        names = [f"t{number}" for number in range(6)]
        await store.add_threads("7", names)
        for number, name in enumerate(names):
            thread = UsageThread(name, "")
            # The higher the number the older the last message and the later the last look.
            await store.count_messages("7", thread, "i", [NOON - number], NOON + number)
        chosen = {thread.thread_id for thread in await store.threads("7", 2, 1)}
        assert chosen == {"t0", "t1"}
        await store.count_messages("7", UsageThread("t0", "i"), "i", [], NOON + 10)
        chosen = {thread.thread_id for thread in await store.threads("7", 1, 2)}
        assert chosen == {"t0", "t1", "t2"}

    async def test_threads_that_were_not_looked_at_since_then_are_unread(
        self, store: Store
    ) -> None:
        await store.add_threads("7", ["never", "early", "late"])
        await store.add_threads("8", ["theirs"])
        await store.count_messages("7", UsageThread("early", ""), "", [], NOON)
        await store.count_messages("7", UsageThread("late", ""), "i", [NOON], NOON + 9)
        unread = [thread.thread_id for thread in await store.unread_threads("7", NOON)]
        assert unread == ["never", "early"]
        assert await store.unread_threads("7", NOON - 1) == [UsageThread("never", "")]

    async def test_a_thread_that_is_gone_is_left_out_and_its_messages_stay(
        self, store: Store
    ) -> None:
        await store.add_threads("7", ["t"])
        await store.count_messages("7", UsageThread("t", ""), "i1", [NOON], NOON)
        await store.thread_is_gone("7", "t")
        assert not await store.threads("7", 10, 10)
        assert not await store.unread_threads("7", NOON + DAY_MS)
        assert await store.known_threads("7", ["t"]) == {"t"}
        assert (await everything(store, "7")).totals.messages == 1


class StoreContract(
    SessionsContract,
    CancelsContract,
    RateLimitContract,
    CountersContract,
    UsageContract,
    ConversationsContract,
    SelfHostedContract,
):
    """All of it."""
