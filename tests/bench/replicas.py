"""Two chains on one PostgreSQL, beside one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.bench import Bench
from tests.bench.contestants import Contestant, all_running, running_chain
from tests.bench.processes import cpu_seconds
from tests.bench.report import Findings, Goal, cores, ratios, spread, table
from tests.bench.rounds import run
from tests.postgres_support import PostgresServer

_CONNECTIONS = 64
_CORES = 8
"""For four processes of ours, PostgreSQL, the upstream and two load generators."""

TITLE = "Two chains on one PostgreSQL"
EXPLANATION = (
    f"Creates by one and by two pairs of gateway and session service, {_CONNECTIONS} connections to"
    " each, on one database. CPU is per request: that of the pairs, and apart from it PostgreSQL's."
)


@dataclass(frozen=True, slots=True)
class _Round:
    """So many chains at the same time, once."""

    per_second: float
    cpu_us: float
    """Of gateways and session services, per request."""
    postgres_cpu_us: float


async def measure(bench: Bench) -> Findings:
    plan = bench.plan
    postgres = await bench.postgres()
    url = await postgres.new_database()
    pairs = [
        running_chain(bench.directory, bench.upstream.port, url, f"chain-{number}")
        for number in (1, 2)
    ]
    async with all_running(pairs) as chains:
        await _round(postgres, chains, plan.seconds / 5)  # what is built at first use
        ones: list[_Round] = []
        twos: list[_Round] = []
        for _ in range(plan.few_rounds):
            ones.append(await _round(postgres, chains[:1], plan.seconds))
            twos.append(await _round(postgres, chains, plan.seconds))
    rows = [("", "requests/s", "CPU µs", "PostgreSQL's CPU µs")]
    for name, rounds in (("one pair", ones), ("two pairs", twos)):
        rows.append(
            (
                name,
                spread([one.per_second for one in rounds], "{:,.0f}"),
                spread([one.cpu_us for one in rounds], "{:,.0f}"),
                spread([one.postgres_cpu_us for one in rounds], "{:,.0f}"),
            )
        )
    rate = ratios([two.per_second for two in twos], [one.per_second for one in ones])
    cpu = ratios([two.cpu_us for two in twos], [one.cpu_us for one in ones])
    rows.append(("two beside one", spread(rate, "{:.2f}x"), spread(cpu, "{:.2f}x"), ""))
    if cores() >= _CORES:
        return Findings(table(rows, left=1), [Goal("creates of two pairs beside one", rate, 1.8)])
    goal = Goal("CPU per create, of two pairs beside one", cpu, 1.1, at_most=True)
    remark = f"The goal of 1.8 times the rate is for {_CORES} cores and more; here are {cores()}."
    return Findings(table(rows, left=1), [goal], remark=remark)


async def _round(postgres: PostgresServer, chains: Sequence[Contestant], seconds: float) -> _Round:
    before = cpu_seconds([postgres.pid])
    runs = await asyncio.gather(*(run(chain, _CONNECTIONS, seconds) for chain in chains))
    postgres_cpu = cpu_seconds([postgres.pid]) - before
    answered = sum(one.figures.answered for one in runs)
    return _Round(
        per_second=sum(one.figures.per_second for one in runs),
        cpu_us=sum(one.cpu_us * one.figures.answered for one in runs) / answered,
        postgres_cpu_us=postgres_cpu / answered * 1_000_000,
    )
