"""The counters of the PostgreSQL store, per user and for everybody: written with what they count.

Everybody's rows are changed by every write, and whoever has changed one locks it until their commit
is on the disk. So changes are added up in memory and written by one statement, the last before the
commit.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from session_service.stores.base import (
    Day,
    Distributions,
    Rollup,
    Totals,
    answer_time_bucket,
)

if TYPE_CHECKING:
    import asyncpg

    from session_service.stores.postgres_database import Connection

EVERYBODY = ""
"""The scope that counts all users; others are user ids, which are never empty."""

_ALL_DAYS = -1
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
_TOTALS = (*_DAY, "deleted", "duration_ms", "estimated_turns")
_NEWEST = ("last_activity_ms", "messages_updated_ms")

_KEYS = {
    "totals": {"scope": "text"},
    "days": {"scope": "text", "day": "bigint"},
    "endings": {"scope": "text", "ends_ms": "bigint"},
    "failures_by_reason": {"scope": "text", "day": "bigint", "reason": "text"},
    "answer_times": {"scope": "text", "day": "bigint", "bucket": "bigint"},
}
_SUMS = {
    "totals": _TOTALS,
    "days": _DAY,
    "endings": ("sessions",),
    "failures_by_reason": ("failures",),
    "answer_times": ("turns",),
}


def _upsert(table: str, first: int) -> str:
    """Returns what adds rows of arrays, which are the parameters from `first` on."""
    newest = _NEWEST if table == "totals" else ()
    columns = (*_KEYS[table], *_SUMS[table], *newest)
    types = (*_KEYS[table].values(), *["bigint"] * (len(columns) - len(_KEYS[table])))
    arrays = ", ".join(f"${first + n}::{type_}[]" for n, type_ in enumerate(types))
    changes = ", ".join(
        (
            *(f"{column} = {table}.{column} + excluded.{column}" for column in _SUMS[table]),
            *(f"{column} = greatest({table}.{column}, excluded.{column})" for column in newest),
        )
    )
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"
        f" ON CONFLICT ({', '.join(_KEYS[table])}) DO UPDATE SET {changes}"
    )


def _write_all() -> str:
    # The statement itself runs before the others, which nothing refers to, and its first row is
    # everybody's: whoever has that can meet nobody at the rest, so there is no deadlock.
    first = len(_KEYS["totals"]) + len(_TOTALS) + len(_NEWEST) + 1
    others = []
    for table in ("days", "endings", "failures_by_reason", "answer_times"):
        others.append(f"{table}_ AS ({_upsert(table, first)})")
        first += len(_KEYS[table]) + len(_SUMS[table])
    others.append(
        f"over AS (DELETE FROM endings WHERE scope = ANY(${first}::text[])"
        f" AND ends_ms < ${first + 1}::bigint)"
    )
    return f"WITH {', '.join(others)} {_upsert('totals', 1)}"


_WRITE = _write_all()


class Changes:
    """What one transaction adds to the counters: of a user and of everybody, or of everybody."""

    def __init__(self) -> None:
        self._sums: dict[str, defaultdict[tuple[Any, ...], Counter[str]]] = {
            table: defaultdict(Counter) for table in _KEYS
        }
        self._newest: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._endings_until_ms = 0
        """Those before then are deleted."""

    def add_to_day(self, user_id: str, day: int, **changes: int) -> None:
        self._add("days", user_id, (day,), changes)

    def add_to_totals(self, user_id: str, **changes: int) -> None:
        self._add("totals", user_id, (), changes)

    def add_failure_reason(self, user_id: str, day: int, reason: str) -> None:
        for at in (day, _ALL_DAYS):
            self._add("failures_by_reason", user_id, (at, reason), {"failures": 1})

    def add_answer_time(self, user_id: str, day: int, duration_ms: int) -> None:
        bucket = answer_time_bucket(duration_ms)
        for at in (day, _ALL_DAYS):
            self._add("answer_times", user_id, (at, bucket), {"turns": 1})

    def active_at(self, user_id: str, at_ms: int) -> None:
        self._happened(user_id, "last_activity_ms", at_ms)

    def messages_counted(self, user_id: str, at_ms: int) -> None:
        self._happened(user_id, "messages_updated_ms", at_ms)

    def add_ending(self, user_id: str, ends_ms: int, now_ms: int) -> None:
        self._add("endings", user_id, (ends_ms,), {"sessions": 1})
        self._endings_until_ms = max(self._endings_until_ms, now_ms - _KEEP_ENDINGS_MS)

    def remove_ending(self, user_id: str, ends_ms: int) -> None:
        self._add("endings", user_id, (ends_ms,), {"sessions": -1})

    def _add(
        self, table: str, user_id: str, key: tuple[Any, ...], changes: Mapping[str, int]
    ) -> None:
        for scope in {user_id, EVERYBODY}:
            self._sums[table][(scope, *key)].update(changes)

    def _happened(self, user_id: str, what: str, at_ms: int) -> None:
        for scope in {user_id, EVERYBODY}:
            times = self._newest[scope]
            times[what] = max(times.get(what, at_ms), at_ms)
            self._sums["totals"][(scope,)].update()

    async def write(self, db: "Connection") -> None:
        if not self._sums["totals"]:
            return
        totals = sorted(self._sums["totals"].items())
        parameters = _columns(
            (*key, *(sums[name] for name in _TOTALS), *map(self._newest[key[0]].get, _NEWEST))
            for key, sums in totals
        )
        for table in ("days", "endings", "failures_by_reason", "answer_times"):
            rows = [
                (*key, *(sums[name] for name in _SUMS[table]))
                for key, sums in sorted(self._sums[table].items())
                if any(sums.values())
            ]
            if table == "endings":
                # One statement must not touch a row twice.
                rows = [row for row in rows if row[1] >= self._endings_until_ms]
            width = len(_KEYS[table]) + len(_SUMS[table])
            parameters += _columns(rows) or [[]] * width
        scopes = [scope for ((scope,), _) in totals] if self._endings_until_ms else []
        await db.execute(_WRITE, *parameters, scopes, self._endings_until_ms)


def _columns(rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True))


# All in one statement, which sees one moment.
READ = f"""
SELECT
    ARRAY(
        SELECT ARRAY[sessions, messages, refreshes, deleted, failures, duration_ms,
            last_activity_ms, messages_updated_ms, turns, failed_turns, input_tokens,
            output_tokens, estimated_turns, tool_calls]
        FROM totals WHERE scope = $1),
    ARRAY(
        SELECT ARRAY[coalesce(sum(sessions), 0), coalesce(sum(sessions * (ends_ms - $2)), 0)]
        FROM endings WHERE scope = $1 AND ends_ms > $2)::bigint[],
    ARRAY(
        SELECT ARRAY[day, {", ".join(_DAY)}]
        FROM days WHERE scope = $1 AND day >= $3 ORDER BY day),
    ARRAY(
        SELECT ARRAY[day::text, reason, failures::text] FROM failures_by_reason
        WHERE scope = $1 AND day = {_ALL_DAYS}
        UNION ALL
        SELECT ARRAY[day::text, reason, failures::text] FROM failures_by_reason
        WHERE scope = $1 AND day >= greatest($3, 0)),
    ARRAY(
        SELECT ARRAY[day, bucket, turns] FROM answer_times
        WHERE scope = $1 AND day = {_ALL_DAYS}
        UNION ALL
        SELECT ARRAY[day, bucket, turns] FROM answer_times
        WHERE scope = $1 AND day >= greatest($3, 0))
"""
"""Parameters: scope, now, first day."""


def from_row(row: "asyncpg.Record") -> Rollup:
    totals, ((active, remaining_ms),), days, failure_rows, time_rows = row.values()
    failures: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for day, reason, number in failure_rows:
        failures[int(day)][reason] = int(number)
    times: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for day, bucket, number in time_rows:
        times[day][bucket] = number
    distributions = {
        day: Distributions(failures.get(day, {}), times.get(day, {}))
        for day in failures.keys() | times.keys()
    }
    return Rollup(
        totals=Totals(*totals[0]) if totals else Totals(),
        active=active,
        remaining_ms=remaining_ms,
        days=[Day(*day) for day in days],
        total=distributions.pop(_ALL_DAYS, Distributions()),
        by_day=distributions,
    )


async def forget(db: "Connection", user_id: str) -> None:
    """Deletes the counters of a user, and leaves everybody's exactly as they are.

    Their living sessions go on counting there as active until they would have ended: a total that
    holds a session until its end must keep that end, or the average would run ahead of the clock.
    """
    if user_id == EVERYBODY:
        raise ValueError("a user has an id")
    for table in _KEYS:
        await db.execute(f"DELETE FROM {table} WHERE scope = $1", user_id)
