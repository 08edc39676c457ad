"""chatkit.v1.SessionService: translates between protobuf and the domain, and decides nothing."""

import asyncio
import base64
import math
import re
from collections.abc import AsyncGenerator
from typing import TypeAlias

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1 import session_service_pb2_grpc as pb_grpc
from runtime.checklist import Check
from session_service.doctor import Doctor
from session_service.errors import InvalidArgument
from session_service.sessions import Sessions, Status, now_ms, status_of, time_to_work
from session_service.statistics import AnswerTime, Breakdown, date_of, statistics
from session_service.stores.base import Day, Session, StateVariables, Store
from session_service.watching import Watching

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"

_STATUSES = {
    Status.ACTIVE: pb.SESSION_STATUS_ACTIVE,
    Status.EXPIRED: pb.SESSION_STATUS_EXPIRED,
    Status.REFRESHED: pb.SESSION_STATUS_REFRESHED,
    Status.DELETED: pb.SESSION_STATUS_DELETED,
}
_PAGE_TOKEN = re.compile(r"(\d{1,18}) (.+)", re.ASCII | re.DOTALL)
_MODES = {
    "hosted": pb.SESSION_MODE_HOSTED,
    "self_hosted": pb.SESSION_MODE_SELF_HOSTED,
}
_CHECK_STATES = {
    "passed": pb.CHECK_STATE_PASSED,
    "failed": pb.CHECK_STATE_FAILED,
    "warning": pb.CHECK_STATE_WARNING,
    "skipped": pb.CHECK_STATE_SKIPPED,
}
_NOTHING = Breakdown()


class SessionServicer(pb_grpc.SessionServiceServicer):
    """The calls of the contract."""

    def __init__(
        self,
        sessions: Sessions,
        store: Store,
        watching: Watching[pb.GetStatsResponse],
        doctor: Doctor,
        timeout_seconds: float,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._watching = watching
        self._doctor = doctor
        self._timeout_seconds = timeout_seconds

    async def CreateSession(
        self, request: pb.CreateSessionRequest, context: Context
    ) -> pb.CreateSessionResponse:
        issued = await self._sessions.create(
            request.user_id, _state_variables(request), self._deadline(context)
        )
        return pb.CreateSessionResponse(
            session=_message(issued.session), client_secret=issued.client_secret
        )

    async def RefreshSession(
        self, request: pb.RefreshSessionRequest, context: Context
    ) -> pb.RefreshSessionResponse:
        issued = await self._sessions.refresh(
            request.user_id, request.client_secret, self._deadline(context)
        )
        return pb.RefreshSessionResponse(
            session=_message(issued.session), client_secret=issued.client_secret
        )

    async def GetSession(
        self, request: pb.GetSessionRequest, context: Context
    ) -> pb.GetSessionResponse:
        session = await self._sessions.get(request.user_id, request.session_id)
        return pb.GetSessionResponse(session=_message(session))

    async def DeleteSession(
        self, request: pb.DeleteSessionRequest, context: Context
    ) -> pb.DeleteSessionResponse:
        session = await self._sessions.delete(request.user_id, request.session_id)
        return pb.DeleteSessionResponse(session=_message(session))

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: Context
    ) -> pb.ListSessionsResponse:
        page, following = await self._sessions.list(
            None if request.all_users else request.user_id,
            request.page_size,
            _parse_page_token(request.page_token),
            active_only=request.active_only,
            session_id=request.session_id or None,
        )
        return pb.ListSessionsResponse(
            sessions=[_message(session) for session in page],
            next_page_token=_page_token(following),
        )

    async def WatchStats(
        self, request: pb.WatchStatsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchStatsResponse, None]:
        with self._watching.watch(*_scope(request)) as watcher:
            while True:
                yield pb.WatchStatsResponse(stats=await watcher.next())

    async def Diagnose(self, request: pb.DiagnoseRequest, context: Context) -> pb.DiagnoseResponse:
        checks = await self._doctor.examine(ask_openai=request.ask_openai)
        return pb.DiagnoseResponse(checks=map(_check, checks))

    async def GetStats(self, request: pb.GetStatsRequest, context: Context) -> pb.GetStatsResponse:
        return await read_stats(self._store, *_scope(request))

    def _deadline(self, context: Context) -> float:
        """Returns our limit or the caller's, whichever is first, in event loop time."""
        remaining = context.time_remaining()
        seconds = min(self._timeout_seconds, math.inf if remaining is None else remaining)
        # A little early, so that the caller hears the reason and not just that it is too late.
        return asyncio.get_running_loop().time() + time_to_work(seconds)


async def read_stats(store: Store, user_id: str | None, days: int | None) -> pb.GetStatsResponse:
    """Returns the statistics of a user or of everybody (None). Raises what `statistics` raises."""
    stats = await statistics(store, user_id, days)
    totals = stats.totals
    return pb.GetStatsResponse(
        total_sessions=totals.sessions,
        active_sessions=stats.active,
        sessions_today=stats.today.sessions,
        total_messages=totals.messages,
        messages_today=stats.today.messages,
        refreshes=totals.refreshes,
        deleted_sessions=totals.deleted,
        failures=totals.failures,
        average_session_duration_seconds=stats.average_duration_seconds,
        last_activity=_timestamp(totals.last_activity_ms),
        messages_updated_at=_timestamp(totals.messages_updated_ms),
        daily=[_daily(day, stats.by_day.get(day.day, _NOTHING)) for day in stats.daily],
        turns=totals.turns,
        failed_turns=totals.failed_turns,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        estimated_turns=totals.estimated_turns,
        tool_calls=totals.tool_calls,
        answer_time=_answer_time(stats.total.answer_time),
        failures_by_reason=stats.total.failures,
    )


def _scope(request: pb.GetStatsRequest | pb.WatchStatsRequest) -> tuple[str | None, int | None]:
    """Returns whose statistics are asked for, None for everybody's, and of how many days."""
    return (
        None if request.all_users else request.user_id,
        request.days if request.HasField("days") else None,
    )


def _message(session: Session) -> pb.Session:
    return pb.Session(
        id=session.id,
        user_id=session.user_id,
        status=_STATUSES[status_of(session, now_ms())],
        workflow_id=session.workflow_id,
        created_at=_timestamp(session.created_ms),
        expires_at=_timestamp(session.expires_ms),
        deleted_at=_timestamp(session.deleted_ms),
        refreshed_from=session.refreshed_from or "",
        refreshed_to=session.refreshed_to or "",
        mode=_MODES[session.mode],
    )


def _daily(day: Day, breakdown: Breakdown) -> pb.DailyStats:
    return pb.DailyStats(
        date=date_of(day.day),
        sessions=day.sessions,
        messages=day.messages,
        refreshes=day.refreshes,
        failures=day.failures,
        turns=day.turns,
        failed_turns=day.failed_turns,
        input_tokens=day.input_tokens,
        output_tokens=day.output_tokens,
        tool_calls=day.tool_calls,
        answer_time=_answer_time(breakdown.answer_time),
        failures_by_reason=breakdown.failures,
    )


def _answer_time(time: AnswerTime | None) -> pb.AnswerTime | None:
    if time is None:
        return None
    return pb.AnswerTime(p50_seconds=time.p50_seconds, p95_seconds=time.p95_seconds)


def _check(check: Check) -> pb.Check:
    return pb.Check(
        name=check.name,
        state=_CHECK_STATES[check.state],
        cause=check.cause,
        details=check.details,
    )


def _timestamp(at_ms: int | None) -> Timestamp | None:
    if at_ms is None:
        return None
    seconds, milliseconds = divmod(at_ms, 1000)
    return Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000)


def _state_variables(request: pb.CreateSessionRequest) -> StateVariables:
    variables: dict[str, str | int | float | bool] = {}
    for key, variable in request.state_variables.items():
        kind = variable.WhichOneof("kind")
        if kind is None:
            raise InvalidArgument("state_variables", f"{key!r} has no value")
        variables[key] = getattr(variable, kind)
    return variables


def _page_token(following: tuple[int, str] | None) -> str:
    if following is None:
        return ""
    created_ms, session_id = following
    return base64.urlsafe_b64encode(f"{created_ms} {session_id}".encode()).decode()


def _parse_page_token(token: str) -> tuple[int, str] | None:
    if not token:
        return None
    try:
        match = _PAGE_TOKEN.fullmatch(base64.urlsafe_b64decode(token).decode())
    except ValueError:
        match = None
    if match is None:
        raise InvalidArgument("page_token", "must be the next_page_token of an answer")
    return int(match[1]), match[2]
