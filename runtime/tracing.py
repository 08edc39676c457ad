"""Whether and where traces go: by OpenTelemetry's own variables; without them nothing is loaded.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping

import structlog
from dotenv import dotenv_values

from runtime import hops

_PREFIX = "OTEL_"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

log = structlog.get_logger()


@contextlib.contextmanager
def exporting(service_name: str, secrets: Iterable[str] = ()) -> Iterator[None]:
    """Sends the spans of all hops to where OTEL_EXPORTER_OTLP_ENDPOINT says, within the block.

    `service_name` is that of the process where OTEL_SERVICE_NAME names none. `secrets` are taken
    out of spans, besides what looks like one. To be entered once logs are configured.
    """
    # As all other settings: the SDK itself reads the environment alone.
    for name, value in dotenv_values(".env").items():
        if name.startswith(_PREFIX) and value and not os.environ.get(name):
            os.environ[name] = value
    if not _is_wanted(os.environ):
        yield
        return
    # Not above: it takes 12 MB and a quarter of a second.
    from runtime.spans import open_tracer

    with contextlib.ExitStack() as stack:
        try:
            tracer = stack.enter_context(open_tracer(service_name, secrets))
        except Exception as error:  # whatever one of its variables makes the SDK raise
            log.warning("traces off", problem=str(error), remedy="correct the OTEL_… variables")
        else:
            stack.enter_context(hops.tracing(tracer))
            log.info("traces on", endpoint=_first(os.environ, _ENDPOINTS))
        yield


def _is_wanted(variables: Mapping[str, str]) -> bool:
    if _first(variables, _ENDPOINTS) is None:
        return False
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if variables.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    protocol = _first(variables, _PROTOCOLS) or _PROTOCOL
    if protocol != _PROTOCOL:
        remedy = f"set OTEL_EXPORTER_OTLP_PROTOCOL={_PROTOCOL}, and the endpoint to its port"
        log.warning("traces off", protocol=protocol, remedy=remedy)
        return False
    return True


def _first(variables: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((value for name in names if (value := variables.get(name, "").strip())), None)
