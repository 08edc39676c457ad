"""What calls return: frozen values, made from the messages of the contract."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from protos.chatkit.v1 import conversation_service_pb2
from protos.chatkit.v1 import session_service_pb2 as pb

E = TypeVar("E", bound=StrEnum)


class SessionStatus(StrEnum):
    """What has become of a session."""

    UNSPECIFIED = "unspecified"
    """What only a newer contract knows."""
    ACTIVE = "active"
    EXPIRED = "expired"
    REFRESHED = "refreshed"
    DELETED = "deleted"


class SessionMode(StrEnum):
    """Who answers the user's messages."""

    UNSPECIFIED = "unspecified"
    HOSTED = "hosted"
    SELF_HOSTED = "self_hosted"


class CheckState(StrEnum):
    """How a check went."""

    UNSPECIFIED = "unspecified"
    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Session:
    """A session without its client secret, which nobody keeps. Times are UTC."""

    id: str
    user_id: str
    status: SessionStatus
    mode: SessionMode
    workflow_id: str
    """Empty in self-hosted mode."""
    created_at: datetime.datetime
    expires_at: datetime.datetime
    deleted_at: datetime.datetime | None
    refreshed_from: str | None
    refreshed_to: str | None


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """A session with its client secret, which is for the user's browser alone."""

    session: Session
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnswerTime:
    """How long answers took: half of them at most `p50_seconds`. Within 10 %."""

    p50_seconds: float
    p95_seconds: float


@dataclass(frozen=True, slots=True)
class DailyStats:
    """Of one day, UTC."""

    date: datetime.date
    sessions: int
    messages: int
    refreshes: int
    failures: int
    turns: int
    failed_turns: int
    input_tokens: int
    output_tokens: int
    tool_calls: int
    answer_time: AnswerTime | None
    failures_by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Stats:
    """Of a user or of everybody: see GetStatsResponse in session_service.proto."""

    total_sessions: int
    active_sessions: int
    sessions_today: int
    total_messages: int
    messages_today: int
    refreshes: int
    deleted_sessions: int
    failures: int
    average_session_duration_seconds: float
    last_activity: datetime.datetime | None
    messages_updated_at: datetime.datetime | None
    daily: Sequence[DailyStats]
    """Oldest first, zeros included."""
    turns: int
    failed_turns: int
    input_tokens: int
    output_tokens: int
    estimated_turns: int
    tool_calls: int
    answer_time: AnswerTime | None
    failures_by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be in order."""

    name: str
    state: CheckState
    cause: str
    details: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeletedData:
    """How much of a user was deleted."""

    sessions: int
    threads: int
    attachments: int


def issued(message: pb.CreateSessionResponse | pb.RefreshSessionResponse) -> IssuedSession:
    return IssuedSession(session(message.session), message.client_secret)


def session(message: pb.Session) -> Session:
    return Session(
        id=message.id,
        user_id=message.user_id,
        status=_named(SessionStatus, pb.SessionStatus, message.status),
        mode=_named(SessionMode, pb.SessionMode, message.mode),
        workflow_id=message.workflow_id,
        created_at=message.created_at.ToDatetime(datetime.UTC),
        expires_at=message.expires_at.ToDatetime(datetime.UTC),
        deleted_at=_time(message, "deleted_at", message.deleted_at),
        refreshed_from=message.refreshed_from or None,
        refreshed_to=message.refreshed_to or None,
    )


def stats(message: pb.GetStatsResponse) -> Stats:
    return Stats(
        total_sessions=message.total_sessions,
        active_sessions=message.active_sessions,
        sessions_today=message.sessions_today,
        total_messages=message.total_messages,
        messages_today=message.messages_today,
        refreshes=message.refreshes,
        deleted_sessions=message.deleted_sessions,
        failures=message.failures,
        average_session_duration_seconds=message.average_session_duration_seconds,
        last_activity=_time(message, "last_activity", message.last_activity),
        messages_updated_at=_time(message, "messages_updated_at", message.messages_updated_at),
        daily=tuple(map(_day, message.daily)),
        turns=message.turns,
        failed_turns=message.failed_turns,
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        estimated_turns=message.estimated_turns,
        tool_calls=message.tool_calls,
        answer_time=_answer_time(message),
        failures_by_reason=dict(message.failures_by_reason),
    )


def check(message: pb.Check) -> Check:
    return Check(
        name=message.name,
        state=_named(CheckState, pb.CheckState, message.state),
        cause=message.cause,
        details=dict(message.details),
    )


def deleted_data(message: conversation_service_pb2.DeleteUserDataResponse) -> DeletedData:
    return DeletedData(message.sessions, message.threads, message.attachments)


def state_variable(value: str | int | float | bool) -> pb.StateVariable:
    match value:
        case bool():  # which is an int, too
            return pb.StateVariable(bool_value=value)
        case int():
            return pb.StateVariable(integer_value=value)
        case float():
            return pb.StateVariable(number_value=value)
    return pb.StateVariable(string_value=value)


def _day(message: pb.DailyStats) -> DailyStats:
    return DailyStats(
        date=datetime.date.fromisoformat(message.date),
        sessions=message.sessions,
        messages=message.messages,
        refreshes=message.refreshes,
        failures=message.failures,
        turns=message.turns,
        failed_turns=message.failed_turns,
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        tool_calls=message.tool_calls,
        answer_time=_answer_time(message),
        failures_by_reason=dict(message.failures_by_reason),
    )


def _answer_time(message: pb.GetStatsResponse | pb.DailyStats) -> AnswerTime | None:
    if not message.HasField("answer_time"):
        return None
    return AnswerTime(message.answer_time.p50_seconds, message.answer_time.p95_seconds)


def _time(message: Message, name: str, value: Timestamp) -> datetime.datetime | None:
    return value.ToDatetime(datetime.UTC) if message.HasField(name) else None


def _named(kind: type[E], of_contract: Any, number: int) -> E:
    """Returns the value of that name; of a newer contract, which has more, the unspecified one."""
    prefix = of_contract.Name(0).removesuffix("UNSPECIFIED")
    names = {number: name.removeprefix(prefix).lower() for name, number in of_contract.items()}
    return kind(names.get(number, "unspecified"))
