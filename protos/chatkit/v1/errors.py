"""The status details that every error of chatkit.v1 carries: the service writes, callers read.

Details follow google/rpc/error_details.proto (https://google.aip.dev/193): one ErrorInfo, a
BadRequest that names invalid fields, a RetryInfo where trying again later helps.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from protos.chatkit.v1 import error_reason_pb2

DOMAIN = "chatkit.movonte.com"

_PREFIX = "ERROR_REASON_"
STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""Of the trailing metadata: a google.rpc.Status, serialized."""

REASONS: frozenset[str] = frozenset(
    name.removeprefix(_PREFIX)
    for name, number in error_reason_pb2.ErrorReason.items()
    if number != error_reason_pb2.ERROR_REASON_UNSPECIFIED
)
"""Every reason of the contract, without the prefix that the enum's names have."""


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What an error says beyond its status code and its English message."""

    reason: str
    """One of REASONS."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Particulars of the reason, for example `cause`; see error_reason.proto."""
    field_violations: Mapping[str, str] = field(default_factory=dict)
    """The invalid fields and, for each, what is wrong with it."""
    retry_after_seconds: float | None = None
    """When trying again makes sense, None where nothing is known."""


def to_status(code: grpc.StatusCode, message: str, details: ErrorDetails) -> grpc.Status:
    """Returns what `context.abort_with_status` takes.

    Raises ValueError for a reason that the contract does not have.
    """
    if details.reason not in REASONS:
        raise ValueError(f"not a reason of the contract: {details.reason}")
    info = error_details_pb2.ErrorInfo(
        reason=details.reason, domain=DOMAIN, metadata=dict(details.metadata)
    )
    packed = [_pack(info)]
    if details.field_violations:
        bad_request = error_details_pb2.BadRequest()
        for name, description in details.field_violations.items():
            bad_request.field_violations.add(field=name, description=description)
        packed.append(_pack(bad_request))
    if details.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(math.ceil(details.retry_after_seconds * 1000))
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    status: grpc.Status = rpc_status.to_status(
        status_pb2.Status(code=code.value[0], message=message, details=packed)
    )
    return status


def details_of(error: grpc.RpcError) -> ErrorDetails | None:
    """Returns what a failed call, of grpc or grpc.aio, carries; None for nothing of ours."""
    # Named tuples by grpc, tuples by grpc.aio.
    trailing = cast(Iterable[tuple[str, str | bytes]], error.trailing_metadata() or ())
    raw = next((value for key, value in trailing if key == STATUS_DETAILS_KEY), None)
    if not isinstance(raw, bytes):
        return None
    try:
        return _parse(status_pb2.Status.FromString(raw))
    except DecodeError:
        return None


def reason_of(error: grpc.RpcError) -> str | None:
    """Returns the reason of a failed call, None where it carries none of ours."""
    details = details_of(error)
    return details.reason if details else None


def _parse(status: status_pb2.Status) -> ErrorDetails | None:
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
        elif not detail.Unpack(bad_request):
            detail.Unpack(info)
    if info.domain != DOMAIN or info.reason not in REASONS:
        return None
    return ErrorDetails(
        reason=info.reason,
        metadata=dict(info.metadata),
        field_violations={v.field: v.description for v in bad_request.field_violations},
        retry_after_seconds=retry_after,
    )


def _pack(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
