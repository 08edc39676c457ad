"""How much new work is taken, by how long work has to wait; time is given."""

import itertools
import math
from collections.abc import Callable

import pytest

from runtime.admission import BURST, FEW, MOST, TARGET_SECONDS, Admission, Counts

LOOK = 0.02
LATE = 4 * TARGET_SECONDS


class Process:
    """A clock, and a queue that grows with what is admitted beyond what can be done."""

    def __init__(self, per_second: float = 1000) -> None:
        self.admission = Admission(few=0, random=even())
        self.per_second = per_second
        self.now = 1000.0
        self.queue = 0.0
        self.done = 0.0

    def wait(self, seconds: float, delay: float = 0.0) -> float:
        """Lets time pass with that delay, and returns the share after it."""
        for _ in range(round(seconds / LOOK)):
            self.now += LOOK
            self.admission.observe(self.now, delay)
        return self.admission.share

    def load(self, seconds: float, offered_per_second: float) -> list[float]:
        """Lets work arrive and be done, and returns the delays that there were."""
        delays = []
        owed = 0.0
        for _ in range(round(seconds / LOOK)):
            owed += offered_per_second * LOOK
            while owed >= 1:
                owed -= 1
                self.queue += self.admission.admits(FEW)
            done = min(self.queue, self.per_second * LOOK)
            self.queue -= done
            self.done += done
            self.wait(LOOK, self.queue / self.per_second)
            delays.append(self.queue / self.per_second)
        return delays


def even() -> Callable[[], float]:
    """Returns what stands in for random(): values spread evenly, the same in every run."""
    golden = itertools.accumulate(itertools.repeat(0.6180339887498949))
    return lambda: next(golden) % 1.0


def test_who_come_all_at_once_are_not_all_taken_before_it_is_known_what_that_does() -> None:
    process = Process()
    admission = process.admission
    process.wait(1)
    assert [admission.admits(already) for already in range(BURST + 3)] == [True] * BURST + [
        False
    ] * 3
    process.wait(LOOK)
    assert [admission.admits(BURST + more) for more in range(BURST + 1)] == [True] * BURST + [False]
    assert not admission.admits(math.inf)


def test_everything_is_taken_while_nothing_waits() -> None:
    process = Process()
    process.wait(60)
    assert all(process.admission.admits(FEW) for _ in range(1000))
    assert process.admission.take_counts() == Counts(admitted=1000)
    assert process.admission.take_counts() == Counts()


@pytest.mark.parametrize("seconds", [0.05, 1.0, 30.0])
def test_one_long_callback_is_no_overload(seconds: float) -> None:
    process = Process()
    process.wait(1)
    process.now += seconds
    process.admission.observe(process.now, seconds)
    assert process.wait(5) == 1.0


def test_a_burst_is_no_overload() -> None:
    process = Process()
    process.wait(1)
    assert process.wait(0.3, LATE) == 1.0
    assert process.wait(5) == 1.0


def test_the_first_look_comes_at_any_time() -> None:
    process = Process()
    process.admission.observe(process.now, LATE)
    assert process.admission.share == 1.0


def test_delay_that_stays_refuses_ever_more() -> None:
    process = Process()
    process.wait(1)
    first = process.wait(1, LATE)
    assert first < 0.6
    assert process.wait(1, LATE) < first / 2
    assert 0 < process.wait(60, LATE) < 0.02  # never nothing: or who would notice the end of it?


def test_few_pieces_of_work_are_always_taken_and_too_many_never() -> None:
    admission = Admission()
    assert admission.admits(MOST - 1)
    assert not admission.admits(MOST)
    for look in range(1000):
        admission.observe(look * LOOK, 10.0)
    assert all(admission.admits(FEW - 1) for _ in range(100))
    assert sum(admission.admits(FEW) for _ in range(1000)) < 100


@pytest.mark.parametrize("seconds", [0.6, 5.0])
def test_all_is_well_two_seconds_after_the_end(seconds: float) -> None:
    process = Process()
    assert process.wait(seconds, LATE) < 1.0
    assert process.wait(2) == 1.0


@pytest.mark.parametrize("times", [1.2, 3, 10, 30])
@pytest.mark.parametrize("per_second", [300, 1000])
def test_under_load_the_delay_stays_near_its_target_and_nobody_idles(
    times: float, per_second: float
) -> None:
    process = Process(per_second)
    process.load(2, times * per_second)
    process.queue = 0  # what came before it was seen is bounded by how many may be in flight
    process.done = 0
    delays = sorted(process.load(10, times * per_second))
    assert process.done > 0.9 * 10 * per_second
    assert delays[len(delays) * 99 // 100] < 5 * TARGET_SECONDS
