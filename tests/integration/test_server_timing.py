"""Server-Timing: what an answer's head has waited for, and that it tells no more than that."""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.gateway_support import (
    ATTACHMENTS,
    CHAT,
    ORIGIN,
    SESSION,
    STATS,
    gateway_settings,
    open_gateway,
    token,
)
from tests.integration.conversation.chat import message
from tests.support import Emulator, open_session_service, settings_for


@contextlib.asynccontextmanager
async def system(
    directory: Path, emulator: Emulator, mode: str = "hosted", **gateway: object
) -> AsyncIterator[httpx.AsyncClient]:
    """Runs both processes' parts in this one; yields a client of the gateway."""
    more = {"chatkit_mode": mode, "chatkit_attachments_dir": directory / "attachments"}
    async with open_session_service(settings_for(directory, emulator.url, **more)) as service:
        target = (f"127.0.0.1:{service.server.port}",)
        settings = gateway_settings(session_service_target=target, **gateway)
        async with open_gateway(settings) as http:
            yield http


def timings(answer: httpx.Response) -> dict[str, float]:
    """Returns what the header says, in milliseconds, once it is certain that it is well-formed."""
    said = answer.headers["server-timing"].split(", ")
    matches = [re.fullmatch(r"(\w+);dur=(\d+\.\d)", entry) for entry in said]
    return {match[1]: float(match[2]) for match in matches if match}


async def test_a_create_says_what_openai_and_the_store_took(
    tmp_path: Path, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="delay", delay_seconds=0.05, times=1)
    async with system(tmp_path, emulator) as http:
        answer = await http.post(SESSION, json={})
        took = timings(answer)
        assert answer.status_code == 200
        assert list(took) == ["gateway", "rpc", "upstream", "store"]
        assert 50 <= took["upstream"] <= took["rpc"] - took["store"] <= took["rpc"]
        assert 0 < took["store"] <= took["rpc"] <= took["gateway"]


async def test_errors_that_took_a_call_say_so_and_others_have_nothing_to_say(
    tmp_path: Path, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", kind="status", status=400, times=1)
    async with system(tmp_path, emulator) as http:
        rejected = await http.post(SESSION, json={})
        assert rejected.status_code == 502
        assert timings(rejected).keys() == {"gateway", "rpc", "upstream", "store"}
        assert timings(await http.get(STATS)).keys() == {"gateway", "rpc", "store"}
        for path in ("/healthz", "/readyz", "/nowhere", STATS + "?days=x", "/docs"):
            assert "server-timing" not in (await http.get(path)).headers
        nobody = await http.get(STATS, headers={"Authorization": ""})
        assert nobody.status_code == 401
        assert "server-timing" not in nobody.headers


async def test_a_chat_says_what_is_known_at_its_head(tmp_path: Path, emulator: Emulator) -> None:
    async with system(tmp_path, emulator, "self_hosted") as http:
        created = (await http.post(SESSION, json={})).json()["data"]
        chat = {"Authorization": f"Bearer {created['client_secret']}"}
        request = {"type": "threads.create", "params": {"input": message("hello")}}
        streamed = await http.post(CHAT, json=request, headers=chat)
        assert streamed.headers["content-type"].startswith("text/event-stream")
        listed = await http.post(CHAT, json={"type": "threads.list", "params": {}}, headers=chat)
        refused = await http.post(CHAT, json={"type": "nothing"}, headers=chat)
        uploaded = await http.post(ATTACHMENTS, files={"file": ("a.txt", b"text")}, headers=chat)
        for answer, status in ((streamed, 200), (listed, 200), (refused, 400), (uploaded, 200)):
            assert answer.status_code == status
            assert {"gateway", "rpc", "store"} <= timings(answer).keys()
            assert timings(answer)["gateway"] >= timings(answer)["rpc"] >= 0


@pytest.mark.parametrize("origins", [(ORIGIN,), ("*",)])
async def test_browsers_may_show_it_to_the_dashboard_alone(
    origins: tuple[str, ...], tmp_path: Path, emulator: Emulator
) -> None:
    async with system(tmp_path, emulator, cors_allow_origins=origins) as http:
        for origin in (ORIGIN, "https://elsewhere.example.com"):
            answer = await http.get(STATS, headers={"Origin": origin})
            allowed = answer.headers.get("access-control-allow-origin")
            assert answer.headers.get("timing-allow-origin") == allowed
            assert (allowed is not None) == (origin in origins or "*" in origins)
        assert "timing-allow-origin" not in (await http.get(STATS)).headers


async def test_what_is_not_there_says_nothing_as_it_may_be_anothers(
    tmp_path: Path, emulator: Emulator
) -> None:
    async with system(tmp_path, emulator) as http:
        theirs = (await http.post(SESSION, json={})).json()["data"]
        stranger = {"Authorization": f"Bearer {token(8)}"}
        for session_id in (theirs["session_id"], "cksess_0"):
            answer = await http.get(f"{SESSION}/{session_id}", headers=stranger)
            assert answer.status_code == 404
            assert "server-timing" not in answer.headers
