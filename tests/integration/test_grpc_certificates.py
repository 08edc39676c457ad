"""Certificates are replaced while both sides run, and no call fails; broken ones change nothing."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway import replicas
from protos.chatkit.v1 import conversation_service_pb2 as pb_chat
from session_service.server import Server, serve
from tests.gateway_support import (
    CHAT,
    CLIENT_SECRET,
    STATS,
    Context,
    FakeConversations,
    FakeService,
    error_of,
    gateway_settings,
    open_gateway,
)
from tests.integration.test_grpc_callers import (
    NOWHERE,
    ask,
    channel_to,
    credentials,
    not_reached,
)
from tests.support import eventually, settings_for
from tests.tls_support import Authority, Identity, for_gateway, for_service

RENEWED = "certificates renewed"
UNUSABLE = "new certificates cannot be used, the old ones stay"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def identity(authority: Authority) -> Identity:
    return authority.service()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway looks at its certificates all the time."""
    monkeypatch.setattr(replicas, "_LOOK_SECONDS", 0.01)


@contextlib.asynccontextmanager
async def service(
    directory: Path, identity: Identity, clients: Authority | None = None
) -> AsyncIterator[Server]:
    settings = settings_for(directory, NOWHERE, **for_service(identity, clients))
    async with serve(settings) as server:
        yield server


@contextlib.asynccontextmanager
async def gateway(
    port: int, authority: Authority, identity: Identity | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    settings = gateway_settings(
        session_service_target=(f"127.0.0.1:{port}",), **for_gateway(authority, identity)
    )
    async with open_gateway(settings) as http:
        yield http


@contextlib.contextmanager
def events() -> Iterator[Any]:
    """Yields what lists the events of a log, without those of calls."""
    with capture_logs() as captured:
        yield lambda: [e["event"] for e in captured if e["event"] not in ("rpc", "request")]


async def until(http: httpx.AsyncClient, status: int) -> None:
    async def is_answered_so() -> bool:
        return (await http.get(STATS)).status_code == status

    await eventually(is_answered_so)


async def test_a_new_certificate_counts_from_the_next_connection_on(
    tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    other = Authority(tmp_path, "other")
    async with service(tmp_path, identity) as server:
        async with channel_to(server, credentials(authority)) as old:
            await ask(old)
            with events() as seen:
                identity.replace_by(other.identity("new", "127.0.0.1"))
                async with channel_to(server, credentials(other)) as new:
                    await ask(new)
                await ask(old)  # the connection that there was goes on
            assert seen() == [RENEWED]
        async with channel_to(server, credentials(authority)) as late:
            with not_reached("CERTIFICATE_VERIFY_FAILED"):
                await ask(late)


async def test_a_new_authority_of_callers_counts_from_the_next_connection_on(
    tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    before, after = (Authority(tmp_path, name) for name in ("before", "after"))
    old, new = before.identity("old", "gateway"), after.identity("new", "gateway")
    both = before.file.read_bytes() + after.file.read_bytes()
    async with service(tmp_path, identity, clients=before) as server:
        for trusted, good, bad in (
            (before.file.read_bytes(), (old,), (new,)),
            (both, (old, new), ()),
            (after.file.read_bytes(), (new,), (old,)),
        ):
            before.file.write_bytes(trusted)
            for caller in good:
                async with channel_to(server, credentials(authority, caller)) as channel:
                    await ask(channel)
            for caller in bad:
                async with channel_to(server, credentials(authority, caller)) as channel:
                    with not_reached(""):
                        await ask(channel)


@pytest.mark.parametrize("broken", ["no PEM", "another's key", "expired", "gone", "half"])
async def test_a_broken_certificate_changes_nothing_and_is_logged_once(
    broken: str, tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    renewed = authority.identity("renewed", "session-service", "127.0.0.1")
    good, key = identity.certificate.read_bytes(), identity.key.read_bytes()
    async with service(tmp_path, identity) as server:
        with events() as seen:
            if broken == "no PEM":
                identity.certificate.write_text("no certificate")
            elif broken == "another's key":
                identity.key.write_bytes(renewed.key.read_bytes())
            elif broken == "expired":
                identity.replace_by(authority.identity("late", "127.0.0.1", expired=True))
            elif broken == "gone":
                identity.certificate.unlink()
            else:
                identity.certificate.write_bytes(good[: len(good) // 2])
            for _ in range(3):
                async with channel_to(server, credentials(authority)) as channel:
                    await ask(channel)
            assert seen() == [UNUSABLE]
            identity.key.write_bytes(key)
            identity.certificate.write_bytes(good)
            identity.replace_by(renewed)
            async with channel_to(server, credentials(authority)) as channel:
                await ask(channel)
            assert seen() == [UNUSABLE, RENEWED]


async def test_certificates_of_both_sides_are_replaced_under_traffic_without_a_failed_call(
    tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    ours = authority.identity("gateway", "gateway")
    statuses: list[int] = []
    stop = asyncio.Event()

    async def call(http: httpx.AsyncClient) -> None:
        while not stop.is_set():
            statuses.append((await http.get(STATS)).status_code)

    async def more(number: int = 20) -> None:
        wanted = len(statuses) + number

        async def enough() -> bool:
            return len(statuses) >= wanted

        await eventually(enough, 30)

    async with (
        service(tmp_path, identity, clients=authority) as server,
        gateway(server.port, authority, ours) as http,
    ):
        with events() as seen:
            calls = [asyncio.create_task(call(http)) for _ in range(4)]
            await more()
            for turn in range(3):
                new = authority.identity(f"service-{turn}", "127.0.0.1")
                identity.replace_by(new)
                ours.replace_by(authority.identity(f"gateway-{turn}", f"gateway-{turn}"))
                await more()
            stop.set()
            await asyncio.gather(*calls)
    assert set(statuses) == {200}
    # Each side noticed each time; a call between the two files of one may have seen half of it.
    assert seen().count(RENEWED) >= 6


async def test_a_gateway_with_a_new_authority_finds_the_service_that_has_moved_to_it(
    tmp_path: Path, authority: Authority
) -> None:
    other = Authority(tmp_path, "other")
    async with (
        service(tmp_path, other.service()) as server,
        gateway(server.port, authority) as http,
    ):
        error_of(await http.get(STATS), "UNAVAILABLE", 503)
        with events() as seen:
            authority.file.write_text("no certificate")

            async def is_noticed() -> bool:
                return UNUSABLE in seen()

            await eventually(is_noticed)
            error_of(await http.get(STATS), "UNAVAILABLE", 503)
            authority.file.write_bytes(other.file.read_bytes())
            await until(http, 200)
        assert [event for event in seen() if event in (UNUSABLE, RENEWED)] == [UNUSABLE, RENEWED]


async def test_an_answer_that_has_begun_ends_on_the_connection_that_it_began_on(
    tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def process(_: Any, context: Context) -> AsyncIterator[pb_chat.ProcessResponse]:
        yield pb_chat.ProcessResponse(head=pb_chat.ProcessHead(content_type="text/event-stream"))
        begun.set()
        await go_on.wait()
        yield pb_chat.ProcessResponse(data=b"data: the end\n\n")

    fake = FakeService(conversations=FakeConversations(process))
    async with fake.serve(identity), gateway(fake.port, authority) as http:
        headers = {"Authorization": f"Bearer {CLIENT_SECRET}"}
        answer = asyncio.create_task(http.post(CHAT, json={"type": "x"}, headers=headers))
        await asyncio.wait_for(begun.wait(), 10)
        with events() as seen:
            # To one that did not sign the service's, so that it is known which connection is used.
            authority.file.write_bytes(Authority(tmp_path, "other").file.read_bytes())
            await until(http, 503)
            gc.collect()
            assert seen()[0] == RENEWED
        assert not answer.done()
        go_on.set()
        assert (await answer).text == "data: the end\n\n"
