"""Rate limits that hold for all session services on one PostgreSQL together.

A row per key has the times of the last minute's calls, by the database's clock, whatever those of
the services say. The table is not logged: a commit that has changed nothing else does not wait for
a disk, and all that a crash of the database takes is one minute's memory
(https://www.postgresql.org/docs/current/sql-createtable.html#SQL-CREATETABLE-UNLOGGED).
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from session_service.errors import RateLimited
from session_service.rate_limit import WINDOW_SECONDS, Window
from session_service.stores.timed import timed

if TYPE_CHECKING:
    from session_service.stores.changes import Changes
    from session_service.stores.postgres_database import Connection, PostgresDatabase

_WINDOW_MS = int(WINDOW_SECONDS * 1000)
_CLOCK_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

# Time never goes back in a row: whoever has waited for it comes after whom they have waited for.
# But a clock that was set back by more than a minute has made the row worthless.
_ADMIT = f"""
INSERT INTO rate_limits AS kept (name, key, most, admitted, times_ms)
SELECT name, key, most, wanted, array_fill({_CLOCK_MS}, ARRAY[wanted])
FROM unnest($1::text[], $2::text[], $3::int[], $4::int[]) AS asked (name, key, most, wanted)
ON CONFLICT (name, key) DO UPDATE SET (most, admitted, times_ms) = (
    SELECT excluded.most, room, recent || array_fill(at_ms, ARRAY[room])
    FROM (SELECT excluded.times_ms[1], kept.times_ms[cardinality(kept.times_ms)])
            AS times (now_ms, newest_ms),
        LATERAL (SELECT CASE WHEN newest_ms < now_ms + {_WINDOW_MS}
            THEN greatest(now_ms, newest_ms) ELSE now_ms END) AS moment (at_ms),
        LATERAL (SELECT ARRAY(SELECT t FROM unnest(kept.times_ms) AS t
            WHERE t > at_ms - {_WINDOW_MS} AND t <= at_ms)) AS past (recent),
        LATERAL (SELECT greatest(0, least(excluded.admitted,
            excluded.most - cardinality(recent)))) AS answer (room)
)
RETURNING name, key, admitted,
    times_ms[cardinality(times_ms) - most + 1] + {_WINDOW_MS} - {_CLOCK_MS}
"""

FORGET_IDLE = f"""
DELETE FROM rate_limits WHERE (name, key) IN (
    SELECT name, key FROM rate_limits
    WHERE times_ms[cardinality(times_ms)] <= {_CLOCK_MS} - {_WINDOW_MS}
    FOR UPDATE SKIP LOCKED
)
"""


async def admit(
    db: "Connection", _: "Changes", rows: Sequence[tuple[str, str, int]]
) -> Sequence[float]:
    """Counts calls by name, key and limit. Returns for each how long to wait, 0 if it may go."""
    wanted = Counter(rows)
    # In one order, so that replicas never wait for each other in a circle.
    asked = [(*row, min(number, row[2])) for row, number in sorted(wanted.items())]
    answers = await db.fetch(_ADMIT, *zip(*asked, strict=True))
    room = {(name, key): admitted for name, key, admitted, _ in answers}
    wait_ms = {(name, key): wait_ms for name, key, _, wait_ms in answers}
    waits = []
    for name, key, _most in rows:
        room[name, key] -= 1
        admitted = room[name, key] >= 0
        waits.append(0.0 if admitted else max(1, wait_ms[name, key]) / 1000)
    return waits


@timed("postgresql")
class PostgresRateLimit:
    """See `rate_limit.RateLimit`; 0 admits all."""

    def __init__(self, database: "PostgresDatabase", name: str, per_minute: int) -> None:
        self._database = database
        self._name = name
        self._per_minute = per_minute
        # What is too much for certain is not asked of the database, or it would drown in it.
        self._window = Window(per_minute)
        self._forget_at = 0.0

    async def admit(self, key: str) -> None:
        if not self._per_minute:
            return
        loop = asyncio.get_running_loop()
        self._window.check(key, loop.time())
        if loop.time() >= self._forget_at:
            self._forget_at = loop.time() + WINDOW_SECONDS
            await self._database.fetch(FORGET_IDLE)
        wait = await self._database.batch(admit, (self._name, key, self._per_minute))
        if wait:
            self._window.fill(key, loop.time() + wait)
            raise RateLimited(retry_after_seconds=wait)
        # Not before the database's time for it, so that who has waited here need not wait there.
        self._window.add(key, loop.time())
