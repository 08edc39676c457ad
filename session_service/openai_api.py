"""OpenAI's ChatKit API for hosted workflows.

Reference: https://platform.openai.com/docs/api-reference/chatkit. There is no call that refreshes
or reads a session.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar
from urllib.parse import quote

import aiohttp
import orjson
import structlog

from runtime import hops
from runtime import log as logs
from runtime.hops import Hop
from session_service import agent_builder
from session_service.circuit import Circuit
from session_service.errors import (
    UpstreamTimeout,
    UpstreamUnavailable,
    WorkflowNotConfigured,
    WorkflowNotFound,
)
from session_service.issuer import IssuedSession, usable_key
from session_service.openai_client import CONNECTION_ERRORS, Client, read
from session_service.openai_errors import Answer, error_of
from session_service.retries import AttemptFailed, ask, failed_with
from session_service.stores.base import Mode

SESSIONS = "/chatkit/sessions"
THREADS = "/chatkit/threads"

PAGE_SIZE = 100
"""The most that OpenAI gives at once."""

_MAX_LOGGED_CHARACTERS = 300
_PLACE = re.compile(r"\{\w+\}")
_ID = re.compile(r"[\w.:-]{1,256}", re.ASCII)
"""What can stand in a path as it is: a session is asked for by its id."""
_SECRET = re.compile(r"[\x21-\x7e]{1,4096}")
"""What can be a bearer token."""
_LATEST_EXPIRY = 253_402_300_799
"""The end of the year 9999, where protobuf's Timestamp ends; milliseconds are beyond it."""


T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Entry:
    """A thread of a user, or an item of a thread."""

    id: str
    type: str
    """Of an item, for example `chatkit.user_message`; empty for a thread."""
    created_at: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list; the id of its last entry is the cursor to the next one."""

    entries: tuple[Entry, ...]
    has_more: bool


class ChatKitAPI:
    """The calls, each within a deadline in event loop time; one instance per process.

    In hosted mode it is the `issuer.Issuer`. In the other it ends what hosted mode has left behind.
    """

    mode: Mode = "hosted"

    def __init__(
        self,
        client: Client,
        circuit: Circuit,
        *,
        api_key: str | None,
        workflow_id: str | None,
        file_upload: bool,
        today: agent_builder.Today = agent_builder.utc_today,
    ) -> None:
        self._client = client
        self._circuit = circuit
        self._api_key = api_key
        self._workflow_id = workflow_id
        self._file_upload = file_upload
        self._today = today
        self._missed_workflow = False

    def check_key(self) -> None:
        """Raises InvalidAPIKey where there is no use in asking OpenAI anything."""
        usable_key(self._api_key)

    def workflow_id(self) -> str:
        """Returns the workflow that sessions are made for, once all that takes is configured.

        Raises WorkflowNotConfigured and InvalidAPIKey.
        """
        if not self._workflow_id:
            raise WorkflowNotConfigured(metadata={"cause": "missing"})
        if not re.fullmatch(r"wf_[A-Za-z0-9_-]+", self._workflow_id):
            raise WorkflowNotConfigured(metadata={"cause": "malformed"})
        self.check_key()
        return self._workflow_id

    async def create_session(
        self, user: str, state_variables: Mapping[str, Any], deadline: float
    ) -> IssuedSession:
        """Makes a session. Raises UpstreamError."""
        body = self.session_request(user, state_variables)
        try:
            return await self._call("POST", SESSIONS, deadline, _session_of, body=body)
        except WorkflowNotFound:
            if not self._missed_workflow:
                self._missed_workflow = True
                agent_builder.announce_missing_workflow(self._today())
            raise agent_builder.workflow_not_found(self._today()) from None

    def session_request(self, user: str, state_variables: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what OpenAI is asked for. Raises WorkflowNotConfigured and InvalidAPIKey."""
        return {
            "user": user,
            "workflow": {"id": self.workflow_id(), "state_variables": dict(state_variables)},
            "chatkit_configuration": {"file_upload": {"enabled": self._file_upload}},
        }

    async def ask_once(
        self,
        method: str,
        path: str,
        deadline: float,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Returns OpenAI's answer, whatever it says: to find out how things are.

        It is never tried again, and counts neither for nor against OpenAI. Raises InvalidAPIKey,
        CONNECTION_ERRORS and TimeoutError.
        """
        content = None if body is None else orjson.dumps(body)
        async with asyncio.timeout_at(deadline):
            return await self._send(method, path, content, params)

    async def cancel_session(self, session_id: str, deadline: float) -> None:
        """Ends a session. Raises UpstreamError, WorkflowNotFound for one that OpenAI forgot."""
        template = SESSIONS + "/{session_id}/cancel"
        await self._call(
            "POST", template, deadline, lambda _: None, about=session_id, is_background=True
        )

    async def list_threads(self, user: str, after: str | None, deadline: float) -> Page:
        """Returns the threads of a user after a cursor, newest first. Raises UpstreamError."""
        params = {"user": user, "order": "desc"}
        return await self._list(THREADS, "", params, after, deadline)

    async def list_items(self, thread_id: str, after: str | None, deadline: float) -> Page:
        """Returns the items of a thread after a cursor, oldest first.

        Raises UpstreamError, WorkflowNotFound for a thread that is not there.
        """
        template = THREADS + "/{thread_id}/items"
        return await self._list(template, thread_id, {"order": "asc"}, after, deadline)

    async def _list(
        self,
        template: str,
        about: str,
        params: dict[str, str],
        after: str | None,
        deadline: float,
    ) -> Page:
        params["limit"] = str(PAGE_SIZE)
        if after:
            params["after"] = after
        return await self._call(
            "GET", template, deadline, _page_of, about=about, params=params, is_background=True
        )

    async def _call(
        self,
        method: str,
        template: str,
        deadline: float,
        parse: Callable[[object], T],
        *,
        about: str = "",
        body: object = None,
        params: Mapping[str, str] | None = None,
        is_background: bool = False,
    ) -> T:
        """Returns what `parse` makes of the JSON of a success; it raises UpstreamUnavailable.

        `about` is the id that stands in the place of the template's name, if it has one.
        """
        path = _PLACE.sub(quote(about, safe=""), template)
        content = None if body is None else orjson.dumps(body)

        async def send() -> T:
            try:
                answer = await self._send(method, path, content, params)
            except aiohttp.ClientResponseError as error:
                # An answer, but not HTTP: OpenAI may have done what was asked. What the error says
                # quotes it, perhaps half of a client secret.
                log.error("openai answered nonsense", path=path, error=type(error).__name__)
                raise AttemptFailed(UpstreamUnavailable()) from None
            except CONNECTION_ERRORS as error:
                log.warning("openai not reached", path=path, error=type(error).__name__)
                failure = UpstreamUnavailable()
                raise AttemptFailed(failure, is_alive=False, is_retryable=True) from None
            if not 200 <= answer.status < 300:
                raise failed_with(answer, error_of(answer))
            try:
                return parse(answer.json())
            except UpstreamUnavailable as error:
                raise AttemptFailed(error) from None

        attributes: dict[str, hops.Attribute] = {
            "http.request.method": method,
            "url.template": template,
            "server.address": self._client.host,
        }
        with Hop("upstream", f"{method} {template}", attributes):
            try:
                async with asyncio.timeout_at(deadline):
                    return await ask(self._circuit, send, deadline, is_background=is_background)
            except TimeoutError:
                log.warning("openai did not answer in time", path=path)
                raise UpstreamTimeout from None

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        params: Mapping[str, str] | None,
    ) -> Answer:
        started = time.perf_counter()
        headers = {
            "Authorization": f"Bearer {usable_key(self._api_key)}",
            "X-Client-Request-Id": logs.current_request(),
        }
        if method == "POST":  # where there is no content, aiohttp would say that it is bytes
            headers["Content-Type"] = "application/json"
        async with self._client.request(method, path, content, params, headers) as response:
            answer = Answer(response.status, response.headers, await read(response))
        if (hop := hops.current()) is not None:
            hop.attributes["http.response.status_code"] = answer.status
        problem = {} if answer.status < 400 else _problem(answer)
        (log.warning if problem else log.info)(
            "openai answered",
            method=method,
            path=path,
            status=answer.status,
            duration_ms=round((time.perf_counter() - started) * 1000, 1),
            upstream_request_id=answer.headers.get("x-request-id"),
            **problem,
        )
        return answer


def _problem(answer: Answer) -> dict[str, object]:
    """Returns what OpenAI says of an error; secrets in it are the log's to take out.

    What it says of a wrong key is left out, as it quotes most of it.
    """
    error = answer.error()
    said = {key: error.get(key) for key in ("type", "code", "param")}
    if answer.status != 401 and "message" in error:
        said["message"] = str(error["message"])[:_MAX_LOGGED_CHARACTERS]
    return {"error": said if error else "none that can be read"}


def _session_of(answer: object) -> IssuedSession:
    match answer:
        case {"id": str(id_), "client_secret": str(secret), "expires_at": expires_at} if (
            _ID.fullmatch(id_)
            and _SECRET.fullmatch(secret)
            and _is_integer(expires_at)
            and 0 < expires_at <= _LATEST_EXPIRY
        ):
            return IssuedSession(id_, secret, expires_at)
    log.error("openai answered a session that cannot be used")
    raise UpstreamUnavailable


def _page_of(answer: object) -> Page:
    match answer:
        case {"data": list(data), "has_more": bool(has_more)}:
            entries = tuple(
                Entry(entry["id"], str(entry.get("type", "")), entry["created_at"])
                for entry in data
                if isinstance(entry, dict)
                and isinstance(entry.get("id"), str)
                and _is_integer(entry.get("created_at"))
            )
            return Page(entries, has_more and bool(entries))
    log.error("openai answered a list that cannot be used")
    raise UpstreamUnavailable


def _is_integer(value: object) -> TypeGuard[int]:
    """JSON's true is none, though Python's is."""
    return isinstance(value, int) and not isinstance(value, bool)
