"""What the dashboard shows of the use of sessions, made from the store's counters."""

import datetime
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from session_service.errors import InvalidArgument
from session_service.sessions import check_id, now_ms
from session_service.stores.base import (
    ANSWER_TIME_GROWTH,
    DAY_MS,
    Day,
    Distributions,
    Store,
    Totals,
)

DEFAULT_DAYS = 30
MAX_DAYS = 366


@dataclass(frozen=True, slots=True)
class AnswerTime:
    """How long answers took: half of them at most `p50_seconds`, 95 % at most `p95_seconds`.

    Within 10 %, as only the number of answers per bucket is kept.
    """

    p50_seconds: float
    p95_seconds: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """What the counters of one day, or of all days, are made up of."""

    answer_time: AnswerTime | None = None
    """None where nothing was answered."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """By reason."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a user or of everybody. Days are UTC."""

    totals: Totals
    active: int
    average_duration_seconds: float
    today: Day
    daily: Sequence[Day]
    """One per day, oldest first, today last."""
    total: Breakdown = field(default_factory=Breakdown)
    """Of all days ever."""
    by_day: Mapping[int, Breakdown] = field(default_factory=dict)
    """Of those days of `daily` on which something was answered or failed."""


def date_of(day: int) -> str:
    """Returns days since the epoch as ISO 8601."""
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


def answer_time(buckets: Mapping[int, int]) -> AnswerTime | None:
    """Returns the percentiles of what `answer_time_bucket` has sorted."""
    if not buckets:
        return None
    in_order = sorted(buckets.items())
    number = sum(buckets.values())
    return AnswerTime(*(_percentile(in_order, math.ceil(p * number)) for p in (0.5, 0.95)))


def _percentile(buckets: Sequence[tuple[int, int]], rank: int) -> float:
    """Returns the middle of the bucket in which the time of that rank is."""
    up_to = itertools.accumulate(number for _, number in buckets)
    bucket = next(bucket for (bucket, _), last in zip(buckets, up_to, strict=True) if last >= rank)
    # The geometric middle is as far, as a factor, from either end.
    return round(math.pow(ANSWER_TIME_GROWTH, bucket - 0.5) / 1000, 4)


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
        total=_breakdown(rollup.total),
        by_day={day: _breakdown(of_day) for day, of_day in rollup.by_day.items() if day <= today},
    )


def _breakdown(distributions: Distributions) -> Breakdown:
    return Breakdown(answer_time(distributions.answer_times), distributions.failures)
