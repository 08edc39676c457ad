"""How figures are told: tables, medians with their range, and goals that are met or not."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be, at least or at most; it was measured once in every round."""

    what: str
    measured: Sequence[float]
    wanted: float
    unit: str = "x"
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        """Returns whether the median is as wanted."""
        value = median(self.measured)
        return value <= self.wanted if self.at_most else value >= self.wanted

    def cells(self) -> Sequence[str]:
        wanted = f"{'at most' if self.at_most else 'at least'} {self.wanted:,g}{self.unit}"
        missing = self._told([abs(median(self.measured) - self.wanted)])
        return (
            "✓" if self.is_met else "✗",
            self.what,
            self._told(self.measured),
            wanted,
            "" if self.is_met else f"{'over' if self.at_most else 'short'} by {missing}",
        )

    def _told(self, values: Sequence[float]) -> str:
        if self.unit == "x":
            return spread(values, "{:,.2f}x")
        return spread(values, "{:,.2f}" if self.at_most else "{:,.0f}") + self.unit

    def __str__(self) -> str:
        mark, what, measured, wanted, missing = self.cells()
        return f"{mark} {what}: {measured}, {wanted}" + (f": {missing}" if missing else "")


@dataclass(frozen=True, slots=True)
class Findings:
    """What one part of the bench has found."""

    table: str
    goals: Sequence[Goal] = ()
    bounds: Sequence[Goal] = ()
    """Generous ones, of ratios alone, which hold on a busy machine too: what CI insists on."""
    remark: str = ""


def table(rows: Sequence[Sequence[str]], left: int) -> str:
    """Returns a head and rows with their cells below each other, the first `left` to the left."""
    first, *others = _aligned(rows, left)
    return "\n".join((first, INDENT + "-" * (max(map(len, (first, *others))) - 2), *others))


def goals_table(goals: Sequence[Goal]) -> str:
    return "\n".join(_aligned([goal.cells() for goal in goals], left=5))


def spread(values: Sequence[float], layout: str) -> str:
    """Returns the median, and in parentheses the least and the most where they differ."""
    show: Callable[[float], str] = layout.format
    least, most = show(min(values)), show(max(values))
    if least == most:
        return most
    return f"{show(median(values))} ({least}-{most})"


def ratios(above: Sequence[float], below: Sequence[float]) -> Sequence[float]:
    """Returns the ratio of every round: what disturbed one of the two disturbed the other."""
    return [one / other for one, other in zip(above, below, strict=True)]


def cores() -> int:
    """Returns how many this may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """Names what this runs on."""
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{platform.system()} {platform.machine()}, {cores()} cores{load}, {python}"


def _aligned(rows: Sequence[Sequence[str]], left: int) -> Sequence[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        INDENT
        + "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
