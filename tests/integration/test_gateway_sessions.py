"""What the console asks beside what a dashboard does: who am I, and which sessions there are."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway import messages
from protos.chatkit.v1 import session_service_pb2 as pb
from tests.gateway_support import FakeService, error_of, gateway_before, session_message, token

SESSIONS, ME = "/api/chatkit/sessions", "/api/chatkit/me"
ADMINISTRATOR = {"Authorization": f"Bearer {token(9, role='admin')}"}


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    async with FakeService().serve() as fake:
        yield fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(fake) as http:
        yield http


async def test_a_page_of_sessions(http: httpx.AsyncClient, fake: FakeService) -> None:
    found = [session_message(id=f"cksess_{number}") for number in (2, 1)]
    fake.answers["ListSessions"] = pb.ListSessionsResponse(sessions=found, next_page_token="next")
    answer = (await http.get(SESSIONS)).json()
    assert answer == {
        "success": True,
        "data": {"sessions": [messages.session(one) for one in found], "nextPageToken": "next"},
    }
    fake.answers["ListSessions"] = pb.ListSessionsResponse()
    empty: dict[str, Any] = {"sessions": [], "nextPageToken": None}
    assert (await http.get(SESSIONS)).json()["data"] == empty


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", {}),
        ("?active=true", {"active_only": True}),
        ("?active=false&pageSize=20", {"page_size": 20}),
        ("?pageToken=abc%3D&sessionId=cksess_1", {"page_token": "abc=", "session_id": "cksess_1"}),
    ],
)
async def test_what_a_list_can_be_narrowed_to(
    http: httpx.AsyncClient, fake: FakeService, query: str, asked: dict[str, Any]
) -> None:
    await http.get(SESSIONS + query)
    assert fake.calls[-1].request == pb.ListSessionsRequest(user_id="7", **asked)


async def test_an_administrator_lists_everybodys_or_whose_they_want(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    await http.get(SESSIONS, headers=ADMINISTRATOR)
    assert fake.calls[-1].request == pb.ListSessionsRequest(all_users=True)
    await http.get(f"{SESSIONS}?userId=7", headers=ADMINISTRATOR)
    assert fake.calls[-1].request == pb.ListSessionsRequest(user_id="7")
    error_of(await http.get(f"{SESSIONS}?userId=9"), "PERMISSION_DENIED", 403)


@pytest.mark.parametrize(
    ("query", "named"),
    [("active=maybe", "active"), ("pageSize=many", "pageSize"), ("pageSize=0", "pageSize")],
)
async def test_what_is_no_parameter_is_named(
    http: httpx.AsyncClient, query: str, named: str
) -> None:
    body = error_of(await http.get(f"{SESSIONS}?{query}"), "INVALID_ARGUMENT", 400)
    assert named in body["error"]


async def test_one_is_told_who_one_is(http: httpx.AsyncClient) -> None:
    payload = token().split(".")[1]
    expires_at = json.loads(base64.urlsafe_b64decode(payload + "=="))["exp"]
    me = (await http.get(ME)).json()["data"]
    assert (me["userId"], me["administrator"]) == ("7", False)
    assert abs(me["expiresAt"] - expires_at) < 600
    other = (await http.get(ME, headers=ADMINISTRATOR)).json()["data"]
    assert (other["userId"], other["administrator"]) == ("9", True)
    error_of(await http.get(ME, headers={"Authorization": ""}), "UNAUTHENTICATED", 401)
