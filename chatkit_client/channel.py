"""How the client reaches session services: addresses, TLS, what gRPC does again by itself."""

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import MethodOptions

from protos.chatkit.v1 import conversation_service_pb2, session_service_pb2

_MIB = 1024 * 1024
_SERVICES = (
    session_service_pb2.DESCRIPTOR.services_by_name["SessionService"],
    conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"],
)


@dataclass(frozen=True, slots=True)
class TLS:
    """Encrypts, and checks who the service is."""

    authorities: Path | str | None = None
    """A file of the certificates that are trusted; None for those that gRPC comes with."""
    certificate: Path | str | None = None
    """Who we are, where the service asks: SESSION_SERVICE_TLS_CLIENT_CA."""
    key: Path | str | None = None
    server_name: str | None = None
    """What is in the service's certificate, where that is not the host of the address."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. Raises OSError."""
        return grpc.ssl_channel_credentials(
            _read(self.authorities), _read(self.key), _read(self.certificate)
        )


def _read(path: Path | str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def open_channel(address: str, tls: TLS | None, name: str) -> grpc.aio.Channel:
    """Opens a channel to all that `address` names. Raises ValueError and OSError."""
    options: list[tuple[str, str | int]] = [
        # What the service calls us in its log, where neither token nor certificate do.
        ("grpc.primary_user_agent", name),
        # What the service takes, and what it sends at most.
        ("grpc.max_send_message_length", _MIB),
        ("grpc.max_receive_message_length", 4 * _MIB),
        # The service is near: a proxy for what is outside is not for it.
        ("grpc.enable_http_proxy", 0),
        # Who watches hears nothing for hours: find out that the other side is gone. The service
        # ends connections that ask more often than every ten seconds.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # Be back soon after the service; gRPC's own back-off goes up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.service_config", json.dumps(service_config())),
    ]
    if tls is None:
        return grpc.aio.insecure_channel(_target(address), options)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return grpc.aio.secure_channel(_target(address), tls.credentials(), options)


def _target(address: str) -> str:
    """Returns what gRPC resolves: a name with all its addresses, or addresses as they are."""
    addresses = [one.strip() for one in address.split(",")]
    if len(addresses) == 1:
        return addresses[0]
    try:
        hosts = [one.rpartition(":")[0].strip("[]") for one in addresses]
        (version,) = {ipaddress.ip_address(host).version for host in hosts}
    except ValueError:
        raise ValueError(
            f"{address!r}: several must be IP addresses of one version with ports; a name may have"
            " several addresses"
        ) from None
    return f"ipv{version}:{','.join(addresses)}"


def service_config() -> dict[str, Any]:
    """Returns what gRPC does for every call (https://github.com/grpc/grpc/blob/master/doc/service_config.md).

    What may be done twice is tried again where no service answered, and less so the more often that
    fails: it must not keep a service down that comes back. `CreateSession` and `RefreshSession`
    would make one more session, and who watches connects again by themselves.
    """
    idempotent = [
        {"service": service.full_name, "method": method.name}
        for service in _SERVICES
        for method in service.methods
        if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
        and not method.server_streaming
        and not method.client_streaming
    ]
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": idempotent,
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.5},
    }
