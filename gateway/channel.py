"""The one gRPC channel to the session service, and how a call goes through it."""

import json
from collections.abc import Sequence
from typing import TypeVar

import grpc

from gateway.errors import from_rpc
from runtime import log as logs

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_OPTIONS = (
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


def open_channel(targets: Sequence[str]) -> grpc.aio.Channel:
    """Opens a channel that is balanced over the targets; several must be IP addresses."""
    family = "ipv6" if targets[0].startswith("[") else "ipv4"
    target = targets[0] if len(targets) == 1 else f"{family}:{','.join(targets)}"
    return grpc.aio.insecure_channel(target, _OPTIONS)


def metadata() -> tuple[tuple[str, str], ...]:
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
