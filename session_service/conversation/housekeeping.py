"""What goes without being asked: old threads, and files that were attached and never sent."""

import asyncio
import time

import structlog

from session_service.conversation.attachments import Attachments
from session_service.sessions import now_ms
from session_service.stores.base import DAY_MS
from session_service.stores.conversations import ConversationStore

_EVERY_SECONDS = 600.0
_AT_ONCE = 100

log = structlog.get_logger()


class Housekeeping:
    """Run by one background task, `run`."""

    def __init__(
        self, store: ConversationStore, attachments: Attachments, retention_days: float
    ) -> None:
        """`retention_days` after the last entry a thread is deleted; 0 keeps them all."""
        self._store = store
        self._attachments = attachments
        self._retention_ms = int(retention_days * DAY_MS)

    async def run(self) -> None:
        """Cleans every ten minutes, for as long as the process lives."""
        began_ms, began = now_ms(), time.monotonic()
        while True:
            # A clock that jumps ahead must not make all that is kept look old.
            elapsed_ms = int((time.monotonic() - began) * 1000)
            try:
                await self.clean(min(now_ms(), began_ms + elapsed_ms))
            except Exception:
                log.exception("housekeeping failed; trying again")
            await asyncio.sleep(_EVERY_SECONDS)

    async def clean(self, at_ms: int) -> None:
        """Deletes what is too old by then."""
        files = await self._attachments.remove_stale(at_ms)
        threads = 0
        if self._retention_ms:
            before_ms = at_ms - self._retention_ms
            while idle := await self._store.idle_threads(before_ms, _AT_ONCE):
                for user_id, thread_id in idle:
                    attachments = await self._store.delete_idle_thread(
                        user_id, thread_id, before_ms
                    )
                    if attachments is not None:  # else its user, or another process, was faster
                        await self._attachments.discard(attachments)
                        threads += 1
        if files or threads:
            log.info("housekeeping", threads_deleted=threads, attachments_deleted=files)
