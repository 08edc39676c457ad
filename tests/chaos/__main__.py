"""`python -m tests.chaos`: everything that can go wrong, under load, and what became of it.

Each fault is played on real processes while users send requests at a constant rate. Every answer
is written down; afterwards everything that was acknowledged is asked for again, and the counters
are compared with the rows of the database. Exits with 1 where a promise is broken. `--quick` is a
short form for CI; `--only NAME` plays the faults whose name contains that.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import report
from tests.chaos.faults import FAULTS, Fault, Plan
from tests.chaos.play import play
from tests.chaos.stage import SETTINGS, open_stages

_LIMIT_SECONDS = 900.0
"""Should anything hang."""

FULL = Plan(rounds=3, hold_seconds=4, rest_seconds=1, per_second=50, chats_per_second=6, patience=1)
QUICK = Plan(
    rounds=1, hold_seconds=1, rest_seconds=0.2, per_second=25, chats_per_second=4, patience=3
)


async def chaos(plan: Plan, faults: Sequence[Fault]) -> bool:
    """Plays the faults and prints what came of them; returns whether all promises were kept."""
    _say(
        f"chatkit chaos: {len(faults)} faults, each while {plan.per_second:g} requests a second"
        " arrive, on real processes\n"
        "lost: acknowledged, and not there afterwards or not counted; unexpected: no answer, or one"
        " that nobody was promised\n"
    )
    _say(report.HEAD)
    began = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        async with open_stages(Path(name), SETTINGS) as stages:
            await asyncio.gather(*(stages.get(name) for name in {fault.stage for fault in faults}))
            for fault in faults:
                row = await play(fault, stages, plan)
                _say(report.line(row))
                rows.append(row)
    _say("\n" + report.summary(rows, time.monotonic() - began))
    return not any(row.broken for row in rows)


async def _bounded(plan: Plan, faults: Sequence[Fault]) -> bool:
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does by itself: what was started is stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(_LIMIT_SECONDS):
        return await chaos(plan, faults)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute, for CI")
    parser.add_argument("--only", default="", metavar="NAME", help="faults with that in their name")
    arguments = parser.parse_args()
    faults = [fault for fault in FAULTS if arguments.only in fault.name]
    if arguments.quick and not arguments.only:
        faults = [fault for fault in faults if fault.quick]
    if not faults:
        sys.exit(f"no fault has {arguments.only!r} in its name")
    try:
        kept = asyncio.run(_bounded(QUICK if arguments.quick else FULL, faults))
    except TimeoutError:
        sys.exit(f"not done within {_LIMIT_SECONDS:.0f} s")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; everything that was started is stopped")
    sys.exit(0 if kept else 1)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
