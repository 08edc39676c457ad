"""A call of OpenAI as a few attempts: what may pass is tried again, within all limits that hold."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from runtime import hops
from session_service.circuit import PROBE_SECONDS, Circuit
from session_service.errors import UpstreamUnavailable
from session_service.openai_errors import Answer, backoff_seconds, is_retryable

MAX_RETRIES = 2

T = TypeVar("T")

log = structlog.get_logger()


class AttemptFailed(Exception):
    """One attempt has failed, with `error`; callers get that of the last."""

    def __init__(
        self,
        error: Exception,
        *,
        is_alive: bool | None = None,
        is_retryable: bool = False,
        wait_seconds: float | None = None,
    ) -> None:
        """`is_alive` says whether OpenAI answers at all, `wait_seconds` what it asks to wait.

        An answer that cannot be used says nothing of that, as anybody may have written it.
        """
        super().__init__(error)
        self.error = error
        self.is_alive = is_alive
        self.is_retryable = is_retryable
        self.wait_seconds = wait_seconds


def failed_with(answer: Answer, error: Exception) -> AttemptFailed:
    """Returns the failure of an attempt whose answer is not a success."""
    return AttemptFailed(
        error,
        is_alive=None if answer.status < 400 else answer.status < 500,
        is_retryable=is_retryable(answer),
        wait_seconds=answer.retry_after_seconds(),
    )


async def ask(
    circuit: Circuit,
    send: Callable[[], Awaitable[T]],
    deadline: float,
    *,
    may_be_slow: bool = False,
    is_background: bool = False,
) -> T:
    """Returns what `send` does, which raises AttemptFailed for what it does not.

    The deadline, in event loop time, limits waits between attempts; attempts are limited by who
    makes them. Raises the error of the last attempt, UpstreamUnavailable where there is none.
    """
    failure: AttemptFailed | None = None
    circuit.budget.called()
    for retry in itertools.count():
        attempt = circuit.admit(
            is_retry=retry > 0, may_be_slow=may_be_slow, is_background=is_background
        )
        if attempt is None:
            log.debug("openai not asked")
            raise failure.error if failure else _refusal()
        is_alive: bool | None = None
        try:
            answer = await send()
            is_alive = True
            return answer
        except AttemptFailed as error:
            failure, is_alive = error, error.is_alive
        finally:
            attempt.ended(is_alive=is_alive)
        wait = backoff_seconds(retry) if failure.wait_seconds is None else failure.wait_seconds
        time_left = deadline - asyncio.get_running_loop().time()
        if not (
            failure.is_retryable
            and retry < MAX_RETRIES
            and wait < time_left
            and not circuit.is_open
            and circuit.budget.take()
        ):
            raise failure.error
        hops.event(
            "retry", number=retry + 1, wait_seconds=wait, reason=hops.reason_of(failure.error)
        )
        await asyncio.sleep(wait)
    raise AssertionError("the loop above ends by itself")


def _refusal() -> UpstreamUnavailable:
    return UpstreamUnavailable(
        "OpenAI does not answer, and is asked now and then only; try again later",
        metadata={"cause": "circuit"},
        retry_after_seconds=PROBE_SECONDS,
    )
