"""Every failure of OpenAI by every operation, in both modes: the contract's reason, in time."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from session_service import retries
from session_service.errors import UpstreamError
from session_service.openai_api import ChatKitAPI
from tests.integration.conversation.chat import kinds, message, open_chat
from tests.integration.peer import api_of, within
from tests.integration.upstream_failures import CASES
from tests.support import Emulator, eventually, open_session_service, refused, settings_for

SECONDS = 10.0
SHORT_SECONDS = 2.0
"""Where OpenAI is silent, so that all there is to wait for is the deadline."""

Call = Callable[[ChatKitAPI, float], Awaitable[object]]
CALLS: dict[str, Call] = {
    "sessions.create": lambda api, deadline: api.create_session("7", {}, deadline),
    "sessions.cancel": lambda api, deadline: api.cancel_session("cksess_1", deadline),
    "threads.list": lambda api, deadline: api.list_threads("7", None, deadline),
    "threads.items": lambda api, deadline: api.list_items("cthr_1", None, deadline),
}
NOTHING_TO_READ = {"nothing", "broken JSON", "broken off", "huge"}
"""What a cancel is content with: its success has no content that is looked at."""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "backoff_seconds", lambda retry: 0.001)


def time_limit(case: str) -> float:
    return SHORT_SECONDS if CASES[case].is_silent else SECONDS


@contextmanager
def in_time(case: str) -> Iterator[None]:
    """The block must not take longer than the deadline, and a little for a slow machine."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < time_limit(case) + 2


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("operation", CALLS)
async def test_a_call_of_chatkit(operation: str, case: str, emulator: Emulator) -> None:
    expected = CASES[case]
    await emulator.fail(operation, times=None, **expected.failure)
    reason = None
    async with api_of(emulator.url) as api:
        with in_time(case):
            try:
                await CALLS[operation](api, within(time_limit(case)))
            except UpstreamError as error:
                reason = error.reason
    contented = operation == "sessions.cancel" and case in NOTHING_TO_READ
    assert reason == (None if contented else expected.reason)
    assert len(await emulator.requests(operation)) == expected.attempts


@pytest.mark.parametrize("case", CASES)
async def test_a_session_in_hosted_mode(case: str, emulator: Emulator, tmp_path: Path) -> None:
    expected = CASES[case]
    settings = settings_for(tmp_path, emulator.url, chatkit_timeout_seconds=time_limit(case))
    async with open_session_service(settings) as service:
        issued = await service.create()
        await emulator.fail("*", times=None, **expected.failure)
        for call in (service.create(), service.refresh(issued.client_secret)):
            with in_time(case), refused(expected.reason) as refusal:
                await call
            assert refusal.details.metadata == expected.metadata
            has_wait = refusal.details.retry_after_seconds is not None
            assert has_wait == expected.is_rate_limit
        assert len(await emulator.requests("sessions.create")) == 1 + 2 * expected.attempts
        with in_time(case):
            await service.delete(issued.session.id)  # whatever OpenAI says to it
        stats = await service.stats()
        assert (stats.failures, stats.total_sessions) == (2, 1)
        assert stats.daily[-1].failures == 2
        counted = {expected.reason: 2}
        assert stats.failures_by_reason == stats.daily[-1].failures_by_reason == counted
        await emulator.heal()
        await service.create()


@pytest.mark.parametrize("case", CASES)
async def test_a_conversation_in_self_hosted_mode(
    case: str, emulator: Emulator, tmp_path: Path
) -> None:
    expected = CASES[case]
    await emulator.answers(pause_seconds=0)
    settings = settings_for(
        tmp_path,
        emulator.url,
        chatkit_mode="self_hosted",
        chatkit_attachments_dir=tmp_path / "attachments",
        chatkit_requests_per_minute=0,
        chatkit_timeout_seconds=time_limit(case),
    )
    async with open_chat(settings) as chat:
        thread_id = await chat.new_thread()
        file = await chat.attach("cuentas.csv", b"a")
        with_file = message("Mira", file)
        for operation in ("responses.create", "files.create"):
            await emulator.fail(operation, times=None, **expected.failure)
            asked = len(await emulator.requests(operation))
            answer = (
                chat.begin("Hola", thread_id)
                if operation == "responses.create"
                else chat.stream("threads.add_user_message", thread_id=thread_id, input=with_file)
            )
            with in_time(case), refused(expected.self_hosted_reason) as refusal:
                await answer.events()
            assert "sk-" not in refusal.message
            attempts = len(await emulator.requests(operation)) - asked
            assert attempts == expected.attempts
            await emulator.heal()
        stats = await chat.service.stats()
        assert dict(stats.failures_by_reason) == {expected.self_hosted_reason: 2}
        assert stats.failures == 0  # those are creates and refreshes
        # The thread can be used as soon as OpenAI can.
        assert kinds(await chat.say("¿Y ahora?", thread_id))[-1] == "item.done(assistant_message)"
        await emulator.fail("files.delete", times=None, **expected.failure)
        with in_time(case):
            await chat.ask("attachments.delete", attachment_id=file)

        async def told() -> bool:
            return len(await emulator.requests("files.delete")) == expected.attempts

        await eventually(told)
