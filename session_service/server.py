"""Wires the session service together and runs it until it is told to stop."""

import asyncio
import contextlib
import functools
import os
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from pydantic import SecretStr

from protos.chatkit.v1 import (
    call_stream_service_pb2,
    call_stream_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from runtime import tls
from runtime.admission import TARGET_SECONDS, Admission
from runtime.event_loop import watching
from runtime.hops import observing
from runtime.listening import check_address
from runtime.metrics import Exposition
from runtime.redaction import redactor
from runtime.transport import split_token
from session_service.agent_builder import Today, utc_today
from session_service.call_stream import CallStreamServicer, Handlers
from session_service.callers import Callers, server_credentials
from session_service.cancellations import Cancellations
from session_service.circuit import Circuit, patience_seconds
from session_service.config import Settings
from session_service.doctor import Doctor
from session_service.exposition import open_exposition
from session_service.interceptors import CallInterceptor
from session_service.issuer import Issuer
from session_service.limits import SERVER_OPTIONS
from session_service.metrics import ServiceMetrics
from session_service.openai_api import ChatKitAPI
from session_service.openai_checks import OpenAIChecks
from session_service.openai_client import open_client
from session_service.own_sessions import OwnSessions
from session_service.readiness import Readiness
from session_service.servicers import SessionServicer, read_stats
from session_service.sessions import Sessions
from session_service.stores.base import CannotOpenStore, Store
from session_service.stores.postgres import open_postgres_store
from session_service.stores.sqlite import open_sqlite_store
from session_service.stores.sqlite_file import sqlite_remedy
from session_service.streams import Streams
from session_service.usage import UsageSync
from session_service.watching import Watching

if TYPE_CHECKING:
    from session_service.conversation_server import ConversationServer

GRACE_SECONDS = 20.0
"""How long calls in flight may take after SIGTERM."""

_ENDING_SECONDS = 2.0
"""Before that is over, answers that are still being written are told to end."""
_LAST_BYTES_SECONDS = 0.5

_MOST_DELAY_SECONDS = 2.5 * TARGET_SECONDS
"""Of the event loop. Gateways measure it, too, and refuse before, as that costs them less."""

LIVENESS = "liveness"
"""Whose health is that of the process alone: to restart it heals no database."""

METRICS_REMEDY = "choose another with SESSION_SERVICE_METRICS_LISTEN, or off"

_NAMES = (
    session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
    call_stream_service_pb2.DESCRIPTOR.services_by_name["CallStreamService"].full_name,
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
)

log = structlog.get_logger()


@dataclass(slots=True)
class Server:
    """A running session service."""

    port: int
    metrics_port: int | None
    """None where metrics are not served."""
    _grpc: grpc.aio.Server
    _health: health_aio.HealthServicer
    _calls: CallInterceptor
    _call_streams: CallStreamServicer
    _sessions: Sessions
    _cancellations: Cancellations
    _streams: Streams
    _watching: Watching[session_service_pb2.GetStatsResponse]

    async def drain(self) -> None:
        """Takes no more calls and finishes those that have begun, for `GRACE_SECONDS` at most."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._grpc.stop(GRACE_SECONDS + _LAST_BYTES_SECONDS))
        await asyncio.sleep(0)  # so that it refuses new calls from here on
        self._call_streams.drain()
        self._watching.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._streams.drain(GRACE_SECONDS - _ENDING_SECONDS)
                await self._calls.idle()
                await self._sessions.drain()
                await self._cancellations.drain()
        self._calls.cut()
        # Those who watch our health would stay for ever; the others have to send their answers.
        await self._grpc.stop(_LAST_BYTES_SECONDS)
        await stopping


class CannotStart(Exception):
    """Something outside of this process is in the way; the message says what."""


@contextlib.asynccontextmanager
async def serve(settings: Settings, today: Today = utc_today) -> AsyncIterator[Server]:
    """Runs the service until the block ends. Raises CannotStart."""
    async with contextlib.AsyncExitStack() as stack:
        store = await _open_store(settings.database_url, stack)
        # In both modes: sessions of hosted mode are still to be cancelled and counted in the other.
        circuit = Circuit("chatkit", patience_seconds(settings.chatkit_timeout_seconds))
        api = ChatKitAPI(
            await stack.enter_async_context(open_client(settings.openai_base_url)),
            circuit,
            api_key=_plain(settings.openai_api_key),
            workflow_id=settings.openai_chatkit_workflow_id,
            file_upload="file_upload" in settings.chatkit_tools,
            today=today,
        )
        cancellations = Cancellations(store, api)
        streams = Streams()
        sessions = Sessions(
            store,
            _issuer(settings, api),
            store.rate_limit("sessions", settings.chatkit_sessions_per_minute),
            cancellations,
            settings.chatkit_timeout_seconds,
        )
        conversations = await _open_conversations(
            settings, sessions, store, streams, cancellations, stack
        )
        health = health_aio.HealthServicer()
        admission = Admission(_MOST_DELAY_SECONDS)
        metrics = ServiceMetrics(admission, settings.chatkit_mode)
        stack.enter_context(observing(metrics.observe))
        await stack.enter_async_context(watching(admission, observe_lag=metrics.observe_lag))
        calls = CallInterceptor(admission, _callers(settings))
        server = grpc.aio.server(interceptors=[calls], options=SERVER_OPTIONS)
        watching_stats = Watching(store, functools.partial(read_stats, store))
        servicer = SessionServicer(
            sessions,
            store,
            watching_stats,
            Doctor(settings, store, OpenAIChecks(settings, api, today)),
            settings.chatkit_timeout_seconds,
        )
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(servicer, server)
        carried = Handlers(calls.wrap)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(
            servicer, cast(grpc.aio.Server, carried)
        )
        call_streams = CallStreamServicer(carried.by_name, calls.admits)
        call_stream_service_pb2_grpc.add_CallStreamServiceServicer_to_server(call_streams, server)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        names = list(_NAMES)
        if conversations is not None:
            conversations.add_to(server)
            names.append(conversations.name)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        port = await _listen(server, settings.session_service_listen, _credentials(settings))
        await server.start()
        stack.push_async_callback(server.stop, None)
        # The one for all is last: what it says holds for each.
        readiness = Readiness(store, health, (*names, ""))
        await readiness.tell()
        await health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        circuits = (circuit, *(conversations.circuits if conversations else ()))
        counts = metrics.watch(store, readiness, calls, call_streams, streams, circuits)
        exposition = Exposition(metrics.registry, settings.metrics_token, counts.refresh)
        metrics_port = await _expose(exposition, settings, stack)
        background = [cancellations.run(), readiness.run()]
        if interval := settings.chatkit_usage_sync_seconds:
            background.append(UsageSync(store, api, interval).run())
        if conversations is not None:
            background += [streams.end_deleted(store), conversations.housekeeping.run()]
        await stack.enter_async_context(_running(background))
        yield Server(
            port,
            metrics_port,
            server,
            health,
            calls,
            call_streams,
            sessions,
            cancellations,
            streams,
            watching_stats,
        )


def _issuer(settings: Settings, api: ChatKitAPI) -> Issuer:
    if settings.chatkit_mode == "hosted":
        return api
    return OwnSessions(_plain(settings.openai_api_key))


async def _open_conversations(
    settings: Settings,
    sessions: Sessions,
    store: Store,
    streams: Streams,
    cancellations: Cancellations,
    stack: contextlib.AsyncExitStack,
) -> "ConversationServer | None":
    if settings.chatkit_mode != "self_hosted":
        return None
    # Not above: it takes OpenAI's SDKs along, 100 MB and two seconds that hosted mode does without.
    from session_service import conversation_server
    from session_service.conversation.agent import BadAgent

    try:
        return await conversation_server.open_conversations(
            settings, sessions, store, streams, cancellations, stack
        )
    except BadAgent as error:
        raise CannotStart(f"cannot load the agent: {error}") from error
    except OSError as error:
        directory = settings.chatkit_attachments_dir
        raise CannotStart(f"cannot keep attachments in {directory}: {error}") from error


def _callers(settings: Settings) -> Callers:
    return Callers(
        map(split_token, settings.session_service_token),
        certificates=settings.session_service_tls_client_ca is not None,
    )


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    if settings.session_service_tls_cert is None:
        return None
    files = tls.Files(
        authorities=settings.session_service_tls_client_ca,
        certificate=settings.session_service_tls_cert,
        key=settings.session_service_tls_key,
    )
    try:
        return server_credentials(tls.Watched(files))
    except ValueError as error:  # replaced since the settings were checked
        raise CannotStart(f"cannot use its certificate: {error}") from error


async def _listen(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None
) -> int:
    host, _, port = address.rpartition(":")
    try:
        # gRPC writes a line of its own when it cannot, and tells us less than the system does.
        await asyncio.to_thread(check_address, host, int(port))
        if credentials is not None:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except (OSError, RuntimeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is in use"
        raise CannotStart(
            f"cannot listen on {address}: {cause}; choose another with SESSION_SERVICE_LISTEN"
        ) from error


async def _expose(
    exposition: Exposition, settings: Settings, stack: contextlib.AsyncExitStack
) -> int | None:
    """Serves metrics, and returns the port. Raises CannotStart for an address that was chosen.

    The default one may be in use: several services on one machine are to start all the same.
    """
    address = settings.session_service_metrics_listen
    if address is None:
        return None
    try:
        return await stack.enter_async_context(open_exposition(exposition, address))
    except OSError as error:
        if "session_service_metrics_listen" not in settings.model_fields_set:
            return None  # and `__main__` says so
        # asyncio's words repeat the address; of a name that leads nowhere there are no others.
        cause = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise CannotStart(f"cannot listen on {address}: {cause}; {METRICS_REMEDY}") from error


async def _open_store(url: str, stack: contextlib.AsyncExitStack) -> Store:
    try:
        if url.startswith("sqlite:///"):
            path = url.removeprefix("sqlite:///")
            return await stack.enter_async_context(open_sqlite_store(path))
        return await stack.enter_async_context(open_postgres_store(url))
    except (OSError, sqlite3.Error) as error:
        remedy = sqlite_remedy(error)
        raise CannotStart(f"cannot use the database {url}: {error}; {remedy}") from error
    except CannotOpenStore as error:
        raise CannotStart(f"cannot use the database {redactor(())(url)}: {error}") from error


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value().strip() if secret else None


@contextlib.asynccontextmanager
async def _running(coroutines: list[Coroutine[None, None, None]]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(_watched(coroutine)) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watched(coroutine: Coroutine[None, None, None]) -> None:
    try:
        await coroutine
    except Exception:  # they handle what they foresee
        log.exception("a background task has ended; restart the service")
