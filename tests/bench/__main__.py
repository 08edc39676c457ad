"""`python -m tests.bench`: our chain beside what else one would write, in one run on this machine.

Everything is on loopback, and asks the same stand-in for OpenAI. Exits with 1 where somebody
answered wrongly; a goal that is missed is only said. `--quick` shows that it works, no more;
`--only streams` runs one part.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import growth, report
from tests.bench.contestants import (
    Contestant,
    running_chain,
    running_fastapi,
    running_official,
    running_own_chat,
    running_upstream,
)
from tests.bench.creates import run_in_turns
from tests.bench.overload import TIMES, overload
from tests.bench.processes import ROOT, CannotRun, peak_mib
from tests.bench.report import Goal
from tests.bench.streams import StreamRun, run_streams_in_turns, warm_up

_LIMIT_SECONDS = 600.0
"""Should anything hang."""
_STORE_ROUNDS = 15
"""A round in the store takes some 100 ms."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    """At 64 connections and at 20 streams, of which much is said; `few_rounds` for the rest."""
    few_rounds: int
    seconds: float
    """Of one run at 64 connections; half as long at one."""
    sizes: tuple[int, int]
    """Of the stores whose statistics are asked for."""
    events: Mapping[int, int]
    """Of a run, by how many streams there are at once; but one answer of each stream at least."""


FULL = Plan(
    rounds=5,
    few_rounds=3,
    seconds=1.5,
    sizes=(1_000, 1_000_000),
    events={1: 4_000, 20: 16_000, 100: 20_000},
)
QUICK = Plan(rounds=1, few_rounds=1, seconds=0.4, sizes=(1_000, 10_000), events={1: 200, 20: 4_000})


async def bench(plan: Plan, parts: Sequence[str]) -> None:
    """Runs the parts and prints what came out. Raises CannotRun."""
    _say(f"chatkit bench: {report.machine()}")
    _say(
        f"in turns, {plan.rounds} rounds at 64 connections and at 20 streams, {plan.few_rounds} of"
        f" the rest; medians (least-most); ratios beside {report.PEER}, and the {report.OFFICIAL}"
        " way (FastAPI and ChatKitServer in one process)\n"
    )
    goals: list[Goal] = []
    data = ROOT / "data"  # on a real disk, where /tmp may be none
    data.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data) as name:
        directory = Path(name)
        async with running_upstream(directory) as upstream:
            for part in parts:
                goals += await _PARTS[part](plan, directory, upstream)
    if plan.rounds == 1:
        _say("goals: not judged, one short round says nothing")
        return
    for goal in goals:
        _say(str(goal))


async def _creates(plan: Plan, directory: Path, upstream: Contestant) -> list[Goal]:
    async with contextlib.AsyncExitStack() as stack:
        contestants = [
            await stack.enter_async_context(
                running_chain(directory, upstream.port, directory / "creates.db")
            ),
            await stack.enter_async_context(running_fastapi(directory, upstream.port, workers=2)),
            await stack.enter_async_context(running_fastapi(directory, upstream.port, workers=1)),
            upstream,
        ]
        runs = await run_in_turns(contestants, 64, plan.rounds, plan.seconds)
        runs += await run_in_turns(contestants, 1, plan.few_rounds, plan.seconds / 2)
        peaks = {one.name: peak_mib(one.processes) for one in contestants}
    _say("creates, through the whole chain")
    _say(report.creates_table(runs, peaks) + "\n")
    return report.creates_goals(runs)


async def _streams(plan: Plan, directory: Path, upstream: Contestant) -> list[Goal]:
    async with (
        running_own_chat(directory, upstream.port) as chain,
        running_official(directory, upstream.port) as official,
    ):
        contestants = (chain, official)
        await warm_up(contestants)
        runs: list[StreamRun] = []
        for streams, events in plan.events.items():
            rounds = plan.rounds if streams == 20 else plan.few_rounds
            runs += await run_streams_in_turns(contestants, streams, rounds, events)
        peaks = {one.name: peak_mib(one.processes) for one in contestants}
    _say("streamed answers of the self-hosted mode, through the whole chain")
    _say(report.streams_table(runs, peaks) + "\n")
    return report.streams_goals(runs)


async def _statistics(plan: Plan, directory: Path, upstream: Contestant) -> list[Goal]:
    small, large = (directory / f"{size}.db" for size in plan.sizes)
    for path, size in zip((small, large), plan.sizes, strict=True):
        await growth.fill(path, size)
    times = await growth.time_in_store(small, large, plan.sizes, _STORE_ROUNDS)
    reads = await growth.time_over_http(
        directory, upstream.port, small, large, plan.few_rounds, plan.seconds / 2
    )
    _say(report.growth_table(times, reads, plan.sizes) + "\n")
    return report.growth_goals(times, plan.sizes)


async def _overload(plan: Plan, directory: Path, upstream: Contestant) -> list[Goal]:
    async with running_chain(directory, upstream.port, directory / "overload.db") as chain:
        seen = [await overload(chain, 2 * plan.seconds) for _ in range(plan.few_rounds)]
    _say(f"creates, {TIMES:g} times as many as are answered at best")
    _say(report.overload_table(seen) + "\n")
    return report.overload_goals(seen)


_PARTS = {
    "creates": _creates,
    "streams": _streams,
    "statistics": _statistics,
    "overload": _overload,
}


async def _bounded(plan: Plan, parts: Sequence[str]) -> None:
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does by itself: what was started is stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(_LIMIT_SECONDS):
        await bench(plan, parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, for CI")
    parser.add_argument("--only", choices=_PARTS, help="one part alone")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    parts = (arguments.only,) if arguments.only else tuple(_PARTS)
    try:
        asyncio.run(_bounded(plan, parts))
    except CannotRun as error:
        sys.exit(str(error))
    except TimeoutError:
        sys.exit(f"not done within {_LIMIT_SECONDS:.0f} s")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; everything that was started is stopped")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
