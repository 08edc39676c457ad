"""What a fault may do to requests, what it did, and which promise that breaks."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chaos.client import OVERLOAD, Outcome
from tests.chaos.stage import TIMEOUT_SECONDS

_EXAMPLES = 5
BUSY_SECONDS = 0.25
"""Where requests are sent as late as that, this machine is busy with something else."""
_BUSY = "requests were sent late, this machine is busy"


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
    late_seconds: float = 0,
    patience: float = 1,
) -> Row:
    """Holds what happened against the promise; `others` are what the fault itself found broken.

    Everything may take `patience` times as long as promised. Where requests were sent as late as
    `late_seconds`, the machine was busy with something else: then times say nothing of us.
    """
    unexpected = [
        outcome
        for outcome in outcomes
        if not (outcome.succeeded or outcome.said in promise.reasons or outcome.said == OVERLOAD)
        and (outcome.answered or not promise.cuts_connections)
    ]
    times = [outcome.seconds for outcome in outcomes if outcome.answered]
    p99 = percentile(times, 99)
    recovery = max(recoveries, default=None)
    broken = [*others, *_some([f"lost: {what}" for what in lost])]
    broken += [f"unexpected: {what}" for what in _summary(unexpected)]
    late = []
    if p99 > promise.p99_seconds * patience:
        late.append(f"p99 is {p99:.2f} s, promised {promise.p99_seconds:g} s")
    if recovery is not None and recovery > promise.recovery_seconds * patience:
        late.append(f"recovery took {recovery:.2f} s, promised {promise.recovery_seconds:g} s")
    notes = list(notes)
    if refused := sum(outcome.said == OVERLOAD for outcome in outcomes):
        notes.append(f"{refused} refused, as there was too much to do")
    if late_seconds > BUSY_SECONDS:
        notes += [f"{what}; not judged: {_BUSY}" for what in late]
    else:
        broken += late
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
