"""Disks, locks, clocks and kills: what was answered is true afterwards, and what fails says so."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import processes
from tests.e2e.dashboard import Dashboard, EmulatorControl, open_dashboard
from tests.e2e.faults import full_disk, locked_database
from tests.e2e.processes import PATIENCE_SECONDS, Clock, Part
from tests.e2e.test_e2e_chat import Widget, events_of
from tests.e2e.test_e2e_lifecycle import back, ended
from tests.gateway_support import error_of
from tests.integration.conversation.chat import message
from tests.reconciliation import reconcile
from tests.support import eventually

SESSION, REFRESH, STATS = "/api/chatkit/session", "/api/chatkit/refresh", "/api/chatkit/stats"
FREE: dict[str, Any] = {"CHATKIT_SESSIONS_PER_MINUTE": "0", "CHATKIT_REQUESTS_PER_MINUTE": "0"}
DAY = 86_400
KILLS = 2
USERS = 4


def database(directory: Path) -> Path:
    return directory / "data" / "chatkit.db"


def attachments(directory: Path) -> Path:
    return directory / "data" / "attachments"


@contextlib.asynccontextmanager
async def open_widget(dashboard: Dashboard) -> AsyncIterator[Widget]:
    async with httpx.AsyncClient(
        base_url=dashboard.http.base_url,
        headers={"Accept-Language": "en"},
        timeout=PATIENCE_SECONDS,
        trust_env=False,
        verify=False,
    ) as http:
        yield Widget(dashboard, http)


@dataclass
class Answers:
    """What users were told while they did as they please."""

    created: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """Messages of users that were taken into a thread."""
    refusals: list[httpx.Response] = field(default_factory=list)
    nobody_there: bool = False
    """The process behind is not running."""
    slowest_refusal: float = 0.0
    """Of those who came then, in seconds."""
    broken_off: int = 0
    """Connections that ended without an answer: only a kill of the gateway does that."""


async def use(dashboard: Dashboard, answers: Answers, *, chat: bool = False) -> None:
    """Creates, refreshes and deletes sessions, and talks, until it is cancelled."""
    async with open_widget(dashboard) as widget:
        for number in range(1_000_000):
            began, nobody_there = time.monotonic(), answers.nobody_there
            try:
                answer = await _step(dashboard, widget, answers, number, chat)
            except httpx.TransportError:
                answers.broken_off += 1
                await asyncio.sleep(0.2)
                continue
            if answer.status_code != 200:
                answers.refusals.append(answer)
                if nobody_there:
                    took = time.monotonic() - began
                    answers.slowest_refusal = max(answers.slowest_refusal, took)
                await asyncio.sleep(0.2)  # as people do


async def _step(
    dashboard: Dashboard, widget: Widget, answers: Answers, number: int, chat: bool
) -> httpx.Response:
    answer = await dashboard.http.post(SESSION)
    if answer.status_code != 200:
        return answer
    data = answer.json()["data"]
    answers.created.append(data["session_id"])
    if chat:
        widget.http.headers["Authorization"] = f"Bearer {data['client_secret']}"
        answer = await widget.post("threads.create", input=message("Hola"))
        if answer.status_code == 200:
            for event in events_of(answer.content):
                if event["type"] == "thread.item.done" and event["item"]["type"] == "user_message":
                    answers.said.append(event["item"]["id"])
        return answer
    if number % 3 == 1:
        answer = await dashboard.http.post(REFRESH, json={"existingSecret": data["client_secret"]})
        if answer.status_code == 200:
            answers.created.append(answer.json()["data"]["session_id"])
    elif number % 3 == 2:
        answer = await dashboard.http.delete(f"{SESSION}/{data['session_id']}")
        if answer.status_code == 200:
            answers.deleted.append(data["session_id"])
    return answer


async def refused_meanwhile(answers: Answers) -> bool:
    return answers.slowest_refusal > 0


@contextlib.asynccontextmanager
async def load(url: str, answers: Answers, *, chat: bool = False) -> AsyncIterator[None]:
    """Lets some users do as they please within the block."""
    async with contextlib.AsyncExitStack() as stack:
        users = [
            asyncio.create_task(
                use(await stack.enter_async_context(open_dashboard(url)), answers, chat=chat)
            )
            for _ in range(USERS)
        ]
        try:
            yield
            assert not [user for user in users if user.done()], "a user had no proper answer"
        finally:
            for user in users:
                user.cancel()
            await asyncio.gather(*users, return_exceptions=True)


async def more(answers: Answers, number: int) -> None:
    """Waits until so many more sessions were created."""
    enough = len(answers.created) + number

    async def there() -> bool:
        return len(answers.created) >= enough

    await eventually(there, within=PATIENCE_SECONDS)


async def settled(directory: Path) -> None:
    """What was in flight when the load ended has its end; then every counter is right."""

    async def agrees() -> bool:
        return not reconcile(database(directory), attachments(directory))

    with contextlib.suppress(TimeoutError):
        await eventually(agrees)
    assert reconcile(database(directory), attachments(directory)) == []


async def all_there(dashboard: Dashboard, answers: Answers) -> None:
    """What users were told is so."""
    statuses = {id_: (await dashboard.get(id_))["status"] for id_ in answers.created}
    assert {statuses[id_] for id_ in answers.deleted} <= {"deleted"}


def proper(answers: Answers) -> None:
    """Whoever was refused was told so as the contract has it, and soon."""
    for refusal in answers.refusals:
        error_of(refusal, "UNAVAILABLE", 503)
        assert int(refusal.headers["retry-after"]) >= 1
    assert answers.slowest_refusal < 4


@contextlib.asynccontextmanager
async def again(directory: Path, openai: str, address: str, mode: str) -> AsyncIterator[Part]:
    """Starts the service where it was, while everybody goes on."""
    settings: dict[str, Any] = {
        **FREE,
        "CHATKIT_MODE": mode,
        "SESSION_SERVICE_LISTEN": address,
    }
    service = processes.session_service(directory, openai, **settings)
    with contextlib.ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, service)


# A start takes the self-hosted mode two seconds of CPU.
@pytest.mark.parametrize(("mode", "kills"), [("hosted", KILLS), ("self_hosted", 1)])
async def test_kills_of_the_service_under_load_lose_nothing_that_was_answered(
    mode: str, kills: int, directory: Path, own_emulator: str, own_openai: EmulatorControl
) -> None:
    own_openai.answers(pause_seconds=0)
    answers = Answers()
    address = f"127.0.0.1:{processes.free_port()}"
    with processes.gateway(directory, address) as gateway:
        async with (
            open_dashboard(gateway.url) as dashboard,
            load(gateway.url, answers, chat=mode == "self_hosted"),
        ):
            for _ in range(kills):
                async with again(directory, own_emulator, address, mode) as service:
                    answers.nobody_there = False
                    # The promise is two seconds; this machine may have other things to do.
                    assert await back(dashboard) < 4
                    await more(answers, 12)
                    service.process.send(signal.SIGKILL)
                    await ended(service.process)
                    answers.nobody_there = True
                    await eventually(lambda: refused_meanwhile(answers))
        assert answers.slowest_refusal > 0
        assert answers.broken_off == 0
        proper(answers)
        async with again(directory, own_emulator, address, mode):
            async with open_dashboard(gateway.url) as dashboard:
                await back(dashboard)
                await all_there(dashboard, answers)
            await settled(directory)


async def test_kills_of_the_gateway_under_load_lose_nothing_that_was_answered(
    directory: Path, own_emulator: str
) -> None:
    answers = Answers()
    listen = f"127.0.0.1:{processes.free_port()}"
    with processes.session_service(directory, own_emulator, **FREE) as service:
        async with load(f"http://{listen}", answers):
            for _ in range(KILLS):
                with processes.gateway(
                    directory, service.address, GATEWAY_LISTEN=listen
                ) as gateway:
                    await more(answers, 12)
                    gateway.process.send(signal.SIGKILL)
                    await ended(gateway.process)
        assert answers.broken_off
        with processes.gateway(directory, service.address) as gateway:
            async with open_dashboard(gateway.url) as dashboard:
                await all_there(dashboard, answers)
        await settled(directory)


async def test_of_two_services_one_can_be_stopped_under_load_without_anybody_noticing(
    directory: Path, own_emulator: str
) -> None:
    answers = Answers()
    with (
        processes.session_service(directory, own_emulator, **FREE) as first,
        processes.session_service(directory, own_emulator, **FREE) as second,
        processes.gateway(directory, first.address, second.address) as gateway,
    ):
        async with open_dashboard(gateway.url) as dashboard:
            async with load(gateway.url, answers):
                await more(answers, 15)
                first.process.send(signal.SIGTERM)
                assert await ended(first.process) == 0
                await more(answers, 15)
            proper(answers)
            assert len(answers.refusals) <= USERS
            assert "Traceback" not in first.process.output
            await all_there(dashboard, answers)
        await settled(directory)


@pytest.mark.parametrize("mode", ["hosted", "self_hosted"])
async def test_a_full_disk_is_said_and_passes(
    mode: str, directory: Path, own_emulator: str
) -> None:
    with processes.pair(directory, own_emulator, **FREE, CHATKIT_MODE=mode) as (service, gateway):
        async with open_dashboard(gateway.url) as dashboard, open_widget(dashboard) as widget:
            await widget.open()
            with full_disk(service):
                failed = [
                    await dashboard.http.post(SESSION),
                    await dashboard.http.delete(f"{SESSION}/{widget.session_id}"),
                ]
                if mode == "self_hosted":
                    failed.append(await widget.post("threads.create", input=message("Hola")))
                for answer in failed:
                    body = error_of(answer, "UNAVAILABLE", 503)
                    assert "DATABASE_URL" in body["hint"]
                # What is there can be read.
                assert (await dashboard.get(widget.session_id))["status"] == "active"
                assert (await dashboard.stats())["totalSessions"] == 1
            await dashboard.create()
            if mode == "self_hosted":
                await widget.say("Hola")
            assert (await dashboard.stats())["totalSessions"] == 2
        assert "Traceback" not in service.process.output
        await settled(directory)


async def test_an_attachment_for_which_there_is_no_room_leaves_nothing_behind(
    directory: Path, own_emulator: str
) -> None:
    settings: dict[str, Any] = {**FREE, "CHATKIT_MODE": "self_hosted"}
    with processes.pair(directory, own_emulator, **settings) as (service, gateway):
        async with open_dashboard(gateway.url) as dashboard, open_widget(dashboard) as widget:
            await widget.open()
            files = {"file": ("plan.txt", b"Hola\n" * 200_000, "text/plain")}
            with full_disk(service, file_bytes=500_000):
                answer = await widget.http.post("/api/chatkit/attachments", files=files)
                body = error_of(answer, "UNAVAILABLE", 503)
                assert "CHATKIT_ATTACHMENTS_DIR" in body["hint"]
            assert not [path for path in attachments(directory).rglob("*") if path.is_file()]
            answer = await widget.http.post("/api/chatkit/attachments", files=files)
            assert answer.status_code == 200, answer.text
        await settled(directory)


async def test_a_locked_database_is_said_in_time_and_leaves_no_session_at_openai(
    directory: Path, own_emulator: str, own_openai: EmulatorControl
) -> None:
    with processes.pair(directory, own_emulator, **FREE) as (_, gateway):
        async with open_dashboard(gateway.url, "locked-out") as dashboard:
            session_id = (await dashboard.create())["session_id"]
            with locked_database(database(directory)):
                began = time.monotonic()
                writes = [asyncio.create_task(dashboard.http.post(SESSION)) for _ in range(20)]
                assert (await dashboard.get(session_id))["status"] == "active"
                for answer in await asyncio.gather(*writes):
                    assert "DATABASE_URL" in error_of(answer, "UNAVAILABLE", 503)["hint"]
                assert time.monotonic() - began < 15  # 6 s; in turns it would be 100
            issued = len(own_openai.requests_of("locked-out"))
            assert issued == 21

            async def all_cancelled() -> bool:
                return len(own_openai.requests("sessions.cancel")) >= issued - 1

            await eventually(all_cancelled)
            await dashboard.create()
            assert (await dashboard.stats())["totalSessions"] == 2
        await settled(directory)


@pytest.mark.parametrize("mode", ["hosted", "self_hosted"])
async def test_a_clock_that_jumps_blocks_nobody_and_loses_nothing(
    mode: str, directory: Path, own_emulator: str
) -> None:
    clock = Clock(directory)
    settings: dict[str, Any] = {"CHATKIT_MODE": mode, "CHATKIT_SESSIONS_PER_MINUTE": "40"}
    with (
        processes.session_service(directory, own_emulator, clock=clock, **settings) as service,
        processes.gateway(directory, service.address) as gateway,
    ):
        async with open_dashboard(gateway.url) as dashboard, open_widget(dashboard) as widget:
            for number, seconds in enumerate((0, DAY, 0, -3600, 0), start=1):
                clock.set(seconds)
                await widget.open()
                if mode == "self_hosted":
                    await widget.say("Hola")
                secret = (await dashboard.create())["client_secret"]
                assert (await dashboard.refresh(secret))["client_secret"] != secret
                await dashboard.delete(widget.session_id)
                stats = await dashboard.stats()
                assert stats["totalSessions"] == 2 * number
                assert stats["deletedSessions"] == stats["refreshes"] == number
                assert stats["averageSessionDuration"] >= 0
                assert stats["activeSessions"] >= 0
        assert "Traceback" not in service.process.output
        await settled(directory)


async def test_a_client_that_reads_nothing_does_not_keep_the_gateway_from_ending(
    directory: Path, own_emulator: str, own_openai: EmulatorControl
) -> None:
    own_openai.answers(pause_seconds=0.0001, deltas=50_000)
    settings: dict[str, Any] = {**FREE, "CHATKIT_MODE": "self_hosted"}
    with (
        processes.session_service(directory, own_emulator, **settings) as service,
        processes.gateway(directory, service.address, grace_seconds=1) as gateway,
    ):
        async with open_dashboard(gateway.url) as dashboard, open_widget(dashboard) as widget:
            await widget.open()
            body = {"type": "threads.create", "params": {"input": message("Hola")}}
            async with widget.http.stream("POST", "/api/chatkit", json=body) as answer:
                assert answer.status_code == 200
                gateway.process.send(signal.SIGTERM)
                assert await ended(gateway.process) == 0
        assert service.process.stop() == 0
