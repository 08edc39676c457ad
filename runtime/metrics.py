"""Prometheus metrics as both processes have them: a registry each, and who may read it.

Names are OpenTelemetry's, as Prometheus spells them, where it has one
(https://opentelemetry.io/docs/specs/semconv/); `chatkit_` begins our own. Labels take values from
tables of ours alone, so that nobody can make their number grow.
"""

import hmac
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from pydantic import SecretStr

from runtime import VERSION, hops
from runtime.admission import Admission
from runtime.hops import Hop
from runtime.transport import is_loopback

METRICS_PATH = "/metrics"
_FORWARDED = ("forwarded", "x-forwarded-for")

OTHER = "other"
"""The value of a label for what is in none of our tables."""

# From what a memory answers to what the longest request takes.
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


@dataclass(frozen=True, slots=True)
class HopMetric:
    """The histogram of one kind of hop."""

    name: str
    help_text: str
    attributes: tuple[str, ...] = ()
    """Of the hop, by OpenTelemetry's names; each is a label with underscores for dots."""


class HopDurations:
    """Observes hops. What labels lead to is looked up once, as that costs most."""

    def __init__(
        self, registry: CollectorRegistry, metric: HopMetric, reasons: frozenset[str]
    ) -> None:
        self._attributes = metric.attributes
        self._reasons = reasons
        labels = (*(name.replace(".", "_") for name in metric.attributes), "error_type")
        self._histogram = Histogram(
            metric.name, metric.help_text, labels, registry=registry, buckets=DURATION_BUCKETS
        )
        self._children: dict[tuple[object, ...], Histogram] = {}

    def observe(self, hop: Hop) -> None:
        values: tuple[object, ...] = (*map(hop.attributes.get, self._attributes), hop.error)
        child = self._children.get(values)
        if child is None:
            # To Prometheus, an empty label is one that is not there.
            known = ("" if value is None else str(value) for value in values[:-1])
            child = self._histogram.labels(*known, self._error_type(hop.error))
            self._children[values] = child
        child.observe(hop.seconds)

    def _error_type(self, error: str | None) -> str:
        if error is None:
            return ""
        return error if error in self._reasons else OTHER


class ProcessMetrics:
    """What every process tells: of itself, how late it is, what it refuses, what fails."""

    def __init__(
        self,
        process: str,
        reasons: Iterable[str],
        admission: Admission,
        hop_metrics: Mapping[hops.Name, HopMetric],
        **facts: str,
    ) -> None:
        """`reasons` are all that something fails with; the `facts` go into the build info.

        The first of `hop_metrics` is of the hop that is all of a request: its errors are counted.
        """
        # Else each has a second series that nobody asks for. The function has no types.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        Info("chatkit_build", "What runs here.", registry=self.registry).info(
            {"version": VERSION, "process": process, **facts}
        )
        lag = Histogram(
            "chatkit_event_loop_lag_seconds",
            "How much later than asked for the event loop has looked up, 50 times a second.",
            registry=self.registry,
            buckets=_LAG_BUCKETS,
        )
        self.observe_lag: Callable[[float], None] = lag.observe
        self.gauge(
            "chatkit_admitted_ratio", "Share of new work that is taken; 1 unless overloaded."
        ).set_function(lambda: admission.share)
        self.registry.register(
            ReadCounter(
                "chatkit_overload_refusals",
                "Requests or calls refused at once, as more came than can be done.",
                lambda: [((), admission.refused)],
            )
        )
        # Known from the start, so that the first failure is an increase, too.
        errors = Counter(
            "chatkit_errors",
            "What failed, by the reason that the caller was told.",
            ("reason",),
            registry=self.registry,
        )
        self._errors = {reason: errors.labels(reason) for reason in (*reasons, OTHER)}
        self._hops = {name: self.durations(metric) for name, metric in hop_metrics.items()}
        self._outermost = next(iter(hop_metrics))

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)

    def durations(self, metric: HopMetric) -> HopDurations:
        return HopDurations(self.registry, metric, frozenset((*self._errors, hops.CANCELLED)))

    def observe(self, hop: Hop) -> None:
        """Counts a hop of this process that is over."""
        durations = self._hops.get(hop.name)
        if durations is None:
            return
        durations.observe(hop)
        if hop.error and hop.name == self._outermost and hop.error != hops.CANCELLED:
            (self._errors.get(hop.error) or self._errors[OTHER]).inc()


class ReadCounter(Collector):
    """A counter that something else keeps: it is read when somebody asks."""

    def __init__(
        self,
        name: str,
        help_text: str,
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
        labels: Sequence[str] = (),
    ) -> None:
        """`read` returns the values of the labels, and the count, for each series there is."""
        self._name, self._help_text, self._read, self._labels = name, help_text, read, labels

    def describe(self) -> Iterable[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._help_text, labels=self._labels)

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._help_text, labels=self._labels)
        for values, count in self._read():
            family.add_metric(values, count)
        yield family


async def _nothing_to_refresh() -> None:
    """For a process whose metrics are all in its memory."""


@dataclass(frozen=True, slots=True)
class Exposition:
    """The metrics of a process as it serves them.

    Made in the event loop that they are about: when that hangs, so does the answer, and nobody is
    told that all is well.
    """

    registry: CollectorRegistry
    token: SecretStr | None
    """What a reader has to send; without one, only this machine may read."""
    refresh: Callable[[], Awaitable[None]] = _nothing_to_refresh
    """Reads what has to be waited for."""

    def may_read(self, host: str, authorization: str | None, headers: Container[object]) -> bool:
        """Tells whether who asks from that address is to be answered.

        `headers` takes their names in lower case.
        """
        if self.token is None:
            # What a proxy on this machine passes on is somebody else's.
            return is_loopback(host) and not any(name in headers for name in _FORWARDED)
        expected = f"Bearer {self.token.get_secret_value()}"
        sent = (authorization or "").encode(errors="surrogateescape")  # as aiohttp has what is sent
        return hmac.compare_digest(sent, expected.encode())

    async def render(self, accept: str | None) -> tuple[bytes, str]:
        """Returns the metrics in the format that the reader takes, and its content type."""
        await self.refresh()
        try:
            encode, content_type = choose_encoder(accept or "")
        except TypeError:  # it compares what is not a number, too
            encode, content_type = choose_encoder("")
        return encode(self.registry), content_type
