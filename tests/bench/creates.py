"""Loads contestants in turns, so that what disturbs one of them disturbs all."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench.contestants import Contestant
from tests.bench.load import Figures, Orders
from tests.bench.processes import ROOT, CannotRun, cpu_seconds


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant, once."""

    contestant: Contestant
    connections: int
    figures: Figures
    cpu_us: float | None
    """CPU time of the contestant's processes per request; None where it cannot be known."""


async def run_in_turns(
    contestants: Sequence[Contestant], connections: int, rounds: int, seconds: float
) -> list[Run]:
    """Returns the runs in the order of time: A B C, A B C, … Raises CannotRun."""
    return [
        await run(contestant, connections, seconds)
        for _ in range(rounds)
        for contestant in contestants
    ]


async def run(contestant: Contestant, connections: int, seconds: float) -> Run:
    """Raises CannotRun, also where an answer was wrong."""
    before = cpu_seconds(contestant.processes)
    figures = await _load(
        contestant,
        Orders(
            port=contestant.port,
            connections=connections,
            warm_up_seconds=seconds / 5,
            seconds=seconds,
            expected=contestant.expected,
            requests=contestant.requests,
        ),
    )
    after = cpu_seconds(contestant.processes)
    for process in contestant.processes:
        process.check()
    used = None if before is None or after is None else after - before
    cpu_us = None if used is None else used / figures.answered * 1_000_000
    return Run(contestant, connections, figures, cpu_us)


async def _load(contestant: Contestant, orders: Orders) -> Figures:
    """Loads from a process of its own, so that it takes no turns with ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.load",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate(json.dumps(asdict(orders)).encode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode != 0:
        raise CannotRun(f"{contestant.name} answered wrongly: {errors.decode().strip()[-1000:]}")
    return Figures(**json.loads(output))
