"""How much new work a process takes: less while work has to wait, so that it never drowns.

What decides is how long work waits for the processes themselves, measured with work of no weight.
How many pieces there are says little, as most of their time they wait for OpenAI. The control law
is that of PIE (RFC 8033): it steers by how far the delay is from its target and by where it is
going. Here it moves the logarithm of the share, so that it holds at thirty times the load as well.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

TARGET_SECONDS = 0.1
TOLERATED_SECONDS = 0.3
"""How long the delay may be above its target: a burst, or one long callback, is no overload."""
FEW = 128
"""As many pieces of work at a time never are too many: each waits for so many others at most."""
BURST = 512
"""By how many there may be more between two looks at the delay: what it does to it is not known
before the next."""
MOST = 4096
"""What waits for OpenAI delays nobody, but takes memory: some 50 KB each in the gateway."""

_LEAST_SHARE = 0.01
"""What is always tried, or nobody would know when it is over."""
_PER_DISTANCE = 12.0
"""By how much a second, as a power of e, for a second of distance from the target."""
_PER_CHANGE = 8.0
"""By how much, as a power of e, for a second by which the delay has changed."""
_RECOVERY = 3.0
"""By how much a second, as a power of e, while there is next to no delay."""
_MOST_SECONDS = 0.5
"""What counts of a delay: a single long callback says nothing more."""
_SMOOTHING_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Counts:
    """What was decided."""

    admitted: int = 0
    refused: int = 0


class Admission:
    """Asked before each piece of new work, and told every few milliseconds what the delay is."""

    def __init__(
        self,
        target_seconds: float = TARGET_SECONDS,
        few: int = FEW,
        most: int = MOST,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.share = 1.0
        """Of new work, that is taken."""
        self._target = target_seconds
        self._few, self._most = few, most
        self._random = random
        self._in_flight: float = 0
        self.admitted = self.refused = 0
        self._told = Counts()
        """What `take_counts` has told already."""
        self._fewest = math.inf
        """In flight, since the delay was last looked at."""
        self._delay = 0.0
        self._seen_at = -math.inf
        self._late_since: float | None = None

    def admits(self, in_flight: float) -> bool:
        """Tells whether to take one more beside those; else it is to be refused, cheaply."""
        self._in_flight = in_flight
        self._fewest = min(self._fewest, in_flight)
        if in_flight < self._few or (
            in_flight < min(self._most, self._fewest + BURST)
            and (self.share >= 1.0 or self._random() < self.share)
        ):
            self.admitted += 1
            return True
        self.refused += 1
        return False

    @property
    def depends_on_delay(self) -> bool:
        """Tells whether the delay matters, or is soon going to: not while there is little work."""
        return self.share < 1.0 or self._in_flight >= self._few / 2

    def observe(self, now: float, delay: float) -> None:
        """Says how long work waits at this time; both in seconds."""
        self._fewest = math.inf
        elapsed, self._seen_at = min(now - self._seen_at, 1.0), now
        before = self._delay
        # By time, not by looks: while it is late, a loop looks up less often.
        weight = 1 - math.exp(-elapsed / _SMOOTHING_SECONDS)
        self._delay += (min(delay, _MOST_SECONDS) - self._delay) * weight
        if self._delay <= self._target:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        late = self._late_since is not None and now - self._late_since > TOLERATED_SECONDS
        if self.share >= 1.0 and not late:
            return
        if self._delay < self._target / 2:
            change = _RECOVERY * elapsed
        else:
            change = _PER_DISTANCE * (self._target - self._delay) * elapsed
            change += _PER_CHANGE * (before - self._delay)
        self.share = min(1.0, max(_LEAST_SHARE, self.share * math.exp(change)))

    def take_counts(self) -> Counts:
        """Returns what was decided since it was last called."""
        told, self._told = self._told, Counts(self.admitted, self.refused)
        return Counts(self.admitted - told.admitted, self.refused - told.refused)
