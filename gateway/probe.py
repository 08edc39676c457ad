"""Measures how long a call waits in the session service, with calls that do nothing there.

In its event loop that does not show: grpc.aio takes one call a turn, and the others wait in gRPC's
core, where nobody sees them. What a call of ours takes says nothing either, as it waits for OpenAI.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.admission import Admission

_INTERVAL_SECONDS = 0.2
_TIMEOUT_SECONDS = 1.0


@contextlib.asynccontextmanager
async def probing(channel: grpc.aio.Channel, admission: Admission) -> AsyncIterator["Probe"]:
    """Asks five times a second until the block ends, while the answer matters to `admission`."""
    probe = Probe(channel, admission)
    task = asyncio.create_task(probe.run())
    try:
        yield probe
    finally:
        task.cancel()
        await asyncio.wait((task,))


class Probe:
    """Calls the health service, which answers from memory, through the queue of all calls."""

    def __init__(self, channel: grpc.aio.Channel, admission: Admission) -> None:
        self._admission = admission
        # types-grpcio-health-checking does not know the calls of its stub.
        self._check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
        self._took = 0.0
        self._asked_at: float | None = None

    def delay(self, now: float) -> float:
        """Returns how long the last call took, or what has already taken longer, in seconds."""
        return self._took if self._asked_at is None else max(self._took, now - self._asked_at)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            if not self._admission.depends_on_delay:
                # Nor is a connection tried that nobody wants: a service that starts a little later
                # than we do would have to wait for gRPC's next try.
                self._took = 0.0
                continue
            self._asked_at = time.monotonic()
            waited = True
            try:
                await self._check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                waited = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            # Where a service is gone, everybody is told so at once, and nobody waits.
            self._took = time.monotonic() - self._asked_at if waited else 0.0
            self._asked_at = None
