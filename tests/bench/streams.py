"""Streamed answers of the self-hosted mode beside the official way, in turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from tests.bench.bench import Bench
from tests.bench.contestants import CHAIN, Contestant, load
from tests.bench.http_requests import chat_requests
from tests.bench.peers import OFFICIAL_CHAT, running_official_chat
from tests.bench.processes import cpu_seconds, peak_mib
from tests.bench.report import Findings, Goal, ratios, spread, table
from tests.bench.stream_load import StreamFigures, StreamOrders
from tests.bench.upstream_answer import DELTAS

_MOST_SAID_OF = 20
"""Streams: measured in more rounds."""
_GOALS = (20, 100)

TITLE = "Model streams"
EXPLANATION = f"""\
Answers of {DELTAS} deltas, which the upstream writes at once: the time is the contestants' own.
  chain     gateway and session service in self-hosted mode: also users, a durable store, logs
  official  FastAPI and ChatKitServer in one process, as in OpenAI's quickstart, all in memory"""


@dataclass(frozen=True, slots=True)
class StreamRun:
    """One contestant, once."""

    contestant: Contestant
    streams: int
    figures: StreamFigures
    cpu_us: float
    """CPU time of the contestant's processes per event; NaN where it cannot be known."""


async def measure(bench: Bench) -> Findings:
    plan, directory, port = bench.plan, bench.directory, bench.upstream.port
    most = max(plan.events)
    chain = await bench.own_chat()
    chain = replace(chain, name=CHAIN, requests=await chat_requests(chain.port, most))
    async with running_official_chat(directory, port, most) as official:
        contestants = (chain, official)
        for contestant in contestants:
            await _run(contestant, streams=4, answers=1)  # what is built at first use
        runs: list[StreamRun] = []
        for streams, events in plan.events.items():
            rounds = plan.rounds if streams == _MOST_SAID_OF else plan.few_rounds
            answers = max(1, events // streams // DELTAS)
            for _ in range(rounds):
                runs += [await _run(contestant, streams, answers) for contestant in contestants]
        peaks = {one.name: peak_mib(one.pids) for one in contestants}
    goals = [
        Goal(f"chain beside {OFFICIAL_CHAT}, {streams} streams", _times_as_fast(runs, streams), 2)
        for streams in _GOALS
        if streams in plan.events
    ]
    cpu = _times_the_cpu(runs, _MOST_SAID_OF)
    bound = Goal(f"CPU per event beside {OFFICIAL_CHAT}", cpu, 1.2, at_most=True)
    return Findings(_table(runs, peaks), goals, [bound])


async def _run(contestant: Contestant, streams: int, answers: int) -> StreamRun:
    before = cpu_seconds(contestant.pids)
    orders = StreamOrders(contestant.port, streams, answers, DELTAS, contestant.requests)
    figures = StreamFigures(**await load(contestant, "tests.bench.stream_load", orders))
    used = cpu_seconds(contestant.pids) - before
    return StreamRun(contestant, streams, figures, used / figures.events * 1_000_000)


def _table(runs: Sequence[StreamRun], peaks_mib: Mapping[str, float]) -> str:
    first = ("first event: p50", "p95 ms")
    rows: list[Sequence[str]] = [
        ("", "streams", "events/s", "chain is", *first, "CPU µs/event", "MiB")
    ]
    for streams in sorted({run.streams for run in runs}):
        for name, mib in peaks_mib.items():
            own = _of(runs, name, streams)
            factor = spread(_times_as_fast(runs, streams), "{:.2f}x") if name != CHAIN else ""
            rows.append(
                (
                    name,
                    f"{streams}",
                    spread([run.figures.per_second for run in own], "{:,.0f}"),
                    factor,
                    f"{median(run.figures.first_p50_ms for run in own):,.0f}",
                    f"{median(run.figures.first_p95_ms for run in own):,.0f}",
                    f"{median(run.cpu_us for run in own):,.0f}",
                    f"{mib:,.0f}",
                )
            )
    return table(rows, left=1)


def _times_as_fast(runs: Sequence[StreamRun], streams: int) -> Sequence[float]:
    chain, official = (
        [run.figures.per_second for run in _of(runs, name, streams)]
        for name in (CHAIN, OFFICIAL_CHAT)
    )
    return ratios(chain, official)


def _times_the_cpu(runs: Sequence[StreamRun], streams: int) -> Sequence[float]:
    chain, official = (
        [run.cpu_us for run in _of(runs, name, streams)] for name in (CHAIN, OFFICIAL_CHAT)
    )
    return ratios(chain, official)


def _of(runs: Sequence[StreamRun], name: str, streams: int) -> Sequence[StreamRun]:
    return [run for run in runs if (run.contestant.name, run.streams) == (name, streams)]
