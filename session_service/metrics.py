"""What the session service tells Prometheus; `runtime.metrics` has what both processes tell.

Of itself it tells what happens in this process, so that several are added up. What the store has
counted, they all tell alike: of that there is a maximum over processes, and no sum.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.admission import Admission
from runtime.hops import Hop, Name
from runtime.metrics import HopMetric, ProcessMetrics, ReadCounter
from session_service.agent_builder import closing_timestamp
from session_service.call_stream import CallStreamServicer
from session_service.circuit import Circuit
from session_service.errors import Unavailable
from session_service.interceptors import STATUS_CODES, CallInterceptor
from session_service.readiness import Readiness
from session_service.sessions import now_ms
from session_service.stores.base import DAY_MS, Mode, Rollup, Store, Totals
from session_service.streams import Streams

_FRESH_SECONDS = 5.0
"""For so long what the store has counted is told again, whoever asks how often."""
_PATIENCE_SECONDS = 2.0
"""For the store: Prometheus waits 10 s, and wants to be told when the store hangs."""


HOP_METRICS: Mapping[Name, HopMetric] = {
    "service": HopMetric(
        "rpc_server_call_duration_seconds",
        "Calls until the end of their answer, streamed ones too.",
        ("rpc.method",),
    ),
    "upstream": HopMetric(
        "http_client_request_duration_seconds",
        "Calls of OpenAI with their retries; the status is that of the last attempt.",
        ("http.request.method", "url.template", "http.response.status_code"),
    ),
    "store": HopMetric(
        "db_client_operation_duration_seconds",
        "Reads and writes with their wait for connection, disk and those before them.",
        ("db.system.name", "db.operation.name"),
    ),
}


_MODEL_METRIC = HopMetric(
    "gen_ai_client_operation_duration_seconds",
    "Answers of the model until their end, streamed ones too; self-hosted mode.",
    # Not the model: agents of others may let users choose.
    ("gen_ai.operation.name",),
)


class ServiceMetrics(ProcessMetrics):
    """Made before the service is wired together; `watch` once it is."""

    def __init__(self, admission: Admission, mode: Mode) -> None:
        super().__init__("session_service", STATUS_CODES, admission, HOP_METRICS, mode=mode)
        self._model = self.durations(_MODEL_METRIC)
        self._calls = self.gauge("rpc_server_active_calls", "Calls that have no outcome yet.")
        self._carried = self.gauge(
            "chatkit_call_stream_calls", "Calls on streams that have no outcome yet."
        )
        self._outcomes = self.gauge(
            "chatkit_call_stream_queue_length", "Outcomes that wait to be written to a stream."
        )
        self._answers = self.gauge("chatkit_answers_in_flight", "Answers that are being written.")
        self._store_queue = self.gauge(
            "chatkit_store_queue_length", "Writes that wait for those before them."
        )
        self._ready = self.gauge("chatkit_ready", "Whether the store can store.")
        self._circuit = self.gauge(
            "chatkit_upstream_circuit_open",
            "Whether an API of OpenAI's is asked now and then only, as it is down.",
            ("api",),
        )
        if mode == "hosted":
            self.gauge(
                "chatkit_agent_builder_closing_timestamp_seconds",
                "When OpenAI ends the workflows of hosted mode.",
            ).set(closing_timestamp())

    def observe(self, hop: Hop) -> None:
        if _MODEL_METRIC.attributes[0] in hop.attributes:  # which is asked at its own pace
            self._model.observe(hop)
        else:
            super().observe(hop)

    def watch(
        self,
        store: Store,
        readiness: Readiness,
        calls: CallInterceptor,
        call_streams: CallStreamServicer,
        streams: Streams,
        circuits: Sequence[Circuit],
    ) -> "StoredCounts":
        """Reads the rest from these, whenever somebody asks; returns what to refresh before."""
        self._calls.set_function(lambda: calls.in_flight)
        self._carried.set_function(lambda: call_streams.calls)
        self._outcomes.set_function(lambda: call_streams.unsent)
        self._answers.set_function(lambda: streams.running_now)
        self._store_queue.set_function(lambda: store.queued)
        self._ready.set_function(lambda: readiness.is_ready)
        for circuit in circuits:
            self._circuit.labels(circuit.name).set_function(_is_open(circuit))
        for name, help_text, read in _COUNTED_BY_CIRCUITS:
            self.registry.register(
                ReadCounter(name, help_text, _of_each(circuits, read), labels=("api",))
            )
        stored = StoredCounts(store)
        self.registry.register(stored)
        return stored


_COUNTED_BY_CIRCUITS: Sequence[tuple[str, str, Callable[[Circuit], int]]] = (
    (
        "chatkit_upstream_retries",
        "Attempts at OpenAI after the first of a call.",
        lambda circuit: circuit.budget.retries,
    ),
    (
        "chatkit_upstream_not_asked",
        "Attempts that were not made, as OpenAI is down.",
        lambda circuit: circuit.refused,
    ),
)


def _is_open(circuit: Circuit) -> Callable[[], float]:
    return lambda: circuit.is_open


def _of_each(
    circuits: Sequence[Circuit], read: Callable[[Circuit], int]
) -> Callable[[], Iterable[tuple[Sequence[str], float]]]:
    return lambda: [((circuit.name,), read(circuit)) for circuit in circuits]


class StoredCounts(Collector):
    """The counters of everybody, as the dashboard shows them: they outlive processes.

    While the store cannot be read there are none: what is out of date would look like silence.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._rollup: Rollup | None = None
        self._read_at: float | None = None

    async def refresh(self) -> None:
        """Reads them, unless they are fresh."""
        now = self._clock()
        if self._read_at is not None and now - self._read_at < _FRESH_SECONDS:
            return
        self._read_at = now
        at_ms = now_ms()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                self._rollup = await self._store.rollup(None, at_ms, at_ms // DAY_MS)
        except (Unavailable, TimeoutError):  # the store has logged it, or is going to
            self._rollup = None

    def describe(self) -> Iterable[Metric]:
        return _families(Rollup(Totals(), 0, 0, ()))

    def collect(self) -> Iterable[Metric]:
        return () if self._rollup is None else _families(self._rollup)


_TOTALS: Sequence[tuple[str, str, Callable[[Totals], int]]] = (
    ("chatkit_sessions_created", "Sessions; a refresh makes no other.", lambda t: t.sessions),
    ("chatkit_sessions_refreshed", "Refreshes of sessions.", lambda t: t.refreshes),
    ("chatkit_sessions_deleted", "Sessions that were deleted.", lambda t: t.deleted),
    ("chatkit_sessions_failed", "Creates, refreshes that failed for OpenAI.", lambda t: t.failures),
    ("chatkit_messages", "Messages of users and of the assistant.", lambda t: t.messages),
    ("chatkit_turns", "Answers of the agent, self-hosted mode.", lambda t: t.turns),
    ("chatkit_turns_failed", "Those that failed.", lambda t: t.failed_turns),
    ("chatkit_tool_calls", "Calls of tools by the agent.", lambda t: t.tool_calls),
)


def _families(rollup: Rollup) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "chatkit_sessions_active", "Sessions whose end is still to come.", value=rollup.active
    )
    for name, help_text, read in _TOTALS:
        yield CounterMetricFamily(
            name, f"{help_text} As stored: the same in all processes.", value=read(rollup.totals)
        )
    tokens = CounterMetricFamily(
        "chatkit_tokens", "Tokens of the model. As stored.", labels=("gen_ai_token_type",)
    )
    tokens.add_metric(("input",), rollup.totals.input_tokens)
    tokens.add_metric(("output",), rollup.totals.output_tokens)
    yield tokens
