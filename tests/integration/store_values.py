"""Sessions for the tests of stores, and short ways to put them in and to look at them."""

import hashlib
from collections.abc import Sequence

from session_service.stores.base import (
    DAY_MS,
    Rollup,
    Session,
    StateVariables,
    Store,
)

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
    )


async def add(store: Store, name: str, user: str = "7", at: int = NOON) -> Session:
    session = new_session(name, user, at)
    await store.add(session, secret_hash(name))
    return session


async def refresh(store: Store, previous: Session, name: str, at: int) -> Session:
    session = new_session(name, previous.user_id, at, refreshes=previous)
    assert await store.replace(session, secret_hash(name))
    return session


async def found(store: Store, session_id: str) -> Session:
    session = await store.get(session_id)
    assert session is not None
    return session


async def all_pages(store: Store, user: str | None, size: int) -> list[Sequence[Session]]:
    pages: list[Sequence[Session]] = []
    before = None
    while page := await store.list(user, size, before):
        pages.append(page)
        before = (page[-1].created_ms, page[-1].id)
    return pages


async def everything(store: Store, user: str | None, at: int = NOON) -> Rollup:
    return await store.rollup(user, at, 0)
