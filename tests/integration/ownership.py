"""Who owns what, as a small model, and a system over HTTP that is held to it."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import jwt

from session_service import own_sessions
from session_service.openai_emulator.app import create_emulator
from tests.gateway_support import SECRET, gateway_settings, open_gateway
from tests.support import Emulator, open_session_service, serve, settings_for

LIFETIME_SECONDS = own_sessions.LIFETIME_SECONDS
_VARIES = ("date", "x-request-id")
_COUNTED = (
    "totalSessions",
    "refreshes",
    "deletedSessions",
    "failures",
    "totalMessages",
    "turns",
)


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a token names, as it names them."""

    name: int | str
    role: str = "user"
    claim: str = "userId"
    listed: bool = False
    """In ADMIN_USER_IDS."""

    @property
    def id(self) -> str:
        return str(self.name)

    @property
    def is_admin(self) -> bool:
        return self.listed or self.role == "admin"

    @property
    def token(self) -> str:
        claims = {self.claim: self.name, "role": self.role, "exp": int(time.time()) + 3600}
        return jwt.encode(claims, SECRET)


PEOPLE = (
    Person(7),
    Person("7", claim="sub"),
    Person(8),
    Person("08"),
    Person("José Ñandú\n"),
    Person("7", role="Admin"),
    Person(1, role="admin"),
    Person("boss", listed=True),
)


@dataclass(slots=True)
class Chain:
    """A session with all that it was refreshed to: what counts once."""

    user: str
    deleted: bool = False
    living: bool = True
    """Whether the newest secret has not expired."""


@dataclass(slots=True)
class Session:
    """One secret of a chain."""

    id: str
    secret: str
    chain: Chain
    lifetime: int
    """Seconds from now, as tests are short; negative is since when it has expired."""
    refreshed_from: str | None = None
    refreshed_to: str | None = None

    @property
    def status(self) -> str:
        if self.chain.deleted:
            return "deleted"
        if self.refreshed_to:
            return "refreshed"
        return "active" if self.lifetime > 0 else "expired"


@dataclass(slots=True)
class Thread:
    """A conversation."""

    id: str
    user: str
    items: list[str] = field(default_factory=list)


@dataclass(slots=True)
class File:
    """An attachment that is uploaded; whoever has the link may see it."""

    id: str
    user: str
    link: str


@dataclass(slots=True)
class Model:
    """What everybody has, and what has been counted for each."""

    sessions: list[Session] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By user and number."""

    def issued(self, session: Session) -> None:
        """Takes down a session that was created, or refreshed from another."""
        refreshed = session.refreshed_from is not None
        if refreshed:
            self.find(str(session.refreshed_from)).refreshed_to = session.id
        session.chain.living = session.lifetime > 0
        self.sessions.append(session)
        self.count(session.chain.user, "refreshes" if refreshed else "totalSessions")

    def find(self, session_id: str) -> Session:
        return next(session for session in self.sessions if session.id == session_id)

    def delete(self, session: Session) -> None:
        if not session.chain.deleted:
            session.chain.deleted = True
            self.count(session.chain.user, "deletedSessions")

    def count(self, user: str, name: str, number: int = 1) -> None:
        self.counted[user, name] += number

    def statistics(self, user: str | None) -> dict[str, int]:
        """Returns what a user's, or everybody's, statistics have to say."""
        counted = {
            name: sum(
                self.counted[who, name] for who in {p.id for p in PEOPLE} if user in (None, who)
            )
            for name in _COUNTED
        }
        chains = {id(session.chain): session.chain for session in self.sessions}.values()
        active = sum(c.living and not c.deleted for c in chains if user in (None, c.user))
        return {**counted, "activeSessions": active}


class System:
    """A gateway, a session service and an OpenAI, over real sockets; they run while one waits."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._runner = asyncio.Runner()
        self.lifetime = LIFETIME_SECONDS
        """Of the sessions that are issued next."""

    def __enter__(self) -> "System":
        self._runner.__enter__()
        try:
            self._runner.run(self._open())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._close())
        self._runner.close()

    def call(self, bearer: str, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {bearer}"}
        answer: httpx.Response = self._runner.run(
            self._http.request(method, path, headers=headers, **request)
        )
        return answer

    def fail(self, **failure: Any) -> None:
        """Lets the next session that is asked for at OpenAI fail."""
        self._runner.run(self._emulator.fail("sessions.create", **failure))

    def set_lifetime(self, seconds: int) -> None:
        self.lifetime = seconds
        own_sessions.LIFETIME_SECONDS = seconds

    async def _open(self) -> None:
        opened = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        # In one task, as that is where some contexts have to be left that were entered there.
        self._task = asyncio.create_task(self._hold(opened))
        await asyncio.wait((opened, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task
        self._http, self._emulator = opened.result()

    async def _close(self) -> None:
        self._closing.set()
        await self._task

    async def _hold(self, opened: "asyncio.Future[tuple[httpx.AsyncClient, Emulator]]") -> None:
        async with AsyncExitStack() as stack:
            directory = Path(stack.enter_context(TemporaryDirectory()))
            stack.callback(self.set_lifetime, LIFETIME_SECONDS)
            # OpenAI's clock decides when its sessions expire.
            openai = create_emulator(lambda: time.time() + self.lifetime - LIFETIME_SECONDS)
            url = await stack.enter_async_context(serve(openai))
            control = httpx.AsyncClient(base_url=url, trust_env=False, verify=False)
            emulator = Emulator(await stack.enter_async_context(control))
            settings = settings_for(
                directory,
                emulator.url,
                chatkit_mode=self._mode,
                chatkit_requests_per_minute=0,
                chatkit_attachments_dir=directory / "attachments",
            )
            service = await stack.enter_async_context(open_session_service(settings))
            gateway = gateway_settings(
                session_service_target=(f"127.0.0.1:{service.server.port}",),
                admin_user_ids=frozenset(person.id for person in PEOPLE if person.listed),
            )
            http = await stack.enter_async_context(open_gateway(gateway))
            opened.set_result((http, emulator))
            await self._closing.wait()


def as_seen(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Returns all that a caller can see of an answer, but for the time and the request's name."""
    request_id = answer.headers["x-request-id"]
    headers = [(name, value) for name, value in answer.headers.items() if name not in _VARIES]
    return answer.status_code, headers, answer.content.replace(request_id.encode(), b"id")


def data_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def thread_id_of(answer: httpx.Response) -> str:
    first = next(line for line in answer.text.splitlines() if '"thread.created"' in line)
    return str(httpx.Response(200, content=first.removeprefix("data: ")).json()["thread"]["id"])


def link_of(url: str) -> str:
    return str(httpx.URL(url).raw_path.decode())
