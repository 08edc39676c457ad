"""Three times as many requests as the chain can answer, beside the most that it does answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.arrivals import ArrivalFigures, ArrivalOrders
from tests.bench.bench import Bench
from tests.bench.contestants import Contestant, load
from tests.bench.load import Figures
from tests.bench.report import Findings, Goal, table
from tests.bench.rounds import run

TIMES = 3.0
_CONNECTIONS = 64
"""At once: with as many, the chain answers most."""
_MOST_CONNECTIONS = 4_000

TITLE = "Overload"
EXPLANATION = (
    f"Creates, {TIMES:g} times as many as are answered at best at {_CONNECTIONS} connections,"
    " whether or not those before have their answer. What is too much is to be refused at once, and"
    " the rest answered."
)


@dataclass(frozen=True, slots=True)
class Overload:
    """What was answered without and with too much to do."""

    best: Figures
    at_times: ArrivalFigures

    @property
    def kept(self) -> float:
        """Returns the share of the best throughput that is left."""
        return self.at_times.accepted_per_second / self.best.per_second


async def measure(bench: Bench) -> Findings:
    plan, chain = bench.plan, await bench.chain()
    seen = [await overload(chain, 2 * plan.seconds) for _ in range(plan.few_rounds)]
    goal = Goal("answered under overload, beside the best", [one.kept for one in seen], 0.9)
    return Findings(_table(seen), [goal])


async def overload(chain: Contestant, seconds: float, times: float = TIMES) -> Overload:
    """Measures both, one after the other. Raises CannotRun, as where something was refused before.

    Half a second and more passes until an overload is seen; that is not measured.
    """
    best = (await run(chain, _CONNECTIONS, seconds)).figures
    orders = ArrivalOrders(
        port=chain.port,
        per_second=times * best.per_second,
        connections=_MOST_CONNECTIONS,
        warm_up_seconds=1.5,
        seconds=seconds,
        requests=chain.requests,
    )
    return Overload(best, ArrivalFigures(**await load(chain, "tests.bench.arrivals", orders)))


def _table(seen: Sequence[Overload]) -> str:
    """Has a row for each round."""
    rows = [
        (
            *("best/s", "offered/s", "answered/s", "beside best"),
            *("answered: p50", "p99 ms", "refused: p50", "p99 ms", "lost"),
        )
    ]
    for one in seen:
        figures = one.at_times
        rows.append(
            (
                f"{one.best.per_second:,.0f}",
                f"{figures.offered_per_second:,.0f}",
                f"{figures.accepted_per_second:,.0f}",
                f"{one.kept:.2f}x",
                f"{figures.accepted_p50_ms:,.0f}",
                f"{figures.accepted_p99_ms:,.0f}",
                f"{figures.refused_p50_ms:,.0f}",
                f"{figures.refused_p99_ms:,.0f}",
                f"{figures.lost}",
            )
        )
    return table(rows, left=0)
