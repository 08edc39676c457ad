"""What a run of `make soak` calls flat."""

import random

import pytest

from tests.soak.verdict import DESCRIPTORS, MEMORY_MIB, TASKS, Bound, Trend, trend

MINUTES = [number * 10.0 for number in range(61)]
"""Ten of them, looked at every ten seconds."""


def of(*values: float) -> Trend:
    found = trend(list(zip(MINUTES, values, strict=False)))
    assert found is not None
    return found


def test_what_grows_in_the_warm_up_alone_is_flat() -> None:
    found = of(*(min(100.0, 50 + at) for at in MINUTES))
    assert (found.first, found.second, round(found.per_hour)) == (100, 100, 0)
    assert found.is_flat(MEMORY_MIB)


def test_noise_is_flat() -> None:
    noise = random.Random(1)
    assert of(*(100 + noise.uniform(-10, 10) for _ in MINUTES)).is_flat(DESCRIPTORS)


def test_one_peak_is_flat() -> None:
    assert of(*(500.0 if at == 400 else 20.0 for at in MINUTES)).is_flat(TASKS)


@pytest.mark.parametrize(("bound", "per_minute"), [(MEMORY_MIB, 2.5), (DESCRIPTORS, 5), (TASKS, 5)])
def test_what_grows_steadily_is_not_flat(bound: Bound, per_minute: float) -> None:
    found = of(*(50 + at / 60 * per_minute for at in MINUTES))
    assert found.per_hour == pytest.approx(per_minute * 60)
    assert not found.is_flat(bound)


def test_what_shrinks_is_flat() -> None:
    assert of(*(100 - at / 60 for at in MINUTES)).is_flat(MEMORY_MIB)


def test_too_few_looks_tell_nothing() -> None:
    assert trend([]) is None
    assert trend([(0, 1), (10, 1), (20, 1), (30, 1)]) is None
    assert trend([(5, 1)] * 10) is None
