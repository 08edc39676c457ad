"""Whatever happens in whatever order, the counters say what a count of all rows says."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from session_service.statistics import Statistics, statistics
from session_service.stores.base import DAY_MS, Day, Session, Store, Totals, UsageThread, UsageUser
from session_service.stores.sqlite import open_sqlite_store
from tests.integration.store_values import secret_hash

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
ACTIONS = st.sampled_from(("create", "create", "refresh", "refresh", "delete", "fail", "messages"))
STEPS = st.lists(
    st.tuples(ACTIONS, WAITS, st.integers(0, 1000), st.integers(0, 1000)), min_size=5, max_size=40
)


@dataclass
class History:
    """What cannot be recounted from the sessions."""

    now: int = BEGIN
    made: list[Session] = field(default_factory=list)
    failures: list[tuple[str, int]] = field(default_factory=list)
    messages: list[tuple[str, int]] = field(default_factory=list)
    looked: dict[str, int] = field(default_factory=dict)


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
            await store.delete(chosen.root_id, history.now, history.now + 5_000)
        case "fail":
            await store.count_failure(user, history.now)
            history.failures.append((user, history.now))
        case "messages":
            times = [history.now - n * (second + 1) * MINUTE for n in range(second % 4)]
            thread = UsageThread(f"t{history.now}", "")
            await store.add_threads(user, [thread.thread_id])
            assert await store.count_messages(user, thread, "i", times, history.now)
            await store.usage_counted(UsageUser(user, 0, 0, 0), history.now, None, 0)
            history.messages += [(user, time) for time in times]
            history.looked[user] = history.now


async def compare(store: Store, history: History, at: int, days: int) -> None:
    rows = await store.list(None, 1_000_000, None)
    assert sorted(row.id for row in rows) == sorted(session.id for session in history.made)
    for user in (None, *USERS):
        assert await statistics(store, user, days, at) == recount(rows, history, user, at, days)


def recount(
    rows: Sequence[Session], history: History, user: str | None, at: int, days: int
) -> Statistics:
    mine = [row for row in rows if user in (None, row.user_id)]
    failures = [time for who, time in history.failures if user in (None, who)]
    messages = [time for who, time in history.messages if user in (None, who)]
    looked = [time for who, time in history.looked.items() if user in (None, who)]
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
        )
        for day in range(at // DAY_MS - days + 1, at // DAY_MS + 1)
    ]
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
        ),
        active=sum(root.deleted_ms is None and ends[root.id] > at for root in roots),
        average_duration_seconds=round(lived / len(roots) / 1000, 3) if roots else 0.0,
        today=daily[-1],
        daily=daily,
    )


def end_of(root: Session, rows: Sequence[Session]) -> int:
    """When the session was deleted, else when its newest secret expires; not before it began."""
    if root.deleted_ms is not None:
        return root.deleted_ms
    newest = max((row for row in rows if row.root_id == root.id), key=lambda row: row.created_ms)
    return max(newest.expires_ms, newest.created_ms)


@settings(
    max_examples=30,
    phases=(Phase.generate, Phase.shrink),  # to explain a failure takes minutes
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(STEPS)
def test_the_counters_say_what_a_count_of_all_rows_says(steps: list[Step]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with open_sqlite_store(f"{directory}/chatkit.db") as store:
                history = History()
                for step in steps:
                    await act(store, history, step)
                    await compare(store, history, history.now, days=1 + step[3] % 3)
                for later in (0, 5 * MINUTE, 601_000, 3 * DAY_MS):
                    await compare(store, history, history.now + later, 366)

    asyncio.run(run())
