"""What the gateway tells Prometheus; `runtime.metrics` has what both processes tell."""

import functools
from collections.abc import Mapping

from gateway.errors import HTTP_STATUS_CODES, STATUS_CODES
from gateway.replicas import Replicas
from gateway.shedding import Shedding
from runtime.admission import Admission
from runtime.hops import Hop, Name
from runtime.metrics import METRICS_PATH, OTHER, HopMetric, ProcessMetrics

HOP_METRICS: Mapping[Name, HopMetric] = {
    "gateway": HopMetric(
        "http_server_request_duration_seconds",
        "Requests until the end of their answer, streamed ones too.",
        ("http.request.method", "http.route", "http.response.status_code"),
    ),
    "rpc": HopMetric(
        "rpc_client_call_duration_seconds",
        "Calls of the session service, with their wait for it.",
        ("rpc.method",),
    ),
}

STREAM_STATES = ("answers", "silent", "away")
"""Of session services: all calls go to those that answer."""


class GatewayMetrics(ProcessMetrics):
    """Made before the gateway is opened; `watch` once it is."""

    def __init__(self, admission: Admission) -> None:
        reasons = (*STATUS_CODES, *HTTP_STATUS_CODES)
        super().__init__("gateway", reasons, admission, HOP_METRICS)
        self.active_requests = 0
        self.gauge(
            "http_server_active_requests", "Requests that have no whole answer yet."
        ).set_function(lambda: self.active_requests)
        self._connections = self.gauge("chatkit_http_connections", "Connections of clients.")
        self._services = self.gauge(
            "chatkit_session_services", "Session services that were found.", ("state",)
        )
        self._calls = self.gauge(
            "chatkit_call_stream_calls", "Calls on streams that have no outcome yet."
        )
        self._queue = self.gauge(
            "chatkit_call_stream_queue_length", "Calls that wait to be written to a stream."
        )

    def observe(self, hop: Hop) -> None:
        if hop.name == "gateway":
            route = hop.attributes.setdefault("http.route", OTHER)
            if route == METRICS_PATH:  # who reads us is no part of what is read
                return
        super().observe(hop)

    def watch(self, replicas: Replicas, shedding: Shedding) -> None:
        """Reads the rest from these, whenever somebody asks."""
        self._connections.set_function(lambda: shedding.connections)
        for state in STREAM_STATES:
            self._services.labels(state).set_function(functools.partial(_in_state, replicas, state))
        self._calls.set_function(lambda: sum(one.calls for one in replicas.streams))
        self._queue.set_function(lambda: sum(one.unsent for one in replicas.streams))


def _in_state(replicas: Replicas, state: str) -> int:
    return sum(stream.state == state for stream in replicas.streams)
