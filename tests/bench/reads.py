"""Reads through the whole chain, beside creates."""

from dataclasses import replace
from statistics import median

from tests.bench.bench import Bench
from tests.bench.http_requests import get_request, open_sessions, stats_request
from tests.bench.report import Findings, Goal, ratios, spread, table
from tests.bench.rounds import of, rates, run_in_turns

_CONNECTIONS = 64
_USERS = 50
_CREATE, _GET, _STATS = "POST session", "GET session", "GET stats"

TITLE = "Reads"
EXPLANATION = (
    f"{_GET} and {_STATS} through the whole chain at {_CONNECTIONS} connections, in turns with"
    " creates, which also ask the upstream and write to the disk."
)


async def measure(bench: Bench) -> Findings:
    plan, chain = bench.plan, await bench.chain()
    sessions = await open_sessions(chain.port, _USERS)
    gets = [get_request(user, one["session_id"]) for user, one in enumerate(sessions, start=1)]
    stats = [stats_request(user) for user in range(1, _USERS + 1)]
    asked = (
        replace(chain, name=_CREATE),
        replace(chain, name=_GET, requests=gets, expected='"status":"active"'),
        replace(chain, name=_STATS, requests=stats, expected='"totalSessions":'),
    )
    runs = await run_in_turns(asked, _CONNECTIONS, plan.few_rounds, plan.seconds)
    rows = [("", "requests/s", "beside creates", "p50 ms", "p99 ms", "CPU µs")]
    creates = rates(runs, _CREATE, _CONNECTIONS)
    goals = []
    for name in (_CREATE, _GET, _STATS):
        own = of(runs, name, _CONNECTIONS)
        own_rates = rates(runs, name, _CONNECTIONS)
        rows.append(
            (
                name,
                spread(own_rates, "{:,.0f}"),
                spread(ratios(own_rates, creates), "{:.2f}x"),
                f"{median(run.figures.p50_ms for run in own):,.2f}",
                f"{median(run.figures.p99_ms for run in own):,.2f}",
                f"{median(run.cpu_us for run in own):,.0f}",
            )
        )
        if name != _CREATE:
            goals.append(Goal(f"{name} beside creates", ratios(own_rates, creates), 1.5))
    return Findings(table(rows, left=1), goals)
