"""What the dashboard shows of the use of sessions, made from the store's counters."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from session_service.errors import InvalidArgument
from session_service.sessions import check_id, now_ms
from session_service.stores.base import DAY_MS, Day, Store, Totals

DEFAULT_DAYS = 30
MAX_DAYS = 366


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a user or of everybody. Days are UTC."""

    totals: Totals
    active: int
    average_duration_seconds: float
    today: Day
    daily: Sequence[Day]
    """One per day, oldest first, today last."""


def date_of(day: int) -> str:
    """Returns days since the epoch as ISO 8601."""
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


async def statistics(
    store: Store, user_id: str | None, days: int | None, at_ms: int | None = None
) -> Statistics:
    """Returns the statistics of a user or of everybody (None).

    `days`, 1 to 366, by default 30, is the length of `daily` alone. Raises InvalidArgument.
    """
    if user_id is not None:
        check_id("user_id", user_id)
    length = DEFAULT_DAYS if days is None else days
    if not 1 <= length <= MAX_DAYS:
        raise InvalidArgument("days", f"must be 1 to {MAX_DAYS}")
    at_ms = now_ms() if at_ms is None else at_ms
    today = at_ms // DAY_MS
    first_day = today - length + 1
    rollup = await store.rollup(user_id, at_ms, first_day)
    counted = {day.day: day for day in rollup.days}
    daily = [counted.get(day) or Day(day) for day in range(first_day, today + 1)]
    sessions = rollup.totals.sessions
    # The total holds each session until its end: take off what the living ones still have.
    lived_ms = max(0, rollup.totals.duration_ms - rollup.remaining_ms)
    return Statistics(
        totals=rollup.totals,
        active=rollup.active,
        average_duration_seconds=round(lived_ms / sessions / 1000, 3) if sessions else 0.0,
        today=daily[-1],
        daily=daily,
    )
