"""Streamed answers of the self-hosted mode beside the official way, in turns."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.contestants import Contestant, load
from tests.bench.processes import cpu_seconds
from tests.bench.stream_load import StreamFigures, StreamOrders
from tests.bench.upstream_answer import DELTAS


@dataclass(frozen=True, slots=True)
class StreamRun:
    """One contestant, once."""

    contestant: Contestant
    connections: int
    figures: StreamFigures
    cpu_us: float | None
    """CPU time of the contestant's processes per event; None where it cannot be known."""


async def run_streams_in_turns(
    contestants: Sequence[Contestant], streams: int, rounds: int, events: int
) -> list[StreamRun]:
    """Returns the runs in the order of time: A B A B … Raises CannotRun."""
    return [
        await _run(contestant, streams, max(1, events // streams // DELTAS))
        for _ in range(rounds)
        for contestant in contestants
    ]


async def warm_up(contestants: Sequence[Contestant]) -> None:
    """Lets everybody build what is built with the first request."""
    for contestant in contestants:
        await _run(contestant, streams=4, answers=1)


async def _run(contestant: Contestant, streams: int, answers: int) -> StreamRun:
    before = cpu_seconds(contestant.processes)
    orders = StreamOrders(contestant.port, streams, answers, DELTAS, contestant.requests)
    figures = StreamFigures(**await load(contestant, "tests.bench.stream_load", orders))
    after = cpu_seconds(contestant.processes)
    for process in contestant.processes:
        process.check()
    used = None if before is None or after is None else after - before
    cpu_us = None if used is None else used / figures.events * 1_000_000
    return StreamRun(contestant, streams, figures, cpu_us)
