"""The end of OpenAI's Agent Builder, and of the workflows that hosted mode needs: who is told what.

What the sessions API answers from that day on is not stated anywhere, so nothing changes by itself:
hosted mode goes on asking, and whoever can switch is told how.
"""

import datetime
from collections.abc import Callable
from typing import TypeAlias

import structlog

from session_service.errors import WorkflowNotFound

CLOSES = datetime.date(2026, 11, 30)
EMULATOR_KEY = "sk-emulator"
"""What `make run` and docker-compose.yml set with the emulator, whose workflows never end."""

_REMEDY = "set CHATKIT_MODE=self_hosted and restart; docs/migration.md says what that takes"

Today: TypeAlias = Callable[[], datetime.date]

log = structlog.get_logger()


def utc_today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def is_closed(today: datetime.date) -> bool:
    """From the day itself on: OpenAI names no hour."""
    return today >= CLOSES


def days_left(today: datetime.date) -> int:
    return max(0, (CLOSES - today).days)


def closing_timestamp() -> float:
    """Returns when it closes, in Unix seconds, as UTC has the day begin."""
    return datetime.datetime.combine(CLOSES, datetime.time(), datetime.UTC).timestamp()


def announce(today: datetime.date) -> None:
    """Says it once, when a service in hosted mode has started."""
    log.warning(_event("and with it the workflows of hosted mode", today), **_facts(today))


def announce_missing_workflow(today: datetime.date) -> None:
    """Says it once, when OpenAI has first answered that the workflow is not there."""
    log.warning(_event("and OpenAI has no such workflow", today), **_facts(today))


def workflow_not_found(today: datetime.date) -> WorkflowNotFound:
    """Returns the error of a workflow that is not there, with the likely cause once it has one."""
    if not is_closed(today):
        return WorkflowNotFound()
    return WorkflowNotFound(
        f"Workflow not found: Agent Builder closed on {CLOSES}; {_REMEDY}",
        metadata={"cause": "closed"},
    )


def _event(consequence: str, today: datetime.date) -> str:
    return f"AGENT BUILDER {'HAS CLOSED' if is_closed(today) else 'IS CLOSING'}, {consequence}"


def _facts(today: datetime.date) -> dict[str, object]:
    left = {} if is_closed(today) else {"days_left": days_left(today)}
    return {"closes": f"{CLOSES}", **left, "remedy": _REMEDY}
