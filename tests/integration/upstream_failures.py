"""The contract's answer to every way in which OpenAI's emulator can fail, as data."""

from dataclasses import dataclass, field
from typing import Any

_QUICKLY = {"retry-after-ms": "1"}


@dataclass(frozen=True, slots=True)
class Case:
    """How OpenAI fails, and what comes of it."""

    failure: dict[str, Any]
    """See session_service/openai_emulator."""
    reason: str
    metadata: dict[str, str] = field(default_factory=dict)
    attempts: int = 1

    @property
    def self_hosted_reason(self) -> str:
        """There is no workflow there that could be missing."""
        return "UPSTREAM_REJECTED" if self.reason == "WORKFLOW_NOT_FOUND" else self.reason

    @property
    def is_rate_limit(self) -> bool:
        return self.reason == "UPSTREAM_RATE_LIMITED"

    @property
    def is_silent(self) -> bool:
        return self.reason == "UPSTREAM_TIMEOUT"


def _status(status: int, reason: str, *, attempts: int = 1, **more: Any) -> Case:
    return Case({"status": status, "headers": _QUICKLY, **more}, reason, attempts=attempts)


def _quota(code: str) -> Case:
    return _status(429, "UPSTREAM_QUOTA_EXHAUSTED", body={"error": {"code": code}})


CASES = {
    "400": _status(400, "UPSTREAM_REJECTED"),
    "401": Case({"status": 401}, "INVALID_API_KEY", {"cause": "rejected"}),
    "403": Case({"status": 403}, "INVALID_API_KEY", {"cause": "permission"}),
    "404": _status(404, "WORKFLOW_NOT_FOUND"),
    "408": _status(408, "UPSTREAM_REJECTED", attempts=3),
    "409": _status(409, "UPSTREAM_REJECTED", attempts=3),
    "413": _status(413, "UPSTREAM_REJECTED"),
    "422": _status(422, "UPSTREAM_REJECTED"),
    "429": _status(429, "UPSTREAM_RATE_LIMITED", attempts=3),
    "429 without quota": _quota("insufficient_quota"),
    "429 without credit": _quota("credit_balance_exhausted"),
    "500": _status(500, "UPSTREAM_UNAVAILABLE", attempts=3),
    "502": _status(502, "UPSTREAM_UNAVAILABLE", attempts=3, raw_body="<html>Bad gateway</html>"),
    "503": _status(503, "UPSTREAM_UNAVAILABLE", attempts=3),
    "504": _status(504, "UPSTREAM_UNAVAILABLE", attempts=3, raw_body=""),
    "redirect": Case(
        {"status": 307, "headers": {"location": "https://example.com/"}}, "UPSTREAM_UNAVAILABLE"
    ),
    "nothing": Case({"status": 204, "raw_body": ""}, "UPSTREAM_UNAVAILABLE"),
    "broken JSON": Case({"kind": "malformed"}, "UPSTREAM_UNAVAILABLE"),
    "broken off": Case({"kind": "truncate"}, "UPSTREAM_UNAVAILABLE"),
    "huge": Case({"kind": "huge"}, "UPSTREAM_UNAVAILABLE"),
    "reset": Case({"kind": "reset"}, "UPSTREAM_UNAVAILABLE", attempts=3),
    "silent": Case({"kind": "hang"}, "UPSTREAM_TIMEOUT"),
}
