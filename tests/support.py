"""What tests of several parts share."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import httpx
import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp

from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.errors import ErrorDetails, details_of
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from session_service.config import Settings
from session_service.interceptors import STATUS_CODES
from session_service.openai_emulator.app import create_emulator
from session_service.server import Server
from session_service.server import serve as serve_sessions

if TYPE_CHECKING:
    from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceAsyncStub


BEFORE_THE_END = datetime.date(2026, 11, 22)
"""Of Agent Builder: from the 30th on some errors say more."""


@asynccontextmanager
async def serve(app: ASGIApp) -> AsyncIterator[str]:
    """Serves `app` with uvicorn on a free port in this loop, and yields its base URL."""
    config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1)
    async with running(config) as url:
        yield url


@asynccontextmanager
async def running(config: uvicorn.Config) -> AsyncIterator[str]:
    """Runs a uvicorn server in this loop, and yields its base URL."""
    config.load()
    server = uvicorn.Server(config)
    # What `Server.serve` does, without its signal handlers and its look every 100 ms for the end.
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    await server.on_tick(0)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        if server.server_state.connections or server.server_state.tasks:
            await server.shutdown()
        else:  # the same, without its 100 ms for connections to close
            for listener in server.servers:
                listener.close()
            await server.lifespan.shutdown()


class Emulator:
    """A running OpenAI emulator and its control API."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.url = f"{http.base_url}".rstrip("/") + "/v1"

    async def fail(self, operation: str, **failure: Any) -> None:
        """Lets the next request of `operation` fail, see session_service/openai_emulator."""
        await self._post("/_emulator/failures", {"operation": operation, **failure})

    async def heal(self) -> None:
        (await self._http.delete("/_emulator/failures")).raise_for_status()

    async def answer(self, **shape: Any) -> None:
        """Shapes the message of the next response, see session_service/openai_emulator."""
        await self._post("/_emulator/answers", shape)

    async def answers(self, **shape: Any) -> None:
        """Shapes the messages of all responses from now on."""
        (await self._http.delete("/_emulator/answers")).raise_for_status()
        await self._post("/_emulator/answers", {"times": None, **shape})

    async def requests(self, operation: str | None = None) -> list[dict[str, Any]]:
        query = {"operation": operation} if operation else {}
        answer = await self._http.get("/_emulator/requests", params=query)
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found

    async def add_thread(self, user: str) -> str:
        return str((await self._post("/_emulator/threads", {"user": user}))["id"])

    async def add_items(self, thread_id: str, kind: str, **items: Any) -> None:
        await self._post(f"/_emulator/threads/{thread_id}/items", {"type": kind, **items})

    async def delete_thread(self, thread_id: str) -> None:
        headers = {"Authorization": "Bearer sk-test", "OpenAI-Beta": "chatkit_beta=v1"}
        path = f"/v1/chatkit/threads/{thread_id}"
        (await self._http.delete(path, headers=headers)).raise_for_status()

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        return (await self._http.post(path, json=body)).raise_for_status().json()


@asynccontextmanager
async def open_emulator() -> AsyncIterator[Emulator]:
    async with serve(create_emulator()) as url:
        # Without TLS, whose certificates take a while to load.
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False) as http:
            yield Emulator(http)
        await asyncio.sleep(0.002)  # for uvicorn to see that our connections are closed


async def eventually(condition: Callable[[], Awaitable[bool]], within: float = 30) -> None:
    """Waits for what another process or task is about to do and sends no event for."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def settings_for(directory: Path, openai_base_url: str, **others: Any) -> Settings:
    """Settings of a session service on a free port, whatever this machine's environment says."""
    values: dict[str, Any] = {
        "openai_api_key": SecretStr("sk-test"),
        "openai_chatkit_workflow_id": "wf_test",
        "openai_base_url": openai_base_url,
        "session_service_listen": "127.0.0.1:0",
        "session_service_metrics_listen": None,
        "database_url": f"sqlite:///{directory}/chatkit.db",
        "chatkit_sessions_per_minute": 0,
        "chatkit_usage_sync_seconds": 0,
        **others,
    }
    build: Any = Settings  # mypy does not know of `_env_file`
    return cast(Settings, build(_env_file=None, **values))


@dataclass(frozen=True, slots=True)
class SessionService:
    """A running session service, and the calls that tests make most."""

    server: Server
    channel: grpc.aio.Channel
    stub: "SessionServiceAsyncStub"

    async def create(self, user: str = "7") -> pb.CreateSessionResponse:
        return await self.stub.CreateSession(pb.CreateSessionRequest(user_id=user))

    async def refresh(self, secret: str, user: str = "7") -> pb.RefreshSessionResponse:
        request = pb.RefreshSessionRequest(user_id=user, client_secret=secret)
        return await self.stub.RefreshSession(request)

    async def get(self, session_id: str, user: str = "7") -> pb.Session:
        request = pb.GetSessionRequest(user_id=user, session_id=session_id)
        return (await self.stub.GetSession(request)).session

    async def delete(self, session_id: str, user: str = "7") -> pb.Session:
        request = pb.DeleteSessionRequest(user_id=user, session_id=session_id)
        return (await self.stub.DeleteSession(request)).session

    async def stats(self, user: str = "7") -> pb.GetStatsResponse:
        return await self.stub.GetStats(pb.GetStatsRequest(user_id=user))


@asynccontextmanager
async def open_session_service(
    settings: Settings, today: datetime.date = BEFORE_THE_END
) -> AsyncIterator[SessionService]:
    async with (
        serve_sessions(settings, lambda: today) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield SessionService(server, channel, SessionServiceStub(channel))


@dataclass(slots=True)
class Refusal:
    """What a failed call said."""

    message: str = ""
    details: ErrorDetails = field(default_factory=lambda: ErrorDetails(""))
    trailing: dict[str, str | bytes] = field(default_factory=dict)


@contextmanager
def refused(reason: str) -> Iterator[Refusal]:
    """The block must end in an error of chatkit.v1 with this reason and the status that it has."""
    refusal = Refusal()
    try:
        yield refusal
    except grpc.aio.AioRpcError as error:
        refusal.message = error.details() or ""
        refusal.details = details_of(error) or ErrorDetails("none of ours")
        refusal.trailing = dict(cast(Any, error.trailing_metadata()))
        got = (refusal.details.reason, error.code())
        assert got == (reason, STATUS_CODES[reason]), refusal.message
    else:
        raise AssertionError(f"the call succeeded; expected {reason}")
