"""What the chain adds to the upstream's latency while there is little to do."""

from collections.abc import Sequence

from tests.bench.arrivals import ArrivalFigures, ArrivalOrders
from tests.bench.bench import Bench
from tests.bench.contestants import Contestant, load
from tests.bench.processes import CannotRun
from tests.bench.report import Findings, Goal, spread, table

_PER_SECOND = 200
_CONNECTIONS = 64

TITLE = "Added latency"
EXPLANATION = (
    f"{_PER_SECOND} creates a second at an even pace, whether or not those before have their"
    " answer: of the chain, and of the upstream alone. What the chain adds is the difference, round"
    " by round."
)


async def measure(bench: Bench) -> Findings:
    seconds = 3 * bench.plan.seconds
    chains: list[ArrivalFigures] = []
    upstreams: list[ArrivalFigures] = []
    chain = await bench.chain()
    for _ in range(bench.plan.few_rounds):
        upstreams.append(await _run(bench.upstream, seconds))
        chains.append(await _run(chain, seconds))
    added_p50, added_p99 = (
        [getattr(own, p) - getattr(floor, p) for own, floor in zip(chains, upstreams, strict=True)]
        for p in ("accepted_p50_ms", "accepted_p99_ms")
    )
    rows = [
        ("", "p50 ms", "p99 ms"),
        _row(chain.name, chains),
        _row(bench.upstream.name, upstreams),
    ]
    rows.append(("the chain adds", spread(added_p50, "{:.2f}"), spread(added_p99, "{:.2f}")))
    goals = (
        Goal("added latency, p50", added_p50, 2.5, " ms", at_most=True),
        Goal("added latency, p99", added_p99, 10, " ms", at_most=True),
    )
    return Findings(table(rows, left=1), goals)


async def _run(contestant: Contestant, seconds: float) -> ArrivalFigures:
    orders = ArrivalOrders(
        port=contestant.port,
        per_second=_PER_SECOND,
        connections=_CONNECTIONS,
        warm_up_seconds=0.5,
        seconds=seconds,
        requests=contestant.requests,
    )
    figures = ArrivalFigures(**await load(contestant, "tests.bench.arrivals", orders))
    if figures.lost or figures.refused_per_second:
        raise CannotRun(f"{contestant.name} did not answer {_PER_SECOND} requests a second")
    return figures


def _row(name: str, figures: Sequence[ArrivalFigures]) -> tuple[str, str, str]:
    return (
        name,
        spread([one.accepted_p50_ms for one in figures], "{:.2f}"),
        spread([one.accepted_p99_ms for one in figures], "{:.2f}"),
    )
