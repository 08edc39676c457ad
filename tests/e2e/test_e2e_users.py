"""Who is who: the token alone says so, and nobody sees what is another's."""

import asyncio
from pathlib import Path

import httpx

from tests.e2e import processes
from tests.e2e.conftest import ADMINISTRATOR
from tests.e2e.dashboard import (
    Dashboard,
    EmulatorControl,
    open_dashboard,
    token_of,
)
from tests.e2e.processes import System
from tests.gateway_support import error_of

SESSION, REFRESH, STATS = "/api/chatkit/session", "/api/chatkit/refresh", "/api/chatkit/stats"


def without_request_id(answer: httpx.Response) -> bytes:
    """Returns what was answered, byte for byte, but for the request id."""
    request_id = answer.headers["x-request-id"].encode()
    assert answer.content.count(request_id) == 1
    headers = sorted(
        name + b": " + value
        for name, value in answer.headers.raw
        if name.lower() not in (b"x-request-id", b"date")
    )
    return b"\n".join([*headers, answer.content.replace(request_id, b"<request id>")])


async def test_anothers_session_is_like_one_that_never_was(
    system: System, dashboard: Dashboard, user: int
) -> None:
    theirs = await dashboard.create()
    path, nowhere = f"{SESSION}/{theirs['session_id']}", f"{SESSION}/cksess_{'0' * 32}"
    intruders = {
        "another user": token_of(user + 100_000),
        "an administrator by the setting": token_of(ADMINISTRATOR),
        "an administrator by the token": token_of(user + 100_000, role="admin"),
    }
    for name, token in intruders.items():
        async with open_dashboard(system.url, token=token) as intruder:
            for method in ("GET", "DELETE"):
                real = await intruder.http.request(method, path)
                never = await intruder.http.request(method, nowhere)
                error_of(real, "SESSION_NOT_FOUND", 404)
                assert without_request_id(real) == without_request_id(never), name
            real, never = [
                await intruder.http.post(REFRESH, json={"existingSecret": secret})
                for secret in (theirs["client_secret"], "ek_unknown")
            ]
            error_of(real, "SESSION_NOT_FOUND", 404)
            assert without_request_id(real) == without_request_id(never), name
    assert (await dashboard.get(theirs["session_id"]))["status"] == "active"


async def test_a_number_and_the_same_as_a_text_are_one_user(
    system: System, dashboard: Dashboard, user: int
) -> None:
    session_id = (await dashboard.create(userId=str(user)))["session_id"]
    async with open_dashboard(system.url, str(user)) as same:
        assert (await same.get(session_id))["user_id"] == str(user)
        assert (await same.stats(userId=user))["totalSessions"] == 1


async def test_an_administrator_acts_for_whom_they_name(
    system: System, openai: EmulatorControl, dashboard: Dashboard, user: int
) -> None:
    for token in (token_of(ADMINISTRATOR), token_of("boss", role="admin")):
        async with open_dashboard(system.url, token=token) as administrator:
            created = await administrator.create(userId=user)
            assert (await dashboard.get(created["session_id"]))["user_id"] == str(user)
            body = {"existingSecret": created["client_secret"], "userId": str(user)}
            answer = await administrator.http.post(REFRESH, json=body)
            assert administrator.data(answer)["user_id"] == str(user)
    assert len(openai.requests_of(str(user))) == 4
    assert not openai.requests_of("boss")
    assert (await dashboard.stats())["totalSessions"] == 2


async def test_only_an_administrator_sees_everybodys_statistics(
    system: System, dashboard: Dashboard, user: int
) -> None:
    async with open_dashboard(system.url, ADMINISTRATOR) as administrator:
        before = await administrator.stats()
        await dashboard.create()
        after = await administrator.stats()
        assert after["totalSessions"] == before["totalSessions"] + 1
        assert (await administrator.stats(userId=user))["totalSessions"] == 1
        assert (await administrator.stats(userId=ADMINISTRATOR))["totalSessions"] == 0
    assert (await dashboard.stats())["totalSessions"] == 1


async def test_two_gateways_share_what_the_service_knows(
    directory: Path, own_emulator: str
) -> None:
    with (
        processes.pair(directory, own_emulator) as (service, first),
        processes.gateway(directory, service.address) as second,
    ):
        async with open_dashboard(first.url) as one, open_dashboard(second.url) as other:
            created = await one.create()
            refreshed = await other.refresh(created["client_secret"])
            assert (await one.get(created["session_id"]))["refreshed_to"] == refreshed["session_id"]
            await other.delete(refreshed["session_id"])
            assert (await one.get(created["session_id"]))["status"] == "deleted"
            assert await one.stats() == await other.stats()


async def test_a_gateway_spreads_over_several_services_and_misses_none_that_dies(
    directory: Path, own_emulator: str
) -> None:
    (directory / "one").mkdir()
    (directory / "two").mkdir()
    with (
        processes.session_service(directory / "one", own_emulator) as one,
        processes.session_service(directory / "two", own_emulator) as two,
        processes.gateway(directory, one.address, two.address) as gateway,
    ):
        async with open_dashboard(gateway.url) as dashboard:

            async def both_were_asked() -> None:
                while not all('"event":"rpc"' in p.process.output for p in (one, two)):
                    await dashboard.stats()

            await asyncio.wait_for(both_were_asked(), processes.PATIENCE_SECONDS)
            assert two.process.stop() == 0
            for _ in range(5):
                await dashboard.stats()
