"""The counters of the PostgreSQL store, per user and for everybody: written with what they count.

Everybody's rows are changed by every write, and whoever has changed one locks it until their commit
is on the disk. So changes are added up in memory and written by one statement, the last before the
commit.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from session_service.stores.base import Day, Distributions, Rollup, Totals
from session_service.stores.changes import ALL_DAYS, KEYS, NEWEST, SUMS, Changes

if TYPE_CHECKING:
    import asyncpg

    from session_service.stores.postgres_database import Connection

_TEXTS = frozenset(("scope", "reason"))
"""The columns that are no numbers."""


def _all_columns(table: str) -> tuple[str, ...]:
    return (*KEYS[table], *SUMS[table], *NEWEST.get(table, ()))


def _upsert(table: str, first: int) -> str:
    """Returns what adds rows of arrays, which are the parameters from `first` on."""
    columns = _all_columns(table)
    arrays = ", ".join(
        f"${number}::{'text' if column in _TEXTS else 'bigint'}[]"
        for number, column in enumerate(columns, first)
    )
    sums = [f"{column} = {table}.{column} + excluded.{column}" for column in SUMS[table]]
    newest = [
        f"{column} = greatest({table}.{column}, excluded.{column})"
        for column in NEWEST.get(table, ())
    ]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"
        f" ON CONFLICT ({', '.join(KEYS[table])}) DO UPDATE SET {', '.join(sums + newest)}"
    )


def _write_all() -> str:
    # The statement itself runs before the others, which nothing refers to, and its first row is
    # everybody's: whoever has that can meet nobody at the rest, so there is no deadlock. None may
    # touch a row twice.
    totals, *others = KEYS
    first = 1 + len(_all_columns(totals))
    parts = []
    for table in others:
        parts.append(f"{table}_ AS ({_upsert(table, first)})")
        first += len(_all_columns(table))
    parts.append(
        f"over AS (DELETE FROM endings WHERE scope = ANY(${first}::text[])"
        f" AND ends_ms < ${first + 1}::bigint)"
    )
    return f"WITH {', '.join(parts)} {_upsert(totals, 1)}"


_WRITE = _write_all()


async def write(db: "Connection", changes: Changes) -> None:
    """Stores what has been added. Nothing may be locked after that."""
    added = changes.added()
    if added is None:
        return
    for user_id in added.forgotten:
        for table in KEYS:
            await db.execute(f"DELETE FROM {table} WHERE scope = $1", user_id)
    if not added.rows["totals"]:
        return
    parameters = [column for table in KEYS for column in _columns(table, added.rows[table])]
    scopes = [scope for scope, *_ in added.rows["totals"]] if added.endings_until_ms else []
    await db.execute(_WRITE, *parameters, scopes, added.endings_until_ms)


def _columns(table: str, rows: Sequence[Sequence[Any]]) -> Iterable[Sequence[Any]]:
    return zip(*rows, strict=True) if rows else [()] * len(_all_columns(table))


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
        SELECT ARRAY[day, {", ".join(SUMS["days"])}]
        FROM days WHERE scope = $1 AND day >= $3 ORDER BY day),
    ARRAY(
        SELECT ARRAY[day::text, reason, failures::text] FROM failures_by_reason
        WHERE scope = $1 AND day = {ALL_DAYS}
        UNION ALL
        SELECT ARRAY[day::text, reason, failures::text] FROM failures_by_reason
        WHERE scope = $1 AND day >= greatest($3, 0)),
    ARRAY(
        SELECT ARRAY[day, bucket, turns] FROM answer_times
        WHERE scope = $1 AND day = {ALL_DAYS}
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
        total=distributions.pop(ALL_DAYS, Distributions()),
        by_day=distributions,
    )
