"""`python -m session_service`: one process, settings from the environment and `.env`.

With `doctor` behind it, it says whether everything is in order, and ends.
"""

import gc
import sys

import structlog
import uvloop

from runtime import command_line, tracing
from runtime import log as logs
from runtime.open_files import raise_open_files_limit
from runtime.redaction import redactor
from runtime.signals import StopRequest, stop_request
from runtime.transport import split_token
from session_service import agent_builder, doctor
from session_service.config import Settings, load_settings
from session_service.server import METRICS_REMEDY, CannotStart, serve

_ABOUT = (
    "The session service of the ChatKit back end: it issues and keeps ChatKit sessions, alone talks"
    " to OpenAI, counts use, and in self-hosted mode answers by itself. Gateways and internal"
    " services call it by gRPC (package chatkit.v1, with server reflection and grpc.health.v1)."
)


async def run(settings: Settings, stop: StopRequest) -> None:
    """Serves until it is told to stop, then drains. Exits with a message where it cannot start."""
    log = structlog.get_logger()
    try:
        async with serve(settings) as server:
            # What is there now stays: the SDKs alone are 100 MB, and every full collection of
            # garbage would walk through them.
            gc.collect()
            gc.freeze()
            host = settings.session_service_listen.rpartition(":")[0]
            log.info(
                "session service listening",
                address=f"{host}:{server.port}",
                mode=settings.chatkit_mode,
                openai=settings.openai_base_url,
                **_who_answers(settings),
                database=settings.database_url,
                **_who_may_call(settings),
            )
            address = settings.session_service_metrics_listen
            if address and server.metrics_port is None:
                log.warning("no metrics: port in use", address=address, remedy=METRICS_REMEDY)
            if settings.chatkit_mode == "hosted" and not _is_emulator(settings):
                agent_builder.announce(agent_builder.utc_today())
            await stop.wait()
            log.info("session service draining")
            await server.drain()
    except CannotStart as error:
        sys.exit(redactor(())(f"session_service cannot start: it {error}"))


def _who_answers(settings: Settings) -> dict[str, str]:
    if settings.chatkit_mode == "hosted":
        return {"workflow": settings.openai_chatkit_workflow_id or "not configured"}
    if settings.chatkit_agent:
        return {"agent": settings.chatkit_agent}
    return {"model": settings.chatkit_model}


def _who_may_call(settings: Settings) -> dict[str, str]:
    """Returns what is not as on a machine of one's own, where everybody may, in the clear."""
    said = {}
    if settings.session_service_tls_cert:
        said["tls"] = "mutual" if settings.session_service_tls_client_ca else "server"
    if settings.session_service_token:
        said["token"] = "needed"
    return said


def _is_emulator(settings: Settings) -> bool:
    # Whoever tries this out has no workflow to lose: `make run` tells them calmly.
    key = settings.openai_api_key
    return key is not None and key.get_secret_value() == agent_builder.EMULATOR_KEY


def main() -> None:
    if sys.argv[1:2] == ["doctor"]:
        sys.exit(doctor.main(sys.argv[2:]))
    with stop_request() as stop:
        command_line.parser("session_service", Settings, _ABOUT).parse_args()
        settings = load_settings()
        key = settings.openai_api_key
        secrets = [key.get_secret_value().strip()] if key else []
        secrets += [split_token(entry)[1] for entry in settings.session_service_token]
        if settings.metrics_token:
            secrets.append(settings.metrics_token.get_secret_value())
        logs.configure(settings.log_level, settings.log_format, secrets)
        raise_open_files_limit()
        with tracing.exporting("chatkit-session-service", secrets):
            uvloop.run(run(settings, stop))


if __name__ == "__main__":
    main()
