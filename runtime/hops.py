"""The one instrument for what a hop of a request takes: times it, traces it, tells who observes.

A hop is what a request waits for somewhere: `gateway` is all of an HTTP request, `rpc` a call of
the session service as the gateway sees it, `service` the same call in the service, `upstream` a
call of OpenAI with its retries, `store` a read or a write with its wait for the disk. They nest, in
tasks that a request begins, too. What a hop costs is a microsecond or two while nobody traces.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

Name = Literal["gateway", "rpc", "service", "upstream", "store"]
Attribute: TypeAlias = str | int | float | bool
Carrier: TypeAlias = Mapping[str, str | bytes]
"""Headers of HTTP or metadata of gRPC, by lower-case name."""

CANCELLED = "CANCELLED"
"""The error of a hop that nobody waits for any more."""

TIMINGS_KEY = "server-timing"
"""What the session service says its hops took: metadata with the syntax of the HTTP header."""

_TIMING = re.compile(r"(upstream|store);dur=(\d{1,9}(?:\.\d{1,3})?)", re.ASCII)
_NOTHING: Mapping[str, str] = {}


class Span(Protocol):
    """What traces have of a hop."""

    trace_id: str
    span_id: str

    def context(self) -> Mapping[str, str]:
        """Returns what goes with a call, so that its spans become children of this one."""

    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Notes what has happened now."""

    def end(self, hop: "Hop") -> None:
        """Ends with what the hop knows by now."""


Tracer: TypeAlias = Callable[["Hop", Carrier], Span | None]
"""Begins the span of a hop, given what its caller has sent; None is that there is to be none."""


class Hop:
    """Entered where the wait begins, left where it ends; an exception that passes is its error."""

    __slots__ = (
        "_carrier",
        "_told",
        "_unnoted_since",
        "attributes",
        "began",
        "error",
        "is_traced",
        "name",
        "operation",
        "parent",
        "seconds",
        "span",
        "timings",
    )

    def __init__(
        self,
        name: Name,
        operation: str,
        attributes: dict[str, Attribute] | None = None,
        *,
        carrier: Carrier = _NOTHING,
        is_traced: bool = True,
    ) -> None:
        """`operation` is one of a few, such as a method or a route; `attributes` are named as in
        OpenTelemetry's semantic conventions, and none is a secret or a text of a user."""
        self.name = name
        self.operation = operation
        self.attributes: dict[str, Attribute] = {} if attributes is None else attributes
        self.error: str | None = None
        """The reason, where there is one, else the type of the exception; None is a success."""
        self.seconds = 0.0
        """What it took, once it is left."""
        self.span: Span | None = None
        self.is_traced = is_traced
        """Whether it is worth a span: health checks are not."""
        self._carrier = carrier
        self._told: Mapping[str, float] = {}

    def __enter__(self) -> Self:
        self.parent = parent = _current.get()
        self.timings: dict[str, float] = {} if parent is None else parent.timings
        """Seconds by name of hop, of all hops of this request so far; what the service says of
        its own is among them."""
        _current.set(self)
        if _tracers and self.is_traced:
            self.span = _tracers[-1](self, self._carrier)
        self.began = self._unnoted_since = time.perf_counter()
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        error: BaseException | None,
        __: TracebackType | None,
    ) -> None:
        self.note()
        self.seconds = self._unnoted_since - self.began
        if error is not None and self.error is None:
            self.error = reason_of(error)
        # Not by a token: who closes a generator may do so in another context.
        _current.set(self.parent)
        if self.span is not None:
            self.span.end(self)
        for observe in _observers:
            observe(self)

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.began

    def waits(self, *names: Name) -> dict[str, float]:
        """Returns what its request took in these hops so far, in milliseconds, for its log line."""
        timings = self.timings
        return {f"{n}_ms": round(timings[n] * 1000, 1) for n in names if n in timings}

    def note(self) -> None:
        """Adds to the timings what it took since this was last done, as they are needed now."""
        now = time.perf_counter()
        if self.parent is None or self.parent.name != self.name:  # else that one counts it
            spent = self.timings.get(self.name, 0.0)
            self.timings[self.name] = spent + now - self._unnoted_since
        self._unnoted_since = now

    def learn(self, server_timing: str | bytes) -> None:
        """Adds what the service has said last, instead of what it said before."""
        if not isinstance(server_timing, str):
            return
        told = {name: float(ms) / 1000 for name, ms in _TIMING.findall(server_timing)}
        for name, seconds in told.items():
            more = seconds - self._told.get(name, 0.0)
            self.timings[name] = self.timings.get(name, 0.0) + more
        self._told = told

    def event(self, name: str, **attributes: Attribute) -> None:
        """Notes in the trace what has happened now."""
        if self.span is not None:
            self.span.event(name, attributes)


_current: ContextVar[Hop | None] = ContextVar("hop", default=None)
_tracers: list[Tracer] = []
_observers: list[Callable[[Hop], None]] = []


def current() -> Hop | None:
    """Returns the innermost hop that this task is in."""
    return _current.get()


def fail(reason: str) -> None:
    """Says why the current request fails, where no exception does: an answer is already there."""
    hop = _current.get()
    while hop is not None:
        hop.error = reason
        hop = hop.parent


def event(name: str, **attributes: Attribute) -> None:
    """Notes in the trace what has happened in the current hop, if there is one."""
    if (hop := _current.get()) is not None:
        hop.event(name, **attributes)


def context() -> Mapping[str, str]:
    """Returns what goes with a call of ours so that its trace goes on there."""
    hop = _current.get()
    return _NOTHING if hop is None or hop.span is None else hop.span.context()


def server_timing(timings: Mapping[str, float], *names: Name) -> str:
    """Returns these hops, in milliseconds to a tenth, as https://www.w3.org/TR/server-timing/ has
    it: finer than that, it would tell of the database what the network blurs."""
    return ", ".join(f"{name};dur={timings[name] * 1000:.1f}" for name in names if name in timings)


@contextlib.contextmanager
def observing(observe: Callable[[Hop], None]) -> Iterator[None]:
    """Calls `observe` with every hop of this process when it is left, within the block."""
    _observers.append(observe)
    try:
        yield
    finally:
        _observers.remove(observe)


def is_traced() -> bool:
    """Tells whether spans are opened at all."""
    return bool(_tracers)


@contextlib.contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Opens a span for every hop of this process that begins within the block."""
    _tracers.append(tracer)
    try:
        yield
    finally:
        _tracers.remove(tracer)


def reason_of(error: BaseException) -> str:
    """Returns what traces and metrics call a failure: nothing of what it says."""
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, str) else type(error).__name__
