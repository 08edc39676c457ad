"""A gateway on a real socket, before a session service that answers as a test wants it to."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import httpx
import jwt
import uvicorn
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from pydantic import SecretStr

from gateway.app import create_app
from gateway.config import Settings
from gateway.http_protocol import HTTPProtocol
from protos.chatkit.v1 import conversation_service_pb2 as pb_chat
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.call_stream_service_pb2_grpc import (
    add_CallStreamServiceServicer_to_server,
)
from protos.chatkit.v1.errors import ErrorDetails, to_status
from runtime.admission import Admission
from session_service.call_stream import CallStreamServicer, on_bytes
from tests.leaks import refuse_to_tell
from tests.support import running
from tests.tls_support import Identity

Code = grpc.StatusCode

REASONS: Mapping[str, tuple[int, grpc.StatusCode]] = {
    "UNAUTHENTICATED": (401, Code.UNAUTHENTICATED),
    "PERMISSION_DENIED": (403, Code.PERMISSION_DENIED),
    "INVALID_ARGUMENT": (400, Code.INVALID_ARGUMENT),
    "SESSION_NOT_FOUND": (404, Code.NOT_FOUND),
    "SESSION_DELETED": (410, Code.FAILED_PRECONDITION),
    "RATE_LIMITED": (429, Code.RESOURCE_EXHAUSTED),
    "WORKFLOW_NOT_CONFIGURED": (503, Code.FAILED_PRECONDITION),
    "INVALID_API_KEY": (503, Code.FAILED_PRECONDITION),
    "WORKFLOW_NOT_FOUND": (503, Code.FAILED_PRECONDITION),
    "UPSTREAM_RATE_LIMITED": (429, Code.RESOURCE_EXHAUSTED),
    "UPSTREAM_QUOTA_EXHAUSTED": (503, Code.FAILED_PRECONDITION),
    "UPSTREAM_REJECTED": (502, Code.INTERNAL),
    "UPSTREAM_UNAVAILABLE": (502, Code.UNAVAILABLE),
    "UPSTREAM_TIMEOUT": (504, Code.DEADLINE_EXCEEDED),
    "UNAVAILABLE": (503, Code.UNAVAILABLE),
    "INTERNAL": (500, Code.INTERNAL),
    "THREAD_NOT_FOUND": (404, Code.NOT_FOUND),
    "ATTACHMENT_NOT_FOUND": (404, Code.NOT_FOUND),
    "ATTACHMENT_TOO_LARGE": (413, Code.INVALID_ARGUMENT),
    "ATTACHMENT_TYPE_NOT_ALLOWED": (415, Code.INVALID_ARGUMENT),
}
"""The contract's table of reasons, copied from there and from nowhere else."""

DOCUMENTED_ERRORS = {
    "WORKFLOW_NOT_CONFIGURED": "No workflow ID configured",
    "INVALID_API_KEY": "Invalid API key",
    "WORKFLOW_NOT_FOUND": "Workflow not found",
}

SECRET = "a-secret-of-the-gateway-of-these-tests"
ORIGIN = "https://dashboard.example.com"
CLIENT_SECRET = "a-client-secret"
CHAT, ATTACHMENTS = "/api/chatkit", "/api/chatkit/attachments"
SESSION, REFRESH, STATS = "/api/chatkit/session", "/api/chatkit/refresh", "/api/chatkit/stats"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Process: TypeAlias = Callable[
    [pb_chat.ProcessRequest, Context], AsyncIterator[pb_chat.ProcessResponse]
]
Upload: TypeAlias = Callable[
    [AsyncIterator[pb_chat.UploadAttachmentRequest], Context],
    Awaitable[pb_chat.UploadAttachmentResponse],
]
Read: TypeAlias = Callable[
    [pb_chat.ReadAttachmentRequest, Context], AsyncIterator[pb_chat.ReadAttachmentResponse]
]
Watch: TypeAlias = Callable[[pb.WatchStatsRequest, Context], AsyncIterator[pb.WatchStatsResponse]]
Answer: TypeAlias = Message | bytes | grpc.Status | Callable[[Context], Awaitable[Message]]


def session_message(**fields: Any) -> pb.Session:
    at = Timestamp(seconds=1_800_000_000)
    given = {
        "id": "cksess_1",
        "user_id": "7",
        "status": pb.SESSION_STATUS_ACTIVE,
        "workflow_id": "wf_test",
        "created_at": at,
        "expires_at": Timestamp(seconds=at.seconds + 600),
        **fields,
    }
    return pb.Session(**given)


def refusal_of(reason: str, message: str = "in English", **details: Any) -> grpc.Status:
    return to_status(REASONS[reason][1], message, ErrorDetails(reason, **details))


@dataclass(frozen=True, slots=True)
class Call:
    """What the gateway has asked."""

    method: str
    request: Any
    metadata: Mapping[str, str]
    time_remaining: float


@dataclass(slots=True)
class FakeConversations:
    """A conversation service that does what a test sets; what is not set is UNIMPLEMENTED."""

    process: Process | None = None
    upload: Upload | None = None
    read: Read | None = None

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        # They look at what is set when they are called, as tests set it after the start.
        async def process(request: Any, context: Context) -> AsyncIterator[bytes]:
            async for response in (self.process or _unimplemented)(request, context):
                yield response.SerializeToString()

        async def read(request: Any, context: Context) -> AsyncIterator[bytes]:
            async for response in (self.read or _unimplemented)(request, context):
                yield response.SerializeToString()

        async def upload(requests: Any, context: Context) -> bytes:
            if self.upload is None:
                await context.abort(Code.UNIMPLEMENTED, "")
            return (await self.upload(requests, context)).SerializeToString()

        return {
            "Process": grpc.unary_stream_rpc_method_handler(
                process, request_deserializer=pb_chat.ProcessRequest.FromString
            ),
            "ReadAttachment": grpc.unary_stream_rpc_method_handler(
                read, request_deserializer=pb_chat.ReadAttachmentRequest.FromString
            ),
            "UploadAttachment": grpc.stream_unary_rpc_method_handler(
                upload, request_deserializer=pb_chat.UploadAttachmentRequest.FromString
            ),
        }


async def _unimplemented(_: Any, context: Context) -> AsyncIterator[Any]:
    await context.abort(Code.UNIMPLEMENTED, "")
    yield  # type: ignore[unreachable]  # makes it a stream


async def refuse(context: Context, reason: str, **details: Any) -> None:
    """Ends a call as the services do."""
    status = refusal_of(reason, **details)
    await context.abort(status.code, status.details, tuple(status.trailing_metadata or ()))


@dataclass(slots=True)
class FakeService:
    """A session service whose answers are set by tests, by the name of the method."""

    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    host: str = "127.0.0.1"
    conversations: FakeConversations | None = None
    """None is what a service in hosted mode has."""
    watch: Watch | None = None
    """What WatchStats does; UNIMPLEMENTED where it is not set."""
    health: health_aio.HealthServicer = field(default_factory=health_aio.HealthServicer)

    def __post_init__(self) -> None:
        session = session_message()
        self.answers = {
            "CreateSession": pb.CreateSessionResponse(session=session, client_secret="ek_1"),
            "RefreshSession": pb.RefreshSessionResponse(session=session, client_secret="ek_1"),
            "GetSession": pb.GetSessionResponse(session=session),
            "DeleteSession": pb.DeleteSessionResponse(session=session),
            "GetStats": pb.GetStatsResponse(),
            "ListSessions": pb.ListSessionsResponse(),
            **self.answers,
        }

    def handler(self, name: str) -> "grpc.RpcMethodHandler[Any, Any]":
        async def answer(request: Any, context: Context) -> Message | bytes:
            metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
            remaining = context.time_remaining()
            self.calls.append(Call(name, request, metadata, remaining or 0))
            answer = self.answers[name]
            if isinstance(answer, grpc.Status):
                trailing = tuple(answer.trailing_metadata or ())
                await context.abort(answer.code, answer.details, trailing)
            return await answer(context) if callable(answer) else answer

        def serialize(answer: Message | bytes) -> bytes:
            return answer if isinstance(answer, bytes) else answer.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=getattr(pb, f"{name}Request").FromString,
            response_serializer=serialize,
        )

    async def _watch_stats(self, request: Any, context: Context) -> AsyncIterator[bytes]:
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self.calls.append(Call("WatchStats", request, metadata, context.time_remaining() or 0))
        async for response in (self.watch or _unimplemented)(request, context):
            yield response.SerializeToString()

    @contextlib.asynccontextmanager
    async def serve(self, identity: Identity | None = None) -> AsyncIterator["FakeService"]:
        """Serves on a free port, or on the one from before; with an identity, over TLS."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        handlers = {name: self.handler(name) for name in self.answers}
        streams: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "WatchStats": grpc.unary_stream_rpc_method_handler(
                self._watch_stats, request_deserializer=pb.WatchStatsRequest.FromString
            )
        }
        server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "chatkit.v1.SessionService", {**handlers, **streams}
                )
            ]
        )
        carried = {
            f"/chatkit.v1.SessionService/{name}": on_bytes(handler)
            for name, handler in handlers.items()
        }
        add_CallStreamServiceServicer_to_server(CallStreamServicer(carried), server)
        if self.conversations:
            handlers = self.conversations.handlers()
            server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler("chatkit.v1.ConversationService", handlers)]
            )
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        address = f"{self.host}:{self.port}"
        if identity is None:
            self.port = server.add_insecure_port(address)
        else:
            pair = identity.key.read_bytes(), identity.certificate.read_bytes()
            self.port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        await self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)


def gateway_settings(**values: Any) -> Settings:
    """Settings of a gateway, whatever this machine's environment says."""
    given: dict[str, Any] = {
        "_env_file": None,
        "gateway_listen": "127.0.0.1:0",
        "session_service_target": ("127.0.0.1:1",),
        "jwt_secret": SecretStr(SECRET),
        "jwt_jwks_url": None,
        "jwt_issuer": None,
        "jwt_audience": None,
        "jwt_user_claim": None,
        "admin_user_ids": frozenset(),
        "cors_allow_origins": (ORIGIN,),
        "chatkit_timeout_seconds": 30,
        "gateway_public_url": None,
        "metrics_token": None,
        **values,
    }
    return Settings(**given)


def token(user: object = 7, **claims: object) -> str:
    return jwt.encode({"userId": user, "exp": int(time.time()) + 24 * 3600, **claims}, SECRET)


@contextlib.asynccontextmanager
async def gateway_before(
    fake: FakeService,
    *,
    protocol: type[HTTPProtocol] = HTTPProtocol,
    admission: Admission | None = None,
    **settings: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """Serves a gateway before that service."""
    target = (f"127.0.0.1:{fake.port}",)
    given = gateway_settings(session_service_target=target, **settings)
    async with open_gateway(given, protocol=protocol, admission=admission) as http:
        yield http


@contextlib.asynccontextmanager
async def open_gateway(
    settings: Settings,
    *,
    protocol: type[HTTPProtocol] = HTTPProtocol,
    admission: Admission | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """Serves a gateway as `python -m gateway` does; yields a client with the token of user 7."""
    config = uvicorn.Config(
        create_app(settings, admission),
        port=0,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    headers = {"Authorization": f"Bearer {token()}", "Accept-Language": "en"}
    async with running(config) as url:
        async with httpx.AsyncClient(
            base_url=url,
            headers=headers,
            event_hooks={"response": [refuse_to_tell]},
            trust_env=False,
            verify=False,
        ) as http:
            yield http
        await asyncio.sleep(0.002)  # for uvicorn to see that our connections are closed


def error_of(answer: httpx.Response, code: str, status: int) -> dict[str, Any]:
    """Returns the body of an error, once it is certain that it is the contract's envelope."""
    assert answer.headers["content-type"] == "application/json", answer.text
    body: dict[str, Any] = answer.json()
    assert (body.get("code"), answer.status_code) == (code, status), body
    assert set(body) == {"success", "error", "code", "hint", "requestId"}
    assert body["success"] is False
    assert all(isinstance(body[key], str) and body[key] for key in body.keys() - {"success"})
    assert answer.headers["x-request-id"] == body["requestId"]
    return body
