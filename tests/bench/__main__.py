"""`python -m tests.bench`: our chain beside what one would use instead, in one run on this machine.

Everything is on loopback, and asks the same stand-in for OpenAI, in turns. A goal that is missed is
only said. Exits with 1 where somebody answered wrongly, and where a ratio is worse than it may be
on any machine, three times in a row: CI runs `--quick` for that.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench import (
    creates,
    growth,
    latency,
    overload,
    reads,
    relay,
    replicas,
    report,
    streams,
    verdict,
)
from tests.bench.bench import Bench
from tests.bench.contestants import running_upstream
from tests.bench.plan import FULL, QUICK, USUAL, Plan
from tests.bench.processes import ROOT, CannotRun

_LIMIT_SECONDS = 3600.0
"""Should anything hang."""
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A section of what is printed."""

    title: str
    explanation: str
    measure: Callable[[Bench], Awaitable[report.Findings]]


_PARTS: Mapping[str, Part] = {
    name: Part(part.TITLE, part.EXPLANATION, part.measure)
    for name, part in (
        ("creates", creates),
        ("latency", latency),
        ("reads", reads),
        ("statistics", growth),
        ("replicas", replicas),
        ("streams", streams),
        ("relay", relay),
        ("overload", overload),
    )
}


async def run(chosen: Plan, parts: Sequence[Part]) -> bool:
    """Prints what the parts find, and returns whether all bounds hold. Raises CannotRun."""
    _say(f"chatkit bench: {report.machine()}")
    _say("Figures are medians over the rounds, (least-most); ratios are taken within a round.")
    goals: list[report.Goal] = []
    broken: list[report.Goal] = []
    async with _opened(chosen) as bench:
        for part in parts:
            _say(f"\n{part.title}\n{_filled(part.explanation)}\n")
            findings = await verdict.measured(partial(part.measure, bench), _say)
            _say(findings.table)
            if findings.remark:
                _say(f"\n{findings.remark}")
            if findings.goals and chosen is not QUICK:  # of which one short round says nothing
                _say(f"\n{report.goals_table(findings.goals)}")
                goals += findings.goals
            broken += verdict.broken(findings)
    if goals:
        _say(f"\n{sum(goal.is_met for goal in goals)} of {len(goals)} goals are met.")
    for bound in broken:
        _say(f"\nSlower than it may ever be, measured {verdict.TIMES} times: {bound}")
    return not broken


@contextlib.asynccontextmanager
async def _opened(chosen: Plan) -> AsyncIterator[Bench]:
    data = ROOT / "data"  # on a real disk, where /tmp may be none
    data.mkdir(mode=0o700, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=data))
        upstream = await stack.enter_async_context(running_upstream(Path(name)))
        yield Bench(chosen, Path(name), upstream, stack)


async def _bounded(chosen: Plan, parts: Sequence[Part]) -> bool:
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does by itself: what was started is stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(_LIMIT_SECONDS):
        return await run(chosen, parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="a minute, for CI")
    length.add_argument("--full", action="store_true", help="with stores of ten million sessions")
    parser.add_argument("--only", choices=_PARTS, help="one part alone")
    arguments = parser.parse_args()
    chosen = QUICK if arguments.quick else FULL if arguments.full else USUAL
    parts = [_PARTS[arguments.only]] if arguments.only else list(_PARTS.values())
    try:
        all_hold = asyncio.run(_bounded(chosen, parts))
    except CannotRun as error:
        sys.exit(str(error))
    except TimeoutError:
        sys.exit(f"not done within {_LIMIT_SECONDS:.0f} s")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; everything that was started is stopped")
    sys.exit(0 if all_hold else 1)


def _filled(text: str) -> str:
    return "\n".join(textwrap.fill(line, _WIDTH) for line in text.splitlines())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
