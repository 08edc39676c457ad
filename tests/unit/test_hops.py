"""The instrument of hops: what it times, whom it tells, and what it costs."""

import asyncio
import timeit

import pytest

from runtime import hops
from runtime.hops import Hop


def test_whoever_observes_hears_of_every_hop_when_it_is_left() -> None:
    heard: list[tuple[str, str, str | None]] = []

    with (
        hops.observing(lambda hop: heard.append((hop.name, hop.operation, hop.error))),
        Hop("gateway", "GET /"),
        Hop("rpc", "GetStats"),
    ):
        pass
    with Hop("store", "add"):
        pass

    assert heard == [("rpc", "GetStats", None), ("gateway", "GET /", None)]


async def test_hops_of_one_request_share_its_timings_in_the_tasks_that_it_begins_too() -> None:
    async def write() -> None:
        with Hop("store", "add"):
            await asyncio.sleep(0)

    with Hop("service", "CreateSession") as service:
        await asyncio.create_task(write())
    with Hop("store", "get") as alone:
        pass

    assert list(service.timings) == ["store", "service"]
    assert list(alone.timings) == ["store"]
    assert 0 < service.timings["store"] < service.timings["service"] == service.seconds


async def test_a_hop_within_its_like_counts_once() -> None:
    with Hop("store", "replace") as outer, Hop("store", "get"):
        pass

    assert outer.timings == {"store": outer.seconds}


async def test_what_was_noted_in_the_middle_is_not_counted_again() -> None:
    with Hop("rpc", "Process") as rpc:
        rpc.note()
        so_far = rpc.timings["rpc"]
    assert 0 < so_far < rpc.timings["rpc"] == pytest.approx(rpc.seconds)


def test_what_the_service_says_later_takes_the_place_of_what_it_said_before() -> None:
    with Hop("rpc", "Process") as rpc:
        rpc.learn("upstream;dur=9.8, store;dur=1.1")
        rpc.learn("upstream;dur=20.0, store;dur=3.1, evil;dur=7, store;dur=oops")

    assert (
        hops.server_timing(rpc.timings, "upstream", "store") == "upstream;dur=20.0, store;dur=3.1"
    )


class Refused(Exception):
    reason = "RATE_LIMITED"


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (Refused(), "RATE_LIMITED"),
        (ValueError("a secret"), "ValueError"),
        (asyncio.CancelledError(), "CANCELLED"),
    ],
)
def test_an_exception_that_passes_is_told_by_its_reason(raised: BaseException, error: str) -> None:
    with pytest.raises(type(raised)), Hop("upstream", "POST /chatkit/sessions") as hop:
        raise raised

    assert hop.error == error
    assert hops.current() is None


def test_who_answers_with_an_error_says_so_of_all_hops_around() -> None:
    with Hop("gateway", "POST /") as gateway, Hop("rpc", "Process") as rpc:
        hops.fail("UPSTREAM_TIMEOUT")
    hops.fail("nobody's")

    assert gateway.error == rpc.error == "UPSTREAM_TIMEOUT"


def test_a_hop_that_nobody_traces_costs_next_to_nothing() -> None:
    def hop() -> None:
        with Hop("store", "add"):
            pass

    def alike() -> None:  # by as much work that is nobody's, as machines differ
        sorted(str(number) for number in range(100))

    times = [min(timeit.repeat(work, number=500, repeat=20)) for work in (hop, alike)]

    assert times[0] < 2 * times[1]  # measured: 2 µs, a tenth of what this work takes
