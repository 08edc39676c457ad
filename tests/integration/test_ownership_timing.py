"""How long it takes to hear that something is not there does not tell whether somebody has it."""

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from session_service.stores.base import Session
from session_service.stores.sqlite import open_sqlite_store
from tests.attachment_examples import PNG
from tests.gateway_support import CHAT, REFRESH, SESSION
from tests.integration.conversation.chat import message
from tests.integration.ownership import Person, System, as_seen, data_of, thread_id_of

ROUNDS = 150
OWNER, STRANGER = Person(7), Person(8)
MUCH = {"userContext": {f"fact{number}": "x" * 900 for number in range(60)}}
"""The most that can be said of a user: what is large takes long to read."""

Ask = Callable[[], httpx.Response]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_to_ask_for_a_session_of_another_takes_as_long_as_for_none(method: str) -> None:
    with System("hosted") as system:
        session_id = data_of(system.call(OWNER.token, "POST", SESSION, json=MUCH))["session_id"]

        def ask(name: str) -> Ask:
            return lambda: system.call(STRANGER.token, method, f"{SESSION}/{name}")

        take_as_long(ask(session_id), ask(f"cksess_{'0' * 32}"))


def test_to_refresh_a_secret_of_another_takes_as_long_as_one_that_is_none() -> None:
    with System("hosted") as system:
        secret = data_of(system.call(OWNER.token, "POST", SESSION, json=MUCH))["client_secret"]

        def ask(secret: str) -> Ask:
            body = {"existingSecret": secret}
            return lambda: system.call(STRANGER.token, "POST", REFRESH, json=body)

        take_as_long(ask(secret), ask("ek_" + "0" * (len(secret) - 3)))


def test_to_ask_for_a_conversation_of_another_takes_as_long_as_for_none() -> None:
    with System("self_hosted") as system:
        secrets = [
            data_of(system.call(who.token, "POST", SESSION))["client_secret"]
            for who in (OWNER, STRANGER)
        ]

        def ask(secret: str, kind: str, **params: Any) -> httpx.Response:
            request = {"type": kind, "params": params, "metadata": {}}
            return system.call(secret, "POST", CHAT, json=request)

        begun = ask(secrets[0], "threads.create", input=message("x" * 10_000))
        files = {"file": ("a.png", PNG, "image/png")}
        file = system.call(secrets[0], "POST", f"{CHAT}/attachments", files=files).json()

        def see(thread_id: str) -> Ask:
            return lambda: ask(secrets[1], "threads.get_by_id", thread_id=thread_id)

        def delete(file_id: str) -> Ask:
            return lambda: ask(secrets[1], "attachments.delete", attachment_id=file_id)

        take_as_long(see(thread_id_of(begun)), see(f"thr_{'0' * 32}"))
        take_as_long(delete(file["id"]), delete(f"atc_{'0' * 32}"))


async def test_what_is_anothers_is_not_even_read(tmp_path: Path) -> None:
    # Of requests over HTTP it is a fiftieth, which takes many of them to be seen.
    async with open_sqlite_store(f"{tmp_path}/chatkit.db") as store:
        facts = {f"fact{number}": "x" * 900 for number in range(60)}
        session = Session("theirs", "theirs", "7", "wf_1", 1000, 2000, state_variables=facts)
        await store.add(session, b"their secret")
        assert await store.get("theirs", "7") == session
        gets = (
            (lambda: store.get("theirs", "8"), lambda: store.get("nobodys", "8")),
            (
                lambda: store.get_by_secret(b"their secret", "8"),
                lambda: store.get_by_secret(b"nobodys secret", "8"),
            ),
        )
        for pair in gets:
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(4 * ROUNDS):
                for kind in (0, 1) if number % 2 else (1, 0):
                    started = time.perf_counter()
                    assert await pair[kind]() is None
                    times[kind].append(time.perf_counter() - started)
            assert chance_to_be_slower(*times) < 0.8


def take_as_long(theirs: Ask, never: Ask) -> None:
    """Both must be answered alike, and none of them sooner: a rank test (Mann and Whitney)."""
    assert as_seen(theirs()) == as_seen(never())
    assert theirs().status_code == 404
    times: tuple[list[float], list[float]] = ([], [])
    pairs = list(enumerate((theirs, never)))
    order = random.Random(7)
    for _ in range(ROUNDS):
        order.shuffle(pairs)  # so that whatever slows this machine down slows both
        for kind, ask in pairs:
            started = time.perf_counter()
            ask()
            times[kind].append(time.perf_counter() - started)
    # Where both are alike, 0.5 with a standard deviation of 0.033.
    assert 0.3 < chance_to_be_slower(*times) < 0.7, (median(times[0]), median(times[1]))


def chance_to_be_slower(ones: Sequence[float], others: Sequence[float]) -> float:
    return sum(one > other for one in ones for other in others) / (len(ones) * len(others))
