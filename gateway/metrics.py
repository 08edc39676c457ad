"""What the gateway tells Prometheus; `runtime.metrics` has what both processes tell."""

import functools

from gateway.errors import HTTP_STATUS_CODES, STATUS_CODES
from gateway.replicas import Replicas
from gateway.shedding import Shedding
from runtime.admission import Admission
from runtime.metrics import ProcessMetrics

STREAM_STATES = ("answers", "silent", "away")
"""Of session services: all calls go to those that answer."""


class GatewayMetrics(ProcessMetrics):
    """Made before the gateway is opened; `watch` once it is."""

    def __init__(self, admission: Admission) -> None:
        super().__init__("gateway", (*STATUS_CODES, *HTTP_STATUS_CODES), admission)
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

    def watch(self, replicas: Replicas, shedding: Shedding) -> None:
        """Reads the rest from these, whenever somebody asks."""
        self._connections.set_function(lambda: shedding.connections)
        for state in STREAM_STATES:
            self._services.labels(state).set_function(functools.partial(_in_state, replicas, state))
        self._calls.set_function(lambda: sum(one.calls for one in replicas.streams))
        self._queue.set_function(lambda: sum(one.unsent for one in replicas.streams))


def _in_state(replicas: Replicas, state: str) -> int:
    return sum(stream.state == state for stream in replicas.streams)
