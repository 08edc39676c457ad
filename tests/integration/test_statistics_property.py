"""Whatever happens in whatever order, the counters say what a count of all rows says."""

import asyncio
import itertools
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from session_service.statistics import Breakdown, Statistics, answer_time, statistics
from session_service.stores.base import (
    DAY_MS,
    Day,
    Distributions,
    Session,
    Store,
    Totals,
    UsageThread,
    UsageUser,
)
from session_service.stores.conversations import ANSWERED, BROKEN_OFF, Item, Thread, Turn
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.store_values import secret_hash
from tests.postgres_support import PostgresServer
from tests.reconciliation import reconcile

BEGIN = 20_000 * DAY_MS + DAY_MS - 3_600_000
USERS = ("7", "8", "Ana")
MINUTE = 60_000

Step = tuple[str, int, int, int]
"""What happens, how many milliseconds later, and two numbers to choose with."""

# Mostly moments apart, sometimes beyond an expiry, an hour, midnight or the 24 hours of a refresh.
WAITS = st.one_of(
    st.integers(1, 5_000),
    st.integers(1, 5_000),
    st.integers(1, 4 * MINUTE),
    st.integers(1, 20 * MINUTE),
    st.integers(1, 26 * 60 * MINUTE),
    st.sampled_from((600_000, 3_600_000, DAY_MS)),
)
SESSION_ACTIONS = ("create", "create", "refresh", "refresh", "delete", "fail", "messages")
THREAD_ACTIONS = ("thread", "say", "say", "say", "unsay", "turn", "turn", "drop")
ACTIONS = st.sampled_from((*SESSION_ACTIONS, *THREAD_ACTIONS))
STEPS = st.lists(
    st.tuples(ACTIONS, WAITS, st.integers(0, 1000), st.integers(0, 1000)), min_size=5, max_size=50
)
REASONS = ("UPSTREAM_TIMEOUT", "UPSTREAM_REJECTED", "INTERNAL")
OUTCOMES = (ANSWERED, ANSWERED, ANSWERED, BROKEN_OFF, *REASONS)
KINDS = ("user_message", "assistant_message", "workflow")


@dataclass
class History:
    """What cannot be recounted from the sessions."""

    now: int = BEGIN
    made: list[Session] = field(default_factory=list)
    failures: list[tuple[str, str, int]] = field(default_factory=list)
    messages: list[tuple[str, int]] = field(default_factory=list)
    looked: list[tuple[str, int]] = field(default_factory=list)
    first_looked: dict[str, int] = field(default_factory=dict)
    """By user, when the first of their threads at OpenAI was: none of them is looked at again."""
    turns: list[tuple[str, Turn]] = field(default_factory=list)
    threads: dict[str, str] = field(default_factory=dict)
    """Whose they are."""
    items: dict[str, dict[str, str]] = field(default_factory=dict)
    """By thread and id, their kinds in their order."""


def lifetime(number: int) -> int:
    # Ten minutes as OpenAI's, less, or, where its clock is behind ours, over at once.
    return (600, 600, 600, 60, 1, 0, -5)[number % 7]


def session_at(history: History, user: str, number: int, refreshes: Session | None) -> Session:
    name = f"s{len(history.made)}"
    return Session(
        id=name,
        root_id=refreshes.root_id if refreshes else name,
        user_id=user,
        workflow_id="wf_1",
        created_ms=history.now,
        expires_ms=(history.now // 1000 + lifetime(number)) * 1000,
        refreshed_from=refreshes.id if refreshes else None,
        mode="self_hosted" if number % 3 == 0 else "hosted",
    )


async def act(store: Store, history: History, step: Step) -> None:
    action, wait, first, second = step
    history.now += wait
    user = USERS[first % len(USERS)]
    chosen = history.made[first % len(history.made)] if history.made else None
    match action:
        case "create":
            session = session_at(history, user, second, None)
            await store.add(session, secret_hash(session.id))
            history.made.append(session)
        case "refresh" if chosen:
            session = session_at(history, chosen.user_id, second, chosen)
            if await store.replace(session, secret_hash(session.id)):
                history.made.append(session)
        case "delete" if chosen:
            await delete(store, history, chosen.root_id)
        case "fail":
            reason = REASONS[second % len(REASONS)]
            await store.count_failure(user, reason, history.now)
            history.failures.append((user, reason, history.now))
        case "messages":
            times = [history.now - n * (second + 1) * MINUTE for n in range(second % 4)]
            thread = UsageThread(f"t{history.now}", "")
            await store.add_threads(user, [thread.thread_id])
            assert await store.count_messages(user, thread, "i", times, history.now)
            await store.usage_counted(UsageUser(user, 0, 0, 0), history.now, None, 0)
            history.messages += [(user, time) for time in times]
            # All is counted as far as the thread that was not looked at for longest.
            history.looked.append((user, history.first_looked.setdefault(user, history.now)))
        case _:
            await act_in_thread(store, history, step)


async def delete(store: Store, history: History, root_id: str) -> None:
    root = await store.get(root_id)
    assert root is not None
    to_cancel = {
        session.id
        for session in history.made
        if session.root_id == root_id
        and root.deleted_ms is None
        and session.mode == "hosted"
        and session.expires_ms > history.now
    }
    assert set(await store.delete(root_id, history.now, history.now + 5_000)) == to_cancel


async def act_in_thread(store: Store, history: History, step: Step) -> None:
    action, _, first, second = step
    chosen = list(history.threads)[first % len(history.threads)] if history.threads else None
    match action:
        case "thread":
            thread = Thread(f"t{history.now}", history.now, b"{}")
            user = USERS[first % len(USERS)]
            await store.conversations.save_thread(user, thread)
            history.threads[thread.id] = user
            history.items[thread.id] = {}
        case "say" if chosen:
            user, items = history.threads[chosen], history.items[chosen]
            created = history.now - second % 4 * 20 * MINUTE
            item = Item(f"i{second % 8}", KINDS[second % len(KINDS)], b"{}", created)
            await store.conversations.add_item(user, chosen, item)
            if item.id not in items and item.kind != "workflow":
                history.messages.append((user, created))
                history.looked.append((user, created))
            items[item.id] = item.kind
        case "unsay" if chosen:
            item_id = f"i{second % 8}"
            await store.conversations.delete_item(history.threads[chosen], chosen, item_id)
            history.items[chosen].pop(item_id, None)
        case "turn":  # of a thread that may be deleted by now
            user = history.threads[chosen] if chosen else USERS[first % len(USERS)]
            duration, outcome = second**2 // 7, OUTCOMES[second % len(OUTCOMES)]
            started = history.now - duration
            turn = Turn("t", started, duration, outcome, second, 9, second % 2 == 0, second % 3)
            await store.conversations.count_turn(user, turn)
            history.turns.append((user, turn))
        case "drop" if chosen:
            await store.conversations.delete_thread(history.threads.pop(chosen), chosen)
            del history.items[chosen]


async def compare(store: Store, history: History, at: int, days: int) -> None:
    rows = await store.list(None, 1_000_000, None)
    assert sorted(row.id for row in rows) == sorted(session.id for session in history.made)
    for user in (None, *USERS):
        assert await statistics(store, user, days, at) == recount(rows, history, user, at, days)
        rollup = await store.rollup(user, at, at // DAY_MS - days + 1)
        assert rollup.total == distributions(history, user, None)
        for day in range(at // DAY_MS - days + 1, at // DAY_MS + 1):
            found = rollup.by_day.get(day, Distributions())
            assert found == distributions(history, user, day)


async def compare_threads(store: Store, history: History) -> None:
    for user in USERS:
        mine = [thread_id for thread_id, whose in history.threads.items() if whose == user]
        threads = await store.conversations.threads(user, 1000, None, "asc")
        assert [thread.id for thread in threads] == mine
        for thread in threads:
            kept = history.items[thread.id]
            items = await store.conversations.items(user, thread.id, 1000, None, "asc")
            assert [(item.id, item.kind) for item in items] == list(kept.items())
            assert thread.messages == sum(kind != "workflow" for kind in kept.values())


def distributions(history: History, user: str | None, day: int | None) -> Distributions:
    """Recounts those of a day, or of all days."""
    turns = [
        turn for who, turn in history.turns if user in (None, who) and day in (None, ended_on(turn))
    ]
    reasons = [turn.outcome for turn in turns if turn.outcome in REASONS]
    reasons += [
        reason
        for who, reason, time in history.failures
        if user in (None, who) and day in (None, time // DAY_MS)
    ]
    times = Counter(bucket(turn.duration_ms) for turn in turns if turn.outcome == ANSWERED)
    return Distributions(Counter(reasons), times)


def bucket(duration_ms: int) -> int:
    return next(n for n in itertools.count() if duration_ms <= 1.2**n)


def ended_on(turn: Turn) -> int:
    return (turn.started_ms + turn.duration_ms) // DAY_MS


def recount(
    rows: Sequence[Session], history: History, user: str | None, at: int, days: int
) -> Statistics:
    mine = [row for row in rows if user in (None, row.user_id)]
    failures = [time for who, _, time in history.failures if user in (None, who)]
    messages = [time for who, time in history.messages if user in (None, who)]
    looked = [time for who, time in history.looked if user in (None, who)]
    turns = [turn for who, turn in history.turns if user in (None, who)]
    roots = [row for row in mine if row.refreshed_from is None]
    refreshes = [row for row in mine if row.refreshed_from is not None]
    ends = {root.id: end_of(root, rows) for root in roots}
    lived = sum(min(ends[root.id], at) - root.created_ms for root in roots)
    deleted = [root for root in roots if root.deleted_ms is not None]
    activity = [
        *(row.created_ms for row in mine),
        *(root.deleted_ms for root in roots if root.deleted_ms is not None),
        *messages,
    ]
    daily = [
        Day(
            day,
            sessions=sum(root.created_ms // DAY_MS == day for root in roots),
            messages=sum(time // DAY_MS == day for time in messages),
            refreshes=sum(row.created_ms // DAY_MS == day for row in refreshes),
            failures=sum(time // DAY_MS == day for time in failures),
            **sums([turn for turn in turns if ended_on(turn) == day]),
        )
        for day in range(at // DAY_MS - days + 1, at // DAY_MS + 1)
    ]
    by_day = {day.day: breakdown(distributions(history, user, day.day)) for day in daily}
    return Statistics(
        totals=Totals(
            sessions=len(roots),
            messages=len(messages),
            refreshes=len(refreshes),
            deleted=len(deleted),
            failures=len(failures),
            # As the store keeps it; what people see of it is the average below.
            duration_ms=sum(ends[root.id] - root.created_ms for root in roots),
            last_activity_ms=max(activity, default=None),
            messages_updated_ms=max(looked, default=None),
            estimated_turns=sum(turn.estimated for turn in turns),
            **sums(turns),
        ),
        active=sum(root.deleted_ms is None and ends[root.id] > at for root in roots),
        average_duration_seconds=round(lived / len(roots) / 1000, 3) if roots else 0.0,
        today=daily[-1],
        daily=daily,
        total=breakdown(distributions(history, user, None)),
        by_day={day: of_day for day, of_day in by_day.items() if of_day != Breakdown()},
    )


def breakdown(counted: Distributions) -> Breakdown:
    return Breakdown(answer_time(counted.answer_times), counted.failures)


def sums(turns: Sequence[Turn]) -> dict[str, int]:
    return {
        "turns": len(turns),
        "failed_turns": sum(turn.outcome in REASONS for turn in turns),
        "input_tokens": sum(turn.input_tokens for turn in turns),
        "output_tokens": sum(turn.output_tokens for turn in turns),
        "tool_calls": sum(turn.tool_calls for turn in turns),
    }


def end_of(root: Session, rows: Sequence[Session]) -> int:
    """When the session was deleted, else when its newest secret expires; not before it began."""
    if root.deleted_ms is not None:
        return root.deleted_ms
    newest = max((row for row in rows if row.root_id == root.id), key=lambda row: row.created_ms)
    return max(newest.expires_ms, newest.created_ms)


exhaustive = settings(
    max_examples=30,
    phases=(Phase.generate, Phase.shrink),  # to explain a failure takes minutes
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@exhaustive
@given(STEPS)
def test_the_counters_say_what_a_count_of_all_rows_says(steps: list[Step]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/chatkit.db"
            async with open_sqlite_store(path) as store:
                await live(store, steps)
                assert reconcile(path) == []

    asyncio.run(run())


@exhaustive
@given(STEPS)
def test_the_counters_of_postgresql_say_so_too(postgres: PostgresServer, steps: list[Step]) -> None:
    async def run() -> None:
        async with open_postgres_store(await postgres.clean_database()) as store:
            await live(store, steps)

    asyncio.run(run())


async def live(store: Store, steps: Sequence[Step]) -> None:
    history = History()
    for step in steps:
        await act(store, history, step)
        await compare(store, history, history.now, days=1 + step[3] % 3)
    await compare_threads(store, history)
    for later in (0, 5 * MINUTE, 601_000, 3 * DAY_MS):
        await compare(store, history, history.now + later, 366)
