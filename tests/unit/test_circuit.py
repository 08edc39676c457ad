"""When OpenAI is asked at all, by a clock that stands still."""

import pytest
from structlog.testing import capture_logs

from session_service.circuit import (
    BUDGET_SECONDS,
    FAILED_TO_OPEN,
    FREE_RETRIES,
    PROBE_SECONDS,
    SILENT_TO_OPEN,
    Attempt,
    Circuit,
    RetryBudget,
    patience_seconds,
)

PATIENCE = 5.0


class Clock:
    """A time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit("test", PATIENCE, clock)


def begun(circuit: Circuit, **kind: bool) -> Attempt:
    attempt = circuit.admit(**kind)
    assert attempt is not None
    return attempt


def fail(circuit: Circuit, times: int = 1, **kind: bool) -> None:
    for _ in range(times):
        begun(circuit, **kind).ended(is_alive=False)


def opened(circuit: Circuit) -> None:
    fail(circuit, FAILED_TO_OPEN)
    assert circuit.is_open


def test_it_opens_when_so_many_calls_fail_in_a_row(circuit: Circuit) -> None:
    fail(circuit, FAILED_TO_OPEN - 1)
    assert not circuit.is_open
    fail(circuit)
    assert circuit.admit() is None


def test_any_answer_between_begins_the_count_anew(circuit: Circuit) -> None:
    fail(circuit, FAILED_TO_OPEN - 1)
    begun(circuit).ended(is_alive=True)
    fail(circuit, FAILED_TO_OPEN - 1)
    assert not circuit.is_open


def test_retries_of_one_caller_do_not_open_it_and_their_answers_count(circuit: Circuit) -> None:
    fail(circuit, 5 * FAILED_TO_OPEN, is_retry=True)
    fail(circuit, FAILED_TO_OPEN - 1)
    begun(circuit, is_retry=True).ended(is_alive=True)
    fail(circuit)
    assert not circuit.is_open


def test_callers_who_leave_say_nothing(circuit: Circuit, clock: Clock) -> None:
    for _ in range(5 * FAILED_TO_OPEN):
        attempt = begun(circuit)
        clock.now += PATIENCE / 2
        attempt.ended(is_alive=None)
    assert not circuit.is_open


def test_it_opens_when_so_many_are_silent_though_they_go_on_waiting(
    circuit: Circuit, clock: Clock
) -> None:
    waiting = [begun(circuit) for _ in range(SILENT_TO_OPEN)]
    clock.now += PATIENCE * 0.99
    assert not circuit.is_open
    clock.now += PATIENCE * 0.01
    assert circuit.admit() is None
    waiting[0].ended(is_alive=True)
    assert not circuit.is_open, "a slow OpenAI is not down"
    clock.now += 10 * PATIENCE
    assert not circuit.is_open, "each is silent once"


def test_silence_counts_in_a_row_and_not_only_at_once(circuit: Circuit, clock: Clock) -> None:
    for _ in range(SILENT_TO_OPEN):
        attempt = begun(circuit)
        clock.now += 2 * PATIENCE
        attempt.ended(is_alive=None)  # at its deadline
    assert circuit.is_open


def test_an_answer_in_time_is_no_silence(circuit: Circuit, clock: Clock) -> None:
    for _ in range(3 * SILENT_TO_OPEN):
        early, late = begun(circuit), begun(circuit)
        clock.now += PATIENCE / 2
        late.ended(is_alive=True)
        clock.now += PATIENCE / 3
        early.ended(is_alive=True)
    assert not circuit.is_open


def test_what_may_be_slow_is_not_counted_as_silent(circuit: Circuit, clock: Clock) -> None:
    for _ in range(2 * SILENT_TO_OPEN):
        begun(circuit, may_be_slow=True)
    clock.now += 2 * PATIENCE
    assert not circuit.is_open


def test_one_probe_at_a_time_goes_through(circuit: Circuit, clock: Clock) -> None:
    opened(circuit)
    clock.now += PROBE_SECONDS
    probe = begun(circuit)
    assert circuit.admit() is None
    clock.now += PATIENCE * 0.9
    assert circuit.admit() is None
    probe.ended(is_alive=False)
    clock.now += PROBE_SECONDS * 0.9
    assert circuit.admit() is None
    clock.now += PROBE_SECONDS * 0.1
    probe = begun(circuit)
    probe.ended(is_alive=True)
    assert all(circuit.admit() for _ in range(100))


def test_a_silent_probe_does_not_hold_up_the_next(circuit: Circuit, clock: Clock) -> None:
    opened(circuit)
    clock.now += PROBE_SECONDS
    silent = begun(circuit)
    clock.now += PATIENCE
    begun(circuit)
    silent.ended(is_alive=False)  # it is the other's turn
    clock.now += PROBE_SECONDS
    assert circuit.admit() is None
    assert circuit.is_open


def test_a_probe_whose_caller_leaves_makes_room_for_the_next(
    circuit: Circuit, clock: Clock
) -> None:
    opened(circuit)
    clock.now += PROBE_SECONDS
    begun(circuit).ended(is_alive=None)
    assert circuit.admit() is not None


def test_what_nobody_waits_for_counts_neither_way(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, 5 * FAILED_TO_OPEN, is_background=True)
    for _ in range(2 * SILENT_TO_OPEN):
        begun(circuit, is_background=True)
    clock.now += PATIENCE
    assert not circuit.is_open
    fail(circuit, FAILED_TO_OPEN - 1)
    begun(circuit, is_background=True).ended(is_alive=True)
    fail(circuit)
    assert circuit.is_open


def test_what_nobody_waits_for_is_held_back_but_takes_no_probe(
    circuit: Circuit, clock: Clock
) -> None:
    opened(circuit)
    assert circuit.admit(is_background=True) is None
    clock.now += PROBE_SECONDS
    fail(circuit, 3, is_background=True)  # no user is about
    begun(circuit)
    assert circuit.admit(is_background=True) is None


def test_opening_and_closing_are_logged_once_each(circuit: Circuit, clock: Clock) -> None:
    with capture_logs() as captured:
        attempts = [begun(circuit) for _ in range(2 * FAILED_TO_OPEN)]
        for attempt in attempts:
            attempt.ended(is_alive=False)
        for _ in range(10):
            circuit.admit()
        clock.now += 2.5
        begun(circuit).ended(is_alive=True)
        begun(circuit).ended(is_alive=True)
    assert [(line["event"], line["api"]) for line in captured] == [
        ("openai circuit opened", "test"),
        ("openai circuit closed", "test"),
    ]
    assert (captured[0]["failed"], captured[0]["silent"]) == (FAILED_TO_OPEN, 0)
    assert captured[1]["open_seconds"] == 2.5


@pytest.mark.parametrize(
    ("timeout", "patience"), [(600, 5), (30, 5), (20, 5), (10, 2.5), (1, 0.25)]
)
def test_patience_fits_into_the_time_there_is(timeout: float, patience: float) -> None:
    assert patience_seconds(timeout) == patience


def test_few_callers_have_a_few_retries_each(clock: Clock) -> None:
    budget = RetryBudget(clock)
    budget.called()
    assert [budget.take() for _ in range(FREE_RETRIES + 1)] == [True] * FREE_RETRIES + [False]


def test_retries_of_many_are_a_tenth_of_their_calls(clock: Clock) -> None:
    budget = RetryBudget(clock)
    for _ in range(5000):
        budget.called()
        clock.now += BUDGET_SECONDS / 10_000
    assert sum(budget.take() for _ in range(5000)) == 500


def test_the_budget_is_one_of_the_last_seconds(clock: Clock) -> None:
    budget = RetryBudget(clock)
    while budget.take():
        pass
    clock.now += BUDGET_SECONDS - 1
    assert not budget.take()
    clock.now += 1
    assert budget.take()
