"""What a run of `make bench` says of its goals, and when it measures once more or fails."""

import math

import pytest

from tests.bench.report import Findings, Goal
from tests.bench.verdict import TIMES, broken, measured


def findings(*ratios: float) -> Findings:
    return Findings("", bounds=[Goal("creates beside fastapi", ratios, 0.6)])


class Measurements:
    """The ratio of each measurement, and what was said on the way."""

    def __init__(self, *ratios: float) -> None:
        self._ratios = iter(ratios)
        self.made = 0
        self.said: list[str] = []

    async def next(self) -> Findings:
        self.made += 1
        return findings(next(self._ratios))


async def test_what_holds_is_measured_once() -> None:
    measurements = Measurements(0.7)
    assert not broken(await measured(measurements.next, measurements.said.append))
    assert (measurements.made, measurements.said) == (1, [])


async def test_what_does_not_hold_is_measured_again_and_said() -> None:
    measurements = Measurements(0.5, 0.7)
    assert not broken(await measured(measurements.next, measurements.said.append))
    assert measurements.made == 2
    assert measurements.said == [
        "Once more, as of measurement 1: "
        "✗ creates beside fastapi: 0.50x, at least 0.6x: short by 0.10x"
    ]


async def test_what_never_holds_is_broken() -> None:
    measurements = Measurements(0.5, 0.4, 0.3)
    (bound,) = broken(await measured(measurements.next, measurements.said.append))
    assert measurements.made == TIMES
    assert bound.measured == (0.3,)


def test_what_cannot_be_known_is_not_broken() -> None:
    assert not broken(findings(math.nan))


@pytest.mark.parametrize(
    ("goal", "is_met"),
    [
        (Goal("", (1, 3, 9), 3), True),
        (Goal("", (1, 2, 9), 3), False),
        (Goal("", (1, 3, 9), 3, at_most=True), True),
        (Goal("", (1, 4, 5), 3, at_most=True), False),
    ],
)
def test_the_median_of_the_rounds_decides(goal: Goal, is_met: bool) -> None:
    assert goal.is_met is is_met


def test_a_missed_goal_says_what_was_measured_and_what_is_missing() -> None:
    goal = Goal("added latency, p50", (3.0, 3.5, 9.0), 2.5, " ms", at_most=True)
    assert str(goal) == (
        "✗ added latency, p50: 3.50 (3.00-9.00) ms, at most 2.5 ms: over by 1.00 ms"
    )
