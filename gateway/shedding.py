"""What is refused when there is too much of it, before any work is done for it.

The answers are the ordinary ones, made beforehand by the code that makes all others: to refuse must
cost a small part of what it costs to serve, or refusing would be the overload.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Scope

from gateway.errors import OVERLOAD, APIError, error_response
from gateway.security_headers import secure
from gateway.texts import Language, language_of
from runtime.admission import Admission
from runtime.log import name_for
from runtime.metrics import METRICS_PATH

_ALWAYS = frozenset(("/healthz", "/readyz", METRICS_PATH))
"""Who gets no answer from the first two restarts us, or takes us out: as if that made the load
less. And an overload is what metrics are for."""
_RETRY_SECONDS = (1, 2)
"""One or the other, so that those who were refused together do not come back together."""
_LANGUAGES: tuple[Language, ...] = ("es", "en")
_REQUEST_ID = "the-request-id"
_ANOTHER_ORIGIN = b"null"

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
_Variant: TypeAlias = tuple[bytes | None, Language, int]
"""The origin that asks, if one does, its language, and the seconds after which to try again."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One of ours but for what differs between requests: the id and the length."""

    head: bytes
    before_id: bytes
    after_id: bytes

    def to(self, request_id: str, headers: Headers, *, with_body: bool) -> bytes:
        body = self.before_id + orjson.dumps(request_id) + self.after_id
        return b"%scontent-length: %d\r\nx-request-id: %s\r\n%s\r\n%s" % (
            self.head,
            len(body),
            request_id.encode(),
            b"".join([b"%s: %s\r\n" % header for header in headers]),
            body if with_body else b"",
        )


class Shedding:
    """Decides over requests, and answers those that are refused."""

    def __init__(self, admission: Admission, answers: Mapping[_Variant, _Answer]) -> None:
        self._admission = admission
        self._answers = answers
        self.in_flight = 0
        """Requests that are all there and have no answer yet. Who sends thousands of bodies, and
        slowly, must not take the place of others."""
        self.connections = 0

    def refuses(self, scope: Scope, *, surplus: bool) -> bool:
        """Tells whether this request is one too many; on a `surplus` connection all are.

        Preflights pass: where one fails, a browser does not let its page read why.
        """
        return (
            scope["path"] not in _ALWAYS
            and scope["method"] != "OPTIONS"
            and not self._admission.admits(math.inf if surplus else self.in_flight)
        )

    def refusal(self, scope: Scope, headers: Headers) -> bytes:
        """Returns the whole answer to a request that is refused, with these headers, too."""
        origin = proposed = accept_language = None
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
            elif name == b"x-request-id":
                proposed = value
            elif name == b"accept-language":
                accept_language = value
        language = language_of(accept_language.decode("latin-1") if accept_language else None)
        seconds = random.choice(_RETRY_SECONDS)
        answer = self._answers.get((origin, language, seconds))
        if answer is None:
            answer = self._answers[_ANOTHER_ORIGIN, language, seconds]
        request_id = name_for(proposed.decode("latin-1") if proposed else None)
        return answer.to(request_id, headers, with_body=scope["method"] != "HEAD")


async def open_shedding(
    admission: Admission, origins: Sequence[str], with_cors: Callable[[ASGIApp], ASGIApp]
) -> Shedding:
    """Makes the answers, as the middleware for CORS lets them out."""
    answers = {}
    for origin in (None, _ANOTHER_ORIGIN, *(origin.encode() for origin in origins)):
        for language in _LANGUAGES:
            for seconds in _RETRY_SECONDS:
                error = APIError("UNAVAILABLE", OVERLOAD, retry_after_seconds=seconds)
                app = with_cors(error_response(error, _REQUEST_ID, language))
                answers[origin, language, seconds] = await _answer_of(app, origin)
    return Shedding(admission, answers)


async def _answer_of(app: ASGIApp, origin: bytes | None) -> _Answer:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    headers = [(b"origin", origin)] if origin else []
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    await app(scope, receive, send)
    start, end = messages
    secure(MutableHeaders(scope=start))
    lines = [
        b"%s: %s\r\n" % header for header in start["headers"] if header[0] != b"content-length"
    ]
    before_id, _, after_id = end["body"].partition(orjson.dumps(_REQUEST_ID))
    head = b"HTTP/1.1 503 Service Unavailable\r\n" + b"".join(lines)
    return _Answer(head, before_id, after_id)
