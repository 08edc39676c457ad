"""Users at work: requests at a constant rate, and what must be true of what was acknowledged."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field

from tests.chaos.arrivals import Arrivals
from tests.chaos.client import JSON, Client, Outcome, open_client
from tests.e2e.dashboard import token_of
from tests.integration.conversation.chat import message

USERS = 12
_RECOVERY_PATIENCE_SECONDS = 30.0
_CHECKS_AT_ONCE = 8

ISSUING = frozenset(("create", "refresh", "chat"))
"""What needs everything: the gateway, the service, its database and OpenAI."""


@dataclass(slots=True)
class Chain:
    """A session with its refreshes, as far as its user knows."""

    user: str
    newest: str
    secret: str
    may_be: dict[str, set[str]] = field(default_factory=dict)
    """The statuses that each of its sessions may have by now."""


@dataclass(slots=True)
class Counted:
    """How many a user was told of, and how many there may be besides."""

    acknowledged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Chat:
    """A user of the chat, and what was stored before their eyes: items by thread."""

    user: str
    secret: str
    items: dict[str, set[str]] = field(default_factory=dict)


class Load:
    """One row's users. A request is sent when it is due, whatever became of the others."""

    def __init__(
        self,
        client: Client,
        name: str,
        per_second: float,
        chats_per_second: float = 0,
    ) -> None:
        self.client = client
        self.per_second = per_second
        self.chats_per_second = chats_per_second
        self.recoveries: list[float] = []
        self.notes: list[str] = []
        """What else there is to tell of the fault."""
        self._users = [f"{name}-{number}" for number in range(USERS)]
        self._tokens = {user: token_of(user) for user in self._users}
        self._random = random.Random(name)
        self._chains: list[Chain] = []
        self._idle: list[Chain] = []
        self._counted = {user: Counted() for user in self._users}
        self._chats: list[Chat] = []
        self._contradictions: list[str] = []
        self._arrivals = Arrivals()

    @property
    def outcomes(self) -> list[Outcome]:
        return self.client.outcomes

    @property
    def latest_seconds(self) -> float:
        """Returns how late a request was sent, at worst."""
        return self._arrivals.latest_seconds

    def start(self) -> None:
        self._arrivals.start(self.per_second, self._any)
        if self.chats_per_second:
            self._arrivals.start(self.chats_per_second, self._chat)

    async def stop(self) -> None:
        """Sends no more, and waits for what has been sent."""
        await self._arrivals.stop()

    async def abandon(self) -> None:
        """Leaves off at once."""
        await self._arrivals.abandon()

    async def recovered(self) -> None:
        """Waits for the first success from now on that needs everything, and notes how long."""
        began = time.monotonic()
        seen = len(self.outcomes)
        while time.monotonic() < began + _RECOVERY_PATIENCE_SECONDS:
            new = self.outcomes[seen:]
            seen += len(new)
            for outcome in new:
                if outcome.succeeded and outcome.kind in ISSUING:
                    self.recoveries.append(max(0.0, outcome.ended - began))
                    return
            await asyncio.sleep(0.005)
        self.recoveries.append(_RECOVERY_PATIENCE_SECONDS)

    async def _any(self) -> None:
        if not self._idle:
            await self._create()
            return
        actions = (self._create, self._refresh, self._get, self._delete, self._stats)
        (act,) = self._random.choices(actions, (40, 20, 25, 10, 5))
        await act()

    async def _create(self) -> None:
        user = self._random.choice(self._users)
        outcome, data = await self._ask("create", user, "POST", "/api/chatkit/session", {})
        self._count(user, "totalSessions", outcome)
        if outcome.succeeded:
            chain = Chain(user, data["session_id"], data["client_secret"])
            chain.may_be[chain.newest] = {"active"}
            self._chains.append(chain)
            self._idle.append(chain)

    async def _refresh(self) -> None:
        chain = self._take()
        body = {"existingSecret": chain.secret}
        outcome, data = await self._ask("refresh", chain.user, "POST", "/api/chatkit/refresh", body)
        self._count(chain.user, "refreshes", outcome)
        if outcome.succeeded:
            chain.may_be[chain.newest] = {"refreshed"}
            chain.newest, chain.secret = data["session_id"], data["client_secret"]
            chain.may_be[chain.newest] = {"active"}
        else:
            # It may have happened, or happen yet: a refresh goes on without its callers.
            chain.may_be[chain.newest].add("refreshed")
        self._idle.append(chain)

    async def _get(self) -> None:
        chain = self._take()
        outcome, data = await self._read(chain.user, chain.newest)
        if outcome.succeeded:
            self._compare(chain, chain.newest, data)
        elif outcome.said == "SESSION_NOT_FOUND":
            self._contradictions.append(f"session {chain.newest} was acknowledged and is not there")
        self._idle.append(chain)

    async def _delete(self) -> None:
        chain = self._take()  # and nobody uses it afterwards
        path = f"/api/chatkit/session/{chain.newest}"
        outcome, _ = await self._ask("delete", chain.user, "DELETE", path)
        self._count(chain.user, "deletedSessions", outcome)
        for statuses in chain.may_be.values():
            if outcome.succeeded:
                statuses.clear()
            statuses.add("deleted")

    async def _stats(self) -> None:
        await self._ask("stats", self._random.choice(self._users), "GET", "/api/chatkit/stats")

    async def _chat(self) -> None:
        chat = await self._open_chat()
        if chat is None:
            return
        body = {"type": "threads.create", "params": {"input": message("¿Qué hay?")}}
        _, events = await self.client.chat("chat", chat.secret, body)
        thread_id = ""
        for event in events:
            if event["type"] == "thread.created":
                thread_id = event["thread"]["id"]
            kind = event.get("item", {}).get("type")
            if event["type"] == "thread.item.done" and kind.endswith("_message"):
                chat.items.setdefault(thread_id, set()).add(event["item"]["id"])

    async def _open_chat(self) -> Chat | None:
        if len(self._chats) >= USERS:
            return self._random.choice(self._chats)
        user = self._random.choice(self._users)
        outcome, data = await self._ask("create", user, "POST", "/api/chatkit/session", {})
        self._count(user, "totalSessions", outcome)
        if not outcome.succeeded:
            return None
        self._chats.append(Chat(user, data["client_secret"]))
        return self._chats[-1]

    def _take(self) -> Chain:
        return self._idle.pop(self._random.randrange(len(self._idle)))

    def _count(self, user: str, counter: str, outcome: Outcome) -> None:
        counted = self._counted[user]
        (counted.acknowledged if outcome.succeeded else counted.unknown)[counter] += 1

    async def _ask(
        self, kind: str, user: str, method: str, path: str, body: JSON | None = None
    ) -> tuple[Outcome, JSON]:
        return await self.client.ask(kind, self._tokens[user], method, path, body)

    async def _read(self, user: str, session_id: str) -> tuple[Outcome, JSON]:
        return await self._ask("get", user, "GET", f"/api/chatkit/session/{session_id}")

    def _compare(self, chain: Chain, session_id: str, data: JSON) -> None:
        if data["status"] not in chain.may_be[session_id]:
            expected = " or ".join(sorted(chain.may_be[session_id]))
            self._contradictions.append(
                f"session {session_id} is {data['status']}, acknowledged as {expected}"
            )

    # Afterwards

    async def lost(self) -> list[str]:
        """Returns what was acknowledged and is not so, one line each: asked over HTTP again."""
        checks: list[Awaitable[None]] = [
            self._check_session(chain, session_id)
            for chain in self._chains
            for session_id in chain.may_be
        ]
        checks += [self._check_counters(user) for user in self._users]
        checks += [
            self._check_items(chat, thread_id) for chat in self._chats for thread_id in chat.items
        ]
        gate = asyncio.Semaphore(_CHECKS_AT_ONCE)

        async def one(check: Awaitable[None]) -> None:
            async with gate:
                await check

        await asyncio.gather(*(one(check) for check in checks))
        return self._contradictions

    async def _check_session(self, chain: Chain, session_id: str) -> None:
        outcome, data = await self._read(chain.user, session_id)
        if outcome.succeeded:
            self._compare(chain, session_id, data)
        else:
            self._contradictions.append(f"session {session_id} was acknowledged: {outcome.said}")

    async def _check_counters(self, user: str) -> None:
        outcome, data = await self._ask("stats", user, "GET", "/api/chatkit/stats")
        if not outcome.succeeded:
            self._contradictions.append(f"statistics of {user}: {outcome.said}")
            return
        counted = self._counted[user]
        for counter in ("totalSessions", "refreshes", "deletedSessions"):
            least = counted.acknowledged[counter]
            most = least + counted.unknown[counter]
            if not least <= data[counter] <= most:
                self._contradictions.append(
                    f"{counter} of {user} is {data[counter]}, acknowledged {least},"
                    f" and {most - least} failed"
                )

    async def _check_items(self, chat: Chat, thread_id: str) -> None:
        params = {"thread_id": thread_id, "order": "asc", "limit": 100}
        body = {"type": "items.list", "params": params}
        outcome, answer = await self.client.fetch(
            "items", chat.secret, "POST", "/api/chatkit", json=body
        )
        found = answer.json()["data"] if answer is not None and outcome.succeeded else ()
        missing = chat.items[thread_id] - {item["id"] for item in found}
        self._contradictions.extend(f"item {item} of {thread_id} is not there" for item in missing)


@contextlib.asynccontextmanager
async def open_load(
    urls: Sequence[str], name: str, per_second: float, chats_per_second: float = 0
) -> AsyncIterator[Load]:
    async with open_client(*urls) as client:
        load = Load(client, name, per_second, chats_per_second)
        try:
            yield load
        finally:
            await load.abandon()
