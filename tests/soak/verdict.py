"""Whether what a process holds is flat: the second half of a soak against the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, linear_regression, median

WARM_UP = 0.2
"""The part of a soak in which caches fill and the allocator finds its size: it is not judged."""

_SECONDS_PER_HOUR = 3600
_FEWEST = 4


@dataclass(frozen=True, slots=True)
class Bound:
    """By how much the second half may be above the first."""

    ratio: float
    amount: float


MEMORY_MIB = Bound(ratio=0.03, amount=4)
DESCRIPTORS = Bound(ratio=0.1, amount=6)
THREADS = Bound(ratio=0, amount=2)
TASKS = Bound(ratio=0.1, amount=8)
"""Connections and requests come and go at random; a leak only adds."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What a measure did after the warm-up."""

    first: float
    second: float
    """Medians of the two halves."""
    per_hour: float
    """The slope of the straight line through all of it."""

    def is_flat(self, bound: Bound) -> bool:
        return self.second - self.first <= self.first * bound.ratio + bound.amount


def trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """Returns the trend of (seconds, value), None where there are too few to tell."""
    if not points:
        return None
    begin, end = points[0][0], points[-1][0]
    judged = [point for point in points if point[0] >= begin + (end - begin) * WARM_UP]
    if len(judged) < _FEWEST:
        return None
    middle = (judged[0][0] + judged[-1][0]) / 2
    try:
        slope = linear_regression(*zip(*judged, strict=True)).slope
    except StatisticsError:  # all at one moment
        return None
    return Trend(
        first=median(value for at, value in judged if at <= middle),
        second=median(value for at, value in judged if at > middle),
        per_hour=slope * _SECONDS_PER_HOUR,
    )
