"""What CI insists on: generous bounds of ratios, measured again before one counts as broken."""

from collections.abc import Awaitable, Callable, Sequence
from math import isnan
from typing import TypeAlias

from tests.bench.report import Findings, Goal

TIMES = 3
"""How often at most: what disturbed the first may not disturb the next."""

Measure: TypeAlias = Callable[[], Awaitable[Findings]]


def broken(findings: Findings) -> Sequence[Goal]:
    """Returns the bounds that do not hold, without those of which nothing is known."""
    return [
        bound
        for bound in findings.bounds
        if not bound.is_met and not any(map(isnan, bound.measured))
    ]


async def measured(measure: Measure, say: Callable[[str], None]) -> Findings:
    """Returns the first findings whose bounds hold, or else the last."""
    for time in range(1, TIMES):
        findings = await measure()
        bounds = broken(findings)
        if not bounds:
            return findings
        for bound in bounds:
            say(f"Once more, as of measurement {time}: {bound}")
    return await measure()
