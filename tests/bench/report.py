"""What a reader in a hurry is told: figures in one table, then a line for each goal."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from tests.bench.creates import Run
from tests.bench.growth import BUSY_USER, StoreTime
from tests.bench.overload import Overload
from tests.bench.streams import StreamRun

CHAIN = "chain"
PEER = "fastapi, 2 workers"
"""The one that the stated ratio is beside: like our two processes it has both cores."""

OFFICIAL = "official"

_COLUMNS = ("connections", "contestant", "requests/s", "ratio", "p50", "p95", "p99 ms")
_CPU_COLUMNS = ("CPU µs", "peak MiB")
_STREAM_COLUMNS = ("streams", "contestant", "events/s", "ratio", "first p50", "p95 ms")
_STREAM_CPU_COLUMNS = ("CPU µs/event", "ratio", "peak MiB")

_OVERLOAD_COLUMNS = (
    *("best/s", "offered/s", "accepted/s", "ratio"),
    *("p50", "p99 ms", "refused p50", "p99 ms"),
)

_AnyRun = TypeVar("_AnyRun", Run, StreamRun)


@dataclass(frozen=True, slots=True)
class Goal:
    """A sentence, a figure in it, and whether that is what is wanted."""

    text: str
    met: bool

    def __str__(self) -> str:
        return f"{self.text}: {'met' if self.met else 'MISSED'}"


def machine() -> str:
    """Names what this runs on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    return f"{platform.system()} {platform.machine()}, {cores} cores{load}, {_python()}"


def creates_table(runs: Sequence[Run], peaks_mib: dict[str, float | None]) -> str:
    """Medians over the rounds, least and most in parentheses, ratios beside `PEER`."""
    with_cpu = all(run.cpu_us is not None for run in runs)
    rows: list[tuple[str, ...]] = [(*_COLUMNS, *_CPU_COLUMNS) if with_cpu else _COLUMNS]
    for connections in sorted({run.connections for run in runs}, reverse=True):
        for name in dict.fromkeys(run.contestant.name for run in runs):
            own = _of(runs, name, connections)
            cells: tuple[str, ...] = (
                str(connections),
                name,
                _spread([run.figures.per_second for run in own], "{:,.0f}"),
                _spread(ratios(runs, name, PEER, connections), "{:.2f}x"),
                f"{median(run.figures.p50_ms for run in own):.2f}",
                f"{median(run.figures.p95_ms for run in own):.2f}",
                f"{median(run.figures.p99_ms for run in own):.2f}",
            )
            if with_cpu:
                cpu = median(run.cpu_us or 0 for run in own)
                cells += (f"{cpu:,.0f}", f"{peaks_mib[name] or 0:.0f}")
            rows.append(cells)
    return _aligned(rows, left=1)


def streams_table(runs: Sequence[StreamRun], peaks_mib: dict[str, float | None]) -> str:
    """As the table of creates, ratios beside `OFFICIAL`; `first` is until the first event."""
    with_cpu = all(run.cpu_us for run in runs)
    columns = (*_STREAM_COLUMNS, *_STREAM_CPU_COLUMNS) if with_cpu else _STREAM_COLUMNS
    rows: list[tuple[str, ...]] = [columns]
    for streams in sorted({run.connections for run in runs}):
        official = [run.cpu_us or 0 for run in _of(runs, OFFICIAL, streams)]
        for name in dict.fromkeys(run.contestant.name for run in runs):
            own = _of(runs, name, streams)
            cells: tuple[str, ...] = (
                str(streams),
                name,
                _spread([run.figures.per_second for run in own], "{:,.0f}"),
                _spread(ratios(runs, name, OFFICIAL, streams), "{:.2f}x"),
                f"{median(run.figures.first_p50_ms for run in own):,.0f}",
                f"{median(run.figures.first_p95_ms for run in own):,.0f}",
            )
            if with_cpu:
                cpu = [run.cpu_us or 0 for run in own]
                times = [one / other for one, other in zip(cpu, official, strict=True)]
                cells += (_spread(cpu, "{:,.0f}"), _spread(times, "{:.2f}x"))
                cells += (f"{peaks_mib[name] or 0:.0f}",)
            rows.append(cells)
    return _aligned(rows, left=1)


def growth_table(times: Sequence[StoreTime], runs: Sequence[Run], sizes: tuple[int, int]) -> str:
    """Medians for both sizes, and how many times as long the larger one took."""
    rows = [("statistics", *(f"{size:,} sessions" for size in sizes), "ratio")]
    for text, user_id in _SCOPES:
        small, large = (_times(times, user_id, size) for size in sizes)
        cells = (f"{_spread(values, '{:,.0f}')} µs" for values in (small, large))
        rows.append((f"in the store, {text}", *cells, _spread(_growth(small, large), "{:.2f}x")))
    small, large = _http_ms(runs)
    cells = (f"{_spread(values, '{:.2f}')} ms" for values in (small, large))
    rows.append(("over HTTP, everybody", *cells, _spread(_growth(small, large), "{:.2f}x")))
    return _aligned(rows, left=0)


def overload_table(seen: Sequence[Overload]) -> str:
    """A row for each round; `best` is with 64 connections, and all of it is accepted."""
    rows = [
        ("best/s", "offered/s", "accepted/s", "ratio", "p50", "p99 ms", "refused p50", "p99 ms")
    ]
    for one in seen:
        figures = one.at_times
        rows.append(
            (
                f"{one.best.per_second:,.0f}",
                f"{figures.offered_per_second:,.0f}",
                f"{figures.accepted_per_second:,.0f}",
                f"{one.kept:.2f}x",
                f"{figures.accepted_p50_ms:,.0f}",
                f"{figures.accepted_p99_ms:,.0f}",
                f"{figures.refused_p50_ms:,.0f}",
                f"{figures.refused_p99_ms:,.0f}",
            )
        )
    return _aligned(rows, left=0)


def overload_goals(seen: Sequence[Overload]) -> list[Goal]:
    kept = median(one.kept for one in seen)
    text = f"throughput under overload: {kept:.2f}x the best, goal at least 0.9x"
    return [Goal(text, met=kept >= 0.9)]


def creates_goals(runs: Sequence[Run]) -> list[Goal]:
    ratio = median(ratios(runs, CHAIN, PEER, connections=64))
    text = f"creates, 64 connections: {ratio:.2f}x {PEER}, goal at least 1x"
    return [Goal(text, met=ratio >= 1)]


def streams_goals(runs: Sequence[StreamRun]) -> list[Goal]:
    ratio = median(ratios(runs, CHAIN, OFFICIAL, connections=20))
    text = f"events, 20 streams: {ratio:.2f}x the official way, goal at least 2x"
    return [Goal(text, met=ratio >= 2)]


def growth_goals(times: Sequence[StoreTime], sizes: tuple[int, int]) -> list[Goal]:
    found = []
    for text, user_id in _SCOPES:
        small, large = (_times(times, user_id, size) for size in sizes)
        growth = median(_growth(small, large))
        sizes_text = f"at {sizes[1]:,} sessions {growth:.2f}x the time at {sizes[0]:,}"
        found.append(
            Goal(f"statistics of {text}, {sizes_text}, goal at most 1.5x", met=growth <= 1.5)
        )
    return found


def ratios(runs: Sequence[_AnyRun], name: str, peer: str, connections: int) -> list[float]:
    """Returns the ratio of every round: what disturbed one of the two disturbed the other."""
    pairs = zip(_of(runs, name, connections), _of(runs, peer, connections), strict=True)
    return [own.figures.per_second / other.figures.per_second for own, other in pairs]


_SCOPES = (("a user with half of them", BUSY_USER), ("everybody", None))


def _of(runs: Sequence[_AnyRun], name: str, connections: int) -> list[_AnyRun]:
    return [run for run in runs if (run.contestant.name, run.connections) == (name, connections)]


def _times(times: Sequence[StoreTime], user_id: str | None, size: int) -> list[float]:
    return [time.microseconds for time in times if (time.user_id, time.sessions) == (user_id, size)]


def _http_ms(runs: Sequence[Run]) -> tuple[list[float], list[float]]:
    latencies = [run.figures.p50_ms for run in runs]
    return latencies[0::2], latencies[1::2]


def _growth(small: Sequence[float], large: Sequence[float]) -> list[float]:
    return [more / less for less, more in zip(small, large, strict=True)]


def _spread(values: Sequence[float], layout: str) -> str:
    show: Callable[[float], str] = layout.format
    if min(values) == max(values):
        return show(values[0])
    return f"{show(median(values))} ({show(min(values))}-{show(max(values))})"


def _aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Returns the rows with their cells below each other, column `left` to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if number == left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join((lines[0], "-" * max(map(len, lines)), *lines[1:]))


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"
