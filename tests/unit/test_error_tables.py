"""Every reason has one status code and, in the domain, one exception; details survive the wire."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

from protos.chatkit.v1 import error_reason_pb2, errors
from protos.chatkit.v1.errors import DOMAIN, REASONS, ErrorDetails, details_of, reason_of, to_status
from session_service.errors import InvalidArgument, ServiceError, UpstreamError
from session_service.interceptors import STATUS_CODES

CONTRACT = {
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "PERMISSION_DENIED": "PERMISSION_DENIED",
    "INVALID_ARGUMENT": "INVALID_ARGUMENT",
    "SESSION_NOT_FOUND": "NOT_FOUND",
    "SESSION_DELETED": "FAILED_PRECONDITION",
    "RATE_LIMITED": "RESOURCE_EXHAUSTED",
    "WORKFLOW_NOT_CONFIGURED": "FAILED_PRECONDITION",
    "INVALID_API_KEY": "FAILED_PRECONDITION",
    "WORKFLOW_NOT_FOUND": "FAILED_PRECONDITION",
    "UPSTREAM_RATE_LIMITED": "RESOURCE_EXHAUSTED",
    "UPSTREAM_QUOTA_EXHAUSTED": "FAILED_PRECONDITION",
    "UPSTREAM_REJECTED": "INTERNAL",
    "UPSTREAM_UNAVAILABLE": "UNAVAILABLE",
    "UPSTREAM_TIMEOUT": "DEADLINE_EXCEEDED",
    "UNAVAILABLE": "UNAVAILABLE",
    "INTERNAL": "INTERNAL",
}
"""The gRPC column of the contract's table."""

SELF_HOSTED = {
    "THREAD_NOT_FOUND": "NOT_FOUND",
    "ATTACHMENT_NOT_FOUND": "NOT_FOUND",
    "ATTACHMENT_TOO_LARGE": "INVALID_ARGUMENT",
    "ATTACHMENT_TYPE_NOT_ALLOWED": "INVALID_ARGUMENT",
}
"""What the self-hosted mode adds to it."""

ALL = CONTRACT | SELF_HOSTED

NOT_OF_THE_DOMAIN = {"PERMISSION_DENIED", "INTERNAL"}
"""The first is the gateway's, the other is what is not foreseen."""


def subclasses(base: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in base.__subclasses__():
        yield child
        yield from subclasses(child)


def failed(status: status_pb2.Status | bytes, key: str = "grpc-status-details-bin") -> AioRpcError:
    raw = status if isinstance(status, bytes) else status.SerializeToString()
    return AioRpcError(grpc.StatusCode.INTERNAL, Metadata(), Metadata((key, raw)))


def packed(message: error_details_pb2.ErrorInfo) -> any_pb2.Any:
    detail = any_pb2.Any()
    detail.Pack(message)
    return detail


def over_the_wire(code: grpc.StatusCode, message: str, details: ErrorDetails) -> AioRpcError:
    status = to_status(code, message, details)
    assert (status.code, status.details) == (code, message)
    return AioRpcError(status.code, Metadata(), Metadata(*status.trailing_metadata or ()))


def test_every_reason_has_the_status_code_of_the_contract() -> None:
    codes = {reason: code.name for reason, code in STATUS_CODES.items()}
    assert {reason: codes[reason] for reason in CONTRACT} == CONTRACT


def test_what_the_contract_does_not_have_is_of_the_self_hosted_mode() -> None:
    codes = {reason: code.name for reason, code in STATUS_CODES.items()}
    assert {reason: codes[reason] for reason in codes.keys() - CONTRACT.keys()} == SELF_HOSTED
    assert frozenset(ALL) == REASONS


def test_the_enum_on_the_wire_has_every_reason_and_no_other() -> None:
    names = set(error_reason_pb2.ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}
    assert names == {f"ERROR_REASON_{reason}" for reason in ALL}


def test_every_exception_has_a_reason_and_every_reason_one_exception() -> None:
    reasons = [c.reason for c in subclasses(ServiceError) if c is not UpstreamError]
    assert sorted(reasons) == sorted(set(ALL) - NOT_OF_THE_DOMAIN)


def test_what_counts_as_a_failure_of_the_user_is_what_the_contract_says() -> None:
    counted = {child.reason for child in subclasses(UpstreamError)}
    expected = {r for r in CONTRACT if r.startswith(("WORKFLOW_", "UPSTREAM_"))}
    assert counted == expected | {"INVALID_API_KEY"}


def test_every_exception_has_something_to_say() -> None:
    for child in subclasses(ServiceError):
        if child not in (InvalidArgument, UpstreamError):
            assert len(str(child())) > 20
    assert str(InvalidArgument("days", "is missing")) == "days: is missing"


@pytest.mark.parametrize("reason", ALL)
def test_details_survive_the_wire(reason: str) -> None:
    details = ErrorDetails(
        reason=reason,
        metadata={"cause": "missing"},
        field_violations={"days": "must be 1 to 366", "user_id": "is missing"},
        retry_after_seconds=1.25,
    )
    error = over_the_wire(STATUS_CODES[reason], "What to do: ñ", details)
    assert details_of(error) == details
    assert reason_of(error) == reason


def test_what_is_absent_stays_absent() -> None:
    error = over_the_wire(grpc.StatusCode.INTERNAL, "", ErrorDetails("INTERNAL"))
    assert details_of(error) == ErrorDetails("INTERNAL", {}, {}, None)


def test_the_details_are_the_standard_ones() -> None:
    details = ErrorDetails("RATE_LIMITED", {}, {"a": "b"}, 0.0)
    error = over_the_wire(grpc.StatusCode.RESOURCE_EXHAUSTED, "m", details)
    raw = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    names = [detail.TypeName() for detail in status_pb2.Status.FromString(raw).details]
    assert names == ["google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"]


@pytest.mark.parametrize(("seconds", "kept"), [(0, 0), (0.0001, 0.001), (1.0004, 1.001), (60, 60)])
def test_a_wait_is_never_shortened(seconds: float, kept: float) -> None:
    details = ErrorDetails("RATE_LIMITED", retry_after_seconds=seconds)
    found = details_of(over_the_wire(grpc.StatusCode.RESOURCE_EXHAUSTED, "", details))
    assert found is not None
    assert found.retry_after_seconds == kept


def test_a_reason_that_the_contract_does_not_have_cannot_be_sent() -> None:
    for reason in ("", "UNSPECIFIED", "ERROR_REASON_INTERNAL", "internal"):
        with pytest.raises(ValueError, match="not a reason"):
            to_status(grpc.StatusCode.INTERNAL, "", ErrorDetails(reason))


def test_the_errors_of_others_are_none_of_ours() -> None:
    info = error_details_pb2.ErrorInfo
    for foreign in (
        info(reason="INTERNAL", domain="googleapis.com"),
        info(reason="INTERNAL"),
        info(reason="SOMETHING_NEW", domain=DOMAIN),
        info(domain=DOMAIN),
    ):
        status = status_pb2.Status(code=13, message="m", details=[packed(foreign)])
        assert details_of(failed(status)) is None
        assert reason_of(failed(status)) is None


def test_what_is_absent_or_broken_is_none_of_ours() -> None:
    info = packed(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN))
    broken_detail = any_pb2.Any(type_url=info.type_url, value=b"\xff\xff")
    for error in (
        AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata()),
        failed(status_pb2.Status(code=13)),
        failed(b""),
        failed(b"\xff\xff\xff\xff"),
        failed(status_pb2.Status(code=13, details=[broken_detail])),
        failed(status_pb2.Status(code=13, details=[info]), key="other-bin"),
    ):
        assert details_of(error) is None


def test_the_domain_is_the_contracts() -> None:
    assert errors.DOMAIN == "chatkit.movonte.com"
