"""What the SDKs do wrong or slowly. A test fails on the day that its workaround can go."""

import json
import os
import subprocess
import sys
from typing import Any

import openai
import pytest

from session_service.conversation.workarounds import Client
from tests.support import Emulator


@pytest.fixture(scope="module")
def as_they_come() -> dict[str, Any]:
    """Returns what a process says whose SDKs were never mended, as ours are by now."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.integration.conversation.sdks_as_they_come"],
        capture_output=True,
        text=True,
        env={**os.environ, "LOG_LEVEL": "info", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_chatkit_refuses_citations_of_the_openai_sdk(as_they_come: dict[str, Any]) -> None:
    assert as_they_come["refuses_citations"], "with_plain_annotations can go"


def test_chatkit_tells_times_without_a_zone(as_they_come: dict[str, Any]) -> None:
    assert as_they_come["tells_times_without_a_zone"], "_UTCDatetime can go"


def test_chatkit_never_cancels_a_run_that_nobody_reads(as_they_come: dict[str, Any]) -> None:
    assert as_they_come["leaves_a_run_that_nobody_reads"], "RunEvents can go"


def test_a_run_that_fails_drops_what_nobody_has_read(as_they_come: dict[str, Any]) -> None:
    assert as_they_come["drops_what_nobody_has_read"], "it waits for its reader now"


def test_chatkit_installs_a_log_handler_of_its_own(as_they_come: dict[str, Any]) -> None:
    assert as_they_come["log_handlers"], "the handler need not be removed"


def test_chatkit_builds_its_parser_anew_for_every_request(as_they_come: dict[str, Any]) -> None:
    assert as_they_come["parser_is_built_anew"], "ChatKitServer.process can be used as it is"


def test_the_openai_sdk_tries_every_type_of_event(as_they_come: dict[str, Any]) -> None:
    assert as_they_come["times_slower_than_by_type"] > 5, "Client can go"


def test_the_ids_of_chatkit_can_be_guessed(as_they_come: dict[str, Any]) -> None:
    assert as_they_come["length_of_ids"] < len("thr_") + 16, "our own ids can go"


def test_the_agents_sdk_traces_to_openai_in_any_case(as_they_come: dict[str, Any]) -> None:
    assert "api.openai.com" in as_they_come["traces_go_to"], "tracing may be possible now"


async def test_our_client_parses_every_event_as_the_sdk_does(emulator: Emulator) -> None:
    """The shortcut for deltas gives what the long way gives, and leaves the rest alone."""
    events = []
    for kind in (openai.AsyncOpenAI, Client):
        await emulator.answers(pause_seconds=0, text="uno dos tres")
        async with kind(api_key="sk-test", base_url=emulator.url) as client:
            stream = await client.responses.create(model="m", input="busca", stream=True)
            events.append([(type(event), event.type) async for event in stream])
    assert events[0] == events[1]
    assert "response.output_text.delta" in [kind for _, kind in events[0]]
