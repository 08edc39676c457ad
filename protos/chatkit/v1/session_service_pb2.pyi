import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_STATUS_UNSPECIFIED: _ClassVar[SessionStatus]
    SESSION_STATUS_ACTIVE: _ClassVar[SessionStatus]
    SESSION_STATUS_EXPIRED: _ClassVar[SessionStatus]
    SESSION_STATUS_REFRESHED: _ClassVar[SessionStatus]
    SESSION_STATUS_DELETED: _ClassVar[SessionStatus]

class SessionMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_MODE_UNSPECIFIED: _ClassVar[SessionMode]
    SESSION_MODE_HOSTED: _ClassVar[SessionMode]
    SESSION_MODE_SELF_HOSTED: _ClassVar[SessionMode]

class CheckState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECK_STATE_UNSPECIFIED: _ClassVar[CheckState]
    CHECK_STATE_PASSED: _ClassVar[CheckState]
    CHECK_STATE_FAILED: _ClassVar[CheckState]
    CHECK_STATE_WARNING: _ClassVar[CheckState]
    CHECK_STATE_SKIPPED: _ClassVar[CheckState]
SESSION_STATUS_UNSPECIFIED: SessionStatus
SESSION_STATUS_ACTIVE: SessionStatus
SESSION_STATUS_EXPIRED: SessionStatus
SESSION_STATUS_REFRESHED: SessionStatus
SESSION_STATUS_DELETED: SessionStatus
SESSION_MODE_UNSPECIFIED: SessionMode
SESSION_MODE_HOSTED: SessionMode
SESSION_MODE_SELF_HOSTED: SessionMode
CHECK_STATE_UNSPECIFIED: CheckState
CHECK_STATE_PASSED: CheckState
CHECK_STATE_FAILED: CheckState
CHECK_STATE_WARNING: CheckState
CHECK_STATE_SKIPPED: CheckState

class StateVariable(_message.Message):
    __slots__ = ("string_value", "integer_value", "number_value", "bool_value")
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    INTEGER_VALUE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    string_value: str
    integer_value: int
    number_value: float
    bool_value: bool
    def __init__(self, string_value: _Optional[str] = ..., integer_value: _Optional[int] = ..., number_value: _Optional[float] = ..., bool_value: _Optional[bool] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("id", "user_id", "status", "workflow_id", "created_at", "expires_at", "deleted_at", "refreshed_from", "refreshed_to", "mode")
    ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_AT_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_FROM_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_TO_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    id: str
    user_id: str
    status: SessionStatus
    workflow_id: str
    created_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    deleted_at: _timestamp_pb2.Timestamp
    refreshed_from: str
    refreshed_to: str
    mode: SessionMode
    def __init__(self, id: _Optional[str] = ..., user_id: _Optional[str] = ..., status: _Optional[_Union[SessionStatus, str]] = ..., workflow_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deleted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refreshed_from: _Optional[str] = ..., refreshed_to: _Optional[str] = ..., mode: _Optional[_Union[SessionMode, str]] = ...) -> None: ...

class CreateSessionRequest(_message.Message):
    __slots__ = ("user_id", "state_variables")
    class StateVariablesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: StateVariable
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[StateVariable, _Mapping]] = ...) -> None: ...
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_VARIABLES_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    state_variables: _containers.MessageMap[str, StateVariable]
    def __init__(self, user_id: _Optional[str] = ..., state_variables: _Optional[_Mapping[str, StateVariable]] = ...) -> None: ...

class CreateSessionResponse(_message.Message):
    __slots__ = ("session", "client_secret")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    session: Session
    client_secret: str
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ..., client_secret: _Optional[str] = ...) -> None: ...

class RefreshSessionRequest(_message.Message):
    __slots__ = ("user_id", "client_secret")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    client_secret: str
    def __init__(self, user_id: _Optional[str] = ..., client_secret: _Optional[str] = ...) -> None: ...

class RefreshSessionResponse(_message.Message):
    __slots__ = ("session", "client_secret")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    session: Session
    client_secret: str
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ..., client_secret: _Optional[str] = ...) -> None: ...

class GetSessionRequest(_message.Message):
    __slots__ = ("user_id", "session_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    session_id: str
    def __init__(self, user_id: _Optional[str] = ..., session_id: _Optional[str] = ...) -> None: ...

class GetSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: Session
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ...) -> None: ...

class DeleteSessionRequest(_message.Message):
    __slots__ = ("user_id", "session_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    session_id: str
    def __init__(self, user_id: _Optional[str] = ..., session_id: _Optional[str] = ...) -> None: ...

class DeleteSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: Session
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("user_id", "all_users", "page_size", "page_token", "active_only", "session_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_USERS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_ONLY_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    all_users: bool
    page_size: int
    page_token: str
    active_only: bool
    session_id: str
    def __init__(self, user_id: _Optional[str] = ..., all_users: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., active_only: _Optional[bool] = ..., session_id: _Optional[str] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[Session]
    next_page_token: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[Session, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ("user_id", "all_users", "days")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_USERS_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    all_users: bool
    days: int
    def __init__(self, user_id: _Optional[str] = ..., all_users: _Optional[bool] = ..., days: _Optional[int] = ...) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("total_sessions", "active_sessions", "sessions_today", "total_messages", "messages_today", "refreshes", "deleted_sessions", "failures", "average_session_duration_seconds", "last_activity", "messages_updated_at", "daily", "turns", "failed_turns", "input_tokens", "output_tokens", "estimated_turns", "tool_calls", "answer_time", "failures_by_reason")
    class FailuresByReasonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TOTAL_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_TODAY_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_TODAY_FIELD_NUMBER: _ClassVar[int]
    REFRESHES_FIELD_NUMBER: _ClassVar[int]
    DELETED_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_SESSION_DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAST_ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    DAILY_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    FAILED_TURNS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_TURNS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TIME_FIELD_NUMBER: _ClassVar[int]
    FAILURES_BY_REASON_FIELD_NUMBER: _ClassVar[int]
    total_sessions: int
    active_sessions: int
    sessions_today: int
    total_messages: int
    messages_today: int
    refreshes: int
    deleted_sessions: int
    failures: int
    average_session_duration_seconds: float
    last_activity: _timestamp_pb2.Timestamp
    messages_updated_at: _timestamp_pb2.Timestamp
    daily: _containers.RepeatedCompositeFieldContainer[DailyStats]
    turns: int
    failed_turns: int
    input_tokens: int
    output_tokens: int
    estimated_turns: int
    tool_calls: int
    answer_time: AnswerTime
    failures_by_reason: _containers.ScalarMap[str, int]
    def __init__(self, total_sessions: _Optional[int] = ..., active_sessions: _Optional[int] = ..., sessions_today: _Optional[int] = ..., total_messages: _Optional[int] = ..., messages_today: _Optional[int] = ..., refreshes: _Optional[int] = ..., deleted_sessions: _Optional[int] = ..., failures: _Optional[int] = ..., average_session_duration_seconds: _Optional[float] = ..., last_activity: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., messages_updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., daily: _Optional[_Iterable[_Union[DailyStats, _Mapping]]] = ..., turns: _Optional[int] = ..., failed_turns: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., estimated_turns: _Optional[int] = ..., tool_calls: _Optional[int] = ..., answer_time: _Optional[_Union[AnswerTime, _Mapping]] = ..., failures_by_reason: _Optional[_Mapping[str, int]] = ...) -> None: ...

class AnswerTime(_message.Message):
    __slots__ = ("p50_seconds", "p95_seconds")
    P50_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P95_SECONDS_FIELD_NUMBER: _ClassVar[int]
    p50_seconds: float
    p95_seconds: float
    def __init__(self, p50_seconds: _Optional[float] = ..., p95_seconds: _Optional[float] = ...) -> None: ...

class DailyStats(_message.Message):
    __slots__ = ("date", "sessions", "messages", "refreshes", "failures", "turns", "failed_turns", "input_tokens", "output_tokens", "tool_calls", "answer_time", "failures_by_reason")
    class FailuresByReasonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    DATE_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    REFRESHES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    FAILED_TURNS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TIME_FIELD_NUMBER: _ClassVar[int]
    FAILURES_BY_REASON_FIELD_NUMBER: _ClassVar[int]
    date: str
    sessions: int
    messages: int
    refreshes: int
    failures: int
    turns: int
    failed_turns: int
    input_tokens: int
    output_tokens: int
    tool_calls: int
    answer_time: AnswerTime
    failures_by_reason: _containers.ScalarMap[str, int]
    def __init__(self, date: _Optional[str] = ..., sessions: _Optional[int] = ..., messages: _Optional[int] = ..., refreshes: _Optional[int] = ..., failures: _Optional[int] = ..., turns: _Optional[int] = ..., failed_turns: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., tool_calls: _Optional[int] = ..., answer_time: _Optional[_Union[AnswerTime, _Mapping]] = ..., failures_by_reason: _Optional[_Mapping[str, int]] = ...) -> None: ...

class WatchStatsRequest(_message.Message):
    __slots__ = ("user_id", "all_users", "days")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_USERS_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    all_users: bool
    days: int
    def __init__(self, user_id: _Optional[str] = ..., all_users: _Optional[bool] = ..., days: _Optional[int] = ...) -> None: ...

class WatchStatsResponse(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: GetStatsResponse
    def __init__(self, stats: _Optional[_Union[GetStatsResponse, _Mapping]] = ...) -> None: ...

class DiagnoseRequest(_message.Message):
    __slots__ = ("ask_openai",)
    ASK_OPENAI_FIELD_NUMBER: _ClassVar[int]
    ask_openai: bool
    def __init__(self, ask_openai: _Optional[bool] = ...) -> None: ...

class DiagnoseResponse(_message.Message):
    __slots__ = ("checks",)
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    def __init__(self, checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("name", "state", "cause", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: CheckState
    cause: str
    details: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[CheckState, str]] = ..., cause: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...
