"""A limit per user over a sliding minute, in the memory of this process."""

from collections import OrderedDict, deque

from session_service.errors import RateLimited

WINDOW_SECONDS = 60.0


class RateLimit:
    """Admits at most `per_minute` calls of a user in any 60 s; 0 admits all."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        # Longest idle user first, so that forgetting them costs nothing.
        self._admitted: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, user_id: str, now: float) -> None:
        """Counts a call at `now`, in seconds of a monotonic clock. Raises RateLimited."""
        if self._per_minute == 0:
            return
        times = self._admitted.setdefault(user_id, deque(maxlen=self._per_minute))
        if len(times) == self._per_minute and times[0] > now - WINDOW_SECONDS:
            raise RateLimited(retry_after_seconds=times[0] + WINDOW_SECONDS - now)
        times.append(now)
        self._admitted.move_to_end(user_id)
        self._forget_idle(now)

    def _forget_idle(self, now: float) -> None:
        while self._admitted:
            user_id, times = next(iter(self._admitted.items()))
            if times[-1] > now - WINDOW_SECONDS:
                return
            del self._admitted[user_id]
