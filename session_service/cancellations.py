"""Sessions that nobody may use any more, told to OpenAI: at once, then until it has understood.

What is still to be told is in the store, so that it outlives this process; while the store cannot
be used, it is in memory.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Iterable

import structlog

from session_service.errors import Unavailable, UpstreamError, WorkflowNotFound
from session_service.openai_api import ChatKitAPI
from session_service.stores.base import Store

FIRST_RETRY_MS = 5_000
_RETRY_MS = 15_000
_POLL_SECONDS = 2.0
_TRY_SECONDS = 4.0
_AT_ONCE = 100

log = structlog.get_logger()


class Cancellations:
    """Run by one background task, `run`."""

    def __init__(self, store: Store, api: ChatKitAPI) -> None:
        self._store = store
        self._api = api
        self._tries: dict[str, asyncio.Task[None]] = {}
        self._unkept: dict[str, int] = {}
        """Sessions that the store has yet to remember, and when they expire."""
        self._keeping: set[asyncio.Task[None]] = set()

    def start(self, session_ids: Iterable[str]) -> None:
        """Tries to cancel sessions that the store remembers, without making anybody wait."""
        for session_id in session_ids:
            if session_id not in self._tries:
                task = asyncio.create_task(self._try(session_id))
                self._tries[session_id] = task
                task.add_done_callback(functools.partial(self._tried, session_id))

    def start_unkept(self, session_id: str, expires_ms: int) -> None:
        """The same for one that the store does not remember: perhaps because it cannot."""
        self._unkept[session_id] = expires_ms
        # Before the first try: so its success, too, comes after it in the store.
        task = asyncio.create_task(self._keep())
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        self.start([session_id])

    def _tried(self, session_id: str, _: asyncio.Task[None]) -> None:
        del self._tries[session_id]

    async def run(self) -> None:
        """Tries again what is due, for as long as the process lives."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            now_ms = _now_ms()
            try:
                await self._keep()
                self.start(await self._store.claim_cancels(now_ms, now_ms + _RETRY_MS, _AT_ONCE))
            except Exception:
                log.exception("looking for sessions to cancel failed; trying again")
            self.start(list(self._unkept))

    async def drain(self) -> None:
        """Waits for the tries that have begun; the store remembers those that fail."""
        await asyncio.gather(*self._tries.values(), *self._keeping, return_exceptions=True)
        await self._keep()

    async def _keep(self) -> None:
        """Has the store remember what it does not, as far as it can."""
        now_ms = _now_ms()
        self._unkept = {name: end for name, end in self._unkept.items() if end > now_ms}
        with contextlib.suppress(Unavailable):  # it has logged it; `run` tries again
            for session_id, expires_ms in list(self._unkept.items()):
                await self._store.cancel_later(session_id, expires_ms, now_ms + FIRST_RETRY_MS)
                self._unkept.pop(session_id, None)

    async def _try(self, session_id: str) -> None:
        deadline = asyncio.get_running_loop().time() + _TRY_SECONDS
        try:
            await self._api.cancel_session(session_id, deadline)
        except WorkflowNotFound:
            pass  # OpenAI has forgotten it
        except UpstreamError as error:
            log.warning("cancel failed; trying again", session_id=session_id, reason=error.reason)
            return
        self._unkept.pop(session_id, None)
        with contextlib.suppress(Unavailable):  # told to OpenAI once more, which does no harm
            await self._store.cancelled(session_id)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
