"""Hops as spans of OpenTelemetry, sent by OTLP over HTTP; imported only where traces are wanted."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span as OTelSpan
from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.hops import Attribute, Carrier, Hop
from runtime.redaction import redactor

_FLUSH_SECONDS = 2.0
"""How long the end of a process waits for its last spans to be sent: less than what is left of a
drain's time limits."""
_FLUSH_IN_VAIN_SECONDS = 0.2
"""The same where nobody took the spans before."""

_KINDS = {
    "gateway": SpanKind.SERVER,
    "rpc": SpanKind.CLIENT,
    "service": SpanKind.SERVER,
    "upstream": SpanKind.CLIENT,
    "store": SpanKind.CLIENT,
}
_ROOTS = frozenset(("gateway", "service", "upstream"))
"""What can be the first of a trace. The store's is not: what nobody has asked for, such as a look
for sessions to cancel every two seconds, is of no interest by itself."""
_CONTEXT = ("traceparent", "tracestate")

_propagator = TraceContextTextMapPropagator()

log = structlog.get_logger()


class _Span:
    """See `hops.Span`."""

    __slots__ = ("_redact", "_span", "span_id", "trace_id")

    def __init__(self, span: OTelSpan, redact: Callable[[str], str]) -> None:
        self._span = span
        self._redact = redact
        context = span.get_span_context()
        self.trace_id = format_trace_id(context.trace_id)
        self.span_id = format_span_id(context.span_id)

    def as_parent(self) -> Context:
        return set_span_in_context(self._span, Context())

    def context(self) -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, self.as_parent())
        return carrier

    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        self._span.add_event(name, self._redacted(attributes))

    def end(self, hop: Hop) -> None:
        span = self._span
        if span.is_recording():
            span.update_name(self._redact(hop.operation))
            span.set_attributes(self._redacted(hop.attributes))
            if hop.error is not None:
                span.set_attribute("error.type", hop.error)
                if not _is_callers_fault(hop):
                    span.set_status(Status(StatusCode.ERROR, hop.error))
        span.end()

    def _redacted(self, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
        redact = self._redact
        return {k: redact(v) if isinstance(v, str) else v for k, v in attributes.items()}


class _Exporter(SpanExporter):
    """Says once that nobody takes the spans, and once that somebody does again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self.is_failing:
            remedy = "is the collector at OTEL_EXPORTER_OTLP_ENDPOINT there, and does it take OTLP?"
            log.warning("traces not taken; they are dropped until they are", remedy=remedy)
        elif self.is_failing and not failed:
            log.info("traces taken again")
        self.is_failing = failed
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


@contextlib.contextmanager
def open_tracer(
    service_name: str, secrets: Iterable[str]
) -> Iterator[Callable[[Hop, Carrier], _Span | None]]:
    """Returns what begins the spans of hops; sends what is left when the block ends."""
    exporter = _Exporter(OTLPSpanExporter())
    processor = BatchSpanProcessor(exporter)
    provider = TracerProvider(resource=_resource(service_name), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    begin = _begin(provider.get_tracer("chatkit"), redactor(secrets))
    # From now on they would write lines, and tracebacks, for every batch that nobody takes.
    for name in ("opentelemetry", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield begin
    finally:
        # In a thread, as the SDK would wait for half a minute, and for a socket for even longer.
        ending = threading.Thread(target=processor.shutdown, daemon=True)
        ending.start()
        ending.join(_FLUSH_IN_VAIN_SECONDS if exporter.is_failing else _FLUSH_SECONDS)


def _begin(tracer: Tracer, redact: Callable[[str], str]) -> Callable[[Hop, Carrier], _Span | None]:
    def begin(hop: Hop, carrier: Carrier) -> _Span | None:
        if hop.parent is not None:
            parent = hop.parent.span
            if not isinstance(parent, _Span):
                return None
            context = parent.as_parent()
        elif hop.name in _ROOTS:
            sent = {key: value for key in _CONTEXT if isinstance(value := carrier.get(key), str)}
            context = _propagator.extract(sent, Context())
        else:
            return None
        return _Span(tracer.start_span(hop.operation, context, _KINDS[hop.name]), redact)

    return begin


def _resource(service_name: str) -> Resource:
    """Returns what OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say, and our name if neither."""
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: service_name}))
    return resource


def _is_callers_fault(hop: Hop) -> bool:
    """OpenTelemetry has it that a server does not fail where it refuses what is wrong."""
    status = hop.attributes.get("http.response.status_code")
    return hop.name == "gateway" and isinstance(status, int) and 400 <= status < 500
