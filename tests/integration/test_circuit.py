"""OpenAI that is down, under load: callers do not wait for it, and its recovery is noticed."""

import asyncio
import itertools
import math
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import orjson
import pytest
from structlog.testing import capture_logs

from protos.chatkit.v1.errors import details_of
from session_service import retries
from session_service.circuit import (
    BUDGET_SECONDS,
    FAILED_TO_OPEN,
    FREE_RETRIES,
    PROBE_SECONDS,
    RETRY_SHARE,
)
from tests.integration.conversation.chat import new_chat
from tests.integration.peer import Handler, http, listening, reset, stalling
from tests.support import Emulator, eventually, open_session_service, refused, settings_for

TIMEOUT_SECONDS = 4.0
"""Of whole requests; a quarter of it is how long OpenAI may be silent."""

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller was told, and how long that took."""

    reason: str
    is_refusal: bool
    seconds: float


async def outcome_of(call: Call) -> Outcome:
    started = time.perf_counter()
    reason, is_refusal = "OK", False
    try:
        await call()
    except grpc.aio.AioRpcError as error:
        details = details_of(error)
        assert details is not None
        reason, is_refusal = details.reason, details.metadata == {"cause": "circuit"}
        assert (details.retry_after_seconds == PROBE_SECONDS) == is_refusal
    return Outcome(reason, is_refusal, time.perf_counter() - started)


async def load(call: Call, calls: int, at_once: int) -> list[Outcome]:
    """Lets so many callers at a time call, so often in all."""
    outcomes: list[Outcome] = []
    numbers = iter(range(calls))

    async def caller() -> None:
        for _ in numbers:
            outcomes.append(await outcome_of(call))

    await asyncio.gather(*(caller() for _ in range(at_once)))
    return outcomes


async def seconds_to_recover(call: Call) -> float:
    """Returns how long callers who go on calling are refused."""
    started = time.perf_counter()

    async def answered() -> bool:
        return (await outcome_of(call)).reason == "OK"

    await eventually(answered)
    return time.perf_counter() - started


def sessions() -> Handler:
    """Answers with sessions that have ids of their own."""
    numbers = itertools.count()

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(numbers)
        session = {"id": f"cksess_{number}", "client_secret": f"ek_{number}"}
        writer.write(http(orjson.dumps({**session, "expires_at": int(time.time()) + 600})))

    return handler


async def unavailable(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b"<html>", "503 Service Unavailable"))


DOWN: dict[str, Handler] = {"503": unavailable, "reset": reset, "silent": stalling(b"")}


@pytest.mark.parametrize("case", DOWN)
async def test_in_hosted_mode_callers_do_not_wait_for_openai_that_is_down(
    case: str, tmp_path: Path
) -> None:
    async with listening(DOWN[case]) as peer:
        settings = settings_for(tmp_path, peer.url, chatkit_timeout_seconds=TIMEOUT_SECONDS)
        async with open_session_service(settings) as service:
            with capture_logs() as captured:
                outcomes = await load(service.create, calls=150, at_once=50)
                later = await load(service.create, calls=50, at_once=2)
            reasons = {outcome.reason for outcome in [*outcomes, *later]}
            assert reasons <= {"UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"}
            assert sum(outcome.is_refusal for outcome in outcomes) > 50
            assert sum(outcome.is_refusal for outcome in later) > 40
            assert statistics.median(outcome.seconds for outcome in later) < 0.1
            assert len(peer.requests) < 150, "three each would be 600"
            opened = [line for line in captured if line["event"] == "openai circuit opened"]
            assert len(opened) == 1
            assert (await service.stats()).failures == 200
            peer.handler = sessions()
            assert await seconds_to_recover(service.create) < 3
            assert {outcome.reason for outcome in await load(service.create, 50, 10)} == {"OK"}


@pytest.mark.parametrize("case", ["503", "silent"])
async def test_in_self_hosted_mode_callers_do_not_wait_either(
    case: str, emulator: Emulator, tmp_path: Path
) -> None:
    await emulator.answers(pause_seconds=0)
    settings = settings_for(
        tmp_path,
        emulator.url,
        chatkit_mode="self_hosted",
        chatkit_attachments_dir=tmp_path / "attachments",
        chatkit_requests_per_minute=0,
        chatkit_timeout_seconds=TIMEOUT_SECONDS,
    )
    async with open_session_service(settings) as service:
        chat = await new_chat(service)
        failure = {"kind": "hang"} if case == "silent" else {"status": 503}
        await emulator.fail("responses.create", times=None, **failure)
        first = await load(lambda: chat.say("Hola"), calls=25, at_once=25)
        assert {outcome.reason for outcome in first} <= {"UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"}
        asked = len(await emulator.requests("responses.create"))
        with capture_logs() as captured:
            outcomes = await load(lambda: chat.say("Hola"), calls=20, at_once=2)
        refusals = [outcome for outcome in outcomes if outcome.is_refusal]
        assert len(refusals) > 10
        assert statistics.median(outcome.seconds for outcome in refusals) < 0.5
        assert len(await emulator.requests("responses.create")) - asked < 10
        # The line of the call is all that there is of one that was refused.
        warnings = [line for line in captured if line["log_level"] not in ("debug", "info")]
        assert len(warnings) < len(refusals)
        await emulator.heal()
        assert await seconds_to_recover(lambda: chat.say("Hola")) < 3


@dataclass(slots=True)
class Slow:
    """Answers 503, after a while; counts how many requests there are at once."""

    seconds: float
    at_once: int = 0
    most_at_once: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            await unavailable(reader, writer)
        finally:
            self.at_once -= 1


async def test_one_probe_at_a_time_goes_through(tmp_path: Path) -> None:
    slow = Slow(seconds=0.3)
    async with listening(unavailable) as peer:
        settings = settings_for(tmp_path, peer.url, chatkit_timeout_seconds=30)
        async with open_session_service(settings) as service:
            await load(service.create, calls=FAILED_TO_OPEN * 2, at_once=FAILED_TO_OPEN)
            peer.handler = slow
            peer.requests.clear()
            started = time.monotonic()

            async def probed_twice() -> bool:
                await load(service.create, calls=20, at_once=20)
                return len(peer.requests) >= 2

            await eventually(probed_twice)
            seconds = time.monotonic() - started
        assert slow.most_at_once == 1
        assert len(peer.requests) <= 1 + seconds / PROBE_SECONDS


@asynccontextmanager
async def half_of_the_time(tmp_path: Path) -> AsyncIterator[tuple[list[bytes], Call]]:
    """A service whose OpenAI fails with every second request."""
    numbers, works = itertools.count(), sessions()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (works if next(numbers) % 2 else unavailable)(reader, writer)

    async with listening(handler) as peer:
        settings = settings_for(tmp_path, peer.url)
        async with open_session_service(settings) as service:
            yield peer.requests, service.create


async def test_retries_of_all_callers_together_have_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "backoff_seconds", lambda retry: 0.001)
    calls = 600
    async with half_of_the_time(tmp_path) as (requests, create):
        started = time.monotonic()
        outcomes = await load(create, calls, at_once=20)
        windows = math.ceil((time.monotonic() - started) / BUDGET_SECONDS)
    assert not any(outcome.is_refusal for outcome in outcomes), "it answers in between"
    failed = sum(outcome.reason == "UPSTREAM_UNAVAILABLE" for outcome in outcomes)
    assert failed > calls / 4, "those whose retry was none too many"
    retried = len(requests) - calls
    assert FREE_RETRIES <= retried <= windows * max(FREE_RETRIES, calls * RETRY_SHARE)


async def test_few_failures_are_retried_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "backoff_seconds", lambda retry: 0.001)
    async with half_of_the_time(tmp_path) as (_, create):
        assert {outcome.reason for outcome in await load(create, 20, at_once=1)} == {"OK"}


async def test_one_caller_who_waits_for_a_slow_openai_does_not_stop_the_others(
    tmp_path: Path,
) -> None:
    """All others are answered meanwhile: whoever is silent is not OpenAI as a whole."""
    first, works = itertools.count(), sessions()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(first) == 0:
            await asyncio.sleep(1.5)
        await works(reader, writer)

    async with listening(handler) as peer:
        settings = settings_for(tmp_path, peer.url, chatkit_timeout_seconds=TIMEOUT_SECONDS)
        async with open_session_service(settings) as service:
            slow = asyncio.create_task(outcome_of(service.create))
            others = await load(service.create, 50, at_once=5)
            assert {outcome.reason for outcome in [*others, await slow]} == {"OK"}


async def test_callers_who_leave_do_not_open_it(tmp_path: Path) -> None:
    async with listening(stalling(b"")) as peer:
        settings = settings_for(tmp_path, peer.url, chatkit_timeout_seconds=30)
        async with open_session_service(settings) as service:
            calls = [asyncio.create_task(service.create()) for _ in range(FAILED_TO_OPEN * 2)]

            async def all_came() -> bool:
                return len(peer.requests) == len(calls)

            await eventually(all_came)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await eventually(peer.all_closed)
            peer.handler = sessions()
            await service.create()


async def test_a_refusal_counts_as_a_failure_of_its_user(tmp_path: Path) -> None:
    async with (
        listening(unavailable) as peer,
        open_session_service(settings_for(tmp_path, peer.url)) as service,
    ):
        await load(service.create, calls=FAILED_TO_OPEN, at_once=FAILED_TO_OPEN)
        with refused("UPSTREAM_UNAVAILABLE") as refusal:
            await service.create("8")
        assert refusal.details.metadata == {"cause": "circuit"}
        assert (await service.stats("8")).failures == 1
