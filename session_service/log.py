"""Structured logs: a JSON object a line, or readable lines on a terminal; the libraries' too."""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Literal

import orjson
import structlog

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]

request_id: ContextVar[str] = ContextVar("request_id")
"""Names the request in every log line and towards OpenAI; set where a request enters."""


def configure(level: LogLevel, log_format: LogFormat | None) -> None:
    """Sends all logs to standard output, as `console` on a terminal, else as `json`.

    Called once per process, before anything logs.
    """
    console = log_format == "console" or (log_format is None and sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
    ]
    rendered: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
        if console
        else [
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(
                lambda event, **_: orjson.dumps(event, default=str).decode()
            ),
        ]
    )
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.basicConfig(
        handlers=[handler], level=max(logging.WARNING, logging.getLevelName(level.upper()))
    )


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if current := request_id.get(None):
        event["request_id"] = current
    return event
