"""What a fault may do to requests, what it did, and which promise that breaks."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chaos.client import OVERLOAD, Outcome
from tests.chaos.stage import TIMEOUT_SECONDS

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """What holds while a fault lasts; nothing that was acknowledged is ever lost."""

    reasons: frozenset[str] = frozenset()
    """Why a request may fail."""
    cuts_connections: bool = False
    """Whether clients may be left without an answer: what they were connected to was killed."""
    p99_seconds: float = TIMEOUT_SECONDS + 0.5
    """Of all answers: the deadline, but most of them come long before."""
    recovery_seconds: float = 2.0
    """From the end of the fault, or the start of the process, to the first success."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fault, when it is over."""

    name: str
    requests: int
    answered: int
    succeeded: int
    lost: int
    unexpected: int
    p99_seconds: float
    recovery_seconds: float | None
    """The longest; None where nothing had to recover."""
    broken: Sequence[str] = field(default=())
    """The promises that were broken."""
    notes: Sequence[str] = field(default=())


def judge(
    name: str,
    promise: Promise,
    outcomes: Sequence[Outcome],
    recoveries: Sequence[float],
    lost: Sequence[str],
    others: Sequence[str] = (),
    notes: Sequence[str] = (),
    patience: float = 1,
) -> Row:
    """Holds what happened against the promise; `others` are what the fault itself found broken.

    Everything may take `patience` times as long as promised. Where that is more than once, the
    machine may be too slow for the load, and some of it refused.
    """
    reasons = promise.reasons | {OVERLOAD} if patience > 1 else promise.reasons
    unexpected = [
        outcome
        for outcome in outcomes
        if not (outcome.succeeded or outcome.said in reasons)
        and (outcome.answered or not promise.cuts_connections)
    ]
    times = [outcome.seconds for outcome in outcomes if outcome.answered]
    p99 = percentile(times, 99)
    recovery = max(recoveries, default=None)
    broken = [*others, *_some([f"lost: {what}" for what in lost])]
    broken += [f"unexpected: {what}" for what in _summary(unexpected)]
    if p99 > promise.p99_seconds * patience:
        broken.append(f"p99 is {p99:.2f} s, promised {promise.p99_seconds:g} s")
    if recovery is not None and recovery > promise.recovery_seconds * patience:
        broken.append(f"recovery took {recovery:.2f} s, promised {promise.recovery_seconds:g} s")
    return Row(
        name,
        requests=len(outcomes),
        answered=len(times),
        succeeded=sum(outcome.succeeded for outcome in outcomes),
        lost=len(lost),
        unexpected=len(unexpected),
        p99_seconds=p99,
        recovery_seconds=recovery,
        broken=broken,
        notes=notes,
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """Returns the smallest value that so many percent do not exceed, 0 where there are none."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0.0


def _summary(unexpected: Sequence[Outcome]) -> list[str]:
    found = Counter(f"{outcome.kind}: {outcome.said}" for outcome in unexpected)
    return [f"{number} x {what}" for what, number in found.most_common(_EXAMPLES)]


def _some(lines: list[str]) -> list[str]:
    rest = len(lines) - _EXAMPLES
    return lines if rest <= 0 else [*lines[:_EXAMPLES], f"and {rest} more"]
