"""`python -m session_service`: one process, settings from the environment and `.env`."""

import asyncio
import signal
import sys

import structlog
import uvloop

from runtime import log as logs
from session_service.config import Settings, load_settings
from session_service.server import CannotStart, serve


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Exits with a message where it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log = structlog.get_logger()
    try:
        async with serve(settings) as server:
            host = settings.session_service_listen.rpartition(":")[0]
            log.info(
                "session service listening",
                address=f"{host}:{server.port}",
                openai=settings.openai_base_url,
                workflow=settings.openai_chatkit_workflow_id or "not configured",
                database=settings.database_url,
            )
            await stop.wait()
            log.info("session service draining")
            await server.drain()
    except CannotStart as error:
        sys.exit(f"session_service cannot start: it {error}")


def main() -> None:
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
