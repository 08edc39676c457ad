"""A collector of OpenTelemetry in memory: takes OTLP over HTTP, and keeps the spans."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as PbSpan

from tests.e2e.processes import PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Span:
    """One that has ended."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first of a trace."""
    kind: str
    attributes: dict[str, object]
    events: list[tuple[str, dict[str, object]]]
    failed: bool
    seconds: float


class Collector:
    """Where processes send their spans."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.received = b""
        """All that has come, as it came."""
        self._spans: list[Span] = []
        self._changed = threading.Condition()

    def take(self, body: bytes) -> None:
        spans = [
            _span(str(_attributes(one.resource.attributes)["service.name"]), span)
            for one in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in one.scope_spans
            for span in scope.spans
        ]
        with self._changed:
            self.received += body
            self._spans += spans
            self._changed.notify_all()

    def trace(self, trace_id: str, is_whole: Callable[[list[Span]], bool]) -> list[Span]:
        """Waits until a trace is whole, and returns its spans in the order in which they came."""

        def spans() -> list[Span]:
            return [span for span in self._spans if span.trace_id == trace_id]

        with self._changed:
            came = self._changed.wait_for(lambda: is_whole(spans()), PATIENCE_SECONDS)
            assert came, [(span.service, span.name) for span in spans()]
            return spans()


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector within the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.take(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            yield collector
        finally:
            server.shutdown()


def _span(service: str, span: PbSpan) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=PbSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        attributes=_attributes(span.attributes),
        events=[(event.name, _attributes(event.attributes)) for event in span.events],
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
