"""A client that writes down what became of every request, as whoever sent it saw it."""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from gateway import errors
from gateway.texts import DEFAULT_LANGUAGE, text_of
from tests.chaos.balancer import Balancer

_PATIENCE_SECONDS = 20.0
"""Far beyond every deadline: who waits that long has got no answer."""

ERROR_EVENT = "error event"
"""What a stream has said that ended with ChatKit's error event."""
REFUSED = "nobody listens"
CLOSED = "closed without an answer"
"""The connection, before the request was read or afterwards: the client cannot tell."""
CUT_OFF = "cut off in mid-answer"
OVERLOAD = "overload"
"""`UNAVAILABLE`, as there was too much to do: what else it is, the text alone tells."""

JSON = dict[str, Any]
_OVERLOAD_TEXT = text_of("UNAVAILABLE", errors.OVERLOAD, DEFAULT_LANGUAGE).error


@dataclass(slots=True)
class Outcome:
    """One request. Times are those of `time.monotonic`."""

    kind: str
    request_id: str
    began: float
    ended: float = 0.0
    answered: bool = False
    """A whole answer of HTTP has come."""
    said: str = ""
    """Empty for a success, else the reason, or what was wrong with the answer or connection."""

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def succeeded(self) -> bool:
        return self.answered and not self.said


class Client:
    """Sends requests for any user, over as many connections as it takes."""

    def __init__(self, http: httpx.AsyncClient, balancer: Balancer) -> None:
        self._http = http
        self.balancer = balancer
        self.outcomes: list[Outcome] = []

    async def ask(
        self, kind: str, token: str, method: str, path: str, body: Any = None
    ) -> tuple[Outcome, JSON]:
        """Sends a request of the dashboard; returns its `data`, empty where there is none."""
        outcome, answer = await self.fetch(kind, token, method, path, json=body)
        if answer is None:
            return outcome, {}
        outcome.said = _envelope(answer, outcome)
        return outcome, {} if outcome.said else answer.json()["data"]

    async def fetch(
        self, kind: str, token: str, method: str, path: str, **content: Any
    ) -> tuple[Outcome, httpx.Response | None]:
        """Sends any request; returns the answer, whose body may be anything where it is 200.

        An empty token is none.
        """
        outcome = _begin(kind)
        headers = _headers(outcome, token)
        try:
            answer = await self._http.request(method, path, headers=headers, **content)
        except httpx.HTTPError as error:
            return self._broken(outcome, error), None
        if answer.status_code != 200:
            outcome.said = _envelope(answer, outcome)
        return self._answered(outcome), answer

    async def chat(
        self, kind: str, secret: str, body: JSON, until: bytes = b""
    ) -> tuple[Outcome, list[JSON]]:
        """Sends a request of the chat; returns the events that have come, to whatever end.

        Leaves once the answer holds `until`, if that is given.
        """
        outcome = _begin(kind)
        received = bytearray()
        left = False
        try:
            async with self._http.stream(
                "POST", "/api/chatkit", headers=_headers(outcome, secret), json=body
            ) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    outcome.said = _envelope(answer, outcome)
                    return self._answered(outcome), []
                async for data in answer.aiter_raw():
                    received += data
                    if left := bool(until) and until in received:
                        break
        except httpx.HTTPError as error:
            return self._broken(outcome, error, has_begun=bool(received)), _events(received)
        events = _events(received)
        if not events or events[-1]["type"] == "error":
            outcome.said = ERROR_EVENT if events else "a stream without events"
        elif until and not left:
            outcome.said = "a stream that ended before it could be left"
        return self._answered(outcome), events

    def _broken(
        self, outcome: Outcome, error: httpx.HTTPError, *, has_begun: bool = False
    ) -> Outcome:
        outcome.ended = time.monotonic()
        if isinstance(error, httpx.ConnectError):
            outcome.said = REFUSED
        elif isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
            outcome.said = CUT_OFF if has_begun else CLOSED
        else:
            outcome.said = f"{type(error).__name__}: {error}"
        self.outcomes.append(outcome)
        return outcome

    def _answered(self, outcome: Outcome) -> Outcome:
        outcome.ended = time.monotonic()
        outcome.answered = True
        self.outcomes.append(outcome)
        return outcome


def _begin(kind: str) -> Outcome:
    return Outcome(kind, uuid.uuid4().hex, time.monotonic())


def _headers(outcome: Outcome, token: str) -> dict[str, str]:
    named = {"X-Request-Id": outcome.request_id}
    return named | {"Authorization": f"Bearer {token}"} if token else named


def _envelope(answer: httpx.Response, outcome: Outcome) -> str:
    """Returns the reason of a failure, nothing for a success, and what is wrong with the rest."""
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return f"{answer.status_code} without JSON"
    if not isinstance(body, dict):
        return f"{answer.status_code} without an envelope"
    if answer.status_code == 200 and body.get("success") is True and "data" in body:
        return ""
    if (
        answer.status_code >= 400
        and body.get("success") is False
        and body.get("requestId") == outcome.request_id
        and isinstance(body.get("error"), str)
    ):
        return OVERLOAD if body["error"] == _OVERLOAD_TEXT else str(body.get("code"))
    return f"{answer.status_code} with another envelope"


def _events(received: bytearray) -> list[JSON]:
    """Returns the events that are whole."""
    frames = bytes(received).split(b"\n\n")[:-1]
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in frames]


@contextlib.asynccontextmanager
async def open_client(*urls: str) -> AsyncIterator[Client]:
    """Opens a client of one gateway, or of several as behind a load balancer."""
    balancer = Balancer(urls)
    async with httpx.AsyncClient(
        base_url=urls[0], transport=balancer, timeout=_PATIENCE_SECONDS
    ) as http:
        yield Client(http, balancer)
