"""The unary calls over real gRPC, against the OpenAI emulator."""

import base64
import datetime
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.chatkit.v1 import session_service_pb2 as pb
from session_service.stores.conversations import ANSWERED, BROKEN_OFF, Turn
from session_service.stores.sqlite import open_sqlite_store
from tests.support import (
    Emulator,
    SessionService,
    open_session_service,
    refused,
    settings_for,
)

Values = dict[str, str | int | float | bool]


def variable(value: str | int | float | bool) -> pb.StateVariable:
    match value:
        case bool():
            return pb.StateVariable(bool_value=value)
        case int():
            return pb.StateVariable(integer_value=value)
        case float():
            return pb.StateVariable(number_value=value)
    return pb.StateVariable(string_value=value)


def page_token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


async def test_a_session_is_made_at_openai_and_kept(
    service: SessionService, emulator: Emulator
) -> None:
    values: Values = {"name": "Ana ñ", "n": -3, "share": 0.5, "admin": False, "userContext.x": True}
    before = time.time()
    created = await service.stub.CreateSession(
        pb.CreateSessionRequest(
            user_id="7", state_variables={key: variable(value) for key, value in values.items()}
        )
    )
    (request,) = await emulator.requests("sessions.create")
    assert request["body"] == {
        "user": "7",
        "workflow": {"id": "wf_test", "state_variables": values},
        "chatkit_configuration": {"file_upload": {"enabled": True}},
    }
    assert created.client_secret.startswith("ek_")
    session = created.session
    assert session.id.startswith("cksess_")
    assert (session.user_id, session.workflow_id) == ("7", "wf_test")
    assert session.status == pb.SESSION_STATUS_ACTIVE
    assert before - 0.01 <= session.created_at.ToMicroseconds() / 1e6 <= time.time()
    assert session.expires_at.seconds - int(before) in range(600, 620)
    assert not session.HasField("deleted_at")
    assert (session.refreshed_from, session.refreshed_to) == ("", "")
    assert await service.get(session.id) == session


async def test_state_variables_keep_their_types_over_a_refresh(
    service: SessionService, emulator: Emulator
) -> None:
    values: Values = {"int": 1, "float": 1.0, "true": True, "big": 2**53, "text": "1"}
    request = pb.CreateSessionRequest(
        user_id="7", state_variables={key: variable(value) for key, value in values.items()}
    )
    await service.refresh((await service.stub.CreateSession(request)).client_secret)
    made, again = (r["body"] for r in await emulator.requests("sessions.create"))
    assert again == made
    sent = again["workflow"]["state_variables"]
    assert {key: type(value) for key, value in sent.items()} == {
        key: type(value) for key, value in values.items()
    }


async def test_file_upload_is_off_where_the_tools_do_not_have_it(
    emulator: Emulator, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, emulator.url, chatkit_tools="search")
    async with open_session_service(settings) as service:
        await service.create()
    (request,) = await emulator.requests("sessions.create")
    assert request["body"]["chatkit_configuration"] == {"file_upload": {"enabled": False}}


async def test_another_users_session_is_as_one_that_never_was(service: SessionService) -> None:
    theirs = await service.create("8")
    calls: list[Callable[[str, str], Any]] = [
        lambda session_id, _: service.get(session_id),
        lambda session_id, _: service.delete(session_id),
        lambda _, secret: service.refresh(secret),
    ]
    for call in calls:
        with refused("SESSION_NOT_FOUND") as real:
            await call(theirs.session.id, theirs.client_secret)
        with refused("SESSION_NOT_FOUND") as unreal:
            await call("cksess_0", "ek_0")
        assert (real.message, real.details) == (unreal.message, unreal.details)
    assert (await service.get(theirs.session.id, "8")).status == pb.SESSION_STATUS_ACTIVE


TOO_LONG = "x" * 257
ONE = {"a": variable("b")}
INVALID: list[tuple[str, str, Any]] = [
    ("CreateSession", "user_id", pb.CreateSessionRequest()),
    ("CreateSession", "user_id", pb.CreateSessionRequest(user_id=TOO_LONG)),
    ("CreateSession", "user_id", pb.CreateSessionRequest(user_id="7\0")),
    ("RefreshSession", "user_id", pb.RefreshSessionRequest(client_secret="ek_1")),
    ("RefreshSession", "client_secret", pb.RefreshSessionRequest(user_id="7")),
    ("GetSession", "user_id", pb.GetSessionRequest(session_id="cksess_1")),
    ("GetSession", "session_id", pb.GetSessionRequest(user_id="7")),
    ("GetSession", "session_id", pb.GetSessionRequest(user_id="7", session_id="x" * 5000)),
    ("GetSession", "session_id", pb.GetSessionRequest(user_id="7", session_id="cksess\0")),
    ("DeleteSession", "user_id", pb.DeleteSessionRequest(session_id="cksess_1")),
    ("DeleteSession", "session_id", pb.DeleteSessionRequest(user_id="7")),
    ("ListSessions", "user_id", pb.ListSessionsRequest()),
    ("ListSessions", "session_id", pb.ListSessionsRequest(user_id="7", session_id=TOO_LONG)),
    ("ListSessions", "page_size", pb.ListSessionsRequest(user_id="7", page_size=-1)),
    ("ListSessions", "page_size", pb.ListSessionsRequest(all_users=True, page_size=1001)),
    ("GetStats", "user_id", pb.GetStatsRequest()),
    ("GetStats", "days", pb.GetStatsRequest(user_id="7", days=0)),
    ("GetStats", "days", pb.GetStatsRequest(user_id="7", days=-1)),
    ("GetStats", "days", pb.GetStatsRequest(all_users=True, days=367)),
    *(
        ("ListSessions", "page_token", pb.ListSessionsRequest(user_id="7", page_token=token))
        for token in (
            "?",
            "ñ",
            "a",
            page_token("x y"),
            page_token("cksess_1"),
            page_token(f"{10**30} cksess_1"),
            page_token("9" * 5000),
        )
    ),
    *(
        ("CreateSession", "state_variables", pb.CreateSessionRequest(user_id="7", **{name: value}))
        for name, value in (
            ("state_variables", {f"k{number}": variable(1) for number in range(65)}),
            ("state_variables", {"k" * 65: variable(1)}),
            ("state_variables", {"": variable(1)}),
            ("state_variables", {"k": pb.StateVariable()}),
            ("state_variables", {"k": variable(math.nan)}),
            ("state_variables", {"k": variable(math.inf)}),
        )
    ),
]


async def test_what_is_invalid_is_named(service: SessionService, emulator: Emulator) -> None:
    surprises = []
    for call, field, request in INVALID:
        try:
            with refused("INVALID_ARGUMENT") as refusal:
                await getattr(service.stub, call)(request)
            assert list(refusal.details.field_violations) == [field]
        except AssertionError as error:
            surprises.append((call, field, str(request)[:80], str(error)[:200]))
    assert surprises == []
    assert await emulator.requests() == []


async def test_the_limits_themselves_are_valid(service: SessionService) -> None:
    keys = [f"{number:064}" for number in range(64)]
    user = "ñ\t\u00a0\u200d" * 64
    request = pb.CreateSessionRequest(
        user_id=user, state_variables={key: variable(1) for key in keys}
    )
    await service.stub.CreateSession(request)
    stats = pb.GetStatsRequest(user_id=user, days=366)
    assert len((await service.stub.GetStats(stats)).daily) == 366
    listed = pb.ListSessionsRequest(user_id=user, page_size=1000)
    assert len((await service.stub.ListSessions(listed)).sessions) == 1


@pytest.mark.parametrize("sane", ["req-7", "x" * 128, "a b~!"])
async def test_a_sane_request_id_goes_to_openai_and_back(
    sane: str, service: SessionService, emulator: Emulator
) -> None:
    metadata = (("x-request-id", sane),)
    call = service.stub.CreateSession(pb.CreateSessionRequest(user_id="7"), metadata=metadata)
    await call
    assert dict(await call.trailing_metadata() or ())["x-request-id"] == sane
    (request,) = await emulator.requests("sessions.create")
    assert request["headers"]["x-client-request-id"] == sane


@pytest.mark.parametrize("sent", [(), (("x-request-id", "x" * 129),), (("x-request-id", ""),)])
async def test_otherwise_a_request_id_is_made_up(
    sent: tuple[tuple[str, str], ...], service: SessionService, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", status=400)
    with refused("UPSTREAM_REJECTED") as refusal:
        await service.stub.CreateSession(pb.CreateSessionRequest(user_id="7"), metadata=sent)
    minted = refusal.trailing["x-request-id"]
    assert 8 <= len(minted) <= 128
    (request,) = await emulator.requests("sessions.create")
    assert request["headers"]["x-client-request-id"] == minted


async def test_every_session_is_on_one_page(service: SessionService) -> None:
    made = [(await service.create(user)).session for user in "7877878" for _ in range(3)]
    for user, all_users in (("7", False), ("8", False), ("", True), ("9", False)):
        mine = [session for session in made if all_users or session.user_id == user]
        listed: list[pb.Session] = []
        token, pages = "", 0
        while pages == 0 or token:
            page = await service.stub.ListSessions(
                pb.ListSessionsRequest(
                    user_id=user, all_users=all_users, page_size=3, page_token=token
                )
            )
            listed += page.sessions
            token, pages = page.next_page_token, pages + 1
        newest_first = sorted(mine, key=lambda s: (s.created_at.ToMilliseconds(), s.id))[::-1]
        assert listed == newest_first
        assert pages == max(1, math.ceil(len(mine) / 3))


async def test_a_list_is_narrowed_to_active_sessions_or_to_one(service: SessionService) -> None:
    first = await service.create()
    second = await service.refresh(first.client_secret)
    deleted = await service.create()
    await service.delete(deleted.session.id)
    theirs = await service.create("8")

    async def listed(user: str = "7", **more: Any) -> list[str]:
        request = pb.ListSessionsRequest(user_id=user, all_users=not user, **more)
        return [session.id for session in (await service.stub.ListSessions(request)).sessions]

    one, other = second.session.id, theirs.session.id
    assert await listed(active_only=True) == [one]
    assert sorted(await listed("", active_only=True)) == sorted([one, other])
    for session_id in (first.session.id, one, deleted.session.id):
        assert await listed(session_id=session_id) == [session_id]
        active = [session_id] if session_id == one else []
        assert await listed(session_id=session_id, active_only=True) == active
    assert await listed(session_id=other) == await listed(session_id="cksess_0") == []
    assert await listed("", session_id=other) == await listed("8", session_id=other) == [other]


async def test_statistics_are_a_users_or_everybodys(service: SessionService) -> None:
    await service.refresh((await service.create("7")).client_secret, "7")
    await service.create("8")
    mine = await service.stats("7")
    assert (mine.total_sessions, mine.sessions_today, mine.refreshes) == (1, 1, 1)
    assert mine.active_sessions == 1
    assert 0 <= mine.average_session_duration_seconds < 60
    assert abs(mine.last_activity.ToMicroseconds() / 1e6 - time.time()) < 60
    assert not mine.HasField("messages_updated_at")
    today = datetime.datetime.now(datetime.UTC).date()
    dates = [today - datetime.timedelta(days=age) for age in range(29, -1, -1)]
    assert [day.date for day in mine.daily] == [date.isoformat() for date in dates]
    assert [day.sessions for day in mine.daily] == [0] * 29 + [1]
    everybody = await service.stub.GetStats(pb.GetStatsRequest(all_users=True, days=1))
    assert (everybody.total_sessions, everybody.refreshes, len(everybody.daily)) == (2, 1, 1)
    nobody = await service.stats("9")
    assert not nobody.HasField("last_activity")
    assert nobody.total_sessions == nobody.average_session_duration_seconds == 0


async def test_statistics_tell_of_turns(service: SessionService, tmp_path: Path) -> None:
    at_ms = time.time_ns() // 1_000_000
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        for turn in (
            Turn("t", at_ms - 3_000, 3_000, ANSWERED, 100, 20, False, 2),
            Turn("t", at_ms - 1_000, 1_000, BROKEN_OFF, 50, 5, True, 0),
            Turn("t", at_ms - 30_000, 30_000, "UPSTREAM_TIMEOUT", 10, 0, True, 1),
        ):
            await store.conversations.count_turn("7", turn)
    stats = await service.stats("7")
    for told in (stats, stats.daily[-1]):
        assert (told.turns, told.failed_turns, told.tool_calls) == (3, 1, 3)
        assert (told.input_tokens, told.output_tokens) == (160, 25)
        assert told.answer_time.p50_seconds == pytest.approx(3, rel=0.1)
        assert told.answer_time.p95_seconds == told.answer_time.p50_seconds
        assert told.failures_by_reason == {"UPSTREAM_TIMEOUT": 1}
    assert (stats.estimated_turns, stats.failures) == (2, 0)
    assert not stats.daily[0].HasField("answer_time")
    nobody = await service.stats("9")
    assert not nobody.HasField("answer_time")
    assert not nobody.failures_by_reason


def everything_in(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.glob("chatkit.db*"))


async def test_client_secrets_are_not_in_the_database(
    service: SessionService, tmp_path: Path
) -> None:
    created = await service.create()
    refreshed = await service.refresh(created.client_secret)
    content = everything_in(tmp_path)
    assert created.session.id.encode() in content
    for secret in (created.client_secret, refreshed.client_secret):
        assert secret.encode() not in content


async def test_a_call_that_does_not_exist_is_unimplemented(service: SessionService) -> None:
    call: Any = service.channel.unary_unary("/chatkit.v1.SessionService/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
