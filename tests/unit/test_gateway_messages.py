"""What the workflow is told about the user, and what the dashboard is told about a session."""

import json
from typing import Any

import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import messages
from protos.chatkit.v1 import session_service_pb2 as pb
from tests.e2e.dashboard import STATE_VARIABLES, VERBATIM
from tests.gateway_support import session_message

Variables = dict[str, str | int | float | bool]


def variables(body: dict[str, Any]) -> Variables:
    request = messages.create_session_request("7", body)
    assert request.user_id == "7"
    found: Variables = {}
    for key, variable in request.state_variables.items():
        kind = variable.WhichOneof("kind")
        assert kind is not None
        found[key] = getattr(variable, kind)
    return found


def test_the_dashboards_verbatim_request_gives_exactly_these() -> None:
    found = variables(orjson.loads(VERBATIM))
    assert found == STATE_VARIABLES
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in STATE_VARIABLES.items()
    }


def test_nothing_known_about_the_user_is_nothing_to_tell() -> None:
    assert variables({}) == {}
    assert variables({"userId": 7, "email": "a@b.example", "other": {"x": 1}}) == {}
    assert variables({"username": None, "role": [], "userContext": {}}) == {}


@pytest.mark.parametrize("dropped", [None, [], ["a"], [[]], {}, {"x": None}, {"x": {"y": []}}])
def test_what_is_no_primitive_is_dropped_alone(dropped: object) -> None:
    body = {"userContext": {"gone": dropped, "kept": "yes"}}
    assert variables(body) == {"userContext.kept": "yes"}


ADDRESS = "user7@example.com"


@pytest.mark.parametrize(
    "name",
    [
        *("email", "Email", "EMAIL", "e-mail", "E_Mail", "mail", "userEmail", "user_email"),
        *(
            "emailAddress",
            "email_address",
            "mailAddress",
            "workMail",
            "correo",
            "correoElectronico",
        ),
    ],
)
def test_the_email_address_is_not_forwarded_wherever_it_is(name: str) -> None:
    body = {
        name: ADDRESS,
        "userContext": {name: ADDRESS, "nested": {name: ADDRESS}, "kept": True},
    }
    assert variables(body) == {"userContext.kept": True}


def test_an_email_that_holds_an_object_is_not_forwarded_either() -> None:
    found = variables({"userContext": {"email": {"address": ADDRESS, "verified": True}}})
    assert found == {"userContext.email.verified": True}


@pytest.mark.parametrize("value", [True, False, 0, 1.5])
@pytest.mark.parametrize("name", ["email", "mail", "sendEmail"])
def test_what_is_no_text_is_no_address_whatever_it_is_called(name: str, value: object) -> None:
    body = {"email": ADDRESS, "userContext": {"permissions": {name: value}}}
    assert variables(body) == {f"userContext.permissions.{name}": value}


@pytest.mark.parametrize("known", [{"email": ADDRESS}, {"userContext": {"userEmail": ADDRESS}}])
@pytest.mark.parametrize("value", [ADDRESS, f" {ADDRESS.upper()} "])
def test_the_address_is_not_forwarded_under_another_name(known: dict[str, Any], value: str) -> None:
    context = {**known.get("userContext", {}), "contact": value, "kept": "yes"}
    body = {**known, "username": value, "role": "admin", "userContext": context}
    assert variables(body) == {"role": "admin", "userContext.kept": "yes"}


@pytest.mark.parametrize("name", ["female", "domain", "name", "emulate"])
def test_other_names_are_not_taken_for_an_address(name: str) -> None:
    assert variables({"email": "", "userContext": {name: "", "a": "b"}}) == {
        f"userContext.{name}": "",
        "userContext.a": "b",
    }


def test_a_key_may_have_64_characters() -> None:
    fits, too_long = "x" * 52, "y" * 53
    assert variables({"userContext": {fits: 1, too_long: 2}}) == {f"userContext.{fits}": 1}
    assert len(f"userContext.{fits}") == 64


def test_there_may_be_64_and_the_first_ones_count() -> None:
    body = {"username": "u", "role": "r", "userContext": {f"n{i}": i for i in range(100)}}
    found = variables(body)
    assert len(found) == 64
    assert set(found) == {"username", "role", *(f"userContext.n{i}" for i in range(62))}


def test_what_is_dropped_takes_no_place() -> None:
    context: dict[str, object] = {f"gone{i}": None for i in range(100)}
    context |= {f"n{i}": i for i in range(64)}
    assert len(variables({"userContext": context})) == 64


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63), True, False, 0.5, -1e300, "", "é"])
def test_a_primitive_keeps_its_value_and_its_type(value: object) -> None:
    (found,) = variables({"userContext": {"a": value}}).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64 - 1, 10**30])
def test_an_integer_beyond_64_bits_is_a_number(value: int) -> None:
    (found,) = variables({"userContext": {"a": value}}).values()
    assert (type(found), found) == (float, float(value))


def test_a_value_deep_inside_has_all_the_names_on_the_way() -> None:
    assert variables({"userContext": {"a": {"b": {"c": 1}}}}) == {"userContext.a.b.c": 1}
    assert variables({"username": {"first": "Ada"}}) == {"username.first": "Ada"}


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=8),
    max_leaves=90,
)
names = st.sampled_from(["userId", "username", "email", "role", "userContext", "other"])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, json_values))
def test_whatever_json_comes_the_result_is_within_openais_limits(body: dict[str, Any]) -> None:
    try:
        parsed = orjson.loads(json.dumps(body))
    except orjson.JSONDecodeError:  # a number that no float can hold
        return
    found = variables(parsed)
    assert len(found) <= 64
    for key, value in found.items():
        assert 0 < len(key) <= 64
        assert key.split(".")[0] in ("username", "role", "userContext")
        assert isinstance(value, str | int | float | bool)
    assert messages.create_session_request("7", parsed).SerializeToString()


def test_a_session_tells_what_applies_and_no_more() -> None:
    assert messages.session(session_message()) == {
        "id": "cksess_1",
        "status": "active",
        "user_id": "7",
        "mode": "hosted",
        "workflow_id": "wf_test",
        "created_at": 1_800_000_000,
        "expires_at": 1_800_000_600,
    }
    more = session_message(
        refreshed_from="cksess_0", refreshed_to="cksess_2", deleted_at=Timestamp(seconds=9)
    )
    data = messages.session(more)
    assert (data["refreshed_from"], data["refreshed_to"]) == ("cksess_0", "cksess_2")
    assert data["deleted_at"] == 9


def test_a_session_of_our_own_has_no_workflow() -> None:
    message = session_message(mode=pb.SESSION_MODE_SELF_HOSTED, workflow_id="")
    reply = pb.CreateSessionResponse(session=message, client_secret="cksec_1")
    for data in (messages.session(message), messages.issued(reply)):
        assert (data["mode"], data["workflow_id"]) == ("self_hosted", None)


def test_every_mode_of_the_wire_has_its_name() -> None:
    for name, number in pb.SessionMode.items():
        # A session service of before says none.
        expected = name.removeprefix("SESSION_MODE_").lower() if number else "hosted"
        assert messages.session(session_message(mode=number))["mode"] == expected


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (pb.SESSION_STATUS_ACTIVE, "active"),
        (pb.SESSION_STATUS_EXPIRED, "expired"),
        (pb.SESSION_STATUS_REFRESHED, "refreshed"),
        (pb.SESSION_STATUS_DELETED, "deleted"),
    ],
)
def test_each_status_has_its_name(status: int, name: str) -> None:
    assert messages.session(session_message(status=status))["status"] == name


def test_every_status_of_the_wire_has_a_name() -> None:
    for name, number in pb.SessionStatus.items():
        if number:
            expected = name.removeprefix("SESSION_STATUS_").lower()
            assert messages.session(session_message(status=number))["status"] == expected


def test_what_is_issued_has_a_secret_and_whole_seconds() -> None:
    reply = pb.CreateSessionResponse(
        session=session_message(expires_at=Timestamp(seconds=12, nanos=999_000_000)),
        client_secret="ek_1",
    )
    data = messages.issued(reply)
    assert (data["session_id"], data["client_secret"], data["expires_at"]) == (
        "cksess_1",
        "ek_1",
        12,
    )


def test_statistics_keep_every_number_under_the_dashboards_name() -> None:
    reply = pb.GetStatsResponse(
        total_sessions=1,
        active_sessions=2,
        sessions_today=3,
        total_messages=4,
        messages_today=5,
        refreshes=6,
        deleted_sessions=7,
        failures=8,
        average_session_duration_seconds=9.5,
        last_activity=Timestamp(seconds=0, nanos=1_000_000),
        messages_updated_at=Timestamp(seconds=86_400),
        turns=14,
        failed_turns=15,
        input_tokens=16,
        output_tokens=17,
        estimated_turns=18,
        tool_calls=19,
        answer_time=pb.AnswerTime(p50_seconds=1.5, p95_seconds=20.25),
        failures_by_reason={"UPSTREAM_TIMEOUT": 21},
        daily=[
            pb.DailyStats(
                date="2026-11-22",
                sessions=10,
                messages=11,
                refreshes=12,
                failures=13,
                turns=22,
                failed_turns=23,
                input_tokens=24,
                output_tokens=25,
                tool_calls=26,
                answer_time=pb.AnswerTime(p50_seconds=2.5, p95_seconds=2.5),
                failures_by_reason={"INTERNAL": 27, "UPSTREAM_REJECTED": 28},
            )
        ],
    )
    assert messages.stats(reply) == {
        "totalSessions": 1,
        "activeSessions": 2,
        "sessionsToday": 3,
        "totalMessages": 4,
        "messagesToday": 5,
        "refreshes": 6,
        "deletedSessions": 7,
        "failures": 8,
        "averageSessionDuration": 9.5,
        "lastActivity": "1970-01-01T00:00:00.001Z",
        "messagesUpdatedAt": "1970-01-02T00:00:00.000Z",
        "turns": 14,
        "failedTurns": 15,
        "inputTokens": 16,
        "outputTokens": 17,
        "estimatedTurns": 18,
        "toolCalls": 19,
        "answerTime": {"p50": 1.5, "p95": 20.25},
        "failuresByReason": {"UPSTREAM_TIMEOUT": 21},
        "daily": [
            {
                "date": "2026-11-22",
                "sessions": 10,
                "messages": 11,
                "refreshes": 12,
                "failures": 13,
                "turns": 22,
                "failedTurns": 23,
                "inputTokens": 24,
                "outputTokens": 25,
                "toolCalls": 26,
                "answerTime": {"p50": 2.5, "p95": 2.5},
                "failuresByReason": {"INTERNAL": 27, "UPSTREAM_REJECTED": 28},
            }
        ],
    }


def test_statistics_of_nothing_have_no_times() -> None:
    data = messages.stats(pb.GetStatsResponse())
    assert (data["lastActivity"], data["messagesUpdatedAt"], data["daily"]) == (None, None, [])
    assert (data["answerTime"], data["failuresByReason"]) == (None, {})
    (day,) = messages.stats(pb.GetStatsResponse(daily=[pb.DailyStats()]))["daily"]
    assert (day["answerTime"], day["failuresByReason"]) == (None, {})
