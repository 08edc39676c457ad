"""`python -m tests.bench`: our chain beside what else one would write, in one run on this machine.

Everything is on loopback, and asks the same stand-in for OpenAI. Exits with 1 where somebody
answered wrongly; a goal that is missed is only said. `--quick` shows that it works, no more.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bench import growth, report
from tests.bench.contestants import Contestant, running_chain, running_fastapi, running_upstream
from tests.bench.creates import Run, run_in_turns
from tests.bench.growth import StoreTime
from tests.bench.processes import ROOT, CannotRun, peak_mib

_LIMIT_SECONDS = 300.0
"""Should anything hang."""
_STORE_ROUNDS = 15
"""A round in the store takes some 100 ms."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    """At 64 connections, of which much is said; `few_rounds` for the rest."""
    few_rounds: int
    seconds: float
    """Of one run at 64 connections; half as long at one."""
    sizes: tuple[int, int]
    """Of the stores whose statistics are asked for."""


FULL = Plan(rounds=5, few_rounds=3, seconds=1.5, sizes=(1_000, 1_000_000))
QUICK = Plan(rounds=1, few_rounds=1, seconds=0.4, sizes=(1_000, 10_000))


async def bench(plan: Plan) -> None:
    """Runs everything and prints what came out. Raises CannotRun."""
    _say(f"chatkit bench: {report.machine()}")
    _say(
        f"in turns, {plan.rounds} rounds at 64 connections, {plan.few_rounds} of the rest;"
        f" medians (least-most); ratios beside {report.PEER}\n"
    )
    data = ROOT / "data"  # on a real disk, where /tmp may be none
    data.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data) as name:
        directory = Path(name)
        async with running_upstream(directory) as upstream:
            creates, peaks = await _creates(plan, directory, upstream)
            _say("creates, through the whole chain")
            _say(report.creates_table(creates, peaks) + "\n")
            times, reads = await _growth(plan, directory, upstream.port)
        _say(report.growth_table(times, reads, plan.sizes) + "\n")
    if plan.rounds == 1:
        _say("goals: not judged, one short round says nothing")
        return
    for goal in report.goals(creates, times, plan.sizes):
        _say(str(goal))


async def _creates(
    plan: Plan, directory: Path, upstream: Contestant
) -> tuple[list[Run], dict[str, float | None]]:
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
        return runs, {one.name: peak_mib(one.processes) for one in contestants}


async def _growth(
    plan: Plan, directory: Path, upstream_port: int
) -> tuple[list[StoreTime], list[Run]]:
    small, large = (directory / f"{size}.db" for size in plan.sizes)
    for path, size in zip((small, large), plan.sizes, strict=True):
        await growth.fill(path, size)
    times = await growth.time_in_store(small, large, plan.sizes, _STORE_ROUNDS)
    return times, await growth.time_over_http(
        directory, upstream_port, small, large, plan.few_rounds, plan.seconds / 2
    )


async def _bounded(plan: Plan) -> None:
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does by itself: what was started is stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(_LIMIT_SECONDS):
        await bench(plan)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, for CI")
    plan = QUICK if parser.parse_args().quick else FULL
    try:
        asyncio.run(_bounded(plan))
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
