"""`GET /metrics` of the session service, on a port of its own: gRPC has the other."""

import contextlib
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from runtime.metrics import METRICS_PATH, Exposition

_ENDING_SECONDS = 1.0
"""For a reader in the middle of an answer, when the service ends."""
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_REFUSAL = (
    "Without METRICS_TOKEN metrics are read on the same machine alone; with it, send it as bearer"
    " token.\n"
)

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def open_exposition(exposition: Exposition, address: str) -> AsyncIterator[int]:
    """Serves until the block ends, yields the port. Raises OSError where it cannot listen."""

    async def metrics(request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization")
        if not exposition.may_read(request.remote or "", authorization, request.headers):
            return web.Response(status=403, text=_REFUSAL, headers=_HEADERS)
        body, content_type = await exposition.render(request.headers.get("Accept"))
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": content_type})

    app = web.Application()
    app.router.add_get(METRICS_PATH, metrics)  # and HEAD
    runner = web.AppRunner(
        app, handle_signals=False, access_log=None, shutdown_timeout=_ENDING_SECONDS
    )
    await runner.setup()
    try:
        host, _, port = address.rpartition(":")
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        await site.start()
        listening: int = runner.addresses[0][1]
        yield listening
    finally:
        await runner.cleanup()
