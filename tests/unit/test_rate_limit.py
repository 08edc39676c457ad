"""So many calls a user in any 60 s, and the wait that a refusal names is long enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_service.errors import RateLimited
from session_service.rate_limit import WINDOW_SECONDS, LocalRateLimit, Window


def admitted(window: Window, user: str, now: float) -> bool:
    try:
        window.check(user, now)
    except RateLimited:
        return False
    window.add(user, now)
    return True


def test_the_first_calls_are_admitted_and_the_next_is_not() -> None:
    limit = Window(3)
    assert [admitted(limit, "7", now) for now in (0, 1, 2, 3)] == [True, True, True, False]


def test_the_wait_that_is_named_is_enough_and_not_too_long() -> None:
    limit = Window(2)
    limit.add("7", 100)
    limit.add("7", 130)
    with pytest.raises(RateLimited) as caught:
        limit.check("7", 140)
    assert caught.value.retry_after_seconds == 20
    assert not admitted(limit, "7", 159.9)
    assert admitted(limit, "7", 160)
    assert not admitted(limit, "7", 189.9)
    assert admitted(limit, "7", 190)


def test_a_refused_call_does_not_count() -> None:
    limit = Window(1)
    limit.add("7", 0)
    assert not any(admitted(limit, "7", now) for now in range(1, 60))
    assert admitted(limit, "7", 60)


def test_users_do_not_limit_each_other() -> None:
    limit = Window(1)
    assert all(admitted(limit, f"u{number}", 0) for number in range(100))
    assert not any(admitted(limit, f"u{number}", 59) for number in range(100))


async def test_0_admits_all() -> None:
    limit = LocalRateLimit(0)
    for _ in range(10_000):
        await limit.admit("7")


def test_who_has_been_idle_is_forgotten() -> None:
    limit = Window(5)
    for number in range(1000):
        limit.add(f"u{number}", number / 1000)
    limit.add("late", WINDOW_SECONDS + 2)
    assert len(limit._admitted) == 1


def test_who_has_used_up_their_limit_elsewhere_waits_as_long_as_that_says() -> None:
    limit = Window(3)
    limit.add("7", 100)
    limit.fill("7", 130)
    with pytest.raises(RateLimited) as caught:
        limit.check("7", 105)
    assert caught.value.retry_after_seconds == 25
    assert not admitted(limit, "7", 129.9)
    assert admitted(limit, "7", 130)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=60), st.integers(1, 4)
)
def test_no_window_holds_more_than_the_limit(calls: list[tuple[str, float]], most: int) -> None:
    limit, now = Window(most), 1000.0
    times: dict[str, list[float]] = {user: [] for user in "abc"}
    for user, wait in calls:
        now += wait
        recent = [time for time in times[user] if time > now - WINDOW_SECONDS]
        assert admitted(limit, user, now) == (len(recent) < most)
        if len(recent) < most:
            times[user].append(now)
