"""The documented routes: each authenticates, translates, calls the session service, translates."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypedDict

import grpc
from grpc_health.v1 import health_pb2 as pb_health
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import messages, texts
from gateway.attachments import AttachmentContent, form_parts, link_of, raw_parts, upload
from gateway.auth import Authenticator, Caller, client_secret_of, effective_user
from gateway.channel import call, metadata
from gateway.client_script import ANYBODYS, ClientScript, Mode
from gateway.console_page import Console
from gateway.doctor import Doctor
from gateway.documentation.page import Documentation
from gateway.errors import APIError, json_response
from gateway.requests import (
    authorization_of,
    json_bytes,
    json_object,
    language_for,
    number,
    user_named_in,
    whose,
)
from gateway.shedding import Shedding
from gateway.streaming import ChatAnswer
from gateway.watching import MOST_SECONDS, StatsStream, Watchers
from protos.chatkit.v1 import conversation_service_pb2 as pb_chat
from protos.chatkit.v1 import conversation_service_pb2_grpc as pb_chat_grpc
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1 import session_service_pb2_grpc as pb_grpc
from runtime import log as logs
from runtime.checklist import Check, verdict
from runtime.metrics import METRICS_PATH, Exposition

_HEALTH_TIMEOUT_SECONDS = 2.0
_TRANSFER_TIMEOUT_SECONDS = 3600.0
"""Of an attachment: 512 MiB at 1.2 Mbit/s."""
_DIAGNOSIS_TIMEOUT_SECONDS = 15.0
"""Whatever users' requests have: all that a diagnosis waits for has a limit of its own."""
_QUEUE_SECONDS = 10.0
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_CONVERSATIONS = "chatkit.v1.ConversationService"

CheckHealth: TypeAlias = (
    "grpc.aio.UnaryUnaryMultiCallable[pb_health.HealthCheckRequest, pb_health.HealthCheckResponse]"
)


class State(TypedDict):
    """What the lifespan opens for all requests."""

    authenticator: Authenticator
    sessions: "pb_grpc.SessionServiceAsyncStub"
    conversations: "pb_chat_grpc.ConversationServiceAsyncStub"
    check_health: CheckHealth
    service_is_there: Callable[[], Awaitable[bool]]
    """Tells whether a session service takes our calls; waits a little for one."""
    timeout_seconds: float
    public_url: str | None
    documentation: Documentation
    client_script: ClientScript
    console: Console
    watchers: Watchers
    shedding: Shedding
    metrics: Exposition
    doctor: Doctor


async def create_session(request: Request[State]) -> Response:
    caller = await _authenticate(request)
    body = await json_object(request)
    user_id = user_named_in(caller, body)
    reply = await call(
        request.state["sessions"].CreateSession,
        messages.create_session_request(user_id, body),
        request.state["timeout_seconds"],
    )
    return _success(messages.issued(reply))


async def refresh_session(request: Request[State]) -> Response:
    caller = await _authenticate(request)
    body = await json_object(request)
    user_id = user_named_in(caller, body)
    secrets = [body.get(name) for name in ("existingSecret", "currentClientSecret")]
    secret = secrets[0] or secrets[1]
    if not secret or not all(given is None or isinstance(given, str) for given in secrets):
        raise APIError("INVALID_ARGUMENT", "existingSecret")
    reply = await call(
        request.state["sessions"].RefreshSession,
        pb.RefreshSessionRequest(user_id=user_id, client_secret=secret),
        request.state["timeout_seconds"],
    )
    return _success(messages.issued(reply))


async def session(request: Request[State]) -> Response:
    caller = await _authenticate(request)
    named = request.query_params.get("userId")
    user_id = effective_user(caller, named) if named else caller.user_id
    names = {"user_id": user_id, "session_id": request.path_params["session_id"]}
    if request.method == "DELETE":
        deleted = await call(
            request.state["sessions"].DeleteSession,
            pb.DeleteSessionRequest(**names),
            request.state["timeout_seconds"],
        )
        message = texts.session_deleted(language_for(request))
        return _success({"id": deleted.session.id, "status": "deleted"}, message=message)
    found = await call(
        request.state["sessions"].GetSession,
        pb.GetSessionRequest(**names),
        request.state["timeout_seconds"],
    )
    return _success(messages.session(found.session))


async def stats(request: Request[State]) -> Response:
    caller = await _authenticate(request)
    stats_request = pb.GetStatsRequest(**whose(request, caller), days=number(request, "days"))
    reply = await call(
        request.state["sessions"].GetStats, stats_request, request.state["timeout_seconds"]
    )
    return _success(messages.stats(reply))


async def checks(request: Request[State]) -> Response:
    """Tells how things are; an administrator also why, and by POST after asking OpenAI."""
    caller = await _authenticate(request)
    ask = request.method == "POST"
    if ask and not caller.is_admin:
        raise APIError("PERMISSION_DENIED", "checks")

    async def diagnose() -> list[Check]:
        return messages.checks(
            await call(
                request.state["sessions"].Diagnose,
                pb.DiagnoseRequest(ask_openai=ask),
                _DIAGNOSIS_TIMEOUT_SECONDS,
            )
        )

    mode, found = await request.state["doctor"].report(diagnose, ask=ask)
    language = language_for(request)
    told = messages.told_check if caller.is_admin else messages.named_check
    listed = [told(check, language) for check in found]
    return _success({"mode": mode, "state": verdict(found), "checks": listed})


async def watch_stats(request: Request[State]) -> StatsStream:
    caller = await _authenticate(request)
    watch = request.state["sessions"].WatchStats
    message = pb.WatchStatsRequest(**whose(request, caller), days=number(request, "days"))
    await request.state["service_is_there"]()
    return StatsStream(
        lambda: watch(message, timeout=MOST_SECONDS, metadata=metadata()),
        watchers=request.state["watchers"],
        caller=caller,
        language=language_for(request),
        request_id=logs.request_id.get(),
        first_seconds=request.state["timeout_seconds"],
    )


async def list_sessions(request: Request[State]) -> Response:
    caller = await _authenticate(request)
    query = request.query_params
    active = query.get("active", "false")
    if active not in ("true", "false"):
        raise APIError("INVALID_ARGUMENT", "active")
    page_size = number(request, "pageSize")
    if page_size == 0:  # to the service that is what is absent
        raise APIError("INVALID_ARGUMENT", "pageSize")
    reply = await call(
        request.state["sessions"].ListSessions,
        pb.ListSessionsRequest(
            **whose(request, caller),
            page_size=page_size,
            page_token=query.get("pageToken", ""),
            active_only=active == "true",
            session_id=query.get("sessionId", ""),
        ),
        request.state["timeout_seconds"],
    )
    return _success(messages.sessions(reply))


async def me(request: Request[State]) -> Response:
    """Tells who the token's user is, as only we know who is an administrator."""
    caller = await _authenticate(request)
    return _success(
        {
            "userId": caller.user_id,
            "administrator": caller.is_admin,
            "expiresAt": int(caller.expires_at),
        }
    )


async def chat(request: Request[State]) -> ChatAnswer:
    process = request.state["conversations"].Process
    client_secret = client_secret_of(authorization_of(request))
    raw = await json_bytes(request)
    if not raw:
        raise APIError("INVALID_ARGUMENT", "request")
    language = language_for(request)
    message = pb_chat.ProcessRequest(
        client_secret=client_secret, request=raw, language=language, base_url=_base_url(request)
    )
    # The service keeps the limit of an answer, which may have to wait for another in its thread.
    timeout = 2 * request.state["timeout_seconds"] + _QUEUE_SECONDS
    await request.state["service_is_there"]()
    return ChatAnswer(lambda: process(message, timeout=timeout, metadata=metadata()), language)


async def attachments(request: Request[State]) -> Response:
    head = pb_chat.UploadAttachmentHead(
        client_secret=client_secret_of(authorization_of(request)),
        base_url=_base_url(request),
    )
    content_type = request.headers.get("content-type", "")
    return await _upload(request, form_parts(head, content_type, request.stream()))


async def attachment(request: Request[State]) -> Response | AttachmentContent:
    link = link_of(request.path_params["attachment_id"], request.query_params)
    if request.method == "POST":
        head = pb_chat.UploadAttachmentHead(
            link=link,
            mime_type=request.headers.get("content-type", "").partition(";")[0].strip().lower(),
            base_url=_base_url(request),
            size=int(request.headers.get("content-length", "0")),
        )
        return await _upload(request, raw_parts(head, request.stream()))
    read = request.state["conversations"].ReadAttachment
    await request.state["service_is_there"]()
    message = pb_chat.ReadAttachmentRequest(link=link)
    return AttachmentContent(
        lambda: read(message, timeout=_TRANSFER_TIMEOUT_SECONDS, metadata=metadata())
    )


async def healthz(request: Request[State]) -> Response:
    """Tells that this process is alive."""
    return _success({"status": "alive"})


async def readyz(request: Request[State]) -> Response:
    """Tells that the session service serves, also us, and can use its database."""
    if not await request.state["service_is_there"]():
        raise APIError("UNAVAILABLE", retry_after_seconds=1)
    try:
        reply = await request.state["check_health"](
            pb_health.HealthCheckRequest(), timeout=_HEALTH_TIMEOUT_SECONDS
        )
    except grpc.aio.AioRpcError:
        raise APIError("UNAVAILABLE", retry_after_seconds=1) from None
    if reply.status != pb_health.HealthCheckResponse.SERVING:
        raise APIError("UNAVAILABLE", "not_ready", retry_after_seconds=1)
    return _success({"status": "ready"})


async def metrics(request: Request[State]) -> Response:
    """Tells Prometheus what there is to tell."""
    exposition = request.state["metrics"]
    host = request.client.host if request.client else ""
    if not exposition.may_read(host, authorization_of(request), request.headers):
        raise APIError("PERMISSION_DENIED", "metrics")
    body, content_type = await exposition.render(request.headers.get("accept"))
    return Response(body, headers={"Cache-Control": "no-store", "Content-Type": content_type})


async def client_script(request: Request[State]) -> Response:
    """Serves what dashboards import, for the mode that the session service is in right now."""
    script, known = request.state["client_script"], request.headers.get("if-none-match")
    return script.script_response(await _mode(request), known)


async def client_types(request: Request[State]) -> Response:
    return request.state["client_script"].types_response(request.headers.get("if-none-match"))


async def openapi(request: Request[State]) -> Response:
    return request.state["documentation"].openapi_response()


async def docs(request: Request[State]) -> Response:
    """Shows the documentation in the language of the link, else of the browser."""
    chosen = request.query_params.get("lang")
    language = texts.language_of(chosen) if chosen in ("es", "en") else language_for(request)
    return request.state["documentation"].page_response(language)


async def console(request: Request[State]) -> Response:
    accept = request.headers.get("accept", "")
    return request.state["console"].page_response(accept, request.headers.get("if-none-match"))


async def console_file(request: Request[State]) -> Response:
    name, known = request.path_params["file"], request.headers.get("if-none-match")
    return request.state["console"].file_response(name, known)


async def _authenticate(request: Request[State]) -> Caller:
    authenticator: Authenticator = request.state["authenticator"]
    return await authenticator.authenticate(authorization_of(request))


async def _upload(
    request: Request[State], parts: AsyncIterator[pb_chat.UploadAttachmentRequest]
) -> Response:
    begin = request.state["conversations"].UploadAttachment
    await request.state["service_is_there"]()
    uploaded = await upload(
        lambda: begin(timeout=_TRANSFER_TIMEOUT_SECONDS, metadata=metadata()), parts
    )
    headers = {"Cache-Control": "no-store"}
    return Response(uploaded, headers=headers, media_type="application/json")


def _base_url(request: Request[State]) -> str:
    """Returns where the browser reaches us. Raises APIError for a host that is no name."""
    if public_url := request.state["public_url"]:
        return public_url
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise APIError("INVALID_ARGUMENT", "http")
    return f"{request.scope['scheme']}://{host}"


async def _mode(request: Request[State]) -> Mode:
    """Returns the mode of the session service: only in self-hosted mode it holds conversations.

    Raises APIError while it does not serve.
    """
    asked = pb_health.HealthCheckRequest(service=_CONVERSATIONS)
    await request.state["service_is_there"]()
    try:
        reply = await request.state["check_health"](asked, timeout=_HEALTH_TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.NOT_FOUND:
            return "hosted"
    else:
        if reply.status == pb_health.HealthCheckResponse.SERVING:
            return "self_hosted"
    raise APIError("UNAVAILABLE", retry_after_seconds=1, headers=ANYBODYS)


def _success(data: dict[str, Any], **more: str) -> Response:
    return json_response({"success": True, **more, "data": data})


ROUTES = [
    Route("/api/chatkit/session", create_session, methods=["POST"]),
    Route("/api/chatkit/refresh", refresh_session, methods=["POST"]),
    Route("/api/chatkit/session/{session_id}", session, methods=["GET", "DELETE"]),
    Route("/api/chatkit/sessions", list_sessions, methods=["GET"]),
    Route("/api/chatkit/stats", stats, methods=["GET"]),
    Route("/api/chatkit/checks", checks, methods=["GET", "POST"]),
    Route("/api/chatkit/stats/stream", watch_stats, methods=["GET"]),
    Route("/api/chatkit/me", me, methods=["GET"]),
    Route("/api/chatkit", chat, methods=["POST"]),
    Route("/api/chatkit/attachments", attachments, methods=["POST"]),
    Route("/api/chatkit/attachments/{attachment_id}", attachment, methods=["GET", "POST"]),
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route(METRICS_PATH, metrics, methods=["GET"]),
    Route("/chatkit-client.js", client_script, methods=["GET"]),
    Route("/chatkit-client.d.ts", client_types, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
    Route("/", console, methods=["GET"]),
    Route("/console/{file}", console_file, methods=["GET"]),
]
