"""Loads contestants in turns, so that what disturbs one of them disturbs all."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.contestants import Contestant, load
from tests.bench.load import Figures, Orders
from tests.bench.processes import cpu_seconds


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant, once."""

    contestant: Contestant
    connections: int
    figures: Figures
    cpu_us: float
    """CPU time of the contestant's processes per request; NaN where it cannot be known."""


async def run_in_turns(
    contestants: Sequence[Contestant], connections: int, rounds: int, seconds: float
) -> list[Run]:
    """Returns the runs in the order of time: A B C, A B C, … Raises CannotRun."""
    return [
        await run(contestant, connections, seconds)
        for _ in range(rounds)
        for contestant in contestants
    ]


async def run(contestant: Contestant, connections: int, seconds: float) -> Run:
    """Raises CannotRun, also where an answer was wrong."""
    before = cpu_seconds(contestant.pids)
    orders = Orders(
        port=contestant.port,
        connections=connections,
        warm_up_seconds=seconds / 5,
        seconds=seconds,
        expected=contestant.expected,
        requests=contestant.requests,
    )
    figures = Figures(**await load(contestant, "tests.bench.load", orders))
    used = cpu_seconds(contestant.pids) - before
    return Run(contestant, connections, figures, used / figures.answered * 1_000_000)


def of(runs: Sequence[Run], name: str, connections: int) -> Sequence[Run]:
    """Returns the runs of one contestant in the order of time."""
    return [run for run in runs if (run.contestant.name, run.connections) == (name, connections)]


def rates(runs: Sequence[Run], name: str, connections: int) -> Sequence[float]:
    """Returns the requests per second of every round."""
    return [run.figures.per_second for run in of(runs, name, connections)]
