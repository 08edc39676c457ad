"""What every store keeps and promises; one contract suite in the tests holds each of them to it.

Times are integer milliseconds since the epoch, UTC; `day` is days since the epoch, UTC. What a
coroutine of a store did is durable when it returns. A store that cannot work raises
`errors.Unavailable`.
"""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from session_service.rate_limit import RateLimit
from session_service.stores.conversations import ConversationStore
from session_service.stores.deletions import Deletion

if TYPE_CHECKING:
    from session_service.stores.counted import Heard

Mode = Literal["hosted", "self_hosted"]
"""Who answers the user: a workflow at OpenAI, or our own `conversation` package."""

StateVariables = Mapping[str, str | int | float | bool]

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Session:
    """One ChatKit session, without its client secret.

    A refresh makes another one in the same chain. For people and in the statistics the chain is the
    session: it counts once, lasts until the expiry of its newest secret, and is deleted as a whole.
    """

    id: str
    root_id: str
    """The first of the chain; its own id for a session that replaced none."""
    user_id: str
    workflow_id: str
    created_ms: int
    expires_ms: int
    """A whole second, as OpenAI gives it."""
    deleted_ms: int | None = None
    refreshed_from: str | None = None
    refreshed_to: str | None = None
    state_variables: StateVariables = field(default_factory=dict)
    mode: Mode = "hosted"

    @property
    def ends_ms(self) -> int:
        """When it ends if nothing else happens: not before it began, whatever the clocks say."""
        return max(self.expires_ms, self.created_ms)


@dataclass(frozen=True, slots=True)
class Totals:
    """The counters of a user, or of everybody, since the beginning."""

    sessions: int = 0
    messages: int = 0
    refreshes: int = 0
    deleted: int = 0
    failures: int = 0
    duration_ms: int = 0
    """Of all sessions, each as if it had reached its end already."""
    last_activity_ms: int | None = None
    messages_updated_ms: int | None = None
    turns: int = 0
    failed_turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated_turns: int = 0
    tool_calls: int = 0


@dataclass(frozen=True, slots=True)
class Day:
    """The counters of one day."""

    day: int
    sessions: int = 0
    messages: int = 0
    refreshes: int = 0
    failures: int = 0
    turns: int = 0
    failed_turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    tool_calls: int = 0


@dataclass(frozen=True, slots=True)
class Distributions:
    """What the counters of one day, or of all days, are made up of."""

    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed creates, refreshes and turns by reason."""
    answer_times: Mapping[int, int] = field(default_factory=dict)
    """How many turns took how long: see `answer_time_bucket`."""


ANSWER_TIME_GROWTH = 1.2
"""Each bucket is so much wider than the one before: its middle is within 10 % of all in it."""


def answer_time_bucket(duration_ms: int) -> int:
    """Returns the bucket of a duration: bucket n is up to 1.2 to the power of n milliseconds."""
    return math.ceil(math.log(max(1, duration_ms), ANSWER_TIME_GROWTH))


@dataclass(frozen=True, slots=True)
class Rollup:
    """Everything that statistics are made from."""

    totals: Totals
    active: int
    """Sessions whose end is still to come."""
    remaining_ms: int
    """How long those still have, added up."""
    days: Sequence[Day]
    """Days on which something was counted, oldest first."""
    total: Distributions = field(default_factory=Distributions)
    by_day: Mapping[int, Distributions] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsageUser:
    """A user whose messages at OpenAI may have to be counted."""

    user_id: str
    active_until_ms: int
    """No message of theirs can be newer than this, as their last secret expires then."""
    idle_rounds: int
    """How often in a row nothing new was found."""
    due_ms: int
    """When they are due again, unless `usage_counted` or a session of theirs changes that."""


@dataclass(frozen=True, slots=True)
class UsageThread:
    """How far the messages of a thread have been counted."""

    thread_id: str
    cursor: str
    """The last item that was counted; empty before the first."""


class CannotOpenStore(Exception):
    """The database cannot be used; the message says why, and no password."""


class DuplicateSession(Exception):
    """The id or the secret of a new session belongs to another one already."""


class Store(Protocol):
    """Sessions and their statistics, counted in the transaction that changes what they count."""

    @property
    def conversations(self) -> ConversationStore:
        """What the self-hosted mode keeps, in the same database."""

    @property
    def queued(self) -> int:
        """How many writes wait for those before them."""

    def rate_limit(self, name: str, per_minute: int) -> RateLimit:
        """Returns a limit, which all who have it by that name share; 0 admits all."""

    async def check(self) -> None:
        """Stores something of no consequence. Raises Unavailable where nothing can be stored."""

    async def add(self, session: Session, secret_hash: bytes) -> None:
        """Keeps a new session. Raises DuplicateSession."""

    async def replace(self, session: Session, secret_hash: bytes) -> bool:
        """Keeps the refresh of `session.refreshed_from`. Raises DuplicateSession.

        Returns False, and keeps nothing, if that has been deleted meanwhile.
        """

    async def delete(self, root_id: str, at_ms: int, cancel_again_ms: int) -> Sequence[str]:
        """Deletes a chain. Returns those of it that OpenAI has to cancel: none but the first time.

        They become due for another try at `cancel_again_ms`, unless `cancelled` is called first.
        """

    def deletions(self) -> AsyncIterator[Deletion | None]:
        """Yields what is deleted from now on, in any process that uses the database.

        None means that some may not have been told: whoever depends on it has to look.
        """

    async def get(self, session_id: str, user_id: str | None = None) -> Session | None:
        """Returns a session, where a user is named only one of theirs.

        Another's is not even read: how long that takes would tell that it is there.
        """

    async def get_by_secret(self, secret_hash: bytes, user_id: str | None = None) -> Session | None:
        """As `get`."""

    async def list(
        self,
        user_id: str | None,
        limit: int,
        before: tuple[int, str] | None,
        active_at_ms: int | None = None,
    ) -> Sequence[Session]:
        """Lists sessions of a user or of everybody, newest first, below (created_ms, id).

        With `active_at_ms` only those whose secrets work then, neither deleted nor refreshed, at
        the cost of as many as are alive, not of as many as there ever were.
        """

    async def count_failure(self, user_id: str, reason: str, at_ms: int) -> None:
        """Counts a failed create or refresh."""

    async def rollup(self, user_id: str | None, now_ms: int, first_day: int) -> Rollup:
        """Returns the counters of a user or of everybody, at the same cost for any number."""

    def counting(self, heard: "Heard") -> AbstractContextManager[None]:
        """Within the block `heard` takes each commit of this process that changes counters.

        What other processes commit it is not told of: who needs that, too, has to look.
        """

    async def cancel_later(self, session_id: str, expires_ms: int, cancel_again_ms: int) -> None:
        """OpenAI has to cancel a session that is not kept here: due as after `delete`."""

    async def claim_cancels(self, now_ms: int, again_ms: int, limit: int) -> Sequence[str]:
        """Returns sessions that OpenAI still has to cancel; they become due again at `again_ms`."""

    async def cancelled(self, session_id: str) -> None:
        """OpenAI has cancelled the session: it is due no more."""

    async def claim_usage(self, now_ms: int, again_ms: int, limit: int) -> Sequence[UsageUser]:
        """Returns users whose messages are due to be counted; due again at `again_ms`."""

    async def usage_interrupted(self, user: UsageUser) -> None:
        """Their messages could not all be counted: they are due at once, before all others."""

    async def known_threads(self, user_id: str, thread_ids: Sequence[str]) -> frozenset[str]:
        """Returns those of `thread_ids` that `add_threads` has been given."""

    async def add_threads(self, user_id: str, thread_ids: Sequence[str]) -> None:
        """Keeps threads whose messages are to be counted; known ones are left as they are."""

    async def threads(self, user_id: str, recent: int, stale: int) -> Sequence[UsageThread]:
        """Returns the threads with the newest messages and those looked at longest ago."""

    async def unread_threads(self, user_id: str, since_ms: int) -> Sequence[UsageThread]:
        """Returns the threads that were not looked at after `since_ms`, longest ago first."""

    async def count_messages(
        self,
        user_id: str,
        thread: UsageThread,
        cursor: str,
        times_ms: Sequence[int],
        at_ms: int,
        has_more: bool = False,
    ) -> bool:
        """Counts messages and moves the thread's cursor, or neither (False) if that was moved.

        The thread has been looked at by then, unless it has more to read.
        """

    async def thread_is_gone(self, user_id: str, thread_id: str) -> None:
        """OpenAI has the thread no more: it is not looked at again, and what was counted stays."""

    async def usage_counted(
        self, user: UsageUser, at_ms: int, next_ms: int | None, idle_rounds: int
    ) -> None:
        """Their messages were looked at, at `at_ms`; due next then or, None, at the next session.

        They count as complete up to then or, if a thread was looked at before, up to when that was;
        not at all while one was never read to its end. Who has got a session since they were
        claimed stays due for that.
        """
