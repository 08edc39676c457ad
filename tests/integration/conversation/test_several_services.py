"""Several session services on one PostgreSQL: what ends an answer, and who may answer, in all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from protos.chatkit.v1 import conversation_service_pb2 as pb
from protos.chatkit.v1.errors import reason_of
from session_service.config import Settings
from session_service.stores.base import Totals
from session_service.stores.postgres import open_postgres_store
from tests.attachment_examples import EXAMPLES, link_of
from tests.integration.conversation.chat import (
    BASE_URL,
    Answer,
    Chat,
    kinds,
    message,
    new_chat,
    thread_id_of,
)
from tests.integration.store_values import everything
from tests.integration.test_postgres_conversations import rows_by_table
from tests.integration.test_postgres_listener import END_LISTENERS
from tests.postgres_support import Network, connected, network_to
from tests.support import Emulator, eventually, open_session_service, refused

MakeSettings = Callable[..., Settings]


@dataclass(frozen=True, slots=True)
class Services:
    """One session of user 7, at two services."""

    one: Chat
    """Whose network can break."""
    other: Chat
    network: Network
    url: str
    emulator: Emulator

    async def slowly(self) -> tuple[Answer, str]:
        """Begins an answer of four seconds at the one; returns it with its thread."""
        await self.emulator.answers(pause_seconds=0.02, deltas=200)
        answer = self.one.begin("Cuéntame todo")
        thread_id = thread_id_of([await answer.until("created")])
        await answer.until("content_part.text_delta")
        return answer, thread_id

    async def stops(self) -> None:
        async def has_stopped() -> bool:
            return bool((await self.emulator.requests("responses.create"))[-1]["left_early"])

        await eventually(has_stopped)


@pytest.fixture
async def services(
    settings: MakeSettings, url: str, emulator: Emulator, request: pytest.FixtureRequest
) -> AsyncIterator[Services]:
    others = getattr(request, "param", {})
    await emulator.answers(pause_seconds=0)
    async with (
        network_to(url) as network,
        open_session_service(settings(database_url=network.url, **others)) as first,
        open_session_service(settings(database_url=url, **others)) as second,
    ):
        one = await new_chat(first)
        other = Chat(second, one.secret, one.session_id)
        for chat in (one, other):  # each listens by the time that it has answered
            await chat.new_thread()
        yield Services(one, other, network, url, emulator)


async def test_a_session_that_is_deleted_elsewhere_ends_its_answers_here(
    services: Services,
) -> None:
    answer, thread_id = await services.slowly()
    await services.other.service.delete(services.one.session_id)
    with refused("SESSION_DELETED"):
        await answer.events()
    await services.stops()
    again = await new_chat(services.other.service)
    assert [item["type"] for item in await again.items(thread_id)] == [
        "user_message",
        "assistant_message",
    ]
    stats = await again.service.stats()
    assert (stats.turns, stats.failed_turns) == (3, 0)


async def test_a_thread_that_is_deleted_elsewhere_ends_its_answer_here(services: Services) -> None:
    answer, thread_id = await services.slowly()
    await services.other.ask("threads.delete", thread_id=thread_id)
    with refused("THREAD_NOT_FOUND"):
        await answer.events()
    await services.stops()
    assert thread_id not in str(await services.one.ask("threads.list"))
    stats = await services.one.service.stats()
    assert (stats.turns, stats.failed_turns) == (3, 0)


async def test_a_user_who_is_deleted_elsewhere_leaves_nothing_behind(services: Services) -> None:
    answer, _ = await services.slowly()
    user = pb.DeleteUserDataRequest(user_id="7")
    await services.other.stub.DeleteUserData(user)
    with refused("SESSION_DELETED"):
        await answer.events()
    await services.stops()
    async with open_postgres_store(services.url) as store:

        async def is_counted() -> bool:
            return (await everything(store, None)).totals.turns == 3

        await eventually(is_counted)  # for everybody: it has cost something
        assert (await everything(store, "7")).totals == Totals()
    rows = await rows_by_table(services.url)
    for table in ("sessions", "threads", "items", "turns", "attachments"):
        assert rows[table] == 0, table
    async with connected(services.url) as db:
        for table in ("totals", "days", "endings", "failures_by_reason", "answer_times"):
            assert not await db.fetch(f"SELECT 1 FROM {table} WHERE scope = '7'"), table


async def test_a_user_who_is_deleted_while_nobody_hears_of_it_leaves_nothing_behind(
    services: Services,
) -> None:
    """What is written in the end is refused by the database itself."""
    await services.emulator.answers(pause_seconds=0.02, deltas=20)
    answer = services.one.begin("Cuéntame algo")
    await answer.until("content_part.text_delta")
    async with connected(services.url) as db:  # as if it had been done by an older release
        await db.execute("DELETE FROM threads; DELETE FROM sessions; DELETE FROM turns")
        await db.execute("DELETE FROM totals WHERE scope = '7'")
    with refused("THREAD_NOT_FOUND"):
        await answer.events()
    rows = await rows_by_table(services.url)
    assert (rows["threads"], rows["items"], rows["turns"]) == (0, 0, 0)
    async with connected(services.url) as db:
        assert not await db.fetch("SELECT 1 FROM totals WHERE scope = '7'")


async def test_what_was_deleted_while_nobody_could_be_told_ends_afterwards(
    services: Services,
) -> None:
    answer, _ = await services.slowly()
    services.network.lose()
    async with connected(services.url) as db:
        await db.execute(END_LISTENERS)
    await services.other.service.delete(services.one.session_id)
    services.network.mend()
    with refused("SESSION_DELETED"):
        await answer.events()


async def test_answers_go_on_while_connections_break(services: Services) -> None:
    answer, thread_id = await services.slowly()
    for _ in range(3):
        services.network.cut()
        await answer.until("content_part.text_delta")
    assert kinds(await answer.events())[-1] == "updated"
    assert len(await services.other.items(thread_id)) == 2
    await services.emulator.answers(pause_seconds=0)
    for chat in (services.one, services.other):
        await chat.say("¿Y?", thread_id)


async def test_a_thread_that_another_has_taken_over_is_not_answered_twice(
    services: Services,
) -> None:
    answer, thread_id = await services.slowly()
    services.network.lose()
    async with connected(services.url) as db:
        await db.execute(END_LISTENERS)
    second = services.other.begin("¿Sigues ahí?", thread_id)
    await second.until("content_part.text_delta")
    services.network.mend()
    with refused("UNAVAILABLE") as refusal:
        await answer.events()
    assert refusal.details.retry_after_seconds
    await second.events()


@pytest.mark.parametrize("services", [{"chatkit_max_messages": 10}], indirect=True)
async def test_one_thread_that_is_hammered_through_two_services_keeps_its_order_and_its_limit(
    services: Services,
) -> None:
    thread_id = await services.one.new_thread()
    answers = await asyncio.gather(
        *(
            chat.say(f"{number}", thread_id)
            for number in range(8)
            for chat in (services.one, services.other)
        )
    )
    first = [kinds(answer)[0] for answer in answers]
    assert sorted(first) == ["item.done(user_message)"] * 4 + ["notice"] * 12
    assert [item["type"] for item in await services.one.items(thread_id)] == [
        "user_message",
        "assistant_message",
    ] * 5


async def test_the_first_answer_of_a_thread_is_not_interrupted_either(services: Services) -> None:
    await services.emulator.answers(pause_seconds=0.02, deltas=20)
    first = services.one.begin("uno")
    thread_id = thread_id_of([await first.until("created")])
    await asyncio.gather(
        first.events(), *(chat.say("dos", thread_id) for chat in (services.one, services.other))
    )
    assert [item["type"] for item in await services.one.items(thread_id)] == [
        "user_message",
        "assistant_message",
    ] * 3


@pytest.mark.parametrize("services", [{"chatkit_timeout_seconds": 2}], indirect=True)
async def test_who_waits_for_an_answer_elsewhere_in_vain_is_told_so(services: Services) -> None:
    thread_id = await services.one.new_thread()
    await services.emulator.fail("responses.create", kind="silence", times=None)
    first = services.one.begin("uno", thread_id)
    await first.until("stream_options")
    waiting = [services.other.begin(text, thread_id) for text in ("dos", "tres")]
    with refused("UPSTREAM_TIMEOUT"):
        await first.events()
    outcomes = await asyncio.gather(*(one.events() for one in waiting), return_exceptions=True)
    reasons = {reason_of(error) for error in outcomes if isinstance(error, grpc.RpcError)}
    assert "RATE_LIMITED" in reasons


async def test_files_are_everywhere_where_the_folder_is_shared(
    services: Services, tmp_path: Path
) -> None:
    async def read(chat: Chat, link: pb.AttachmentLink) -> bytes:
        answer = chat.stub.ReadAttachment(pb.ReadAttachmentRequest(link=link))
        return b"".join([part.data async for part in answer])

    def link(url: str) -> pb.AttachmentLink:
        parts = link_of(url)
        return pb.AttachmentLink(
            attachment_id=parts.attachment_id,
            expires_at=parts.expires_at,
            signature=parts.signature,
        )

    one, other = services.one, services.other
    name, png = EXAMPLES["image/png"]
    made = await one.ask("attachments.create", name=name, size=len(png), mime_type="image/png")
    upload = link(made["upload_descriptor"]["url"])
    head = pb.UploadAttachmentHead(link=upload, base_url=BASE_URL)
    shown = await other.upload(head, png)
    preview = link(shown["preview_url"])
    assert await read(one, preview) == await read(other, preview) == png
    await other.stream("threads.create", input=message("Mira", shown["id"])).events()
    assert len(await services.emulator.requests("files.create")) == 1
    await one.ask("attachments.delete", attachment_id=shown["id"])
    for chat in (one, other):
        with refused("ATTACHMENT_NOT_FOUND"):
            await read(chat, preview)
    assert not [file for file in (tmp_path / "attachments").rglob("atc_*") if file.is_file()]
    assert len(await services.emulator.requests("files.delete")) == 1
