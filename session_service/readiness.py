"""Whether the service can do its work: health says no while its store can store nothing."""

import asyncio
from collections.abc import Sequence

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from session_service.errors import Unavailable
from session_service.stores.base import Store

_EVERY_SECONDS = 5.0

log = structlog.get_logger()


class Readiness:
    """Run by one background task, `run`, from the moment on in which the store was opened."""

    def __init__(
        self, store: Store, health: health_aio.HealthServicer, names: Sequence[str]
    ) -> None:
        """`names` are those whose health it is, in the order in which they are to change."""
        self._store = store
        self._health = health
        self._names = names
        self.is_ready = True

    async def run(self) -> None:
        """Looks every five seconds, for as long as the process lives."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Looks once, and tells whoever watches our health what has changed."""
        ready = await self._can_store()
        if ready == self.is_ready:
            return
        self.is_ready = ready
        if ready:
            log.info("ready again")
        else:
            log.error("not ready: the store can store nothing; trying again")
        await self.tell()

    async def tell(self) -> None:
        """Sets our health to what was seen last."""
        response = health_pb2.HealthCheckResponse
        status = response.SERVING if self.is_ready else response.NOT_SERVING
        for name in self._names:
            await self._health.set(name, status)

    async def _can_store(self) -> bool:
        try:
            await self._store.check()
        except Unavailable:
            return False
        except Exception:
            log.exception("looking whether the store can be used failed")
            return False
        return True
