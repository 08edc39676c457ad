"""Translates between the dashboard's JSON and chatkit.v1, field by field."""

import datetime
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from protos.chatkit.v1 import session_service_pb2 as pb
from runtime.checklist import Check, State
from runtime.checklist_texts import Language, explanation, title

# What OpenAI takes as `workflow.state_variables`.
_MAX_STATE_VARIABLES = 64
_MAX_KEY_LENGTH = 64
_INT64 = range(-(2**63), 2**63)

Primitive: TypeAlias = str | int | float | bool

_STATUSES = {
    pb.SESSION_STATUS_ACTIVE: "active",
    pb.SESSION_STATUS_EXPIRED: "expired",
    pb.SESSION_STATUS_REFRESHED: "refreshed",
    pb.SESSION_STATUS_DELETED: "deleted",
}

_CHECK_STATES: Mapping[int, State] = {
    pb.CHECK_STATE_PASSED: "passed",
    pb.CHECK_STATE_FAILED: "failed",
    pb.CHECK_STATE_WARNING: "warning",
    pb.CHECK_STATE_SKIPPED: "skipped",
}

_MODES = {
    # A session service from before there was another mode does not say it.
    pb.SESSION_MODE_UNSPECIFIED: "hosted",
    pb.SESSION_MODE_HOSTED: "hosted",
    pb.SESSION_MODE_SELF_HOSTED: "self_hosted",
}


def create_session_request(user_id: str, body: Mapping[str, Any]) -> pb.CreateSessionRequest:
    """Takes along what the body says about the user, as far as a workflow can be told."""
    request = pb.CreateSessionRequest(user_id=user_id)
    for key, value in _state_variables(body):
        if len(request.state_variables) == _MAX_STATE_VARIABLES:
            break
        variable = request.state_variables[key]
        if isinstance(value, bool):
            variable.bool_value = value
        elif isinstance(value, int) and value in _INT64:
            variable.integer_value = value
        elif isinstance(value, int | float):
            variable.number_value = value
        else:
            variable.string_value = value
    return request


def issued(reply: pb.CreateSessionResponse | pb.RefreshSessionResponse) -> dict[str, Any]:
    """Returns what the widget needs."""
    return {
        "session_id": reply.session.id,
        "client_secret": reply.client_secret,
        "expires_at": reply.session.expires_at.seconds,
        "user_id": reply.session.user_id,
        "mode": _MODES[reply.session.mode],
        "workflow_id": reply.session.workflow_id or None,
    }


def session(message: pb.Session) -> dict[str, Any]:
    """Returns a session; times are Unix seconds, what does not apply is left out."""
    data: dict[str, Any] = {
        "id": message.id,
        "status": _STATUSES[message.status],
        "user_id": message.user_id,
        "mode": _MODES[message.mode],
        "workflow_id": message.workflow_id or None,
        "created_at": message.created_at.seconds,
        "expires_at": message.expires_at.seconds,
    }
    if message.HasField("deleted_at"):
        data["deleted_at"] = message.deleted_at.seconds
    if message.refreshed_from:
        data["refreshed_from"] = message.refreshed_from
    if message.refreshed_to:
        data["refreshed_to"] = message.refreshed_to
    return data


def sessions(reply: pb.ListSessionsResponse) -> dict[str, Any]:
    """Returns a page of sessions; the token of the next is null on the last."""
    return {
        "sessions": [session(message) for message in reply.sessions],
        "nextPageToken": reply.next_page_token or None,
    }


def stats(reply: pb.GetStatsResponse) -> dict[str, Any]:
    """Returns the statistics under the names that the dashboard knows."""
    return {
        "totalSessions": reply.total_sessions,
        "totalMessages": reply.total_messages,
        "lastActivity": _rfc3339(reply.last_activity) if reply.HasField("last_activity") else None,
        "averageSessionDuration": reply.average_session_duration_seconds,
        "activeSessions": reply.active_sessions,
        "sessionsToday": reply.sessions_today,
        "messagesToday": reply.messages_today,
        "refreshes": reply.refreshes,
        "deletedSessions": reply.deleted_sessions,
        "failures": reply.failures,
        "messagesUpdatedAt": (
            _rfc3339(reply.messages_updated_at) if reply.HasField("messages_updated_at") else None
        ),
        "turns": reply.turns,
        "failedTurns": reply.failed_turns,
        "inputTokens": reply.input_tokens,
        "outputTokens": reply.output_tokens,
        "estimatedTurns": reply.estimated_turns,
        "toolCalls": reply.tool_calls,
        "answerTime": _answer_time(reply),
        "failuresByReason": dict(reply.failures_by_reason),
        "daily": [
            {
                "date": day.date,
                "sessions": day.sessions,
                "messages": day.messages,
                "refreshes": day.refreshes,
                "failures": day.failures,
                "turns": day.turns,
                "failedTurns": day.failed_turns,
                "inputTokens": day.input_tokens,
                "outputTokens": day.output_tokens,
                "toolCalls": day.tool_calls,
                "answerTime": _answer_time(day),
                "failuresByReason": dict(day.failures_by_reason),
            }
            for day in reply.daily
        ],
    }


def checks(reply: pb.DiagnoseResponse) -> list[Check]:
    """Returns what a session service says of itself."""
    return [
        Check(check.name, _CHECK_STATES.get(check.state, "skipped"), check.cause, check.details)
        for check in reply.checks
    ]


def named_check(check: Check, language: Language) -> dict[str, Any]:
    """Returns what anybody may know of a check."""
    return {"name": check.name, "state": check.state, "title": title(check, language)}


def told_check(check: Check, language: Language) -> dict[str, Any]:
    """Returns all there is, for administrators."""
    return {
        **named_check(check, language),
        "cause": check.cause,
        "remedy": explanation(check, language),
        "details": dict(check.details),
    }


def _answer_time(message: pb.GetStatsResponse | pb.DailyStats) -> dict[str, float] | None:
    if not message.HasField("answer_time"):
        return None
    return {"p50": message.answer_time.p50_seconds, "p95": message.answer_time.p95_seconds}


def _state_variables(body: Mapping[str, Any]) -> Iterator[tuple[str, Primitive]]:
    """Yields what is known of the user but for the e-mail address, whatever else it is called."""
    addresses = {
        value for name, value in body.items() if isinstance(value, str) and _says_email(name)
    }
    found: list[tuple[str, Primitive]] = []
    for key in ("username", "role", "userContext"):
        for name, value, is_email in _flatten(key, body.get(key)):
            if is_email and isinstance(value, str):
                addresses.add(value)
            else:
                found.append((name, value))
    # A user name that is the address is the address: what it is called does not make it less so.
    known = {address.strip().lower() for address in addresses} - {""}
    for name, value in found:
        if not (known and isinstance(value, str) and value.strip().lower() in known):
            yield name, value


def _says_email(name: str) -> bool:
    """Tells so of userEmail, e-mail, mail_address, correo … and rather of too many names."""
    name = name.lower()
    return "mail" in name or "correo" in name


def _flatten(key: str, value: Any, is_email: bool = False) -> Iterator[tuple[str, Primitive, bool]]:
    """Joins nested names with dots, and tells whether one of them says that it is an e-mail.

    Leaves out null, lists, and names that are too long.
    """
    if len(key) > _MAX_KEY_LENGTH:
        return
    if isinstance(value, dict):
        for name, nested in value.items():
            yield from _flatten(f"{key}.{name}", nested, is_email or _says_email(name))
    elif isinstance(value, str | int | float):  # a bool is an int
        yield key, value, is_email


def _rfc3339(timestamp: Timestamp) -> str:
    at = timestamp.ToDatetime(datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
