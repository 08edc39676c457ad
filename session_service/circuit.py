"""Whether OpenAI is asked at all: a circuit breaker, and a budget for asking again.

The pattern is Nygard's (https://martinfowler.com/bliki/CircuitBreaker.html), the budget Google's
(https://sre.google/sre-book/handling-overload/#deciding-to-retry).
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

FAILED_TO_OPEN = 20
"""Calls that fail at first, with no answer between them: under load they come within a second, and
a few users who try again do not make so many. What a call's own retries meet is no news."""
SILENT_TO_OPEN = 5
PROBE_SECONDS = 1.0
"""From a probe that has failed to the next."""
_MAX_PATIENCE_SECONDS = 5.0

BUDGET_SECONDS = 10
RETRY_SHARE = 0.1
FREE_RETRIES = 30
"""What few callers may do, of whom a tenth would be nothing."""

Clock = Callable[[], float]

log = structlog.get_logger()


def patience_seconds(timeout_seconds: float) -> float:
    """Returns how long an attempt may be silent, where whole requests have so much time."""
    return min(_MAX_PATIENCE_SECONDS, timeout_seconds / 4)


class Circuit:
    """One of OpenAI's APIs: they fail one by one. Of one process, and in its memory.

    Closed, it lets every attempt through. It opens when many have failed or been silent in a row;
    then one attempt at a time goes through, as a probe, and any answer closes it again. Silence
    counts while an attempt still waits for its answer, which may come: a slow OpenAI is not down.
    """

    def __init__(self, name: str, patience_seconds: float, clock: Clock = time.monotonic) -> None:
        self.budget = RetryBudget(clock)
        self.name = name
        self.refused = 0
        """Attempts, since the process began."""
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._failed = 0
        self._silent = 0
        # Those that have not been silent for too long yet, and when they will have been, in order.
        self._patient: OrderedDict[Attempt, float] = OrderedDict()
        self._opened_at: float | None = None
        self._probe: Attempt | None = None
        self._next_probe_at = 0.0

    @property
    def is_open(self) -> bool:
        self._count_silent()
        return self._opened_at is not None

    def admit(
        self, *, is_retry: bool = False, may_be_slow: bool = False, is_background: bool = False
    ) -> "Attempt | None":
        """Returns an attempt, which has to be told how it ended, or None: do not ask.

        What `may_be_slow` to answer is not counted as silent. What nobody waits for,
        `is_background`, is held back by users' probes, and counts neither for nor against OpenAI:
        other calls than those of users fail, or answer, by themselves.
        """
        now = self._count_silent()
        attempt = Attempt(self, is_retry, is_background)
        if self._opened_at is not None:
            if now < self._next_probe_at:
                self.refused += 1
                return None
            if not is_background:
                self._probe = attempt
                # One that is silent does not hold up the next, and waits on.
                self._next_probe_at = now + self._patience_seconds
        if not (may_be_slow or is_background):
            self._patient[attempt] = now + self._patience_seconds
        return attempt

    def ended(self, attempt: "Attempt", is_alive: bool | None) -> None:
        """To be called by attempts alone."""
        now = self._count_silent()
        self._patient.pop(attempt, None)
        if is_alive:
            self._close(now)
            return
        if attempt is self._probe:
            self._probe = None
            self._next_probe_at = now + (0 if is_alive is None else PROBE_SECONDS)
        if is_alive is False and not attempt.is_retry:
            self._failed += 1
            self._open_if_due(now)

    def _count_silent(self) -> float:
        """Counts those whose time has come: whenever somebody asks, so it takes no timers."""
        now = self._clock()
        while self._patient and next(iter(self._patient.values())) <= now:
            self._patient.popitem(last=False)
            self._silent += 1
            self._open_if_due(now)
        return now

    def _open_if_due(self, now: float) -> None:
        is_due = self._failed >= FAILED_TO_OPEN or self._silent >= SILENT_TO_OPEN
        if is_due and self._opened_at is None:
            self._opened_at = now
            self._next_probe_at = now + PROBE_SECONDS
            log.warning(
                "openai circuit opened", api=self.name, failed=self._failed, silent=self._silent
            )

    def _close(self, now: float) -> None:
        self._failed = self._silent = 0
        self._probe = None
        if self._opened_at is not None:
            seconds = round(now - self._opened_at, 1)
            self._opened_at = None
            log.warning("openai circuit closed", api=self.name, open_seconds=seconds)


class Attempt:
    """One request to OpenAI."""

    __slots__ = ("_circuit", "_is_background", "is_retry")

    def __init__(self, circuit: Circuit, is_retry: bool, is_background: bool) -> None:
        self._circuit = circuit
        self._is_background = is_background
        self.is_retry = is_retry

    def ended(self, *, is_alive: bool | None) -> None:
        """Says whether OpenAI has answered; None where nothing is known, as its caller has left."""
        if not self._is_background:
            self._circuit.ended(self, is_alive)


@dataclass(slots=True)
class _Slot:
    second: int
    calls: int = 0
    retries: int = 0


class RetryBudget:
    """Retries are a tenth of all calls at most, in the last ten seconds.

    Each caller's own limit does not do: three attempts of everybody are three times the load, just
    when OpenAI can bear the least.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.retries = 0
        """Since the process began."""
        self._clock = clock
        self._slots: deque[_Slot] = deque()

    def called(self) -> None:
        """Counts a call, whatever becomes of it."""
        self._now().calls += 1

    def take(self) -> bool:
        """Takes one retry, if there is one."""
        slot = self._now()
        calls = sum(slot.calls for slot in self._slots)
        if sum(slot.retries for slot in self._slots) >= max(FREE_RETRIES, calls * RETRY_SHARE):
            return False
        slot.retries += 1
        self.retries += 1
        return True

    def _now(self) -> _Slot:
        second = int(self._clock())
        while self._slots and self._slots[0].second <= second - BUDGET_SECONDS:
            self._slots.popleft()
        if not self._slots or self._slots[-1].second != second:
            self._slots.append(_Slot(second))
        return self._slots[-1]
