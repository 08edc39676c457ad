"""A channel to one session service, and how a call of the current request goes through one."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

import grpc

from gateway.config import Settings
from gateway.errors import from_rpc
from runtime import log as logs
from runtime import tls
from runtime.hops import TIMINGS_KEY, Hop
from runtime.transport import split_token

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Metadata: TypeAlias = tuple[tuple[str, str], ...]
Connect: TypeAlias = Callable[[str, tls.PEM | None], grpc.aio.Channel]

_MIB = 1024 * 1024
_OPTIONS = (
    # What the service calls us in its log, where neither token nor certificate do.
    ("grpc.primary_user_agent", "gateway"),
    # What the service takes, and what it sends at most: see its limits.
    ("grpc.max_send_message_length", _MIB),
    ("grpc.max_receive_message_length", 4 * _MIB),
    # The service is near: a proxy for what is outside is not for it, whatever the environment says.
    ("grpc.enable_http_proxy", 0),
    # Find out that the other side is gone within half a minute, also while nothing is asked.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Be back within half a second of the service, while callers still wait for it, see
    # gateway/replicas.py; gRPC's own back-off goes up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 400),
    ("grpc.max_reconnect_backoff_ms", 400),
)


def connector(host: str, settings: Settings) -> Connect:
    """Returns how a channel to an address of this host is opened, encrypted with certificates."""
    options: tuple[tuple[str, str | int], ...] = _OPTIONS
    if settings.session_service_tls_ca:  # as addresses are what is connected to
        name = settings.session_service_tls_server_name or host.strip("[]")
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", name))

    def connect(address: str, pem: tls.PEM | None) -> grpc.aio.Channel:
        if pem is None:
            return grpc.aio.insecure_channel(address, options)
        credentials = grpc.ssl_channel_credentials(pem.authorities, pem.key, pem.certificate)
        return grpc.aio.secure_channel(address, credentials, options)

    return connect


def certificates(settings: Settings) -> tls.Watched | None:
    """Returns what services are checked against and what we show them; None is in the clear.

    Raises ValueError where the files cannot be used.
    """
    authorities: Path | None = settings.session_service_tls_ca
    if authorities is None:
        return None
    return tls.Watched(
        tls.Files(
            authorities=authorities,
            certificate=settings.session_service_tls_client_cert,
            key=settings.session_service_tls_client_key,
        )
    )


def identity(settings: Settings) -> Metadata:
    """Returns what goes with every call so that services let us in."""
    entries = settings.session_service_token
    return (("authorization", f"Bearer {split_token(entries[0])[1]}"),) if entries else ()


def metadata() -> Metadata:
    """Returns what goes with every call for the current request: its name."""
    return (("x-request-id", logs.request_id.get()),)


def rpc_hop(method: str) -> Hop:
    """Returns the hop of a call of a method, such as "/chatkit.v1.SessionService/GetStats"."""
    name = method.removeprefix("/")
    return Hop("rpc", name, {"rpc.system.name": "grpc", "rpc.method": name})


def learn(hop: Hop, metadata: grpc.aio.Metadata | None) -> None:
    """Takes from metadata of a call by itself what it has taken in the service so far."""
    if metadata is not None and (said := metadata.get(TIMINGS_KEY)):
        hop.learn(said)


async def call(
    method: "grpc.aio.UnaryUnaryMultiCallable[Request, Reply]",
    request: Request,
    timeout_seconds: float,
) -> Reply:
    """Calls the service for the current request. Raises APIError."""
    try:
        return await method(request, timeout=timeout_seconds, metadata=metadata())
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error
