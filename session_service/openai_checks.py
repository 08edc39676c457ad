"""Checks of what is at OpenAI: one question, and what its answer says of everything before it."""

import asyncio
import email.utils
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import structlog

from runtime.checklist import Check, after, failed, passed, skipped, warning
from runtime.redaction import redactor
from session_service import agent_builder
from session_service.config import Settings
from session_service.errors import (
    InvalidAPIKey,
    UpstreamError,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamUnavailable,
    WorkflowNotConfigured,
    WorkflowNotFound,
)
from session_service.openai_api import SESSIONS, THREADS, ChatKitAPI
from session_service.openai_client import CONNECTION_ERRORS
from session_service.openai_errors import Answer, error_of

USER = "chatkit-doctor"
"""Whose session it is that is made to find out whether one can be."""

_ANSWER_SECONDS = 8.0
_CANCEL_SECONDS = 3.0
_MAX_SKEW_SECONDS = 30
"""Half of what the gateway allows the clock of who makes tokens."""
_MAX_SAID = 300

# In the order in which OpenAI finds fault: what comes before a fault is in order.
_KEY = ("openai.reachable", "openai.key_accepted")
_HOSTED = (*_KEY, "openai.permission", "openai.quota", "workflow.found", "workflow.project")
_SELF_HOSTED = (*_KEY, "model.found")
ORDER = (*_HOSTED[:4], "workflow.configured", *_HOSTED[4:], "model.found")
"""In which they are to be mended."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One question to OpenAI."""

    answer: Answer | None = None
    problem: tuple[str, str] | None = None
    """Cause and its details, where there is no answer."""
    asked_at: float = 0.0
    """Unix seconds, by our clock, in the middle between question and answer."""


class OpenAIChecks:
    """What has to be in order at OpenAI, for the mode of the settings."""

    def __init__(
        self,
        settings: Settings,
        api: ChatKitAPI,
        today: agent_builder.Today = agent_builder.utc_today,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._api = api
        self._today = today
        self._clock = clock
        key = settings.openai_api_key
        self._key = key.get_secret_value() if key else ""
        self._is_hosted = settings.chatkit_mode == "hosted"
        self._redact = redactor([self._key])

    def configured(self) -> list[Check]:
        """Returns what can be told without asking OpenAI."""
        checks = [self._key_check()]
        if self._is_hosted:
            checks += [self._workflow_check(), self._agent_builder_check()]
        return checks

    def unasked(self) -> list[Check]:
        """Returns the checks of `ask` as skipped."""
        rungs = _HOSTED if self._is_hosted else _SELF_HOSTED
        return [skipped(name, "not_asked") for name in (*rungs, "clock")]

    async def ask(self) -> list[Check]:
        """Asks OpenAI once; in hosted mode for a session, which is cancelled at once."""
        key, *others = self.configured()
        rungs: Sequence[str] = _HOSTED if self._is_hosted else _SELF_HOSTED
        if key.state == "failed":
            return [after(name, "openai.key") for name in (*rungs, "clock")]
        if not self._is_hosted:
            exchange = await self._exchange("GET", f"/models/{quote(self._settings.chatkit_model)}")
        elif others[0].state == "failed":
            # Whoever begins with the key learns whether it is right, before there is a workflow.
            rungs = _KEY
            params = {"user": USER, "order": "desc", "limit": "1"}
            exchange = await self._exchange("GET", THREADS, params=params)
        else:
            body = self._api.session_request(USER, {})
            exchange = await self._exchange("POST", SESSIONS, body=body)
            await self._cancel(exchange)
        checks = self._judged(exchange, rungs)
        if self._is_hosted and rungs is _KEY:
            told = {check.name for check in checks}
            checks += [after(n, "workflow.configured") for n in _HOSTED if n not in told]
        return [*checks, self._clock_check(exchange)]

    def _key_check(self) -> Check:
        if self._key == agent_builder.EMULATOR_KEY:
            return passed("openai.key", "emulator")
        try:
            self._api.check_key()
        except InvalidAPIKey as error:
            missing = error.metadata["cause"] == "missing"
            return failed("openai.key", "missing" if missing else "malformed")
        return passed("openai.key")

    def _workflow_check(self) -> Check:
        try:
            self._api.workflow_id()
        except WorkflowNotConfigured as error:
            return failed("workflow.configured", error.metadata["cause"])
        except InvalidAPIKey:  # looked at after the workflow
            pass
        return passed("workflow.configured")

    def _agent_builder_check(self) -> Check:
        closes = agent_builder.CLOSES
        if self._key == agent_builder.EMULATOR_KEY:
            return passed("agent_builder", "emulator")
        if agent_builder.is_closed(self._today()):
            return failed("agent_builder", "closed", closes=closes)
        days = agent_builder.days_left(self._today())
        return warning("agent_builder", "closing", closes=closes, days=days)

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> _Exchange:
        deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
        began = self._clock()
        try:
            answer = await self._api.ask_once(method, path, deadline, body=body, params=params)
        except TimeoutError:
            return _Exchange(problem=("timeout", f"{_ANSWER_SECONDS:g} s"))
        except CONNECTION_ERRORS as error:
            return _Exchange(problem=(_connection_problem(error), type(error).__name__))
        return _Exchange(answer, asked_at=(began + self._clock()) / 2)

    async def _cancel(self, exchange: _Exchange) -> None:
        match exchange.answer and exchange.answer.json():
            case {"id": str(session_id)} if session_id:
                deadline = asyncio.get_running_loop().time() + _CANCEL_SECONDS
                try:
                    await self._api.cancel_session(session_id, deadline)
                except UpstreamError as error:  # it ends by itself, within ten minutes
                    log.warning("session of a diagnosis not cancelled", reason=error.reason)

    def _judged(self, exchange: _Exchange, rungs: Sequence[str]) -> list[Check]:
        fault = self._fault(exchange)
        if fault is None or (rungs is _KEY and fault.name == "workflow.found"):
            return [passed(name) for name in rungs]
        rungs = sorted({*rungs, fault.name}, key=ORDER.index)
        place = rungs.index(fault.name)
        later = [after(name, fault.name) for name in rungs[place + 1 :]]
        if fault.name == "workflow.found":
            later = [skipped("workflow.project", "untold")]
        return [*(passed(name) for name in rungs[:place]), fault, *later]

    def _fault(self, exchange: _Exchange) -> Check | None:
        """Returns the one check that OpenAI's answer fails, None where it is what we asked for."""
        url = self._settings.openai_base_url
        if exchange.problem:
            cause, said = exchange.problem
            return failed("openai.reachable", cause, url=url, said=said)
        assert exchange.answer is not None
        answer = exchange.answer
        if 200 <= answer.status < 300 and _is_object(answer.json()):
            return None
        is_openai = bool(answer.error()) and answer.error().get("code") != "unknown_url"
        error = error_of(answer)
        details: dict[str, Any] = {"status": answer.status, "said": self._said(answer)}
        match error:
            case InvalidAPIKey(metadata={"cause": "permission"}) if self._is_hosted:
                return failed("openai.permission", "missing", **details)
            case InvalidAPIKey(metadata={"cause": "permission"}):
                # It may be allowed to answer and not to look: nothing says so but an answer.
                model = self._settings.chatkit_model
                return warning("model.found", "unreadable", **details, model=model)
            case InvalidAPIKey():
                return failed("openai.key_accepted", "rejected")
            case UpstreamQuotaExhausted():
                return failed("openai.quota", "exhausted")
            case UpstreamRateLimited():
                return warning("openai.quota", "rate_limited")
            case WorkflowNotFound() if is_openai:
                return self._not_found()
            case UpstreamUnavailable() if answer.status >= 500:
                return failed("openai.reachable", "error", **details)
        if not is_openai:
            return failed("openai.reachable", "not_openai", url=url, status=answer.status)
        return failed("workflow.found" if self._is_hosted else "model.found", "refused", **details)

    def _not_found(self) -> Check:
        if not self._is_hosted:
            if self._settings.chatkit_agent:
                return skipped("model.found", "own_agent")
            return failed("model.found", "not_found", model=self._settings.chatkit_model)
        workflow = self._settings.openai_chatkit_workflow_id
        closed = agent_builder.is_closed(self._today())
        closes = agent_builder.CLOSES
        cause = "closed" if closed else "not_found"
        return failed("workflow.found", cause, workflow=workflow, closes=closes)

    def _said(self, answer: Answer) -> str:
        """Returns OpenAI's own words; of a wrong key they would quote most of it."""
        if answer.status == 401:
            return ""
        message = " ".join(str(answer.error().get("message", "")).split())
        return self._redact(message)[:_MAX_SAID]

    def _clock_check(self, exchange: _Exchange) -> Check:
        date = exchange.answer.headers.get("date", "") if exchange.answer else ""
        try:
            theirs = email.utils.parsedate_to_datetime(date).timestamp() + 0.5  # it has no fraction
        except (ValueError, OverflowError):
            return skipped("clock", "unknown")
        skew = round(exchange.asked_at - theirs)
        if abs(skew) <= _MAX_SKEW_SECONDS:
            return passed("clock")
        return warning("clock", "fast" if skew > 0 else "slow", seconds=abs(skew))


def _connection_problem(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "certificate"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "proxy"
        case aiohttp.ClientResponseError():
            return "not_http"
    return "unreachable"


def _is_object(answer: object) -> bool:
    match answer:
        case {"id": str(id_)}:
            return re.fullmatch(r"[\x21-\x7e]{1,256}", id_) is not None
        case {"object": "list"}:
            return True
    return False
