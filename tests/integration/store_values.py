"""Sessions and threads for the tests of stores, and short ways to put them in and to see them."""

import asyncio
import hashlib
from collections.abc import Sequence

from session_service.errors import RateLimited
from session_service.rate_limit import RateLimit
from session_service.stores.base import (
    DAY_MS,
    Mode,
    Rollup,
    Session,
    StateVariables,
    Store,
)
from session_service.stores.conversations import ANSWERED, Attachment, Item, Thread, Turn

NOON = 20_000 * DAY_MS + DAY_MS // 2
TODAY = NOON // DAY_MS
LIFETIME = 600_000


def secret_hash(name: str) -> bytes:
    return hashlib.sha256(f"ek_{name}".encode()).digest()


def new_session(
    name: str,
    user: str = "7",
    at: int = NOON,
    expires: int | None = None,
    refreshes: Session | None = None,
    state_variables: StateVariables | None = None,
    mode: Mode = "hosted",
) -> Session:
    return Session(
        id=name,
        root_id=refreshes.root_id if refreshes else name,
        user_id=user,
        workflow_id="wf_1",
        created_ms=at,
        expires_ms=at + LIFETIME if expires is None else expires,
        refreshed_from=refreshes.id if refreshes else None,
        state_variables=state_variables or {},
        mode=mode,
    )


async def add(
    store: Store, name: str, user: str = "7", at: int = NOON, mode: Mode = "hosted"
) -> Session:
    session = new_session(name, user, at, mode=mode)
    await store.add(session, secret_hash(name))
    return session


async def refresh(
    store: Store, previous: Session, name: str, at: int, mode: Mode = "hosted"
) -> Session:
    session = new_session(name, previous.user_id, at, refreshes=previous, mode=mode)
    assert await store.replace(session, secret_hash(name))
    return session


async def found(store: Store, session_id: str) -> Session:
    session = await store.get(session_id)
    assert session is not None
    return session


async def all_pages(
    store: Store, user: str | None, size: int, active_at: int | None = None
) -> list[Sequence[Session]]:
    pages: list[Sequence[Session]] = []
    before = None
    while page := await store.list(user, size, before, active_at):
        pages.append(page)
        before = (page[-1].created_ms, page[-1].id)
    return pages


async def everything(store: Store, user: str | None, at: int = NOON) -> Rollup:
    return await store.rollup(user, at, 0)


async def refusals(limit: RateLimit, *keys: str) -> int:
    """Returns how many of calls at once are refused."""
    answers = await asyncio.gather(*map(limit.admit, keys), return_exceptions=True)
    refused = [answer for answer in answers if answer is not None]
    assert all(isinstance(answer, RateLimited) for answer in refused), refused
    return len(refused)


async def add_thread(store: Store, name: str, user: str = "7", at: int = NOON) -> Thread:
    thread = Thread(name, at, f'{{"id": "{name}"}}'.encode())
    await store.conversations.save_thread(user, thread)
    return thread


async def add_item(
    store: Store,
    thread: Thread,
    name: str,
    kind: str = "user_message",
    user: str = "7",
    at: int = NOON,
) -> Item:
    item = Item(name, kind, f'{{"id": "{name}", "type": "{kind}"}}'.encode(), at)
    await store.conversations.add_item(user, thread.id, item)
    return item


async def add_attachment(
    store: Store, name: str, user: str = "7", thread: Thread | None = None, at: int = NOON
) -> Attachment:
    attachment = Attachment(
        name, "plan.pdf", "application/pdf", at, 1000, thread_id=thread.id if thread else None
    )
    await store.conversations.save_attachment(user, attachment)
    return attachment


def turn(
    outcome: str = ANSWERED,
    started: int = NOON,
    duration: int = 1000,
    input_tokens: int = 100,
    output_tokens: int = 10,
    estimated: bool = False,
    tool_calls: int = 0,
    thread: str = "t",
) -> Turn:
    return Turn(
        thread, started, duration, outcome, input_tokens, output_tokens, estimated, tool_calls
    )
