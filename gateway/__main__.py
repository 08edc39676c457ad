"""`python -m gateway`: one process, settings from the environment and `.env`.

With `doctor` behind it, it says whether everything is in order, and ends.
"""

import asyncio
import contextlib
import logging
import math
import socket
import sys
import warnings
from collections.abc import Iterator

import jwt
import structlog
import uvicorn
import uvloop

from gateway import doctor
from gateway.acceptor import Acceptor
from gateway.app import create_app
from gateway.config import Settings, load_settings
from gateway.doctor import MIN_SECRET_BYTES
from gateway.http_protocol import HTTPProtocol
from runtime import command_line, tracing
from runtime import log as logs
from runtime.open_files import raise_open_files_limit
from runtime.signals import StopRequest, stop_request
from runtime.transport import split_token

GRACE_SECONDS = 20.0
"""How long requests in flight may take after SIGTERM."""
_ENDING_SECONDS = 2
"""How long those may take after that to be told so."""

_KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than the 60 s of nginx and of most load balancers.

Who closes first must be the client. Else its next request meets a connection that is being closed,
and has no answer.
"""

_ABOUT = (
    "The gateway of the ChatKit back end: it checks who a dashboard's user is, translates HTTP and"
    " JSON into gRPC calls of the session service, and answers in Spanish or English. It keeps"
    " nothing; any number of gateways may run. A running gateway documents its routes at /docs."
)

_BACKLOG = 2048
"""Connections that wait to be accepted, at most."""
_OTHER_FILES = 128
"""What the process has open besides them."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """uvicorn's, with our signal handling: its own ends the process with -15, not with 0.

    What the grace is too short for is answered before the connection is closed.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        protocol: type[HTTPProtocol],
        stop: StopRequest,
        grace_seconds: float,
    ) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._stop = stop
        self._grace_seconds = grace_seconds
        self._acceptors: list[Acceptor] = []

    def _connection(self) -> HTTPProtocol:
        return self._protocol(self.config, self.server_state, self.lifespan.state)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for listener in sockets or ():
            self._acceptors.append(Acceptor(listener, self._connection))
            host, port = listener.getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            log.info("gateway listening", address=f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        self.lifespan.state["watchers"].draining.set()  # they do not end by themselves
        # uvicorn cancels too, but then ends without a look at what the tasks still have to say.
        ending = asyncio.get_running_loop().call_later(self._grace_seconds, self._cancel_requests)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    def _cancel_requests(self) -> None:
        if tasks := self.server_state.tasks:
            log.warning("requests cut off", requests=len(tasks))
        for task in tasks:
            task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        drain = asyncio.create_task(self._drain())
        try:
            yield
        finally:
            drain.cancel()

    async def _drain(self) -> None:
        await self._stop.wait()
        log.info("gateway draining")
        self.should_exit = True


async def run(settings: Settings, stop: StopRequest, grace_seconds: float) -> None:
    """Serves until it is told to stop, then drains. Exits with a message where it cannot start."""
    open_files = raise_open_files_limit()
    backlog = min(_BACKLOG, open_files // 8)

    class Protocol(HTTPProtocol):
        # Room for one backlog that is accepted at once, and for one of those that are turned away.
        most_connections = max(1, open_files - 2 * backlog - _OTHER_FILES)
        most_surplus = backlog

    listener = _listen(settings.gateway_listen, backlog)
    server = Server(
        uvicorn.Config(
            create_app(settings),
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here depends on where a request says it comes from
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(grace_seconds) + _ENDING_SECONDS,
        ),
        Protocol,
        stop,
        grace_seconds,
    )
    await server.serve(sockets=[listener])
    if not server.started:
        sys.exit("gateway cannot start: the reason is above")


def _listen(address: str, backlog: int) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, endpoint = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio turns Nagle's algorithm off only where the socket says that it is TCP.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(endpoint)
        listener.listen(backlog)
    except OSError as error:
        sys.exit(
            f"gateway cannot start: it cannot listen on {address}: {error.strerror};"
            " choose another address with GATEWAY_LISTEN"
        )
    return listener


def _warn_of_short_secret(settings: Settings) -> None:
    # Ours to say once, not PyJWT's with every request.
    warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
    secret = settings.jwt_secret
    if secret and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        log.warning("JWT_SECRET is short", remedy="use at least 32 random bytes (RFC 7518, 3.2)")


def main(grace_seconds: float = GRACE_SECONDS) -> None:
    if sys.argv[1:2] == ["doctor"]:
        sys.exit(doctor.main(sys.argv[2:]))
    with stop_request() as stop:
        command_line.parser("gateway", Settings, _ABOUT).parse_args()
        settings = load_settings()
        secrets = [split_token(entry)[1] for entry in settings.session_service_token]
        for secret in (settings.jwt_secret, settings.metrics_token):
            if secret:
                secrets.append(secret.get_secret_value())
        logs.configure(settings.log_level, settings.log_format, secrets)
        # It warns of every form that it cannot read: who sent it is told, nobody else has to be.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        _warn_of_short_secret(settings)
        with tracing.exporting("chatkit-gateway", secrets):
            uvloop.run(run(settings, stop, grace_seconds))


if __name__ == "__main__":
    main()
