"""How long answers took, told from the number of them in each bucket."""

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest

from session_service.statistics import AnswerTime, answer_time
from session_service.stores.base import ANSWER_TIME_GROWTH, answer_time_bucket


def percentile(durations_ms: list[int], share: float) -> float:
    """The smallest that `share` of all do not exceed, in seconds."""
    return sorted(durations_ms)[math.ceil(share * len(durations_ms)) - 1] / 1000


def measured(durations_ms: list[int]) -> AnswerTime:
    found = answer_time(Counter(map(answer_time_bucket, durations_ms)))
    assert found is not None
    return found


def test_without_answers_there_is_no_time() -> None:
    assert answer_time({}) is None


@pytest.mark.parametrize("spread", ["even", "skewed", "in two groups"])
@pytest.mark.parametrize("number", [1, 2, 3, 19, 20, 21, 1000])
def test_percentiles_are_within_a_tenth(spread: str, number: int) -> None:
    generator = random.Random(f"{spread} {number}")
    draws: dict[str, Callable[[], float]] = {
        "even": lambda: generator.uniform(20, 600_000),
        "skewed": lambda: 20 + generator.lognormvariate(8, 1.5),
        "in two groups": lambda: generator.choice((900, 29_000)) * generator.uniform(0.9, 1.1),
    }
    for _ in range(50):
        durations_ms = [round(draws[spread]()) for _ in range(number)]
        found = measured(durations_ms)
        assert found.p50_seconds == pytest.approx(percentile(durations_ms, 0.5), rel=0.1)
        assert found.p95_seconds == pytest.approx(percentile(durations_ms, 0.95), rel=0.1)


@pytest.mark.parametrize("duration_ms", [20, 99, 100, 1000, 29_999, 30_000, 86_400_000])
def test_one_answer_is_within_a_tenth_too(duration_ms: int) -> None:
    found = measured([duration_ms])
    assert found.p50_seconds == found.p95_seconds
    assert found.p50_seconds == pytest.approx(duration_ms / 1000, rel=0.1)


def test_no_time_at_all_is_in_the_first_bucket() -> None:
    # A clock that was set back makes a time that is less than none.
    assert {answer_time_bucket(duration_ms) for duration_ms in (-5, 0, 1)} == {0}
    assert measured([0]) == AnswerTime(0.0009, 0.0009)


def test_every_bucket_holds_what_it_says() -> None:
    for duration_ms in (2, 17, 1000, 30_000, 600_000):
        bucket = answer_time_bucket(duration_ms)
        assert ANSWER_TIME_GROWTH ** (bucket - 1) < duration_ms <= ANSWER_TIME_GROWTH**bucket


def test_few_slow_answers_are_beyond_the_95th_percentile() -> None:
    assert measured([1000] * 95 + [30_000] * 5).p95_seconds == pytest.approx(1, rel=0.1)
    assert measured([1000] * 94 + [30_000] * 6).p95_seconds == pytest.approx(30, rel=0.1)
