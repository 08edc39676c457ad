"""What calls raise: one type for each reason of the contract, and for what is not the service's.

    ChatKitError
    ├── InvalidArgument             `fields` says which
    ├── Unauthenticated             `cause` is "service_token": the client's own token
    ├── PermissionDenied
    ├── NotFound
    │   ├── SessionNotFound         another user's, too
    │   ├── ThreadNotFound
    │   └── AttachmentNotFound
    ├── SessionDeleted
    ├── AttachmentTooLarge
    ├── AttachmentTypeNotAllowed
    ├── RateLimited                 `retry_after` says when
    ├── Unavailable                 not reached, draining, or without its store: it will pass
    ├── Internal                    a defect of the service: its log knows the `request_id`
    ├── UpstreamError               OpenAI could not, or was not asked as it cannot
    │   ├── WorkflowNotConfigured
    │   ├── InvalidAPIKey
    │   ├── WorkflowNotFound
    │   ├── UpstreamRateLimited
    │   ├── UpstreamQuotaExhausted
    │   ├── UpstreamRejected
    │   ├── UpstreamUnavailable
    │   └── UpstreamTimeout
    └── TransportError              gRPC's own: `status` says which
        └── DeadlineExceeded        before the service said anything

Messages are the service's, in English and for developers; no client secret is ever in one.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import grpc

from protos.chatkit.v1.errors import ErrorDetails, details_of


class ChatKitError(Exception):
    """The base of all."""

    reason: ClassVar[str | None] = None
    """The name in protos/chatkit/v1/error_reason.proto without its prefix; None for gRPC's own."""

    def __init__(
        self, message: str, status: grpc.StatusCode, request_id: str, details: ErrorDetails
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        """Finds the call in the log of the service."""
        self.cause = details.metadata.get("cause")
        """Tells cases of one reason apart, see error_reason.proto; None where there is one case."""
        self.retry_after = details.retry_after_seconds
        """Seconds after which it may succeed; None where nothing is known."""
        self.fields: Mapping[str, str] = details.field_violations
        """The invalid fields and, for each, what is wrong with it."""


class InvalidArgument(ChatKitError):
    reason = "INVALID_ARGUMENT"


class Unauthenticated(ChatKitError):
    reason = "UNAUTHENTICATED"


class PermissionDenied(ChatKitError):
    reason = "PERMISSION_DENIED"


class NotFound(ChatKitError):
    """It never was, or it is another user's."""


class SessionNotFound(NotFound):
    reason = "SESSION_NOT_FOUND"


class ThreadNotFound(NotFound):
    reason = "THREAD_NOT_FOUND"


class AttachmentNotFound(NotFound):
    reason = "ATTACHMENT_NOT_FOUND"


class SessionDeleted(ChatKitError):
    reason = "SESSION_DELETED"


class AttachmentTooLarge(ChatKitError):
    reason = "ATTACHMENT_TOO_LARGE"


class AttachmentTypeNotAllowed(ChatKitError):
    reason = "ATTACHMENT_TYPE_NOT_ALLOWED"


class RateLimited(ChatKitError):
    reason = "RATE_LIMITED"


class Unavailable(ChatKitError):
    reason = "UNAVAILABLE"


class Internal(ChatKitError):
    reason = "INTERNAL"


class UpstreamError(ChatKitError):
    """OpenAI cannot do it, or was not asked because it could not be."""


class WorkflowNotConfigured(UpstreamError):
    reason = "WORKFLOW_NOT_CONFIGURED"


class InvalidAPIKey(UpstreamError):
    reason = "INVALID_API_KEY"


class WorkflowNotFound(UpstreamError):
    reason = "WORKFLOW_NOT_FOUND"


class UpstreamRateLimited(UpstreamError):
    reason = "UPSTREAM_RATE_LIMITED"


class UpstreamQuotaExhausted(UpstreamError):
    reason = "UPSTREAM_QUOTA_EXHAUSTED"


class UpstreamRejected(UpstreamError):
    reason = "UPSTREAM_REJECTED"


class UpstreamUnavailable(UpstreamError):
    reason = "UPSTREAM_UNAVAILABLE"


class UpstreamTimeout(UpstreamError):
    reason = "UPSTREAM_TIMEOUT"


class TransportError(ChatKitError):
    """A status of gRPC itself, such as UNIMPLEMENTED for a method that an older service lacks."""


class DeadlineExceeded(TransportError):
    """The time of the call was over; whether the service has done it is not known."""


def _with_reasons(base: type[ChatKitError]) -> Iterator[tuple[str, type[ChatKitError]]]:
    for kind in base.__subclasses__():
        if kind.reason is not None:
            yield kind.reason, kind
        yield from _with_reasons(kind)


BY_REASON: Mapping[str, type[ChatKitError]] = dict(_with_reasons(ChatKitError))

_BY_STATUS: Mapping[grpc.StatusCode, type[ChatKitError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}
"""Of errors that come from gRPC, and so have no reason."""


def from_rpc(error: grpc.aio.AioRpcError, request_id: str) -> ChatKitError:
    """Returns what a call raises that failed so."""
    details = details_of(error)
    if details is not None:
        kind = BY_REASON[details.reason]
    else:
        kind, details = _BY_STATUS.get(error.code(), TransportError), ErrorDetails("")
    message = error.details() or error.code().name
    return kind(message, error.code(), request_id, details)
