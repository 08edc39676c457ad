"""What statistics cost in the store as sessions grow: stores of two sizes, asked in turns."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from session_service.statistics import statistics
from session_service.stores.base import Store
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from tests.bench.bench import Bench
from tests.bench.history import BUSY_USER, fill_postgres, fill_sqlite
from tests.bench.report import Findings, Goal, table

_IN_A_ROW = 50
_SCOPES = (("a user with half of them", BUSY_USER), ("everybody", None))

TITLE = "Statistics"
EXPLANATION = (
    "All that GET stats asks of the store, without HTTP and gRPC: in a store of few sessions and in"
    " one of many, in turns. Microseconds of a call."
)


@dataclass(frozen=True, slots=True)
class _Times:
    """Of one scope in one kind of store: the microseconds of calls in the small and large one."""

    store: str
    scope: str
    small: list[float]
    large: list[float]

    def growth(self) -> Sequence[float]:
        return [_percentile(self.large, 50) / _percentile(self.small, 50)]


async def measure(bench: Bench) -> Findings:
    found = [*await _sqlite(bench), *await _postgres(bench)]
    few, many = bench.plan.sizes
    sizes = (f"{few:,}: p50", "p99", f"{many:,}: p50", "p99 µs")
    rows: list[Sequence[str]] = [("sessions of", "in", *sizes, "p50 grows")]
    goals, bounds = [], []
    for times in found:
        quantiles = [_percentile(of, p) for of in (times.small, times.large) for p in (50, 99)]
        grown = times.growth()
        cells = (f"{value:,.0f}" for value in quantiles)
        rows.append((times.scope, times.store, *cells, f"{median(grown):.2f}x"))
        what = f"statistics of {times.scope} in {times.store}"
        milliseconds = [_percentile(times.large, 50) / 1000]
        goals.append(Goal(f"{what}, {many:,} sessions", milliseconds, 1, " ms", at_most=True))
        bounds.append(Goal(f"{what}, {many:,} beside {few:,}", grown, 4, at_most=True))
    return Findings(table(rows, left=2), goals, bounds)


async def _sqlite(bench: Bench) -> Sequence[_Times]:
    with tempfile.TemporaryDirectory(dir=bench.directory) as name:
        paths = [Path(name) / f"{size}.db" for size in bench.plan.sizes]
        for path, size in zip(paths, bench.plan.sizes, strict=True):
            await fill_sqlite(path, size)
        stores = [open_sqlite_store(str(path)) for path in paths]
        return await _time("SQLite", stores, bench.plan.store_calls)


async def _postgres(bench: Bench) -> Sequence[_Times]:
    postgres = await bench.postgres()
    urls = [await postgres.new_database() for _ in bench.plan.sizes]
    for url, size in zip(urls, bench.plan.sizes, strict=True):
        await fill_postgres(url, size)
    stores = [open_postgres_store(url) for url in urls]
    return await _time("PostgreSQL", stores, bench.plan.store_calls)


async def _time(
    name: str, stores: Sequence[AbstractAsyncContextManager[Store]], calls: int
) -> Sequence[_Times]:
    """Asks the small, the large, the small … for the busy user and for everybody."""
    small, large = stores
    found = [_Times(name, scope, [], []) for scope, _ in _SCOPES]
    async with small as few, large as many:
        for _ in range(calls // _IN_A_ROW):
            for times, (_, user_id) in zip(found, _SCOPES, strict=True):
                times.small.extend(await _microseconds(few, user_id))
                times.large.extend(await _microseconds(many, user_id))
    return found


async def _microseconds(store: Store, user_id: str | None) -> Sequence[float]:
    seen = []
    for _ in range(_IN_A_ROW):
        started = time.perf_counter()
        await statistics(store, user_id, None)
        seen.append((time.perf_counter() - started) * 1_000_000)
    return seen


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100]
