"""The one gRPC channel to the session service, and how a call goes through it."""

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, cast

import grpc

from gateway.config import Settings
from gateway.errors import from_rpc
from runtime import log as logs
from runtime import tls
from runtime.transport import split_token

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Build: TypeAlias = Callable[[grpc.aio.Channel], Any]
Metadata: TypeAlias = tuple[tuple[str, str], ...]

_LOOK_SECONDS = 2.0
"""How often certificates are looked at, at most."""

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
    # Be back within a second or two of the service; gRPC's own back-off goes up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
)


def open_channel(settings: Settings) -> grpc.aio.Channel:
    """Opens a channel that is balanced over the targets; several must be IP addresses.

    It is encrypted where there are authorities to check the service's certificate against. Raises
    ValueError where certificates cannot be used.
    """
    targets = settings.session_service_target
    family = "ipv6" if targets[0].startswith("[") else "ipv4"
    target = targets[0] if len(targets) == 1 else f"{family}:{','.join(targets)}"
    options: tuple[tuple[str, str | int], ...] = _OPTIONS
    if name := settings.session_service_tls_server_name:
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", name))

    def connect(pem: tls.PEM | None) -> grpc.aio.Channel:
        if pem is None:
            return grpc.aio.insecure_channel(target, options)
        credentials = grpc.ssl_channel_credentials(pem.authorities, pem.key, pem.certificate)
        return grpc.aio.secure_channel(target, credentials, options)

    watched, token = _watched(settings), _token(settings)
    if watched is None and token is None:
        return connect(None)
    # Stubs ask a channel for nothing that the other has not.
    return cast(grpc.aio.Channel, _KnownChannel(connect, watched, token))


def _watched(settings: Settings) -> tls.Watched | None:
    if settings.session_service_tls_ca is None:
        return None
    return tls.Watched(
        tls.Files(
            authorities=settings.session_service_tls_ca,
            certificate=settings.session_service_tls_client_cert,
            key=settings.session_service_tls_client_key,
        )
    )


def _token(settings: Settings) -> str | None:
    entries = settings.session_service_token
    return split_token(entries[0])[1] if entries else None


class _KnownChannel:
    """A channel whose calls say by whom they are: with a token, a certificate, or both.

    gRPC for Python cannot change the certificates of a channel. So new ones get a new channel, for
    the calls from then on; the old one closes when its last call has ended, as nothing refers to
    it any more.
    """

    def __init__(
        self,
        connect: Callable[[tls.PEM | None], grpc.aio.Channel],
        watched: tls.Watched | None,
        token: str | None,
    ) -> None:
        self._connect = connect
        self._watched = watched
        self._looked_at = time.monotonic()
        self._channel = connect(watched.pem if watched else None)
        self._methods: dict[Build, Any] = {}
        """Of this channel."""
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def unary_unary(self, method: str, **options: Any) -> Any:
        return self._call(lambda channel: channel.unary_unary(method, **options))

    def unary_stream(self, method: str, **options: Any) -> Any:
        return self._call(lambda channel: channel.unary_stream(method, **options))

    def stream_unary(self, method: str, **options: Any) -> Any:
        return self._call(lambda channel: channel.stream_unary(method, **options))

    def _call(self, build: Build) -> Any:
        """Returns what a stub calls: a method, on whatever channel is the current one."""

        def call(*request: Any, timeout: float, metadata: Metadata = ()) -> Any:
            self._renew()
            if build not in self._methods:
                self._methods[build] = build(self._channel)
            return self._methods[build](
                *request, timeout=timeout, metadata=metadata + self._metadata
            )

        return call

    def _renew(self) -> None:
        now = time.monotonic()
        if self._watched is None or now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        if pem := self._watched.renewed():
            self._channel, self._methods = self._connect(pem), {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._channel.close()


def metadata() -> Metadata:
    """Returns what goes with every call for the current request: its name."""
    return (("x-request-id", logs.request_id.get()),)


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
