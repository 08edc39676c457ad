"""Checks: what has to be in order, how each went, and the cause where there are several."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["passed", "failed", "warning", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """How one check went. `checklist_texts` has the words, keyed by name and cause."""

    name: str
    """Such as `openai.key`."""
    state: State
    cause: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    """What a text names, such as an address; never a secret."""


def passed(name: str, cause: str = "", **details: object) -> Check:
    return _check(name, "passed", cause, details)


def failed(name: str, cause: str, **details: object) -> Check:
    """Nothing works until it is mended."""
    return _check(name, "failed", cause, details)


def warning(name: str, cause: str, **details: object) -> Check:
    """It works, and somebody should have a look."""
    return _check(name, "warning", cause, details)


def skipped(name: str, cause: str, **details: object) -> Check:
    """It could not be checked, or was not asked for."""
    return _check(name, "skipped", cause, details)


def after(name: str, earlier: str) -> Check:
    """What cannot be checked before an earlier one has passed."""
    return skipped(name, "after", check=earlier)


def verdict(checks: Iterable[Check]) -> State:
    """Returns `failed` where one has, else `warning` where there is one, else `passed`."""
    states = {check.state for check in checks}
    if "failed" in states:
        return "failed"
    return "warning" if "warning" in states else "passed"


def _check(name: str, state: State, cause: str, details: Mapping[str, object]) -> Check:
    return Check(name, state, cause, {key: str(value) for key, value in details.items()})
