"""Everything that can go wrong in the domain, as exceptions that say what to do.

    ServiceError
    ├── Unauthenticated
    ├── InvalidArgument
    ├── SessionNotFound
    ├── SessionDeleted
    ├── ThreadNotFound
    ├── AttachmentNotFound
    ├── AttachmentTooLarge
    ├── AttachmentTypeNotAllowed
    ├── RateLimited
    ├── Unavailable
    └── UpstreamError              counted as a failure of the user
        ├── WorkflowNotConfigured
        ├── InvalidAPIKey
        ├── WorkflowNotFound
        ├── UpstreamRateLimited
        ├── UpstreamQuotaExhausted
        ├── UpstreamRejected
        ├── UpstreamUnavailable
        └── UpstreamTimeout

`interceptors` maps them to gRPC; whatever is not one of these is a defect and becomes INTERNAL
there. Messages are English and safe to show: what OpenAI said goes to the log, not into them.
"""

from collections.abc import Mapping
from typing import ClassVar

_RETRY_SECONDS = 1.0
"""When to try again what is unavailable for reasons of our own."""


class ServiceError(Exception):
    """The base of all.

    `reason` is the name in protos/chatkit/v1/error_reason.proto without its prefix.
    """

    reason: ClassVar[str]
    message: ClassVar[str] = ""

    def __init__(
        self,
        message: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        field_violations: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message or self.message)
        self.metadata = dict(metadata or {})
        self.field_violations = dict(field_violations or {})
        self.retry_after_seconds = retry_after_seconds


class Unauthenticated(ServiceError):
    """The client secret is unknown or has expired: the browser gets another by a refresh."""

    reason = "UNAUTHENTICATED"
    message = "The client secret is unknown or has expired"


class InvalidArgument(ServiceError):
    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", field_violations={field: description})


class SessionNotFound(ServiceError):
    """It never was, it is another user's, or it expired too long ago."""

    reason = "SESSION_NOT_FOUND"
    message = "No such session of this user"


class SessionDeleted(ServiceError):
    reason = "SESSION_DELETED"
    message = "The session was deleted; create a new one"


class ThreadNotFound(ServiceError):
    """It never was, it is another user's, or it has no such item."""

    reason = "THREAD_NOT_FOUND"
    message = "No such thread, or no such item in it, of this user"


class AttachmentNotFound(ServiceError):
    """It never was, it is another user's, or the link to it is wrong or has expired."""

    reason = "ATTACHMENT_NOT_FOUND"
    message = "No such attachment of this user, or the link to it has expired"


class AttachmentTooLarge(ServiceError):
    reason = "ATTACHMENT_TOO_LARGE"
    message = "The attachment is larger than CHATKIT_ATTACHMENT_MAX_MB"


class AttachmentTypeNotAllowed(ServiceError):
    reason = "ATTACHMENT_TYPE_NOT_ALLOWED"
    message = "Attachments of this type are not allowed, or it is not of the type that it claims"


class RateLimited(ServiceError):
    reason = "RATE_LIMITED"
    message = "Too many requests; wait, or raise the limit in the settings"


class Unavailable(ServiceError):
    """It will pass: the service is being stopped, or what it keeps things in cannot be used."""

    reason = "UNAVAILABLE"
    message = "The session service is being stopped; try again"

    def __init__(
        self, message: str | None = None, *, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata, retry_after_seconds=_RETRY_SECONDS)


def overloaded() -> Unavailable:
    """Returns what is raised before any work is done, when there is too much of it."""
    return Unavailable(
        "The session service has too much to do right now; try again",
        metadata={"cause": "overload"},
    )


def attachments_failed() -> Unavailable:
    """Returns what there is to say where the directory of attachments fails, which is logged."""
    return Unavailable(
        "Attachments cannot be kept right now; see the log of the session service",
        metadata={"cause": "attachments"},
    )


def store_failed() -> Unavailable:
    """Returns what every store raises when its database fails, which it logs."""
    return Unavailable(
        "The session store cannot be used right now; see the log of the session service",
        metadata={"cause": "store"},
    )


class UpstreamError(ServiceError):
    """OpenAI cannot do it, or was not asked because it could not be."""


class WorkflowNotConfigured(UpstreamError):
    reason = "WORKFLOW_NOT_CONFIGURED"
    message = "No workflow ID configured: set OPENAI_CHATKIT_WORKFLOW_ID to a wf_… id"


class InvalidAPIKey(UpstreamError):
    reason = "INVALID_API_KEY"
    message = "Invalid API key: check OPENAI_API_KEY and its permission for ChatKit"


class WorkflowNotFound(UpstreamError):
    reason = "WORKFLOW_NOT_FOUND"
    message = "Workflow not found: is OPENAI_CHATKIT_WORKFLOW_ID in the project of the key?"


class UpstreamRateLimited(UpstreamError):
    reason = "UPSTREAM_RATE_LIMITED"
    message = "OpenAI's rate limit is reached; try again later"


class UpstreamQuotaExhausted(UpstreamError):
    reason = "UPSTREAM_QUOTA_EXHAUSTED"
    message = "The OpenAI account has no credit left"


class UpstreamRejected(UpstreamError):
    reason = "UPSTREAM_REJECTED"
    message = "OpenAI refused the request; see the log of the session service"


class UpstreamUnavailable(UpstreamError):
    reason = "UPSTREAM_UNAVAILABLE"
    message = "OpenAI cannot be reached, or its answer cannot be used; try again later"


class UpstreamTimeout(UpstreamError):
    reason = "UPSTREAM_TIMEOUT"
    message = "OpenAI did not answer in time; try again"
