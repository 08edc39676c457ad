"""`python -m tests.soak`: both modes side by side for a while, and whether anything grows.

Users come, do what users do, and go, at a constant and moderate rate; strangers and failures of
OpenAI are among them. Memory, descriptors, threads and tasks of every process are sampled. Exits
with 1 where one of them grows, an answer was not as expected, or a counter does not agree with its
rows.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

from tests.chaos.arrivals import Arrivals
from tests.chaos.client import Client, Outcome, open_client
from tests.chaos.stage import Restartable, Stage, open_stages
from tests.soak import report
from tests.soak.visits import Journal, Visits
from tests.soak.vitals import Sample, sample

_SETTINGS = {"LOG_LEVEL": "debug", "CHATKIT_USAGE_SYNC_SECONDS": "10"}

_HOSTED_PER_SECOND = 4.0
_SELF_HOSTED_PER_SECOND = 0.8
_STRANGERS_PER_SECOND = 0.5
_OPERATORS_PER_SECOND = 0.5
_TROUBLES_PER_SECOND = 0.1
"""All visits together take some 60 % of a core: this looks for leaks, not for limits."""

_MOST_VISITS = 60
"""At a time: where this machine is busy with something else there are fewer, and not a crowd."""

_SAMPLES = 60
_MAX_SAMPLE_SECONDS = 10.0
_SAY_SECONDS = 60.0
_EXAMPLES = 10


async def soak(minutes: float) -> bool:
    """Runs both systems and prints what came of it; returns whether all is well."""
    _say(
        f"chatkit soak: {minutes:g} minutes, hosted and self-hosted mode side by side, on real"
        " processes\n"
        "the first fifth warms up; then the second half of the rest may not be above the first\n"
    )
    journal = Journal()
    samples: dict[str, list[Sample]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        async with open_stages(Path(name), _SETTINGS) as stages:
            hosted, own = await asyncio.gather(stages.get("hosted"), stages.get("self_hosted"))
            async with open_client(hosted.gateway.url) as one, open_client(own.gateway.url) as two:
                visits = Visits(journal, hosted, own, [one, two])
                await _traffic(visits, journal, _processes(hosted, own), samples, minutes)
                outcomes = _outcomes(one, two)
        differences = [*await hosted.reconcile(), *await own.reconcile()]
    return _conclude(journal, samples, outcomes, differences)


def _processes(hosted: Stage, own: Stage) -> dict[str, Restartable]:
    return {
        "gateway, hosted": hosted.gateway,
        "service, hosted": hosted.services[0],
        "gateway, self-hosted": own.gateway,
        "service, self-hosted": own.services[0],
    }


async def _traffic(
    visits: Visits,
    journal: Journal,
    processes: dict[str, Restartable],
    samples: dict[str, list[Sample]],
    minutes: float,
) -> None:
    arrivals = Arrivals(_MOST_VISITS)
    for per_second, visit in (
        (_HOSTED_PER_SECOND, visits.hosted),
        (_SELF_HOSTED_PER_SECOND, visits.self_hosted),
        (_STRANGERS_PER_SECOND, visits.stranger),
        (_OPERATORS_PER_SECOND, visits.operator),
        (_TROUBLES_PER_SECOND, visits.trouble),
    ):
        arrivals.start(per_second, partial(visits.noted, visit))
    seconds = minutes * 60
    began = said = time.monotonic()
    try:
        while (now := time.monotonic()) < began + seconds:
            for name, process in processes.items():
                samples[name].append(sample(process))
            if now > said + _SAY_SECONDS:
                said = now
                memory = ", ".join(f"{one[-1].memory_mib:.0f}" for one in samples.values())
                _say(
                    f"  after {(now - began) / 60:.0f} min: {journal.visits:,} visits,"
                    f" {len(journal.unexpected)} unexpected, {memory} MiB"
                )
            await asyncio.sleep(min(_MAX_SAMPLE_SECONDS, seconds / _SAMPLES))
        await arrivals.stop()
    finally:
        await arrivals.abandon()


def _outcomes(*clients: Client) -> list[Outcome]:
    return [outcome for client in clients for outcome in client.outcomes]


def _conclude(
    journal: Journal,
    samples: dict[str, list[Sample]],
    outcomes: list[Outcome],
    differences: list[str],
) -> bool:
    held, grown = report.held(samples)
    _say("\n" + report.traffic(outcomes) + "\n\n" + held + "\n")
    for what, number in Counter(journal.unexpected).most_common(_EXAMPLES):
        _say(f"UNEXPECTED: {number} x {what}")
    for line in differences[:_EXAMPLES]:
        _say(f"DIFFERS: {line}")
    for what in grown:
        _say(f"GROWS: {what}")
    is_well = not (journal.unexpected or differences or grown)
    _say(
        f"{journal.visits:,} visits, {len(outcomes):,} requests,"
        f" {len(journal.unexpected)} unexpected, OpenAI failed {journal.troubles} times and"
        f" {journal.troubled} requests with it, {len(differences)} counters differ:"
        f" {'all is flat' if is_well else 'NOT WELL'}"
    )
    return is_well


async def _until_told(minutes: float) -> bool:
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does by itself: what was started is stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await soak(minutes)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    arguments = parser.parse_args()
    try:
        is_well = asyncio.run(_until_told(arguments.minutes))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; everything that was started is stopped")
    sys.exit(0 if is_well else 1)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
