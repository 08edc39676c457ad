"""Several PostgreSQL stores on one database, as replicas of the session service have them."""

import asyncio
import contextlib
from collections import Counter

from session_service.errors import Unavailable
from session_service.stores.base import DuplicateSession, Session, Totals
from session_service.stores.conversations import Item
from session_service.stores.postgres import PostgresStore
from tests.integration.store_contract_self_hosted import DeleteUserContract
from tests.integration.store_values import (
    LIFETIME,
    NOON,
    add,
    add_attachment,
    add_item,
    add_thread,
    everything,
    new_session,
    refresh,
    secret_hash,
    turn,
)
from tests.integration.test_postgres_store import check_counters
from tests.postgres_support import PostgresServer, connected


async def test_replicas_count_together(
    replicas: list[PostgresStore], url: str, postgres: PostgresServer
) -> None:
    """Whatever they do at once to the same sessions, none waits for another in a circle."""
    roots = await asyncio.gather(*(add(replicas[0], f"r{n}", f"u{n % 4}") for n in range(40)))

    async def work(number: int, store: PostgresStore) -> None:
        for step, root in enumerate(roots[number:] + roots[:number]):
            name = f"{number}-{step}"
            match step % 4:
                case 0:
                    await add(store, name, root.user_id)
                case 1:
                    await store.delete(root.id, NOON + 1, NOON + 5)
                case _:
                    session = new_session(name, root.user_id, NOON + 1, refreshes=root)
                    await store.replace(session, secret_hash(name))

    await asyncio.gather(
        *(work(number, replicas[number % 3]) for number in range(24)),
        *(work(number, replicas[number % 3]) for number in range(24, 36)),
    )
    await check_counters(url, replicas[1])
    assert "deadlock detected" not in postgres.log()


async def test_of_replicas_that_add_one_session_one_does(replicas: list[PostgresStore]) -> None:
    answers = await asyncio.gather(
        *(add(store, f"s{n}") for n in range(50) for store in replicas), return_exceptions=True
    )
    kinds = Counter(type(answer) for answer in answers)
    assert kinds == {Session: 50, DuplicateSession: 100}
    assert (await everything(replicas[0], None)).totals == Totals(
        sessions=50, duration_ms=50 * LIFETIME, last_activity_ms=NOON
    )


async def test_refreshes_of_one_secret_on_several_replicas_are_one_chain(
    replicas: list[PostgresStore], url: str
) -> None:
    first = await add(replicas[0], "a")
    names = [f"{number}-{step}" for number in range(3) for step in range(10)]
    await asyncio.gather(
        *(refresh(replicas[int(name[0])], first, name, NOON + 1) for name in names)
    )
    rows = {row.id: row for row in await replicas[0].list("7", 100, None)}
    assert set(rows) == {"a", *names}
    assert rows["a"].refreshed_to in names
    assert {(rows[name].refreshed_from, rows[name].root_id) for name in names} == {("a", "a")}
    assert (await everything(replicas[1], "7")).totals == Totals(
        sessions=1, refreshes=30, duration_ms=LIFETIME + 1, last_activity_ms=NOON + 1
    )
    await check_counters(url, replicas[1])
    await replicas[2].delete("a", NOON + 2, NOON + 5)
    assert all(row.deleted_ms for row in await replicas[0].list("7", 100, None))


async def test_replicas_share_what_is_due(replicas: list[PostgresStore]) -> None:
    for number in range(30):
        await add(replicas[0], f"s{number}", f"u{number}")
        await replicas[0].delete(f"s{number}", NOON, NOON + 5)
    cancels = await asyncio.gather(
        *(store.claim_cancels(NOON + 5, NOON + 99, 7) for store in replicas * 4)
    )
    users = await asyncio.gather(
        *(store.claim_usage(NOON + 5, NOON + 99, 1) for store in replicas * 12)
    )
    for times in (
        Counter(session_id for claim in cancels for session_id in claim),
        Counter(user.user_id for claim in users for user in claim),
    ):
        assert set(times.values()) == {1}
    # In the end nobody is left out, whoever was just being claimed by another.
    rest = [one for claim in users for one in claim]
    rest += await replicas[1].claim_usage(NOON + 5, NOON + 99, 100)
    assert len({user.user_id for user in rest}) == len(rest) == 30


async def test_what_another_is_claiming_is_left_to_it(
    replicas: list[PostgresStore], url: str
) -> None:
    store = replicas[0]
    for number in range(3):
        await add(store, f"s{number}", f"u{number}", NOON + number)
        await store.cancel_later(f"s{number}", NOON + 99, NOON + number)
    async with connected(url) as other, other.transaction():
        await other.execute("SELECT 1 FROM usage_users WHERE user_id = 'u0' FOR UPDATE")
        await other.execute("SELECT 1 FROM cancels WHERE session_id = 's0' FOR UPDATE")
        (user,) = await store.claim_usage(NOON + 9, NOON + 50, 1)
        assert user.user_id == "u1"
        assert await store.claim_cancels(NOON + 9, NOON + 50, 1) == ["s1"]
    (user,) = await store.claim_usage(NOON + 9, NOON + 50, 1)
    assert user.user_id == "u0"
    assert await store.claim_cancels(NOON + 9, NOON + 50, 1) == ["s0"]


async def test_who_follows_a_thread_misses_nothing_that_replicas_add(
    replicas: list[PostgresStore],
) -> None:
    """An item never becomes visible before one that is already there."""
    thread = await add_thread(replicas[0], "t")

    async def write(number: int) -> None:
        for step in range(20):
            await add_item(replicas[number % 3], thread, f"{number}-{step}", "task")

    async def follow(store: PostgresStore) -> list[str]:
        seen: list[str] = []
        while len(seen) < 240:
            after = seen[-1] if seen else None
            page = await store.conversations.items("7", "t", 7, after, "asc")
            seen += [item.id for item in page]
        return seen

    async with asyncio.timeout(60):
        one, other, _ = await asyncio.gather(
            follow(replicas[0]), follow(replicas[1]), asyncio.gather(*map(write, range(12)))
        )
    assert one == other
    assert len(set(one)) == 240


async def test_a_user_who_is_deleted_while_replicas_write_leaves_nothing_half(
    replicas: list[PostgresStore], url: str, postgres: PostgresServer
) -> None:
    one, other, third = replicas
    await DeleteUserContract().fill(one, "8")

    async def write(number: int) -> None:
        for step in range(10):
            name = f"{number}-{step}"
            store = replicas[number % 3]
            first = await add(store, name)
            thread = await add_thread(store, name)
            for work in (
                store.replace(new_session(f"{name}b", refreshes=first), secret_hash(f"{name}b")),
                store.conversations.add_item("7", name, Item("i", "task", b"", NOON)),
                store.conversations.add_item("7", name, Item("j", "user_message", b"", NOON)),
                store.conversations.count_turn("7", turn(), first.id),
                store.delete(first.id, NOON + 1, NOON + 5),
                add_attachment(store, name, thread=thread),
            ):
                await asyncio.gather(work, return_exceptions=True)

    async def leave() -> None:
        for _ in range(15):
            # Who writes without a break is not deleted before they make one.
            with contextlib.suppress(Unavailable):
                await third.conversations.delete_user("7", NOON, NOON + 20)
                times[0] += 1

    times = [0]
    await asyncio.gather(*(write(number) for number in range(4)), leave())
    assert times[0] > 0
    assert "deadlock detected" not in postgres.log()
    await check_counters_of(url, one, "7")
    async with connected(url) as db:
        for table in ("items", "attachments"):
            sql = f"SELECT count(*) FROM {table} WHERE thread_id NOT IN (SELECT id FROM threads)"
            assert await db.fetchval(sql) == 0
    await other.conversations.delete_user("7", NOON, NOON + 20)
    assert (await everything(one, "7")).totals == Totals()
    assert (await everything(one, "8")).totals.sessions == 3


async def check_counters_of(url: str, store: PostgresStore, user: str) -> None:
    rollup = await everything(store, user, NOON + 1)
    async with connected(url) as db:
        row = await db.fetchrow(
            "SELECT count(*) FILTER (WHERE refreshed_from IS NULL),"
            " count(*) FILTER (WHERE refreshed_from IS NOT NULL),"
            " count(*) FILTER (WHERE refreshed_from IS NULL AND deleted_ms IS NULL),"
            " (SELECT count(*) FROM turns WHERE user_id = $1)"
            " FROM sessions WHERE user_id = $1",
            user,
        )
    totals = rollup.totals
    assert [totals.sessions, totals.refreshes, rollup.active, totals.turns] == list(row or ())
