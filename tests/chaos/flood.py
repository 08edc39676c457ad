"""Three times as many requests as can be answered, from a process of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import arrivals, contestants
from tests.bench.load import Figures, Orders
from tests.chaos.stage import Stage
from tests.e2e.dashboard import token_of

_TIMES = 3
_USERS = 50
_CONNECTIONS = 500
_FEW = 8
"""So many connections keep the gateway busy, and never so that it refuses."""
_WARM_UP_SECONDS = 1.0

_LEAST_SHARE = 0.5
"""Of the best rate, what is still answered: who floods takes a share of this machine, too."""
_ACCEPTED_SECONDS = 2.0
_REFUSED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Flood:
    """What came of it."""

    best_per_second: float
    figures: arrivals.ArrivalFigures

    def __str__(self) -> str:
        seen = self.figures
        return (
            f"best {self.best_per_second:,.0f}/s; of {seen.offered_per_second:,.0f}/s it answered"
            f" {seen.accepted_per_second:,.0f}/s (p99 {seen.accepted_p99_ms:,.0f} ms) and refused"
            f" {seen.refused_per_second:,.0f}/s (p99 {seen.refused_p99_ms:,.0f} ms)"
        )

    def broken(self, patience: float, *, judges_times: bool) -> list[str]:
        """Returns the promises that were broken."""
        seen = self.figures
        lost = f"{seen.lost} of the flood without an answer"
        nothing = "nothing of the flood was refused"
        found = [lost] * (seen.lost > 0) + [nothing] * (seen.refused_per_second == 0)
        if not judges_times:
            return found
        promises = {
            f"fewer than {_LEAST_SHARE:.0%} of the best rate were answered": (
                seen.accepted_per_second * patience >= self.best_per_second * _LEAST_SHARE
            ),
            f"p99 of what was answered is above {_ACCEPTED_SECONDS:g} s": (
                seen.accepted_p99_ms <= _ACCEPTED_SECONDS * 1000 * patience
            ),
            f"p99 of what was refused is above {_REFUSED_SECONDS:g} s": (
                seen.refused_p99_ms <= _REFUSED_SECONDS * 1000 * patience
            ),
        }
        return found + [what for what, is_kept in promises.items() if not is_kept]


async def flood(stage: Stage, seconds: float) -> Flood:
    """Finds the best rate, and sends three times as much. Raises CannotRun."""
    port = int(stage.gateway.address.rpartition(":")[2])
    target = contestants.Contestant("the gateway", port, (), _requests())
    orders = Orders(port, _FEW, _WARM_UP_SECONDS, seconds / 2, '"success":true', target.requests)
    best = Figures(**await contestants.load(target, "tests.bench.load", orders)).per_second
    rate = best * _TIMES
    storm = arrivals.ArrivalOrders(
        port, rate, _CONNECTIONS, _WARM_UP_SECONDS, seconds, target.requests
    )
    figures = await contestants.load(target, "tests.bench.arrivals", storm)
    return Flood(best, arrivals.ArrivalFigures(**figures))


def _requests() -> Sequence[str]:
    """Returns requests that cost the gateway, the service and the database, but not OpenAI."""
    return [
        f"GET /api/chatkit/stats HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token_of(f'flood-{number}')}\r\n\r\n"
        for number in range(_USERS)
    ]
