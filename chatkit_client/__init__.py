"""What internal services call the session service with: typed, asynchronous, over gRPC.

    async with Client("127.0.0.1:50051", token="…") as chatkit:
        issued = await chatkit.create_session("7", state_variables={"plan": "pro"})
        async for stats in chatkit.watch_stats("7"):
            print(stats.active_sessions)

Errors are a tree, see `errors`; every call has a deadline.
"""

from chatkit_client.channel import TLS
from chatkit_client.client import Client
from chatkit_client.errors import (
    AttachmentNotFound,
    AttachmentTooLarge,
    AttachmentTypeNotAllowed,
    ChatKitError,
    DeadlineExceeded,
    Internal,
    InvalidAPIKey,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RateLimited,
    SessionDeleted,
    SessionNotFound,
    ThreadNotFound,
    TransportError,
    Unauthenticated,
    Unavailable,
    UpstreamError,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
    WorkflowNotConfigured,
    WorkflowNotFound,
)
from chatkit_client.values import (
    AnswerTime,
    Check,
    CheckState,
    DailyStats,
    DeletedData,
    IssuedSession,
    Session,
    SessionMode,
    SessionStatus,
    Stats,
)

__all__ = [
    "TLS",
    "AnswerTime",
    "AttachmentNotFound",
    "AttachmentTooLarge",
    "AttachmentTypeNotAllowed",
    "ChatKitError",
    "Check",
    "CheckState",
    "Client",
    "DailyStats",
    "DeadlineExceeded",
    "DeletedData",
    "Internal",
    "InvalidAPIKey",
    "InvalidArgument",
    "IssuedSession",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "Session",
    "SessionDeleted",
    "SessionMode",
    "SessionNotFound",
    "SessionStatus",
    "Stats",
    "ThreadNotFound",
    "TransportError",
    "Unauthenticated",
    "Unavailable",
    "UpstreamError",
    "UpstreamQuotaExhausted",
    "UpstreamRateLimited",
    "UpstreamRejected",
    "UpstreamTimeout",
    "UpstreamUnavailable",
    "WorkflowNotConfigured",
    "WorkflowNotFound",
]
