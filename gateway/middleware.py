"""What surrounds every request: its id, its log line, CORS, limits; JSON, come what may."""

import asyncio

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import APIError, error_response
from gateway.http_protocol import BODY_LATE, CANCELLED, CLIENT_GONE
from gateway.metrics import GatewayMetrics
from gateway.security_headers import secure
from gateway.texts import language_of
from runtime import hops
from runtime import log as logs
from runtime.hops import Hop
from runtime.metrics import METRICS_PATH

MAX_BODY_BYTES = 64 * 1024
MAX_CHAT_BODY_BYTES = 512 * 1024
MAX_UPLOAD_BYTES = 513 * 1024 * 1024
"""The session service has the limit of a file; a form around a file is a little larger."""

CLIENT_GONE_STATUS = 499
"""nginx's, for a client that went away before there was an answer; nobody gets it."""

_CHAT_PATH = "/api/chatkit"
_ATTACHMENTS_PATH = "/api/chatkit/attachments"

_QUIET_PATHS = frozenset(("/healthz", "/readyz", METRICS_PATH))
"""Asked every few seconds by whoever runs us, who also keeps the answers."""

_MAX_LOGGED_PATH = 512
"""A head may have 64 KiB; none of our paths is as long as this."""

_NOT_FOUND = 404
"""What is another's and what is nobody's are answered byte for byte alike: so not with timings."""

_METHODS = frozenset(("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"))

_ALLOWED_HEADERS = ("authorization", "content-type", "x-request-id")
_TRACE_HEADERS = ("traceparent", "tracestate")
"""What a page sends whose own spans are to be part of the trace."""

log = structlog.get_logger()


class RequestContext:
    """Outermost: names the request, logs it, secures its answer, and answers for crashes."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope)
        request_id = logs.begin_request(sent.get("x-request-id"))
        method, path = scope["method"], _path(scope)
        is_quiet = scope["path"] in _QUIET_PATHS
        status = CLIENT_GONE_STATUS
        self._metrics.active_requests += 1

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                hop.note()
                if "rpc" in hop.timings and status != _NOT_FOUND:
                    headers["Server-Timing"] = hops.server_timing(
                        hop.timings, "gateway", "rpc", "upstream", "store"
                    )
                secure(headers)
            await send(message)

        with Hop(
            "gateway",
            method if method in _METHODS else "_OTHER",
            {"url.path": path, "url.scheme": scope["scheme"]},
            carrier=sent,
            is_traced=not is_quiet,
        ) as hop:
            hop.attributes["http.request.method"] = hop.operation
            try:
                await self._app(scope, receive, send_named)
            except Exception:
                # Starlette has answered with our 500 by now, and raises for a server to log it.
                log.exception("defect", path=path)
            finally:
                self._metrics.active_requests -= 1
                if route := scope.get("route"):
                    hop.operation += f" {route.path}"
                    hop.attributes["http.route"] = route.path
                hop.attributes["http.response.status_code"] = status
                if status == CLIENT_GONE_STATUS:
                    hop.error = hops.CANCELLED
                (log.debug if is_quiet else log.info)(
                    "request",
                    method=method,
                    path=path,
                    status=status,
                    **({"reason": hop.error} if hop.error else {}),
                    duration_ms=round(hop.elapsed * 1000, 1),
                    **hop.waits("rpc", "upstream", "store"),
                )


class CORS(CORSMiddleware):
    """Starlette's, but a preflight is 204, and a refused one says why in JSON."""

    def __init__(self, app: ASGIApp, allow_origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=allow_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=_ALLOWED_HEADERS + (_TRACE_HEADERS if hops.is_traced() else ()),
            expose_headers=("X-Request-Id", "Retry-After"),
        )
        if self.allow_all_origins:
            self.simple_headers["Timing-Allow-Origin"] = "*"

    @staticmethod
    def allow_explicit_origin(headers: MutableHeaders, origin: str) -> None:
        """Lets the page read the answer, and the browser show it what the hops took."""
        CORSMiddleware.allow_explicit_origin(headers, origin)
        headers["Timing-Allow-Origin"] = origin

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            headers = MutableHeaders(raw=response.raw_headers)
            del headers["content-length"], headers["content-type"]
            return Response(status_code=204, headers=headers)
        language = language_of(request_headers.get("accept-language"))
        # It is asked only with both headers, and the origin weighs more.
        allowed = self.is_allowed_origin(request_headers["origin"])
        detail = "preflight" if allowed else "origin"
        error = APIError("PERMISSION_DENIED", detail, headers={"Vary": "Origin"})
        return error_response(error, logs.request_id.get(), language)


class Cancellation:
    """Ends a request that is cancelled by the HTTP protocol, or by the end of the server.

    Inside CORS: who is told to try again must be able to read it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except asyncio.CancelledError:
            # Goes no further, as this is the end of the task; a server would log it as a crash.
            # What has begun and cannot be ended well, the server cuts off.
            if not begun:
                await _answer_to_cancelled(scope)(scope, receive, send)


def _answer_to_cancelled(scope: Scope) -> Response:
    reason = scope.get(CANCELLED)
    if reason == CLIENT_GONE:
        return Response(status_code=CLIENT_GONE_STATUS)  # for the log alone
    if reason == BODY_LATE:
        # Not 408: after it browsers send the request again by themselves.
        error = APIError("INVALID_ARGUMENT", "late", headers={"Connection": "close"})
    else:
        error = APIError("UNAVAILABLE", retry_after_seconds=1)
    language = language_of(Headers(scope=scope).get("accept-language"))
    return error_response(error, logs.request_id.get(), language)


class SizeLimit:
    """Refuses bodies above the limit of their route, announced or not, without keeping them.

    What is still to come the server reads and drops: were the connection closed at once, clients
    that are still sending would see a reset instead of the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit, reason, detail = _limit(scope["path"])
        if int(headers.get("content-length", "0")) > limit:
            language = language_of(headers.get("accept-language"))
            error = APIError(reason, detail)
            await error_response(error, logs.request_id.get(), language)(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise APIError(reason, detail)
            return message

        await self._app(scope, receive_limited, send)


def _limit(path: str) -> tuple[int, str, str | None]:
    """Returns how many bytes a body may have, and how a larger one is refused."""
    if path == _CHAT_PATH:
        return MAX_CHAT_BODY_BYTES, "PAYLOAD_TOO_LARGE", "chat"
    if path.startswith(_ATTACHMENTS_PATH):
        return MAX_UPLOAD_BYTES, "ATTACHMENT_TOO_LARGE", None
    return MAX_BODY_BYTES, "PAYLOAD_TOO_LARGE", None


def _path(scope: Scope) -> str:
    """Returns the path as it was sent, percent-encoded, so that it cannot break a log line.

    Without the query, where signatures are; and who takes a secret for an id puts it here.
    """
    path = bytes(scope.get("raw_path", b"")[:_MAX_LOGGED_PATH])
    return path.decode("ascii", "backslashreplace")
