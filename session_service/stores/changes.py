"""What one transaction adds to the counters, per user and for everybody, before it is stored.

Everybody's rows are changed by every write: a statement for each would be most of the work where
many are committed together, and locks them for all replicas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from session_service.stores.base import answer_time_bucket

EVERYBODY = ""
"""The scope that counts all users; others are user ids, which are never empty."""

ALL_DAYS = -1
"""In the tables of distributions, the day that counts all days."""

_KEEP_ENDINGS_MS = 60 * 60 * 1000
"""Endings of the past are of no use; an hour of them is kept in case the clock is set back."""

_DAY = (
    "sessions",
    "messages",
    "refreshes",
    "failures",
    "turns",
    "failed_turns",
    "input_tokens",
    "output_tokens",
    "tool_calls",
)

KEYS = {
    "totals": ("scope",),
    "days": ("scope", "day"),
    "endings": ("scope", "ends_ms"),
    "failures_by_reason": ("scope", "day", "reason"),
    "answer_times": ("scope", "day", "bucket"),
}
"""The columns that name a row, by table."""

SUMS = {
    "totals": (*_DAY, "deleted", "duration_ms", "estimated_turns"),
    "days": _DAY,
    "endings": ("sessions",),
    "failures_by_reason": ("failures",),
    "answer_times": ("turns",),
}
"""The columns that are added to."""

NEWEST = {"totals": ("last_activity_ms", "messages_updated_ms")}
"""The columns that keep the latest time."""

_LATEST = frozenset(NEWEST["totals"])

_FORGET = "forget"
"""In the place of a table: all counters of the user."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """What to store of changes, in this order."""

    forgotten: Sequence[str]
    """Users whose rows are deleted from all tables."""
    rows: Mapping[str, Sequence[Row]]
    """What to add, by table: keys, sums and latest times (None for none), everybody's first.

    Whoever has a change has a row in `totals`, if only of nothing.
    """
    endings_until_ms: int
    """Endings before then are deleted, of whoever has a change; none of them is in `rows`."""


class Changes:
    """What is added, in its order; what a part of the transaction has added can be taken back.

    Each is one of a user and of everybody or, with EVERYBODY in the user's place, of everybody.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[str, str, Row, Mapping[str, int]]] = []
        self._endings_until_ms = 0

    def add_to_day(self, user_id: str, day: int, **numbers: int) -> None:
        self._entries.append(("days", user_id, (day,), numbers))

    def add_to_totals(self, user_id: str, **numbers: int) -> None:
        self._entries.append(("totals", user_id, (), numbers))

    def add_failure_reason(self, user_id: str, day: int, reason: str) -> None:
        for at in (day, ALL_DAYS):
            self._entries.append(("failures_by_reason", user_id, (at, reason), {"failures": 1}))

    def add_answer_time(self, user_id: str, day: int, duration_ms: int) -> None:
        bucket = answer_time_bucket(duration_ms)
        for at in (day, ALL_DAYS):
            self._entries.append(("answer_times", user_id, (at, bucket), {"turns": 1}))

    def active_at(self, user_id: str, at_ms: int) -> None:
        self.add_to_totals(user_id, last_activity_ms=at_ms)

    def messages_counted(self, user_id: str, at_ms: int) -> None:
        self.add_to_totals(user_id, messages_updated_ms=at_ms)

    def add_ending(self, user_id: str, ends_ms: int, now_ms: int) -> None:
        self._entries.append(("endings", user_id, (ends_ms,), {"sessions": 1}))
        self._endings_until_ms = max(self._endings_until_ms, now_ms - _KEEP_ENDINGS_MS)

    def remove_ending(self, user_id: str, ends_ms: int) -> None:
        self._entries.append(("endings", user_id, (ends_ms,), {"sessions": -1}))

    def forget(self, user_id: str) -> None:
        """Deletes the counters of a user, and leaves everybody's exactly as they are.

        Their living sessions go on counting there as active until they would have ended: a total
        that holds a session until its end must keep that end, or the average would run ahead of
        the clock.
        """
        if user_id == EVERYBODY:
            raise ValueError("a user has an id")
        self._entries.append((_FORGET, user_id, (), {}))

    def mark(self) -> int:
        """Returns what `undo` takes to come back to here."""
        return len(self._entries)

    def undo(self, mark: int) -> None:
        """Takes back what was added since then."""
        del self._entries[mark:]

    def scopes(self) -> frozenset[str]:
        """Returns whose counters change."""
        users = {user_id for _, user_id, _, _ in self._entries}
        return frozenset(users | {EVERYBODY}) if users else frozenset()

    def added(self) -> Added | None:
        """Returns what to store; None for nothing."""
        if not self._entries:
            return None
        forgotten: list[str] = []
        tables: dict[str, dict[Row, dict[str, int]]] = {table: {} for table in KEYS}
        for table, user_id, key, numbers in self._entries:
            if table == _FORGET:
                forgotten.append(user_id)
                for of_table in tables.values():
                    for row in [row for row in of_table if row[0] == user_id]:
                        del of_table[row]
                continue
            of_table = tables[table]
            for scope in {user_id, EVERYBODY}:
                row = (scope, *key)
                if row in of_table:
                    _add(of_table[row], numbers)
                else:
                    of_table[row] = dict(numbers)
        rows = {table: self._rows(table, added) for table, added in tables.items()}
        return Added(forgotten, rows, self._endings_until_ms)

    def _rows(self, table: str, added: Mapping[Row, Mapping[str, int]]) -> Sequence[Row]:
        sums, newest = SUMS[table], NEWEST.get(table, ())
        return [
            (*key, *map(numbers.get, sums, repeat(0)), *map(numbers.get, newest))
            for key, numbers in sorted(added.items())
            if table == "totals" or (any(numbers.values()) and self._is_kept(table, key))
        ]

    def _is_kept(self, table: str, key: Row) -> bool:
        return table != "endings" or key[1] >= self._endings_until_ms


def _add(to: dict[str, int], numbers: Mapping[str, int]) -> None:
    for name, number in numbers.items():
        if name in _LATEST:
            to[name] = max(to.get(name, number), number)
        else:
            to[name] = to.get(name, 0) + number
