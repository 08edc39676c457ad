"""Three times as many requests as the chain can answer, beside the most that it does answer."""

from dataclasses import dataclass

from tests.bench.arrivals import ArrivalFigures, ArrivalOrders
from tests.bench.contestants import Contestant, load
from tests.bench.creates import run
from tests.bench.load import Figures

TIMES = 3.0
_CONNECTIONS = 64
"""At once: with as many, the chain answers most."""
_MOST_CONNECTIONS = 4_000


@dataclass(frozen=True, slots=True)
class Overload:
    """What was answered without and with too much to do."""

    best: Figures
    at_times: ArrivalFigures

    @property
    def kept(self) -> float:
        """Returns the share of the best throughput that is left."""
        return self.at_times.accepted_per_second / self.best.per_second


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
    figures = ArrivalFigures(**await load(chain, "tests.bench.arrivals", orders))
    for process in chain.processes:
        process.check()
    return Overload(best, figures)
