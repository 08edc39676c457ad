"""What a reader in a hurry is told: what was asked, and what each process held meanwhile."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.chaos.client import Outcome
from tests.chaos.verdict import percentile
from tests.soak import verdict
from tests.soak.verdict import Bound, Trend
from tests.soak.vitals import Sample

_MEASURES: Mapping[str, tuple[str, Bound]] = {
    "memory_mib": ("memory MiB", verdict.MEMORY_MIB),
    "descriptors": ("descriptors", verdict.DESCRIPTORS),
    "threads": ("threads", verdict.THREADS),
    "tasks": ("tasks", verdict.TASKS),
}


def traffic(outcomes: Sequence[Outcome]) -> str:
    """Returns a table of the requests by what they asked for."""
    rows = [("request", "sent", "answered", "p50 ms", "p99 ms")]
    for kind, sent in sorted(Counter(outcome.kind for outcome in outcomes).items()):
        times = [one.seconds * 1000 for one in outcomes if one.kind == kind and one.answered]
        p50, p99 = (f"{percentile(times, percent):,.0f}" for percent in (50, 99))
        rows.append((kind, f"{sent:,}", f"{len(times):,}", p50, p99))
    return _aligned(rows)


def held(samples: Mapping[str, Sequence[Sample]]) -> tuple[str, list[str]]:
    """Returns a table of what processes held, first half and second, and what was not flat."""
    rows = [("process", "measure", "first half", "second half", "per hour", "")]
    grown = []
    for process, looks in samples.items():
        for measure, (name, bound) in _MEASURES.items():
            values = [(look.at, getattr(look, measure)) for look in looks]
            trend = verdict.trend([(at, value) for at, value in values if value is not None])
            if trend is None:
                rows.append((process, name, "-", "-", "-", "not known"))
                continue
            is_flat = trend.is_flat(bound)
            rows.append((process, name, *_cells(trend), "flat" if is_flat else "GROWS"))
            if not is_flat:
                grown.append(f"{name} of the {process}")
    return _aligned(rows), grown


def _cells(trend: Trend) -> tuple[str, str, str]:
    return f"{trend.first:,.1f}", f"{trend.second:,.1f}", f"{trend.per_hour:+,.1f}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if _is_text(number, row) else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join((lines[0], "-" * max(map(len, lines)), *lines[1:]))


def _is_text(column: int, row: Sequence[str]) -> bool:
    return column == 0 or (len(row) == len(_HELD) and column in (1, 5))


_HELD = ("process", "measure", "first half", "second half", "per hour", "")
