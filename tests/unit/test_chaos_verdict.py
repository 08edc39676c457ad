"""What a run of `make chaos` calls broken."""

from tests.chaos.client import CLOSED, ERROR_EVENT, OVERLOAD, REFUSED, Outcome
from tests.chaos.verdict import Promise, judge, percentile

GONE = Promise(frozenset(("UNAVAILABLE",)), p99_seconds=2, recovery_seconds=2)


def outcome(said: str = "", *, answered: bool = True, seconds: float = 0.1) -> Outcome:
    return Outcome("create", "an-id", 100.0, 100.0 + seconds, answered, said)


def test_successes_and_failures_that_were_promised_break_nothing() -> None:
    row = judge("a", GONE, [outcome(), outcome("UNAVAILABLE")], [0.5, 1.5], [])
    assert (row.requests, row.answered, row.succeeded, row.broken) == (2, 2, 1, [])
    assert row.recovery_seconds == 1.5


def test_another_reason_is_unexpected() -> None:
    for said in ("INTERNAL", "UNAUTHENTICATED", "500 without JSON", ERROR_EVENT):
        row = judge("a", GONE, [outcome(said)], [], [])
        assert (row.unexpected, row.broken) == (1, [f"unexpected: 1 x create: {said}"])


def test_no_answer_is_expected_only_where_connections_are_cut() -> None:
    silence = [outcome(CLOSED, answered=False)]
    assert judge("a", GONE, silence, [], []).unexpected == 1
    assert judge("a", Promise(cuts_connections=True), silence, [], []).broken == []
    assert judge("a", Promise(frozenset((CLOSED,))), silence, [], []).broken == []
    refused = [outcome(REFUSED, answered=False)]
    assert judge("a", GONE, refused, [], []).unexpected == 1


def test_what_is_lost_is_told_and_not_more_of_it_than_can_be_read() -> None:
    row = judge("a", GONE, [outcome()], [], [f"session {number}" for number in range(9)])
    assert row.lost == 9
    assert row.broken == [*(f"lost: session {number}" for number in range(5)), "and 4 more"]


def test_answers_and_recoveries_that_come_late_are_told() -> None:
    late = judge("a", GONE, [outcome(seconds=3)], [2.5], [])
    assert late.broken == ["p99 is 3.00 s, promised 2 s", "recovery took 2.50 s, promised 2 s"]
    assert judge("a", GONE, [outcome(seconds=3)], [2.5], [], patience=3).broken == []


def test_times_are_not_judged_while_the_machine_is_busy() -> None:
    row = judge("a", GONE, [outcome(seconds=3), outcome("INTERNAL")], [], [], late_seconds=1)
    assert row.broken == ["unexpected: 1 x create: INTERNAL"]
    assert len(row.notes) == 1
    assert row.notes[0].startswith("p99 is 3.00 s, promised 2 s; not judged: ")


def test_what_is_refused_as_too_much_is_told_and_breaks_nothing() -> None:
    row = judge("a", Promise(), [outcome(), outcome(OVERLOAD)], [], [])
    assert (row.broken, row.notes) == ([], ["1 refused, as there was too much to do"])


def test_what_a_fault_found_by_itself_is_told_first() -> None:
    assert judge("a", GONE, [outcome("INTERNAL")], [], [], ["exit code 1"]).broken[0] == (
        "exit code 1"
    )


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([], 99) == 0
    assert percentile([7.0], 50) == 7
