"""Wires the gateway together: one ASGI application."""

import contextlib
from collections.abc import AsyncIterator

from grpc_health.v1 import health_pb2_grpc
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.auth import Authenticator
from gateway.client_script import create_client_script
from gateway.config import Settings
from gateway.console_page import create_console
from gateway.doctor import Doctor
from gateway.documentation.page import create_documentation
from gateway.errors import APIError, error_response, json_response
from gateway.jwks import open_key_set
from gateway.metrics import GatewayMetrics
from gateway.middleware import CORS, Cancellation, RequestContext, SizeLimit
from gateway.probe import probing
from gateway.replicas import open_replicas
from gateway.routes import ROUTES, State
from gateway.shedding import open_shedding
from gateway.texts import language_of
from gateway.watching import Watchers
from protos.chatkit.v1 import conversation_service_pb2_grpc, session_service_pb2_grpc
from runtime import log as logs
from runtime.admission import Admission
from runtime.event_loop import watching
from runtime.hops import observing
from runtime.metrics import Exposition


def create_app(settings: Settings, admission: Admission | None = None) -> ASGIApp:
    """Returns the application; its lifespan opens the channel to the session service."""
    admission = admission or Admission()
    metrics = GatewayMetrics(admission)
    documentation = create_documentation()
    client_script = create_client_script()
    console = create_console()

    def with_cors(app: ASGIApp) -> ASGIApp:
        return CORS(app, settings.cors_allow_origins)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with (
            contextlib.AsyncExitStack() as stack,
            open_replicas(settings) as replicas,
            open_key_set(settings.jwt_jwks_url) as keys,
            probing(replicas.channel, admission) as probe,
            watching(admission, probe.delay, observe_lag=metrics.observe_lag),
        ):
            shedding = await open_shedding(admission, settings.cors_allow_origins, with_cors)
            metrics.watch(replicas, shedding)
            stack.enter_context(observing(metrics.observe))
            yield State(
                authenticator=Authenticator(
                    secret=settings.jwt_secret,
                    keys=keys,
                    issuer=settings.jwt_issuer,
                    audience=settings.jwt_audience,
                    user_claim=settings.jwt_user_claim,
                    admin_user_ids=settings.admin_user_ids,
                ),
                sessions=session_service_pb2_grpc.SessionServiceStub(replicas.carried),
                conversations=conversation_service_pb2_grpc.ConversationServiceStub(
                    replicas.channel
                ),
                # types-grpcio-health-checking does not know the calls of its stub.
                check_health=health_pb2_grpc.HealthStub(replicas.channel).Check,  # type: ignore[attr-defined]
                service_is_there=replicas.alive,
                timeout_seconds=settings.chatkit_timeout_seconds,
                public_url=settings.gateway_public_url,
                documentation=documentation,
                client_script=client_script,
                console=console,
                watchers=Watchers(),
                shedding=shedding,
                metrics=Exposition(metrics.registry, settings.metrics_token),
                doctor=Doctor(settings, keys),
            )

    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(SizeLimit)],
        exception_handlers={
            APIError: _on_api_error,
            HTTPException: _on_http_exception,
            Exception: _on_defect,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    # Around Starlette, not in it: its own answer to a crash comes from outside its middleware.
    return RequestContext(with_cors(Cancellation(app)), metrics)


def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)
    language = language_of(request.headers.get("accept-language"))
    return error_response(error, logs.request_id.get(), language)


def _on_http_exception(request: Request, error: Exception) -> Response:
    """Answers for Starlette: there is no such route, or not with that method."""
    assert isinstance(error, HTTPException)
    if error.status_code != 405:
        return _on_api_error(request, APIError("NOT_FOUND"))
    methods = sorted((error.headers or {})["Allow"].split(", "))
    headers = {"Allow": ", ".join((*methods, "OPTIONS"))}
    if request.method == "OPTIONS":
        return json_response({"success": True, "data": {"methods": methods}}, headers=headers)
    return _on_api_error(request, APIError("METHOD_NOT_ALLOWED", headers=headers))


def _on_defect(request: Request, _: Exception) -> Response:
    return _on_api_error(request, APIError("INTERNAL"))
