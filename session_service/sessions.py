"""The rules of sessions: who may have one, what a refresh is, what a delete ends."""

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import structlog

from session_service.cancellations import FIRST_RETRY_MS, Cancellations
from session_service.errors import (
    InvalidArgument,
    SessionDeleted,
    SessionNotFound,
    Unauthenticated,
    Unavailable,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from session_service.issuer import Issuer
from session_service.rate_limit import RateLimit
from session_service.stores.base import DuplicateSession, Session, StateVariables, Store

REFRESHABLE_MS = 24 * 60 * 60 * 1000
"""How long after its expiry a client secret can be refreshed: a laptop that slept over night."""

MAX_ID_LENGTH = 256
MAX_STATE_VARIABLES = 64
MAX_STATE_VARIABLE_KEY_LENGTH = 64
MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100

_MARGIN = 0.1
_MAX_MARGIN_SECONDS = 0.25
"""A tenth of the time, but no more than this, is for telling the outcome."""

log = structlog.get_logger()


class Status(Enum):
    """What has become of a session."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REFRESHED = "refreshed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Issued:
    """A session with its client secret, on the way to its user's browser."""

    session: Session
    client_secret: str = field(repr=False)


def now_ms() -> int:
    """Returns the time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def status_of(session: Session, at_ms: int) -> Status:
    """Returns what has become of a session by then."""
    if session.deleted_ms is not None:
        return Status.DELETED
    if session.refreshed_to is not None:
        return Status.REFRESHED
    return Status.ACTIVE if at_ms < session.expires_ms else Status.EXPIRED


def time_to_work(seconds: float) -> float:
    """Returns how long work may take so that its outcome is told before `seconds` are over."""
    return seconds - _margin(seconds)


def _margin(seconds: float) -> float:
    return min(seconds * _MARGIN, _MAX_MARGIN_SECONDS)


def check_id(name: str, value: str) -> None:
    """Raises InvalidArgument for what cannot be the id of a user or a session."""
    if not value:
        raise InvalidArgument(name, "is missing")
    if len(value) > MAX_ID_LENGTH or "\0" in value:  # which not every database can hold
        raise InvalidArgument(name, f"must be 1 to {MAX_ID_LENGTH} characters without NUL")


class Sessions:
    """Deadlines are in event loop time. A user meets their own sessions alone."""

    def __init__(
        self,
        store: Store,
        issuer: Issuer,
        rate_limit: RateLimit,
        cancellations: Cancellations,
        timeout_seconds: float,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._rate_limit = rate_limit
        self._cancellations = cancellations
        self._timeout_seconds = timeout_seconds
        self._refreshes: dict[tuple[str, bytes], asyncio.Task[Issued]] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    async def create(
        self, user_id: str, state_variables: StateVariables, deadline: float
    ) -> Issued:
        """Makes a session. Raises InvalidArgument, RateLimited, UpstreamError, Unavailable."""
        check_id("user_id", user_id)
        _check_state_variables(state_variables)
        return await self._issue(user_id, state_variables, None, deadline)

    async def refresh(self, user_id: str, client_secret: str, deadline: float) -> Issued:
        """Exchanges a client secret for a new one; callers with the same one at once share it.

        Raises what `create` raises, SessionNotFound and SessionDeleted.
        """
        check_id("user_id", user_id)
        if not client_secret:
            raise InvalidArgument("client_secret", "is missing")
        key = (user_id, _hash(client_secret))
        if key not in self._refreshes:
            previous = await self._refreshable(*key)
            if key not in self._refreshes:
                self._start_refresh(key, previous)
        # Longer than the refresh itself, so that a failure is counted when its callers hear of it.
        patience = _margin(deadline - asyncio.get_running_loop().time()) / 2
        try:
            async with asyncio.timeout_at(deadline + patience):
                # The browser tab that came first may close; the others still want the answer.
                return await asyncio.shield(self._refreshes[key])
        except TimeoutError:
            raise UpstreamTimeout from None

    async def get(self, user_id: str, session_id: str) -> Session:
        """Raises SessionNotFound, for another user's session too."""
        check_id("user_id", user_id)
        check_id("session_id", session_id)
        session = await self._store.get(session_id, user_id)
        if session is None:
            raise SessionNotFound
        return session

    async def authorize(self, client_secret: str) -> Session:
        """Returns the living session of a secret that we gave out ourselves.

        One that was refreshed lives until its own secret expires, as at OpenAI. Raises
        SessionDeleted, and Unauthenticated where it is unknown, has expired, or is OpenAI's.
        """
        session = await self._store.get_by_secret(_hash(client_secret)) if client_secret else None
        if session is None or session.mode != "self_hosted":
            raise Unauthenticated
        if session.deleted_ms is not None:
            raise SessionDeleted
        if now_ms() >= session.expires_ms:
            raise Unauthenticated
        return session

    async def delete(self, user_id: str, session_id: str) -> Session:
        """Ends a session with all that it was refreshed from and to. Raises SessionNotFound.

        OpenAI is told at once of those that are its, and again until it has understood, but the
        caller need not wait.
        """
        session = await self.get(user_id, session_id)
        if session.deleted_ms is None:
            at_ms = now_ms()
            self._cancellations.start(
                await self._store.delete(session.root_id, at_ms, at_ms + FIRST_RETRY_MS)
            )
            session = replace(session, deleted_ms=at_ms)
        return session

    async def list(
        self,
        user_id: str | None,
        page_size: int,
        before: tuple[int, str] | None,
        *,
        active_only: bool = False,
        session_id: str | None = None,
    ) -> tuple[Sequence[Session], tuple[int, str] | None]:
        """Returns a page of a user's or of everybody's (None) sessions, and where the next begins.

        `page_size` is 1 to 1000, 0 means 100. With `session_id` there is that one at most.
        """
        if user_id is not None:
            check_id("user_id", user_id)
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidArgument("page_size", f"must be 1 to {MAX_PAGE_SIZE}, or 0")
        at_ms = now_ms()
        if session_id is not None:
            check_id("session_id", session_id)
            session = await self._store.get(session_id, user_id)
            if session is None or (active_only and status_of(session, at_ms) != Status.ACTIVE):
                return (), None
            return (session,), None
        size = page_size or DEFAULT_PAGE_SIZE
        found = await self._store.list(user_id, size + 1, before, at_ms if active_only else None)
        page = found[:size]
        more = len(found) > size
        return page, (page[-1].created_ms, page[-1].id) if more else None

    async def drain(self) -> None:
        """Waits for what goes on without its callers."""
        await asyncio.gather(*self._refreshes.values(), *self._keeping, return_exceptions=True)

    async def _refreshable(self, user_id: str, secret_hash: bytes) -> Session:
        session = await self._store.get_by_secret(secret_hash, user_id)
        if session is None:
            raise SessionNotFound
        if session.deleted_ms is not None:
            raise SessionDeleted
        if now_ms() > session.expires_ms + REFRESHABLE_MS:
            raise SessionNotFound
        return session

    def _start_refresh(self, key: tuple[str, bytes], previous: Session) -> None:
        deadline = asyncio.get_running_loop().time() + time_to_work(self._timeout_seconds)
        refresh = asyncio.create_task(
            self._issue(previous.user_id, previous.state_variables, previous, deadline)
        )
        self._refreshes[key] = refresh

        def done(task: asyncio.Task[Issued]) -> None:
            del self._refreshes[key]
            if not task.cancelled():
                task.exception()  # its callers have seen it, if there still are any

        refresh.add_done_callback(done)

    async def _issue(
        self,
        user_id: str,
        state_variables: StateVariables,
        previous: Session | None,
        deadline: float,
    ) -> Issued:
        async with self._failures_counted(user_id):
            workflow_id = self._issuer.workflow_id()
            await self._rate_limit.admit(user_id)
            issued = await self._issuer.create_session(user_id, state_variables, deadline)
            session = Session(
                id=issued.id,
                root_id=previous.root_id if previous else issued.id,
                user_id=user_id,
                workflow_id=workflow_id,
                created_ms=now_ms(),
                expires_ms=issued.expires_at * 1000,
                refreshed_from=previous.id if previous else None,
                state_variables=state_variables,
                mode=self._issuer.mode,
            )
            # Whoever leaves now must not leave a session at OpenAI that nobody knows of.
            await asyncio.shield(self._start_keeping(session, _hash(issued.client_secret)))
        return Issued(session, issued.client_secret)

    def _start_keeping(self, session: Session, secret_hash: bytes) -> asyncio.Task[None]:
        keeping = asyncio.create_task(self._keep(session, secret_hash))
        self._keeping.add(keeping)

        def done(task: asyncio.Task[None]) -> None:
            self._keeping.discard(task)
            if not task.cancelled():
                task.exception()  # its caller has seen it, if there still is one

        keeping.add_done_callback(done)
        return keeping

    async def _keep(self, session: Session, secret_hash: bytes) -> None:
        """Stores a session, or has OpenAI cancel what is theirs, as nobody will know of it."""
        try:
            if session.refreshed_from is None:
                await self._store.add(session, secret_hash)
            elif not await self._store.replace(session, secret_hash):
                raise SessionDeleted
        except DuplicateSession:
            log.error("the same session given out twice", session_id=session.id, mode=session.mode)
            raise UpstreamUnavailable from None
        except (SessionDeleted, Unavailable):
            if session.mode == "hosted":
                self._cancellations.start_unkept(session.id, session.expires_ms)
            raise

    @contextlib.asynccontextmanager
    async def _failures_counted(self, user_id: str) -> AsyncIterator[None]:
        try:
            yield
        except UpstreamError as error:
            with contextlib.suppress(Unavailable):  # the store has logged it; the cause matters
                await self._store.count_failure(user_id, error.reason, now_ms())
            raise


def _hash(client_secret: str) -> bytes:
    # Secrets are random enough that a plain hash cannot be searched.
    return hashlib.sha256(client_secret.encode()).digest()


def _check_state_variables(state_variables: StateVariables) -> None:
    if len(state_variables) > MAX_STATE_VARIABLES:
        raise InvalidArgument("state_variables", f"must be at most {MAX_STATE_VARIABLES} entries")
    if not all(0 < len(key) <= MAX_STATE_VARIABLE_KEY_LENGTH for key in state_variables):
        limit = MAX_STATE_VARIABLE_KEY_LENGTH
        raise InvalidArgument("state_variables", f"keys must be 1 to {limit} characters")
    if not all(math.isfinite(v) for v in state_variables.values() if isinstance(v, float)):
        raise InvalidArgument("state_variables", "numbers must be finite")
