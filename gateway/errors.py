"""Every failure as the contract's envelope: a reason, its HTTP status, a text and a remedy."""

import math
from collections.abc import Mapping
from typing import Any

import grpc
import orjson
import structlog
from starlette.responses import Response

from gateway.texts import Language, text_of
from protos.chatkit.v1.errors import details_of
from runtime import hops

STATUS_CODES = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "INVALID_ARGUMENT": 400,
    "SESSION_NOT_FOUND": 404,
    "SESSION_DELETED": 410,
    "RATE_LIMITED": 429,
    "WORKFLOW_NOT_CONFIGURED": 503,
    "INVALID_API_KEY": 503,
    "WORKFLOW_NOT_FOUND": 503,
    "UPSTREAM_RATE_LIMITED": 429,
    "UPSTREAM_QUOTA_EXHAUSTED": 503,
    "UPSTREAM_REJECTED": 502,
    "UPSTREAM_UNAVAILABLE": 502,
    "UPSTREAM_TIMEOUT": 504,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
    "THREAD_NOT_FOUND": 404,
    "ATTACHMENT_NOT_FOUND": 404,
    "ATTACHMENT_TOO_LARGE": 413,
    "ATTACHMENT_TYPE_NOT_ALLOWED": 415,
}
"""The HTTP status of every reason, as the contract's table has it."""

RETRYABLE = {
    "UNAUTHENTICATED": False,
    "PERMISSION_DENIED": False,
    "INVALID_ARGUMENT": False,
    "SESSION_NOT_FOUND": False,
    "SESSION_DELETED": False,
    "RATE_LIMITED": True,
    "WORKFLOW_NOT_CONFIGURED": False,
    "INVALID_API_KEY": False,
    "WORKFLOW_NOT_FOUND": False,
    "UPSTREAM_RATE_LIMITED": True,
    "UPSTREAM_QUOTA_EXHAUSTED": False,
    "UPSTREAM_REJECTED": False,
    "UPSTREAM_UNAVAILABLE": True,
    "UPSTREAM_TIMEOUT": True,
    "UNAVAILABLE": True,
    "INTERNAL": True,
    "THREAD_NOT_FOUND": False,
    "ATTACHMENT_NOT_FOUND": False,
    "ATTACHMENT_TOO_LARGE": False,
    "ATTACHMENT_TYPE_NOT_ALLOWED": False,
    "NOT_FOUND": False,
}
"""Whether the chat offers to answer again, where the reason ends an answer that has begun."""

HTTP_STATUS_CODES = {
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
}
"""The codes of HTTP itself, which no internal service ever sees."""

# Where a call fails on its way to the service or back, gRPC's code is all there is.
_BARE_CODES = {
    grpc.StatusCode.UNAVAILABLE: "UNAVAILABLE",
    # A server that ends has cancelled what it had yet to begin: our own cancels raise no RpcError.
    grpc.StatusCode.CANCELLED: "UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "UPSTREAM_TIMEOUT",
}

_FIELDS = {
    "user_id": "userId",
    "session_id": "sessionId",
    "client_secret": "existingSecret",
    "days": "days",
    "page_size": "pageSize",
    "page_token": "pageToken",
    "request": "request",
    "name": "file",
    "mime_type": "file",
    "size": "file",
    "data": "file",
}
"""What the dashboard and the chat call the fields of the requests."""

_CONVERSATION_DETAILS = {
    "UNAUTHENTICATED": "secret",
    "SESSION_DELETED": "chat",
    "RATE_LIMITED": "requests",
}
"""What a reason is about, where it comes from the conversation service."""

OVERLOAD = "overload"
"""The detail of UNAVAILABLE, here and in the session service, where there is too much to do."""

OUR_TOKEN = "service_token"
"""The cause of UNAUTHENTICATED where the session service does not know the gateway."""

_UNAVAILABLE_RETRY_SECONDS = 1.0

log = structlog.get_logger()


class APIError(Exception):
    """A failure that the caller is told of; `detail` is the field or the cause, if there is one."""

    def __init__(
        self,
        reason: str,
        detail: str | None = None,
        *,
        retry_after_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            # A whole second at least: at once is when it has just failed.
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_seconds)))
        if reason == "UNAUTHENTICATED":
            self.headers["WWW-Authenticate"] = "Bearer"

    @property
    def status_code(self) -> int:
        return STATUS_CODES.get(self.reason) or HTTP_STATUS_CODES[self.reason]


def from_rpc(error: grpc.aio.AioRpcError) -> APIError:
    """Returns what a failed call of the session service means to the dashboard."""
    details = details_of(error)
    if details is None:
        # gRPC's own: its words, such as of a certificate, are all that there is to find the cause.
        unreached = error.code() is grpc.StatusCode.UNAVAILABLE
        event = "session service not reached" if unreached else "call of session service failed"
        log.warning(event, code=error.code().name, grpc=error.details())
        reason = _BARE_CODES.get(error.code(), "INTERNAL")
        retry = _UNAVAILABLE_RETRY_SECONDS if reason == "UNAVAILABLE" else None
        return APIError(reason, retry_after_seconds=retry)
    if details.metadata.get("cause") == OUR_TOKEN:
        # Never a 401: it is not the user who has to log in again.
        log.error("session service refuses this gateway", remedy="check SESSION_SERVICE_TOKEN")
        return APIError("UNAVAILABLE", OUR_TOKEN, retry_after_seconds=_UNAVAILABLE_RETRY_SECONDS)
    field = next((_FIELDS.get(name) for name in details.field_violations), None)
    return APIError(
        details.reason,
        field or details.metadata.get("cause"),
        retry_after_seconds=details.retry_after_seconds,
    )


def from_conversation_rpc(error: grpc.aio.AioRpcError) -> APIError:
    """Returns what a failed call of the conversation service means to the chat."""
    if error.code() is grpc.StatusCode.UNIMPLEMENTED and details_of(error) is None:
        return APIError("NOT_FOUND", "chatkit")  # the service runs in hosted mode
    failure = from_rpc(error)
    failure.detail = failure.detail or _CONVERSATION_DETAILS.get(failure.reason)
    return failure


def error_body(error: APIError, request_id: str, language: Language) -> dict[str, Any]:
    """Returns the envelope of a failure."""
    text = text_of(error.reason, error.detail, language)
    return {
        "success": False,
        "error": text.error,
        "code": error.reason,
        "hint": text.hint,
        "requestId": request_id,
    }


def error_response(error: APIError, request_id: str, language: Language) -> Response:
    """Returns the answer that a failure is, of which the current hop takes note."""
    hops.fail(error.reason)
    headers = {"Content-Language": language, **error.headers}
    return json_response(error_body(error, request_id, language), error.status_code, headers)


def json_response(
    body: Mapping[str, Any], status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Returns JSON that nobody may keep: it is one user's."""
    return Response(
        orjson.dumps(body),
        status_code,
        {"Cache-Control": "no-store", "Vary": "Accept-Language", **(headers or {})},
        media_type="application/json",
    )
