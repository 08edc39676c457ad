"""Deleted sessions, told to OpenAI: at once, then again until it has understood or they expire.

What is still to be told is in the store, so that it outlives this process.
"""

import asyncio
import contextlib
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
"""A try ends before the next one of the same session begins."""
_AT_ONCE = 100

log = structlog.get_logger()


class Cancellations:
    """Run by one background task, `run`."""

    def __init__(self, store: Store, api: ChatKitAPI) -> None:
        self._store = store
        self._api = api
        self._tries: set[asyncio.Task[None]] = set()

    def start(self, session_ids: Iterable[str]) -> None:
        """Tries to cancel them, without making anybody wait."""
        for session_id in session_ids:
            task = asyncio.create_task(self._try(session_id))
            self._tries.add(task)
            task.add_done_callback(self._tries.discard)

    async def run(self) -> None:
        """Tries again what is due, for as long as the process lives."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            now_ms = time.time_ns() // 1_000_000
            try:
                self.start(await self._store.claim_cancels(now_ms, now_ms + _RETRY_MS, _AT_ONCE))
            except Exception:
                log.exception("looking for sessions to cancel failed; trying again")

    async def drain(self) -> None:
        """Waits for the tries that have begun; the store remembers those that fail."""
        await asyncio.gather(*self._tries, return_exceptions=True)

    async def _try(self, session_id: str) -> None:
        deadline = asyncio.get_running_loop().time() + _TRY_SECONDS
        try:
            await self._api.cancel_session(session_id, deadline)
        except WorkflowNotFound:
            pass  # OpenAI has forgotten it
        except UpstreamError as error:
            log.warning("cancel failed; trying again", session_id=session_id, reason=error.reason)
            return
        with contextlib.suppress(Unavailable):  # told to OpenAI once more, which does no harm
            await self._store.cancelled(session_id)
