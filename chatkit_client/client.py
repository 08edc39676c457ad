"""The calls of the contract, as methods: plain values in, values out, errors of our own."""

import asyncio
import math
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import grpc

from chatkit_client import values
from chatkit_client.channel import TLS, open_channel
from chatkit_client.errors import DeadlineExceeded, Unavailable, from_rpc
from protos.chatkit.v1 import conversation_service_pb2, session_service_pb2
from protos.chatkit.v1.conversation_service_pb2_grpc import ConversationServiceStub
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from protos.chatkit.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub
    from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceAsyncStub

Answer = TypeVar("Answer", covariant=True)

TIMEOUT_SECONDS = 30.0
"""What the service itself takes for a call at most, unless it is told otherwise."""

_PAUSE_SECONDS = (0.5, 30.0)
"""Before a watch connects again, at first and at most."""


class _Method(Protocol[Answer]):
    def __call__(
        self, request: Any, /, *, timeout: float | None, metadata: Any
    ) -> Awaitable[Answer]: ...


def new_request_id() -> str:
    return uuid.uuid4().hex


class Client:
    """Calls session services, within `async with`.

    `address` is `host:port`; of a name with several addresses, or of several IP addresses with
    commas, each call goes to the next one that is there. `timeout` is in seconds, and so is that of
    each call. `request_id` names the calls: give one that returns the name of what your service is
    doing, and both logs can be read together.

    Every call raises a `ChatKitError`. It is tried again by gRPC where that can do no harm; one
    that is not, as `create_session`, may have been done though it failed as `Unavailable` or
    `DeadlineExceeded`.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: TLS | None = None,
        timeout: float = TIMEOUT_SECONDS,
        name: str = "chatkit-client",
        request_id: Callable[[], str] = new_request_id,
    ) -> None:
        """`token` is one of SESSION_SERVICE_TOKEN; `name` is what the service's log calls us."""
        self._address = address
        self._authorization = () if token is None else (("authorization", f"Bearer {token}"),)
        self._tls = tls
        self._timeout = timeout
        self._name = name
        self._request_id = request_id
        self._stack = AsyncExitStack()
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Does not wait for a service. Raises ValueError and OSError for what cannot be used."""
        channel = open_channel(self._address, self._tls, self._name)
        await self._stack.enter_async_context(channel)
        self._closed.clear()
        self._sessions: SessionServiceAsyncStub = SessionServiceStub(channel)
        self._conversations: ConversationServiceAsyncStub = ConversationServiceStub(channel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends all calls that are on their way."""
        self._closed.set()
        await self._stack.aclose()

    async def create_session(
        self,
        user_id: str,
        *,
        state_variables: Mapping[str, str | int | float | bool] | None = None,
        timeout: float | None = None,
    ) -> values.IssuedSession:
        """Makes a session for a user, never twice."""
        request = session_service_pb2.CreateSessionRequest(
            user_id=user_id,
            state_variables={
                key: values.state_variable(value) for key, value in (state_variables or {}).items()
            },
        )
        return values.issued(await self._call(self._sessions.CreateSession, request, timeout))

    async def refresh_session(
        self, user_id: str, client_secret: str, *, timeout: float | None = None
    ) -> values.IssuedSession:
        """Exchanges a client secret, expired for 24 hours at most, for a new one."""
        request = session_service_pb2.RefreshSessionRequest(
            user_id=user_id, client_secret=client_secret
        )
        return values.issued(await self._call(self._sessions.RefreshSession, request, timeout))

    async def get_session(
        self, user_id: str, session_id: str, *, timeout: float | None = None
    ) -> values.Session:
        request = session_service_pb2.GetSessionRequest(user_id=user_id, session_id=session_id)
        reply = await self._call(self._sessions.GetSession, request, timeout)
        return values.session(reply.session)

    async def delete_session(
        self, user_id: str, session_id: str, *, timeout: float | None = None
    ) -> values.Session:
        """Ends a session with all that it was refreshed from and to."""
        request = session_service_pb2.DeleteSessionRequest(user_id=user_id, session_id=session_id)
        reply = await self._call(self._sessions.DeleteSession, request, timeout)
        return values.session(reply.session)

    async def list_sessions(
        self,
        user_id: str | None = None,
        *,
        active_only: bool = False,
        page_size: int = 100,
        timeout: float | None = None,
    ) -> AsyncGenerator[values.Session, None]:
        """Yields a user's or everybody's (None) sessions, newest first; a call for each page."""
        request = session_service_pb2.ListSessionsRequest(
            user_id=user_id or "",
            all_users=user_id is None,
            active_only=active_only,
            page_size=page_size,
        )
        while True:
            page = await self._call(self._sessions.ListSessions, request, timeout)
            for session in page.sessions:
                yield values.session(session)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def stats(
        self, user_id: str | None = None, *, days: int = 30, timeout: float | None = None
    ) -> values.Stats:
        """Returns the statistics of a user or of everybody (None)."""
        request = session_service_pb2.GetStatsRequest(
            user_id=user_id or "", all_users=user_id is None, days=days
        )
        return values.stats(await self._call(self._sessions.GetStats, request, timeout))

    async def watch_stats(
        self, user_id: str | None = None, *, days: int = 30
    ) -> AsyncGenerator[values.Stats, None]:
        """Yields what `stats` returns, at once and whenever it has changed.

        It connects again where the service goes away, for as long as it takes, and ends when it or
        the client is closed. It raises what connecting again does not mend.
        """
        request = session_service_pb2.WatchStatsRequest(
            user_id=user_id or "", all_users=user_id is None, days=days
        )
        last: values.Stats | None = None
        pause, most = _PAUSE_SECONDS
        while not self._closed.is_set():
            request_id = self._request_id()
            call = self._sessions.WatchStats(request, metadata=self._metadata(request_id))
            try:
                async for response in call:
                    pause = _PAUSE_SECONDS[0]
                    stats = values.stats(response.stats)
                    if stats != last:  # as the first of a connection may be
                        last = stats
                        yield stats
            except grpc.aio.AioRpcError as error:
                failure = from_rpc(error, request_id)
                if not isinstance(failure, Unavailable | DeadlineExceeded):
                    raise failure from error
                wait = max(pause, failure.retry_after or 0)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not self._closed.is_set() or (task and task.cancelling()):
                    raise
                return  # the channel is gone, and nobody has asked this task to end
            else:
                wait = pause
            finally:
                call.cancel()
            await asyncio.sleep(random.uniform(wait / 2, wait))
            pause = min(2 * pause, most)

    async def delete_user_data(
        self, user_id: str, *, timeout: float | None = None
    ) -> values.DeletedData:
        """Deletes everything that is kept of a user; there in self-hosted mode alone."""
        request = conversation_service_pb2.DeleteUserDataRequest(user_id=user_id)
        reply = await self._call(self._conversations.DeleteUserData, request, timeout)
        return values.deleted_data(reply)

    async def diagnose(
        self, *, ask_openai: bool = False, timeout: float | None = None
    ) -> tuple[values.Check, ...]:
        """Checks what the service needs in order to work, in the order in which to mend it."""
        request = session_service_pb2.DiagnoseRequest(ask_openai=ask_openai)
        reply = await self._call(self._sessions.Diagnose, request, timeout)
        return tuple(map(values.check, reply.checks))

    async def _call(
        self, method: _Method[Answer], request: object, timeout: float | None
    ) -> Answer:
        request_id = self._request_id()
        seconds = self._timeout if timeout is None else timeout
        try:
            return await method(
                request,
                timeout=None if math.isinf(seconds) else seconds,
                metadata=self._metadata(request_id),
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, request_id) from error

    def _metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", request_id), *self._authorization)
