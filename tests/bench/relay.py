"""Streams that are relayed event by event: how many at once, before events come later and later."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.bench import Bench
from tests.bench.contestants import Contestant, load
from tests.bench.http_requests import chat_requests
from tests.bench.pacer import EVENTS_PER_SECOND
from tests.bench.relay_load import RelayFigures, RelayOrders
from tests.bench.report import Findings, Goal, table
from tests.bench.upstream import ENDLESS

_MOST_GROWTH_MS = 1000 / EVENTS_PER_SECOND
"""From the first to the last quarter of a run: the time from one event of a stream to the next."""
_LEAST_SHARE = 0.95
"""Of the events that are due, that have to arrive."""
_TIMES = 2
"""To try, should the machine have been busy with something else."""
_WANTED = 500

TITLE = "Relayed streams"
EXPLANATION = (
    f"Answers of {EVENTS_PER_SECOND} small events a second without end, through gateway and session"
    " service in self-hosted mode. An event's delay is from the upstream's writing to the client's"
    " reading: here are the medians of the first and of the last quarter of a run. It is flat where"
    f" it grows by less than {_MOST_GROWTH_MS:g} ms. More streams are tried until it is not, twice."
)


@dataclass(frozen=True, slots=True)
class _Trial:
    """So many streams at once."""

    streams: int
    figures: RelayFigures

    @property
    def is_flat(self) -> bool:
        seen = self.figures
        return (
            seen.last_p50_ms - seen.first_p50_ms < _MOST_GROWTH_MS
            and seen.per_second >= _LEAST_SHARE * self.streams * EVENTS_PER_SECOND
        )


async def measure(bench: Bench) -> Findings:
    chain = await bench.own_chat()
    trials: list[_Trial] = []
    for streams in bench.plan.relayed:
        for _ in range(_TIMES):
            figures = await _run(chain, streams, bench.plan.relay_seconds)
            trials.append(_Trial(streams, figures))
            if trials[-1].is_flat:
                break
        else:
            break
    flat = max((trial.streams for trial in trials if trial.is_flat), default=0)
    remark = f"Flat up to {flat} streams, which are {flat * EVENTS_PER_SECOND:,} events a second."
    goal = Goal("relayed at once without growing delay", [flat], _WANTED, " streams")
    return Findings(_table(trials), [goal], remark=remark)


async def _run(chain: Contestant, streams: int, seconds: float) -> RelayFigures:
    requests = await chat_requests(chain.port, streams, ENDLESS)
    orders = RelayOrders(chain.port, seconds, chain.pids, requests)
    return RelayFigures(**await load(chain, "tests.bench.relay_load", orders))


def _table(trials: Sequence[_Trial]) -> str:
    rows = [
        ("streams", "events/s", "arrived/s", "p50 ms: first", "last", "p99 ms", "CPU µs/event", "")
    ]
    for trial in trials:
        seen = trial.figures
        rows.append(
            (
                f"{trial.streams}",
                f"{trial.streams * EVENTS_PER_SECOND:,}",
                f"{seen.per_second:,.0f}",
                f"{seen.first_p50_ms:,.1f}",
                f"{seen.last_p50_ms:,.1f}",
                f"{seen.p99_ms:,.1f}",
                f"{seen.cpu_us:,.0f}",
                "flat" if trial.is_flat else "grows",
            )
        )
    return table(rows, left=0)
