"""Creates of sessions: our chain beside what one would use instead of it."""

import shutil
from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.bench import Bench
from tests.bench.contestants import CHAIN, all_running, running_chain
from tests.bench.peers import FASTAPI, NODE, OFFICIAL, running_peers
from tests.bench.processes import peak_mib
from tests.bench.report import Findings, Goal, ratios, spread, table
from tests.bench.rounds import Run, of, rates, run_in_turns

TITLE = "Creates"
EXPLANATION = """\
POST /api/chatkit/session: each checks the token, asks the same upstream and answers the same JSON.
  chain     gateway and session service: also ownership, a durable store, statistics, logs
  official  FastAPI with a new HTTP client for each request, as in OpenAI's starter back end
  fastapi   the same with one client for all requests
  node      node:http and fetch, which is less than Express does
All have two processes. CPU is per request, MiB the most they took, both without PostgreSQL's."""
_CHAIN_ON_POSTGRES = "chain, PostgreSQL"
_FEW, _ONE = 8, 1
"""Connections."""


async def measure(bench: Bench) -> Findings:
    plan, directory, port = bench.plan, bench.directory, bench.upstream.port
    chain, postgres = await bench.chain(), await bench.postgres()
    url = await postgres.new_database()
    others = (
        running_chain(directory, port, url, _CHAIN_ON_POSTGRES),
        *running_peers(directory, port),
    )
    async with all_running(others) as running:
        contestants = (chain, *running, bench.upstream)
        await run_in_turns(contestants, _FEW, 1, plan.seconds / 5)  # what is built at first use
        runs = await run_in_turns(contestants, plan.connections, plan.rounds, plan.seconds)
        runs += await run_in_turns(contestants, _ONE, plan.few_rounds, plan.seconds / 2)
        peaks = {one.name: peak_mib(one.pids) for one in contestants}
    remark = "" if shutil.which("node") else "There is no node here."
    return Findings(
        _table(runs, peaks), _goals(runs, plan.connections), _bounds(runs, plan.connections), remark
    )


def _table(runs: Sequence[Run], peaks_mib: Mapping[str, float]) -> str:
    rows: list[Sequence[str]] = [
        ("", "connections", "requests/s", "chain is", "p50 ms", "p99 ms", "CPU µs", "MiB")
    ]
    for connections in sorted({run.connections for run in runs}, reverse=True):
        for name in peaks_mib:
            own = of(runs, name, connections)
            rows.append(
                (
                    name,
                    str(connections),
                    spread(rates(runs, name, connections), "{:,.0f}"),
                    spread(_times_as_fast(runs, name, connections), "{:.2f}x"),
                    f"{median(run.figures.p50_ms for run in own):,.2f}",
                    f"{median(run.figures.p99_ms for run in own):,.2f}",
                    f"{median(run.cpu_us for run in own):,.0f}",
                    f"{peaks_mib[name]:,.0f}",
                )
            )
    return table(rows, left=1)


def _goals(runs: Sequence[Run], many: int) -> Sequence[Goal]:
    wanted = ((OFFICIAL, many, 40), (FASTAPI, many, 4), (NODE, many, 2.5), (FASTAPI, _ONE, 0.75))
    return [
        Goal(
            f"chain beside {name}, {connections} connection{'s' * (connections > 1)}",
            _times_as_fast(runs, name, connections),
            least,
        )
        for name, connections, least in wanted
        if of(runs, name, connections)
    ]


def _bounds(runs: Sequence[Run], many: int) -> Sequence[Goal]:
    """CPU time hardly depends on what else the machine does; rates catch what only waits."""
    most_cpu = ((OFFICIAL, 0.1), (FASTAPI, 0.6))
    least_rate = ((OFFICIAL, 5.0), (FASTAPI, 0.8))
    return [
        *(
            Goal(
                f"CPU per create beside {name}",
                _times_the_cpu(runs, name, many),
                most,
                at_most=True,
            )
            for name, most in most_cpu
        ),
        *(
            Goal(f"creates a second beside {name}", _times_as_fast(runs, name, many), least)
            for name, least in least_rate
        ),
    ]


def _times_as_fast(runs: Sequence[Run], name: str, connections: int) -> Sequence[float]:
    return ratios(rates(runs, CHAIN, connections), rates(runs, name, connections))


def _times_the_cpu(runs: Sequence[Run], name: str, connections: int) -> Sequence[float]:
    chain, other = ([run.cpu_us for run in of(runs, one, connections)] for one in (CHAIN, name))
    return ratios(chain, other)
