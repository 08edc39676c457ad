"""What OpenAI's failures mean: each of its answers is one exception, and some are worth a retry.

Reference: https://platform.openai.com/docs/guides/error-codes
"""

import email.utils
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from session_service.errors import (
    InvalidAPIKey,
    UpstreamError,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
    WorkflowNotFound,
)

_QUOTA_CODES = frozenset(("insufficient_quota", "credit_balance_exhausted"))
_RETRYABLE = frozenset((408, 409, 429))
_FIRST_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 8.0
_LONGEST_WAIT_SECONDS = 24 * 60 * 60.0
"""What is more is a mistake."""
_RATE_LIMIT_SECONDS = 2.0
"""What callers are told to wait where OpenAI says that they are too fast, but not how long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of OpenAI, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        """Returns the parsed body, None where it is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    def error(self) -> Mapping[str, object]:
        """Returns the `error` object of the body, empty where there is none."""
        match self.json():
            case {"error": dict(error)}:
                return error
        return {}

    def retry_after_seconds(self) -> float | None:
        """Returns how long OpenAI asks to wait, None where it does not say."""
        milliseconds = _number(self.headers.get("retry-after-ms"))
        if milliseconds is not None:
            return _wait(milliseconds / 1000)
        value = self.headers.get("retry-after", "")
        seconds = _number(value)
        if seconds is not None:
            return _wait(seconds)
        try:
            date = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        return _wait(date.timestamp() - time.time())


def error_of(answer: Answer) -> UpstreamError:
    """Returns the one exception for an answer that is not a success."""
    match answer.status:
        case 401 | 403:
            return InvalidAPIKey(metadata={"cause": _key_problem(answer)})
        case 404:
            return WorkflowNotFound()
        case 429 if _quota_is_exhausted(answer):
            return UpstreamQuotaExhausted()
        case 429:
            wait = answer.retry_after_seconds()
            return UpstreamRateLimited(
                retry_after_seconds=_RATE_LIMIT_SECONDS if wait is None else wait
            )
        case status if 400 <= status < 500:
            return UpstreamRejected()
    return UpstreamUnavailable()


def is_retryable(answer: Answer) -> bool:
    """Tells whether the same request may succeed a little later."""
    if answer.status in _RETRYABLE:
        return not _quota_is_exhausted(answer)
    return answer.status >= 500


def backoff_seconds(retry: int) -> float:
    """Returns a wait before retry 0, 1, … at which not all callers come back at once.

    Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    # Spreads load, guards nothing: the plain generator will do.
    return random.uniform(0, min(_MAX_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2**retry))


def _key_problem(answer: Answer) -> str:
    message = str(answer.error().get("message", "")).lower()
    lacks_scope = "insufficient permissions" in message or "missing scopes" in message
    return "permission" if lacks_scope or answer.status == 403 else "rejected"


def _quota_is_exhausted(answer: Answer) -> bool:
    error = answer.error()
    return not _QUOTA_CODES.isdisjoint(str(error.get(key)) for key in ("code", "type"))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _wait(seconds: float) -> float:
    return min(max(0.0, seconds), _LONGEST_WAIT_SECONDS)
