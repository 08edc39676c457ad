"""Structured logs: a JSON object a line, or readable lines on a terminal; the libraries' too.

Whoever writes them, no line leaves without `redaction`.
"""

import io
import json
import logging
import re
import sys
import uuid
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, TextIO

import orjson
import structlog

from runtime import hops
from runtime.redaction import redactor

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]

request_id: ContextVar[str] = ContextVar("request_id")
"""Names the request in every log line and on the wire; set where a request enters."""

caller: ContextVar[str] = ContextVar("caller")
"""Names who has sent the request, where another process of ours can; only in log lines."""

# Without the values of variables: they may be secrets.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""What begins a line, colours a terminal or turns text around: no log may repeat it as it is."""
_without_secrets = redactor(())
_EVENT_WIDTH = 16
"""Of the usual lines, such as `request` and `openai answered`: their fields begin at one place."""
_SANE_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,128}")


def configure(
    level: LogLevel, log_format: LogFormat | None, secrets: Iterable[str | None] = ()
) -> None:
    """Sends all logs to standard output, as `console` on a terminal, else as `json`.

    Called once per process, before anything logs. `secrets` are taken out of every line, besides
    what looks like one.
    """
    redact = redactor(secret for secret in secrets if secret)
    console = log_format == "console" or (log_format is None and sys.stdout.isatty())
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        _clock_time if console else stamp,
        _add_request,
    ]
    rendered: list[structlog.typing.Processor] = (
        [
            _escape_values,
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                sort_keys=False,
                pad_event_to=_EVENT_WIDTH,
                exception_formatter=_plain_traceback,
            ),
        ]
        if console
        else [_tracebacks, structlog.processors.JSONRenderer(_json)]
    )
    rendered.append(lambda _, __, line: redact(str(line)))
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


def name_for(proposed: str | None) -> str:
    """Returns the name that the caller of a request proposed, if that is sane, else a new one."""
    return proposed if proposed and _is_sane(proposed) else uuid.uuid4().hex


def begin_request(proposed: str | None) -> str:
    """Names the current request, see `name_for`."""
    name = name_for(proposed)
    request_id.set(name)
    return name


def _is_sane(proposed: str) -> bool:
    # A name is in every log line, and goes to OpenAI: it must not be a secret in the wrong header.
    is_name = _SANE_REQUEST_ID.fullmatch(proposed) is not None
    return is_name and _without_secrets(proposed) == proposed


def current_request() -> str:
    """Returns the name of the current request; what runs in the background is named here."""
    return request_id.get(None) or begin_request(None)


def _add_request(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if current := request_id.get(None):
        event["request_id"] = current
    if name := caller.get(None):
        event["caller"] = name
    if (hop := hops.current()) is not None and hop.span is not None:
        event["trace_id"] = hop.span.trace_id
        event["span_id"] = hop.span.span_id
    return event


def _clock_time(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For a terminal: who watches knows the day, and looks at a watch on the wall."""
    event["timestamp"] = datetime.now().strftime("%H:%M:%S.%f")[:-3]
    return event


def _escaped(text: str) -> str:
    """Returns text with what cannot be printed as JSON would have it; it stays JSON if it is."""
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For a terminal: JSON escapes by itself what breaks a line, and `repr` all but a `str`."""
    return {
        _escaped(name): _escaped(value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _plain_traceback(output: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Writes a traceback, indented: what an error says cannot pass for a line of the log."""
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    output.write("\n".join(f"  {_escaped(line)}" for line in written.getvalue().split("\n")))


def _json(event: dict[str, Any], **_: Any) -> str:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    line = first | event
    try:
        return _escaped(orjson.dumps(line, default=str).decode())
    except TypeError:  # such as an integer beyond 64 bits
        return json.dumps(line, default=str)
