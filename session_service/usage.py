"""How many messages users exchange, read from OpenAI: in hosted mode no message passes through us.

A user can only write while a session of theirs lives. So only users with recent sessions are looked
at, of their threads the newest and a few others in turn, and of those what came after the last item
that was counted. Users who do not write are looked at ever less often.
"""

import asyncio

import structlog

from runtime import log as logs
from session_service.errors import UpstreamError, WorkflowNotFound
from session_service.openai_api import ChatKitAPI
from session_service.sessions import now_ms
from session_service.stores.base import Store, UsageThread, UsageUser

CALLS_PER_ROUND = 300
"""The most calls to OpenAI in one round; users who are left over come first in the next."""

_MESSAGE_TYPES = frozenset(("chatkit.user_message", "chatkit.assistant_message"))
_RECENT_THREADS = 10
_STALE_THREADS = 10
_NEW_THREADS = 100
"""Those never looked at, in one round: a user has few, but for those who come from elsewhere."""
_PATIENT_ROUNDS = 5
_MAX_DOUBLINGS = 4
"""After five rounds without a message a user is looked at every 2, 4, 8, then 16 rounds."""
_LAST_ANSWER_MS = 60_000
"""An answer may still be written after the secret that asked for it has expired."""
_CALL_SECONDS = 10.0
_FAILURES_PER_ROUND = 3

log = structlog.get_logger()


class _BudgetSpent(Exception):
    """No more calls in this round."""


class UsageSync:
    """Run by one background task, `run`."""

    def __init__(self, store: Store, api: ChatKitAPI, interval_seconds: float) -> None:
        self._store = store
        self._api = api
        self._interval_seconds = interval_seconds
        self._interval_ms = int(interval_seconds * 1000)
        self._calls_left = 0

    async def run(self) -> None:
        """Counts every `interval_seconds`, for as long as the process lives."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                await self.count()
            except UpstreamError:
                pass  # nothing is configured: whoever creates a session is told
            except Exception:
                log.exception("counting messages failed; trying again")

    async def count(self) -> None:
        """Looks once at the users who are due, within the budget.

        Raises InvalidAPIKey where there is nobody to ask. It takes no workflow: what was written in
        hosted mode counts after a switch to the other, too.
        """
        self._api.check_key()
        self._calls_left = CALLS_PER_ROUND
        at_ms = now_ms()
        # Should this process die, another looks at them after a while.
        again_ms = at_ms + self._interval_ms // 2
        failures = 0
        # One at a time, so that those who are not reached stay first in line.
        while claimed := await self._store.claim_usage(at_ms, again_ms, 1):
            (user,) = claimed
            logs.begin_request(None)  # so that the lines of one user, and OpenAI's, belong together
            try:
                await self._count_user(user)
                failures = 0
            except _BudgetSpent:
                await self._store.usage_interrupted(user)
                log.info("counting messages goes on in the next round", calls=CALLS_PER_ROUND)
                return
            except UpstreamError as error:  # logged in full where it happened
                log.warning("messages of a user not counted; trying again", reason=error.reason)
                failures += 1
                if failures == _FAILURES_PER_ROUND:
                    return

    async def _count_user(self, user: UsageUser) -> None:
        at_ms = now_ms()
        last_ms = user.active_until_ms + _LAST_ANSWER_MS
        finished = at_ms > last_ms
        await self._find_threads(user.user_id)
        unread = await self._store.unread_threads(user.user_id, last_ms if finished else 0)
        if finished:  # nothing new can come: read what there is to its end
            threads = unread
        else:
            threads = [
                *unread[:_NEW_THREADS],
                *await self._store.threads(user.user_id, _RECENT_THREADS, _STALE_THREADS),
            ]
        found = 0
        for thread in {thread.thread_id: thread for thread in threads}.values():
            found += await self._count_thread(user.user_id, thread)
        busy = found > 0 or len(unread) > _NEW_THREADS
        idle_rounds = 0 if busy else user.idle_rounds + 1
        doublings = min(max(0, idle_rounds - _PATIENT_ROUNDS), _MAX_DOUBLINGS)
        next_ms = None if finished else at_ms + self._interval_ms * 2**doublings
        await self._store.usage_counted(user, at_ms, next_ms, idle_rounds)

    async def _find_threads(self, user_id: str) -> None:
        """Keeps the threads that are new; OpenAI lists the newest first."""
        found: list[str] = []
        while True:
            after = found[-1] if found else None
            page = await self._api.list_threads(user_id, after, self._deadline())
            ids = [thread.id for thread in page.entries]
            known = await self._store.known_threads(user_id, ids)
            found += [thread_id for thread_id in ids if thread_id not in known]
            if known or not page.has_more:
                break
        # All at the end: if the newest were kept alone, they would hide the others next time.
        if found:
            await self._store.add_threads(user_id, found)

    async def _count_thread(self, user_id: str, thread: UsageThread) -> int:
        """Returns how many messages were new."""
        found = 0
        while True:
            at_ms = now_ms()
            try:
                page = await self._api.list_items(
                    thread.thread_id, thread.cursor or None, self._deadline()
                )
            except WorkflowNotFound:
                await self._store.thread_is_gone(user_id, thread.thread_id)
                return found
            times_ms = [
                min(item.created_at * 1000, at_ms)
                for item in page.entries
                if item.type in _MESSAGE_TYPES
            ]
            cursor = page.entries[-1].id if page.entries else thread.cursor
            if not await self._store.count_messages(
                user_id, thread, cursor, times_ms, at_ms, page.has_more
            ):
                return found  # another process has counted them
            found += len(times_ms)
            if not page.has_more:
                return found
            thread = UsageThread(thread.thread_id, cursor)

    def _deadline(self) -> float:
        """Takes a call from the budget. Raises _BudgetSpent."""
        if self._calls_left == 0:
            raise _BudgetSpent
        self._calls_left -= 1
        return asyncio.get_running_loop().time() + _CALL_SECONDS
