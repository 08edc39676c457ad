"""How the system ends, on purpose and by accident: nothing that was promised is lost."""

import asyncio
import os
import signal
import time
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from tests.e2e import processes
from tests.e2e.dashboard import Dashboard, EmulatorControl, open_dashboard
from tests.e2e.processes import PATIENCE_SECONDS, Part, Process, System
from tests.gateway_support import error_of
from tests.support import eventually

SESSION, STATS = "/api/chatkit/session", "/api/chatkit/stats"
EVERYTHING = {"session_service.openai_emulator", "session_service", "gateway"}


async def begin(dashboard: Dashboard, openai: EmulatorControl, user: int) -> asyncio.Task[object]:
    """Begins a create that OpenAI takes its time for; returns once OpenAI has been asked."""
    openai.fail(kind="delay", delay_seconds=1.5)
    begun: asyncio.Task[object] = asyncio.create_task(dashboard.create())

    async def asked() -> bool:
        return bool(openai.requests_of(str(user)))

    await eventually(asked)
    return begun


async def ended(process: Process) -> int:
    return await asyncio.to_thread(process.wait)


async def test_sigterm_lets_the_gateway_finish_what_has_begun_and_take_no_more(
    directory: Path, own_emulator: str, own_openai: EmulatorControl, user: int
) -> None:
    with processes.pair(directory, own_emulator) as (service, gateway):
        async with open_dashboard(gateway.url, user) as dashboard:
            begun = await begin(dashboard, own_openai, user)
            gateway.process.send(signal.SIGTERM)

            async def refuses() -> bool:
                async with open_dashboard(gateway.url, user) as another:
                    try:
                        await another.stats()
                    except httpx.ConnectError:
                        return True
                    return False

            await eventually(refuses)
            assert not begun.done()
            gateway.process.send(signal.SIGTERM)  # twice is no reason to hurry
            answer = await begun
            assert isinstance(answer, dict)
            assert answer["client_secret"].startswith("ek_")
        assert await ended(gateway.process) == 0
        assert "Traceback" not in gateway.process.output
        assert service.process.stop() == 0


async def test_sigterm_lets_the_service_finish_what_has_begun_and_the_gateway_says_503(
    directory: Path, own_emulator: str, own_openai: EmulatorControl, user: int
) -> None:
    with processes.pair(directory, own_emulator) as (service, gateway):
        async with open_dashboard(gateway.url, user) as dashboard:
            begun = await begin(dashboard, own_openai, user)
            service.process.send(signal.SIGTERM)
            await asyncio.to_thread(service.process.wait_for, "draining")

            async def refuses() -> bool:
                return (await dashboard.http.get(STATS)).status_code != 200

            await eventually(refuses)
            assert not begun.done()
            answer = await dashboard.http.get(STATS)
            error_of(answer, "UNAVAILABLE", 503)
            assert int(answer.headers["retry-after"]) >= 1
            error_of(await dashboard.http.get("/readyz"), "UNAVAILABLE", 503)
            data = await begun
            assert isinstance(data, dict)
            assert await ended(service.process) == 0
            assert "Traceback" not in service.process.output
            error_of(await dashboard.http.get(STATS), "UNAVAILABLE", 503)

            with again(directory, own_emulator, service):
                await back(dashboard)
                assert (await dashboard.get(data["session_id"]))["status"] == "active"


def again(directory: Path, openai: str, service: Part) -> AbstractContextManager[Part]:
    return processes.session_service(directory, openai, SESSION_SERVICE_LISTEN=service.address)


async def back(dashboard: Dashboard) -> float:
    """Waits until the gateway finds the service again; returns how long that took, in seconds."""
    started = time.monotonic()

    async def answers() -> bool:
        return (await dashboard.http.get(STATS)).status_code == 200

    await eventually(answers)
    return time.monotonic() - started


async def test_what_was_answered_survives_a_kill_of_the_service(
    directory: Path, own_emulator: str
) -> None:
    settings = {"CHATKIT_SESSIONS_PER_MINUTE": "0"}
    with processes.pair(directory, own_emulator, **settings) as (service, gateway):
        async with open_dashboard(gateway.url) as dashboard:
            created: list[str] = []
            deleted: list[str] = []
            enough = asyncio.Event()

            async def use() -> httpx.Response:
                """Creates and deletes until something fails; returns that answer."""
                while True:
                    answer = await dashboard.http.post(SESSION)
                    if answer.status_code != 200:
                        return answer
                    session_id = answer.json()["data"]["session_id"]
                    created.append(session_id)
                    if len(created) % 3 == 0:
                        answer = await dashboard.http.delete(f"{SESSION}/{session_id}")
                        if answer.status_code != 200:
                            return answer
                        deleted.append(session_id)
                    if len(created) > 60:
                        enough.set()

            users = [asyncio.create_task(use()) for _ in range(8)]
            await asyncio.wait_for(enough.wait(), PATIENCE_SECONDS)
            service.process.send(signal.SIGKILL)
            for answer in await asyncio.gather(*users):
                error_of(answer, "UNAVAILABLE", 503)
            error_of(await dashboard.http.post(SESSION), "UNAVAILABLE", 503)

            with again(directory, own_emulator, service):
                await back(dashboard)
                found = {id_: (await dashboard.get(id_))["status"] for id_ in created}
                assert {id_ for id_ in deleted if found[id_] != "deleted"} == set()
                # A delete that was not answered may have happened.
                kept = set(created) - set(deleted)
                assert sum(found[id_] != "active" for id_ in kept) <= len(users)
                stats = await dashboard.stats()
                assert len(created) <= stats["totalSessions"] <= len(created) + len(users)
                assert stats["deletedSessions"] == sum(s == "deleted" for s in found.values())


async def stopped(system: System, pids: dict[str, int]) -> None:
    """Waits until run.py and all that it has started are gone, as they should be."""
    assert set(pids) == EVERYTHING
    assert await ended(system.process) == 0
    assert "Everything has stopped." in system.process.output
    assert "Traceback" not in system.process.output
    assert not [name for name, pid in pids.items() if processes.is_alive(pid)]


async def test_ctrl_c_stops_everything(directory: Path) -> None:
    with processes.make_run(directory) as system:
        pids = processes.children(system.process)
        system.process.send_to_group(signal.SIGINT)
        await stopped(system, pids)


async def test_ctrl_c_before_everything_has_started_is_no_reason_for_tracebacks(
    directory: Path,
) -> None:
    settings = {
        "GATEWAY_LISTEN": f"127.0.0.1:{processes.free_port()}",
        "SESSION_SERVICE_LISTEN": f"127.0.0.1:{processes.free_port()}",
    }
    run = processes.RUN
    with processes.running(run, cwd=directory, **settings) as process:

        async def importing() -> bool:
            service = processes.children(process).get("session_service")
            return service is not None and processes.has_loaded(service, "cygrpc")

        await eventually(importing)
        service = processes.children(process)["session_service"]
        # Held back, so that it cannot hide what the others make of the signal.
        process.send(signal.SIGSTOP)
        process.send_to_group(signal.SIGINT)

        async def ended_or_started() -> bool:
            return not processes.is_alive(service) or "service listening" in process.output

        await eventually(ended_or_started)
        process.send(signal.SIGCONT)
        assert await ended(process) == 0
        assert "Traceback" not in process.output


@pytest.mark.parametrize("name", ["gateway", "session_service"])
async def test_when_one_process_dies_make_run_says_which_and_stops_the_others(
    directory: Path, name: str
) -> None:
    with processes.make_run(directory) as system:
        pids = processes.children(system.process)
        os.kill(pids[name], signal.SIGKILL)
        assert await ended(system.process) == 1
        said = system.process.output.splitlines()[-1]
        assert said == f"{name} stopped, and so has everything else."
        assert "Traceback" not in system.process.output
        assert not [name for name, pid in pids.items() if processes.is_alive(pid)]


async def test_sigterm_lets_all_processes_finish_what_has_begun(directory: Path) -> None:
    with processes.make_run(directory) as system:
        pids = processes.children(system.process)
        openai = EmulatorControl(system.emulator)
        async with open_dashboard(system.url, token=system.token) as dashboard:
            begun = await begin(dashboard, openai, 7)
            openai.close()
            system.process.send(signal.SIGTERM)
            answer = await begun
            assert isinstance(answer, dict)
            assert answer["client_secret"].startswith("ek_")
        await stopped(system, pids)
