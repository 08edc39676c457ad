"""Users of both modes who come, do what users do, and go; and others who are not welcome."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count

from gateway.documentation.examples import DASHBOARD_REQUEST
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from tests.attachment_examples import PNG
from tests.chaos import disturbances
from tests.chaos.client import ERROR_EVENT, JSON, Client, Outcome
from tests.chaos.stage import Stage
from tests.e2e.dashboard import token_of
from tests.integration.conversation.chat import message

SESSION, REFRESH, STATS = "/api/chatkit/session", "/api/chatkit/refresh", "/api/chatkit/stats"
CHAT, ATTACHMENTS = "/api/chatkit", "/api/chatkit/attachments"

_TROUBLES: tuple[JSON, ...] = (
    {"operation": "sessions.create", "kind": "status", "status": 500},
    {"operation": "sessions.create", "kind": "status", "status": 400},
    {"operation": "sessions.create", "kind": "reset"},
    {"operation": "sessions.create", "kind": "malformed"},
    {"operation": "sessions.cancel", "kind": "status", "status": 500},
    {"operation": "responses.create", "kind": "error_event"},
    {"operation": "responses.create", "kind": "broken_stream"},
    {"operation": "responses.create", "kind": "status", "status": 400},
    {"operation": "files.create", "kind": "status", "status": 500},
)
_OF_TROUBLE = frozenset(
    ("UPSTREAM_UNAVAILABLE", "UPSTREAM_REJECTED", "UPSTREAM_TIMEOUT", ERROR_EVENT)
)


@dataclass(slots=True)
class Journal:
    """What was not as expected."""

    unexpected: list[str] = field(default_factory=list)
    troubles: int = 0
    """How often OpenAI was told to fail."""
    troubled: int = 0
    """How many requests have failed for that."""
    visits: int = 0

    def expect(self, outcome: Outcome, said: str = "") -> bool:
        """Notes what a request said that it should not; returns whether it said what it should."""
        if outcome.said == said:
            return True
        if outcome.said in _OF_TROUBLE and self.troubled < self.troubles:
            self.troubled += 1
        else:
            wanted = said or "a success"
            self.unexpected.append(f"{outcome.kind}: {outcome.said or 'a success'}, not {wanted}")
        return False

    def check(self, what: str, holds: bool) -> None:
        if not holds:
            self.unexpected.append(what)


class Visits:
    """Each method is one visit, of a user whom nobody has seen before."""

    def __init__(self, journal: Journal, hosted: Stage, own: Stage, clients: list[Client]) -> None:
        self._journal = journal
        self._hosted, self._own = hosted, own
        self._hosted_client, self._own_client = clients
        self._users: Callable[[], str] = map("soak-{}".format, count(1)).__next__
        self._random = random.Random(1)

    async def noted(self, visit: Callable[[], Awaitable[None]]) -> None:
        """Pays a visit, and takes down where it ends unlike all others."""
        try:
            await visit()
        except Exception as error:
            self._journal.unexpected.append(f"{type(error).__name__} in a visit: {error}"[:200])

    async def hosted(self) -> None:
        """A tab is opened, refreshed by two at once, looked at, and mostly closed."""
        client, expect = self._hosted_client, self._journal.expect
        user = self._users()
        token = token_of(user)
        created, session = await client.ask(
            "create", token, "POST", SESSION, {**DASHBOARD_REQUEST, "userId": user}
        )
        if not expect(created):
            return
        if self._random.random() < 0.2:
            await asyncio.to_thread(self._hosted.control.write, user, user_message=2)
        body = {"existingSecret": session["client_secret"]}
        tabs = self._random.choice((1, 2))
        refreshed = await asyncio.gather(
            *(client.ask("refresh", token, "POST", REFRESH, body) for _ in range(tabs))
        )
        for outcome, _ in refreshed:
            expect(outcome)
        path = f"{SESSION}/{session['session_id']}"
        got, found = await client.ask("get", token, "GET", path)
        if expect(got) and all(outcome.succeeded for outcome, _ in refreshed):
            self._journal.check("a refreshed session is not", found["status"] == "refreshed")
        stats, numbers = await client.ask("stats", token, "GET", f"{STATS}?days=7")
        if expect(stats):
            self._journal.check("one session counts once", numbers["totalSessions"] == 1)
        if self._random.random() < 0.8:
            deleted, _ = await client.ask("delete", token, "DELETE", path)
            expect(deleted)
            late, _ = await client.ask("refresh", token, "POST", REFRESH, body)
            expect(late, "SESSION_DELETED")
        self._journal.visits += 1

    async def self_hosted(self) -> None:
        """A conversation with tools, a file and an answer that is broken off; then all goes."""
        client, expect = self._own_client, self._journal.expect
        token = token_of(self._users())
        created, session = await client.ask("create", token, "POST", SESSION, {})
        if not expect(created):
            return
        secret = session["client_secret"]
        begun, events = await self._say(secret, self._random.choice(("Hola", "Busca y calcula")))
        if not expect(begun):
            return
        thread_id = next(event["thread"]["id"] for event in events if "thread" in event)
        attachment = await self._upload(secret)
        if attachment:
            expect((await self._say(secret, "Mira esto", thread_id, attachment))[0])
        expect((await self._say(secret, "Cuenta " * 40, thread_id, leave=True))[0])
        refreshed, newer = await client.ask(
            "refresh", token, "POST", REFRESH, {"existingSecret": secret}
        )
        if expect(refreshed):
            secret = newer["client_secret"]
        for body in (
            {"type": "items.list", "params": {"thread_id": thread_id}},
            {"type": "threads.list", "params": {}},
        ):
            expect((await client.fetch("list", secret, "POST", CHAT, json=body))[0])
        if self._random.random() < 0.7:
            gone = {"type": "threads.delete", "params": {"thread_id": thread_id}}
            expect((await client.fetch("delete thread", secret, "POST", CHAT, json=gone))[0])
        stats, numbers = await client.ask("stats", token, "GET", STATS)
        if expect(stats):
            self._journal.check("two turns at least are counted", numbers["turns"] >= 1)
        path = f"{SESSION}/{session['session_id']}"
        expect((await client.ask("delete", token, "DELETE", path))[0])
        refused, _ = await client.fetch(
            "list", secret, "POST", CHAT, json={"type": "threads.list", "params": {}}
        )
        expect(refused, "SESSION_DELETED")
        self._journal.visits += 1

    async def stranger(self) -> None:
        """Who has no token, or somebody else's session, or no manners."""
        for stage, client in (
            (self._hosted, self._hosted_client),
            (self._own, self._own_client),
        ):
            expect = self._journal.expect
            wrong = self._random.choice(("", "nonsense", token_of(1, exp=1), token_of(True)))
            expect((await client.ask("no token", wrong, "GET", STATS))[0], "UNAUTHENTICATED")
            token = token_of(self._users())
            path = f"{SESSION}/cksess_somebody_else"
            expect((await client.ask("not theirs", token, "GET", path))[0], "SESSION_NOT_FOUND")
            odd, _ = await client.ask("odd body", token, "POST", SESSION, [1])
            expect(odd, "INVALID_ARGUMENT")
            expect((await client.ask("odd path", token, "GET", "/wp-admin"))[0], "NOT_FOUND")
            for disturbance in (disturbances.leave_early, *disturbances.GARBAGE):
                await disturbances.once(disturbance, stage)
            await disturbances.once(disturbances.leave_stream, self._own)

    async def operator(self) -> None:
        """Who looks at everybody's numbers, and lists sessions over gRPC."""
        for stage, client in (
            (self._hosted, self._hosted_client),
            (self._own, self._own_client),
        ):
            token = token_of("operator", role="admin")
            self._journal.expect((await client.ask("stats", token, "GET", STATS))[0])
            async with stage.channel() as channel:
                request = pb.ListSessionsRequest(all_users=True, page_size=100)
                listed = await SessionServiceStub(channel).ListSessions(request)
            self._journal.check("a page of sessions is one page", len(listed.sessions) <= 100)

    async def trouble(self) -> None:
        """OpenAI fails once: that may fail one request, and must fail no more."""
        self._journal.troubles += 1
        failure = self._random.choice(_TROUBLES)
        await asyncio.to_thread(self._hosted.control.fail, times=1, **failure)

    async def _say(
        self, secret: str, text: str, thread_id: str = "", *attachments: str, leave: bool = False
    ) -> tuple[Outcome, list[JSON]]:
        kind = "threads.add_user_message" if thread_id else "threads.create"
        params = {"input": message(text, *attachments)}
        if thread_id:
            params["thread_id"] = thread_id  # type: ignore[assignment] # as JSON is
        until = b"text_delta" if leave else b""
        named = "chat, left" if leave else "chat"
        return await self._own_client.chat(named, secret, {"type": kind, "params": params}, until)

    async def _upload(self, secret: str) -> str:
        """Uploads a picture, looks at it, and mostly deletes it; else returns its id."""
        client, expect = self._own_client, self._journal.expect
        uploaded, answer = await client.fetch(
            "upload", secret, "POST", ATTACHMENTS, files={"file": ("a.png", PNG, "image/png")}
        )
        if not expect(uploaded) or answer is None:
            return ""
        attachment = answer.json()
        read, content = await client.fetch("download", "", "GET", attachment["preview_url"])
        if expect(read) and content is not None:
            self._journal.check("what was uploaded comes down again", content.content == PNG)
        if self._random.random() < 0.5:
            return str(attachment["id"])
        gone = {"type": "attachments.delete", "params": {"attachment_id": attachment["id"]}}
        expect((await client.fetch("delete file", secret, "POST", CHAT, json=gone))[0])
        return ""
