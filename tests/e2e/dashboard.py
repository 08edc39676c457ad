"""The dashboard's side: its tokens, its requests, and what it makes of answers."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from tests.e2e.processes import PATIENCE_SECONDS, SECRET
from tests.leaks import refuse_to_tell

VERBATIM = (
    '{"userId":7,"username":"user7","email":"user7@example.com","role":"admin","userContext":'
    '{"permissions":{"serviceManagement":true,"automaticAIDisableRules":false,'
    '"webhookConfiguration":true,"ticketControl":true,"aiEnabledProjects":true,'
    '"remoteServerIntegration":false},"lastLogin":"2026-11-20T09:15:00.000Z",'
    '"isInitialSetupComplete":true}}'
)
"""What the dashboard in production sends, from issue 2."""

STATE_VARIABLES = {
    "username": "user7",
    "role": "admin",
    "userContext.permissions.serviceManagement": True,
    "userContext.permissions.automaticAIDisableRules": False,
    "userContext.permissions.webhookConfiguration": True,
    "userContext.permissions.ticketControl": True,
    "userContext.permissions.aiEnabledProjects": True,
    "userContext.permissions.remoteServerIntegration": False,
    "userContext.lastLogin": "2026-11-20T09:15:00.000Z",
    "userContext.isInitialSetupComplete": True,
}
"""What OpenAI is to hear of it."""


def token_of(user: object, **claims: object) -> str:
    now = int(time.time())
    return jwt.encode({"userId": user, "iat": now, "exp": now + 24 * 3600, **claims}, SECRET)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The browser of one user."""

    http: httpx.AsyncClient

    async def create(self, **body: Any) -> dict[str, Any]:
        return self.data(await self.http.post("/api/chatkit/session", json=body))

    async def refresh(self, secret: str) -> dict[str, Any]:
        body = {"existingSecret": secret}
        return self.data(await self.http.post("/api/chatkit/refresh", json=body))

    async def get(self, session_id: str) -> dict[str, Any]:
        return self.data(await self.http.get(f"/api/chatkit/session/{session_id}"))

    async def delete(self, session_id: str) -> dict[str, Any]:
        return self.data(await self.http.delete(f"/api/chatkit/session/{session_id}"))

    async def stats(self, **query: Any) -> dict[str, Any]:
        return self.data(await self.http.get("/api/chatkit/stats", params=query))

    @staticmethod
    def data(answer: httpx.Response) -> dict[str, Any]:
        """Returns the data of a success, as the dashboard reads it."""
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["success"] is True
        data: dict[str, Any] = body["data"]
        return data


@contextlib.asynccontextmanager
async def open_dashboard(url: str, user: object = 7, token: str = "") -> AsyncIterator[Dashboard]:
    headers = {"Authorization": f"Bearer {token or token_of(user)}", "Accept-Language": "en"}
    async with httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=PATIENCE_SECONDS,
        event_hooks={"response": [refuse_to_tell]},
        trust_env=False,
        verify=False,
    ) as http:
        yield Dashboard(http)


class EmulatorControl:
    """The control API of a running emulator."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/_emulator", trust_env=False, verify=False)

    def fail(self, **failure: Any) -> None:
        self._post("/failures", {"operation": "sessions.create", **failure})

    def heal(self) -> None:
        self._http.delete("/failures").raise_for_status()

    def answers(self, **shape: Any) -> None:
        """Shapes the messages of all responses from now on."""
        self._http.delete("/answers").raise_for_status()
        self._post("/answers", {"times": None, **shape})

    def requests(self, operation: str = "sessions.create") -> list[dict[str, Any]]:
        answer = self._http.get("/requests", params={"operation": operation})
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found

    def requests_of(self, user: str) -> list[dict[str, Any]]:
        """Returns the creates for one user; other tests may make some, too."""
        return [request for request in self.requests() if request["body"]["user"] == user]

    def write(self, user: str, **messages: int) -> str:
        """Lets a user begin a conversation, with so many items of each type."""
        thread_id = str(self._post("/threads", {"user": user})["id"])
        for kind, count in messages.items():
            body = {"type": f"chatkit.{kind}", "count": count}
            self._post(f"/threads/{thread_id}/items", body)
        return thread_id

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()

    def close(self) -> None:
        self._http.close()
