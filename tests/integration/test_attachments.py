"""Attachments with real files and OpenAI's Files API on a socket."""

import asyncio
import resource
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from session_service.conversation.attachment_files import open_attachment_files
from session_service.conversation.attachments import STALE_MS
from session_service.conversation.links import Link, Links, Purpose, link_key
from session_service.errors import (
    AttachmentNotFound,
    AttachmentTooLarge,
    AttachmentTypeNotAllowed,
    InvalidAPIKey,
    InvalidArgument,
    ServiceError,
    Unavailable,
    UpstreamRejected,
)
from session_service.stores import sqlite_database
from session_service.stores.conversations import Attachment
from tests.attachment_examples import BASE_URL, EXAMPLES, PDF, PNG, WORD, link_of, zipped
from tests.attachment_support import API_KEY, MAX_BYTES, Counted, World, open_world, stream

CHUNK = bytes([65]) * 64 * 1024


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path / "deep" / "attachments") as opened:
        yield opened


def read_link(world: World, attachment: Attachment, now: float | None = None) -> Link:
    return world.links.link("read", attachment.id, time.time() if now is None else now)


async def content(world: World, attachment: Attachment) -> bytes:
    _, chunks = await world.attachments.read(read_link(world, attachment))
    return b"".join([chunk async for chunk in chunks])


async def direct(
    world: World, *chunks: bytes, name: str = "a.txt", kind: str = "text/plain", size: int = 0
) -> Attachment:
    return await world.attachments.upload_direct("7", name, kind, size, stream(*chunks))


# Uploads


@pytest.mark.parametrize("kind", EXAMPLES)
async def test_a_direct_upload_is_read_again(world: World, kind: str) -> None:
    attachment = await world.add(kind=kind)
    name, data = EXAMPLES[kind]
    assert (attachment.name, attachment.mime_type) == (name, kind)
    assert (attachment.size, attachment.uploaded) == (len(data), True)
    assert await world.store.attachment("7", attachment.id) == attachment
    assert await content(world, attachment) == data


@pytest.mark.parametrize("kind", EXAMPLES)
async def test_a_two_phase_upload_is_read_again(world: World, kind: str) -> None:
    name, data = EXAMPLES[kind]
    link = await world.announce(name, kind, len(data))
    waiting = await world.store.attachment("7", link.attachment_id)
    assert waiting is not None
    assert not waiting.uploaded
    attachment = await world.attachments.upload_to(link, kind, 0, stream(data[:5], data[5:]))
    assert (attachment.name, attachment.mime_type) == (name, kind)
    assert (attachment.size, attachment.uploaded) == (len(data), True)
    assert await content(world, attachment) == data


async def test_files_are_named_by_ids_and_readable_by_their_owner_alone(world: World) -> None:
    assert not world.directory.exists()
    attachment = await direct(world, b"a", name="../../../evil.txt")
    assert attachment.name == "evil.txt"
    (file,) = world.on_disk()
    assert file.name == attachment.id
    assert file.parent.parent == world.directory
    assert file.stat().st_mode & 0o777 == 0o600
    folders = [world.directory, file.parent, world.directory / "incoming"]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 3


@pytest.mark.parametrize("hostile", ["../../x", "a/b", "..", "", "a\0", "x" * 200])
async def test_an_id_that_is_none_of_ours_finds_no_file(world: World, hostile: str) -> None:
    with pytest.raises(AttachmentNotFound):
        await world.files.size(hostile)


REFUSED: list[tuple[str, str, bytes, type[ServiceError]]] = [
    ("a.pdf", "application/pdf", PNG, AttachmentTypeNotAllowed),
    ("a.png", "image/png", b"<html><script>alert(1)</script>", AttachmentTypeNotAllowed),
    ("a.txt", "text/plain", b"<svg onload='alert(1)'/>", AttachmentTypeNotAllowed),
    ("a.docx", WORD, zipped("bomb", content=bytes(50 * 2**20)), AttachmentTypeNotAllowed),
    ("a.docx", WORD, EXAMPLES[WORD][1][:-30], AttachmentTypeNotAllowed),
    ("a.txt", "text/plain", "ñ".encode()[:1], AttachmentTypeNotAllowed),
    ("a.txt", "text/plain", b"", InvalidArgument),
]


@pytest.mark.parametrize(("name", "kind", "data", "error"), REFUSED)
async def test_a_direct_upload_that_lies_leaves_nothing(
    world: World, name: str, kind: str, data: bytes, error: type[ServiceError]
) -> None:
    with pytest.raises(error):
        await direct(world, data, name=name, kind=kind)
    assert world.on_disk() == []
    assert await world.store.stale_attachments(2**50, 10) == []


@pytest.mark.parametrize(("name", "kind", "data", "error"), REFUSED)
async def test_a_two_phase_upload_that_lies_leaves_the_link_as_it_was(
    world: World, name: str, kind: str, data: bytes, error: type[ServiceError]
) -> None:
    good = EXAMPLES[kind][1]
    link = await world.announce(name, kind, max(len(data), len(good)))
    with pytest.raises(error):
        await world.attachments.upload_to(link, kind, 0, stream(data))
    assert world.on_disk() == []
    filled = await world.attachments.upload_to(link, kind, 0, stream(good))
    assert await content(world, filled) == good


async def test_a_zip_bomb_is_never_unpacked(world: World) -> None:
    bomb = zipped("[Content_Types].xml", "word/document.xml", content=bytes(200 * 2**20))
    started = time.process_time()
    attachment = await direct(world, bomb, name="a.docx", kind=WORD)
    assert time.process_time() - started < 0.2
    assert attachment.size == len(bomb) < MAX_BYTES


async def test_a_wrong_type_stops_the_reading_at_once(world: World) -> None:
    chunks = Counted([PNG, *[CHUNK] * 5])
    with pytest.raises(AttachmentTypeNotAllowed):
        await world.attachments.upload_direct("7", "a.pdf", "application/pdf", 0, chunks)
    assert chunks.taken == 1


async def test_one_byte_more_than_allowed_stops_the_reading_at_once(world: World) -> None:
    whole = [CHUNK] * (MAX_BYTES // len(CHUNK))
    exact = await direct(world, *whole, size=MAX_BYTES)
    assert exact.size == MAX_BYTES
    chunks = Counted([*whole, b"a", CHUNK, CHUNK])
    with pytest.raises(AttachmentTooLarge, match="CHATKIT_ATTACHMENT_MAX_MB"):
        await world.attachments.upload_direct("7", "a.txt", "text/plain", 0, chunks)
    assert chunks.taken == len(whole) + 1
    assert [file.name for file in world.on_disk()] == [exact.id]


async def test_an_announced_size_is_refused_before_any_byte(world: World) -> None:
    size = 513 * 1024 * 1024
    chunks = Counted([CHUNK])
    with pytest.raises(AttachmentTooLarge):
        await world.attachments.create("7", "a.txt", "text/plain", size, BASE_URL)
    with pytest.raises(AttachmentTooLarge):
        await world.attachments.upload_direct("7", "a.txt", "text/plain", size, chunks)
    link = await world.announce("a.txt", "text/plain", 10)
    with pytest.raises(AttachmentTooLarge):
        await world.attachments.upload_to(link, "text/plain", size, chunks)
    assert chunks.taken == 0


async def test_more_than_was_announced_is_refused(world: World) -> None:
    link = await world.announce("a.txt", "text/plain", 10)
    with pytest.raises(AttachmentTooLarge, match="announced"):
        await world.attachments.upload_to(link, "text/plain", 0, stream(b"a" * 10, b"a"))
    assert world.on_disk() == []


async def test_another_type_than_was_announced_is_refused(world: World) -> None:
    link = await world.announce("a.png", "image/png", 1000)
    for kind in ("application/pdf", "text/html"):
        with pytest.raises(AttachmentTypeNotAllowed):
            await world.attachments.upload_to(link, kind, 0, stream(PDF))
    await world.attachments.upload_to(link, "application/octet-stream", 0, stream(PNG))


@pytest.mark.parametrize("size", [0, -1])
async def test_nothing_cannot_be_announced(world: World, size: int) -> None:
    with pytest.raises(InvalidArgument):
        await world.attachments.create("7", "a.txt", "text/plain", size, BASE_URL)


@pytest.mark.parametrize(("name", "kind"), [("a.svg", "image/svg+xml"), ("a.exe", "text/plain")])
async def test_a_type_that_is_not_allowed_cannot_be_announced(
    world: World, name: str, kind: str
) -> None:
    with pytest.raises(AttachmentTypeNotAllowed):
        await world.attachments.create("7", name, kind, 1, BASE_URL)
    assert await world.store.stale_attachments(2**50, 10) == []


async def test_a_link_fills_once(world: World) -> None:
    link = await world.announce()
    filled = await world.attachments.upload_to(link, "image/png", 0, stream(PNG))
    with pytest.raises(AttachmentNotFound):
        await world.attachments.upload_to(link, "image/png", 0, stream(PNG))
    assert await content(world, filled) == PNG


async def test_of_two_uploads_to_one_link_at_once_one_is_taken(world: World) -> None:
    link = await world.announce("a.txt", "text/plain", 1000)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        begun.set()
        await goes_on.wait()
        yield b" and last"

    first = asyncio.create_task(world.attachments.upload_to(link, "text/plain", 0, slow()))
    second = Counted([b"second"])
    await begun.wait()
    with pytest.raises(AttachmentNotFound):
        await world.attachments.upload_to(link, "text/plain", 0, second)
    goes_on.set()
    assert await content(world, await first) == b"first and last"
    assert second.taken == 0


async def test_of_two_processes_that_fill_one_link_the_first_to_end_wins(world: World) -> None:
    link = await world.announce("a.txt", "text/plain", 1000)
    filled = replace(await _row(world, link.attachment_id), uploaded=True, size=5)

    async def overtaken() -> AsyncIterator[bytes]:
        yield b"slower"
        await world.store.save_attachment("7", filled)

    with pytest.raises(AttachmentNotFound):
        await world.attachments.upload_to(link, "text/plain", 0, overtaken())
    assert await _row(world, link.attachment_id) == filled
    assert world.on_disk() == []


async def test_what_is_deleted_while_it_is_uploaded_stays_deleted(world: World) -> None:
    link = await world.announce("a.txt", "text/plain", 1000)

    async def deleted() -> AsyncIterator[bytes]:
        yield b"too late"
        await world.attachments.delete("7", link.attachment_id)

    with pytest.raises(AttachmentNotFound):
        await world.attachments.upload_to(link, "text/plain", 0, deleted())
    assert await world.store.attachment(None, link.attachment_id) is None
    assert world.on_disk() == []


async def test_an_upload_that_breaks_off_can_be_tried_again(world: World) -> None:
    link = await world.announce("a.txt", "text/plain", 1000)

    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await world.attachments.upload_to(link, "text/plain", 0, broken())
    assert world.on_disk() == []
    filled = await world.attachments.upload_to(link, "text/plain", 0, stream(b"whole"))
    assert await content(world, filled) == b"whole"


async def test_an_upload_that_is_cancelled_leaves_nothing(world: World) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield CHUNK
            begun.set()

    upload = asyncio.create_task(
        world.attachments.upload_direct("7", "a.txt", "text/plain", 0, endless())
    )
    await begun.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert world.on_disk() == []
    assert await world.store.stale_attachments(2**50, 10) == []


@pytest.mark.parametrize("way", ["direct", "two-phase"])
async def test_bytes_whose_end_cannot_be_stored_do_not_stay(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "_BUSY_SECONDS", 0.1)
    async with open_world(tmp_path) as world:
        link = await world.announce()
        with closing(sqlite3.connect(world.database, isolation_level=None)) as other:

            async def then_locked() -> AsyncIterator[bytes]:
                yield PNG
                other.execute("BEGIN IMMEDIATE")

            upload = (
                world.attachments.upload_direct("7", "a.png", "image/png", 0, then_locked())
                if way == "direct"
                else world.attachments.upload_to(link, "image/png", 0, then_locked())
            )
            with pytest.raises(Unavailable):
                await upload
            assert world.on_disk() == []
            other.execute("ROLLBACK")
        if way == "two-phase":  # as nothing has come by this link
            filled = await world.attachments.upload_to(link, "image/png", 0, stream(PNG))
            assert filled.uploaded


# Links


@pytest.mark.parametrize(("purpose", "other"), [("read", "upload"), ("upload", "read")])
async def test_a_link_that_is_none_is_not_found(
    world: World, purpose: Purpose, other: Purpose
) -> None:
    """Nor one that has expired, one for something else, and one of nothing."""
    attachment = await world.add()
    waiting = await world.announce()
    id_ = attachment.id if purpose == "read" else waiting.attachment_id
    now = time.time()
    mine = world.links.link(purpose, id_, now)
    bad = [
        replace(mine, signature="A" * len(mine.signature)),
        replace(mine, expires_at=mine.expires_at + 1),
        replace(mine, attachment_id="atc_" + "0" * 32),
        world.links.link(purpose, id_, now - 601),
        world.links.link(other, id_, now),
        world.links.link(purpose, "atc_gone", now),
        Links(link_key("sk-other")).link(purpose, id_, now),
    ]

    async def use(link: Link) -> None:
        if purpose == "read":
            await world.attachments.read(link)
        else:
            await world.attachments.upload_to(link, "image/png", 0, stream(PNG))

    for link in bad:
        with pytest.raises(AttachmentNotFound):
            await use(link)
    await use(mine)


async def test_what_is_not_uploaded_cannot_be_read(world: World) -> None:
    link = await world.announce()
    with pytest.raises(AttachmentNotFound):
        await world.attachments.read(world.links.link("read", link.attachment_id, time.time()))


async def test_bytes_that_are_lost_are_not_found_before_the_first(world: World) -> None:
    attachment = await world.add()
    await world.files.remove(attachment.id)
    with pytest.raises(AttachmentNotFound):
        await world.attachments.read(read_link(world, attachment))


async def test_bytes_come_in_pieces_of_64_kib(world: World) -> None:
    attachment = await direct(world, b"a" * 200_000, b"b")
    found, chunks = await world.attachments.read(read_link(world, attachment))
    assert found.size == 200_001
    assert [len(chunk) async for chunk in chunks] == [65536, 65536, 65536, 3393]


async def test_an_image_is_shown_with_fresh_links(world: World) -> None:
    made = await world.attachments.create("7", "a.png", "image/png", len(PNG), BASE_URL)
    assert made.type == "image"
    assert made.upload_descriptor is not None
    assert made.upload_descriptor.method == "POST"
    filled = await world.attachments.upload_to(
        link_of(str(made.upload_descriptor.url)), "image/png", 0, stream(PNG)
    )
    sent = replace(filled, thread_id="thr_1")
    shown = world.attachments.to_chatkit(sent, BASE_URL)
    assert shown.type == "image"
    assert (shown.id, shown.name, shown.mime_type, shown.thread_id) == (
        filled.id,
        "a.png",
        "image/png",
        "thr_1",
    )
    assert shown.upload_descriptor is None
    _, chunks = await world.attachments.read(link_of(str(shown.preview_url)))
    assert b"".join([chunk async for chunk in chunks]) == PNG


async def test_a_file_is_shown_without_a_preview(world: World) -> None:
    shown = world.attachments.to_chatkit(await world.add(kind="application/pdf"), BASE_URL)
    assert shown.model_dump(exclude_none=True).keys() == {"id", "name", "mime_type", "type"}


# Deleting


async def test_a_deleted_attachment_is_gone_here_and_at_openai(world: World) -> None:
    attachment = await world.add()
    await world.attachments.to_model(attachment)
    assert len(world.openai.files) == 1
    await world.attachments.delete("7", attachment.id)
    assert world.on_disk() == []
    assert world.openai.files == {}
    with pytest.raises(AttachmentNotFound):
        await world.attachments.read(read_link(world, attachment))
    with pytest.raises(AttachmentNotFound):
        await world.attachments.delete("7", attachment.id)


async def test_another_users_attachment_cannot_be_deleted(world: World) -> None:
    attachment = await world.add("7")
    with pytest.raises(AttachmentNotFound):
        await world.attachments.delete("8", attachment.id)
    assert await content(world, attachment) == PNG


async def test_what_openai_does_not_delete_is_logged(world: World) -> None:
    attachments = [await world.add(), await world.add()]
    for attachment in attachments:
        await world.attachments.to_model(attachment)
    rows = [await _row(world, attachment.id) for attachment in attachments]
    world.openai.failures = [(400, {"message": "no"}), (404, {"message": "no such file"})]
    with structlog.testing.capture_logs() as logged:
        await world.attachments.discard(rows)
    assert world.on_disk() == []
    assert [(e["event"], e["status"]) for e in logged] == [("a file stays at openai", 400)]


async def test_what_was_never_sent_goes_after_a_day(world: World) -> None:
    now_ms = time.time_ns() // 1_000_000
    sent, forgotten = await world.add(), await world.add("8")
    await world.announce()
    await world.send(sent)
    assert await world.attachments.remove_stale(now_ms) == 0
    assert await world.attachments.remove_stale(now_ms + STALE_MS + 60_000) == 2
    assert [file.name for file in world.on_disk()] == [sent.id]
    assert await world.store.attachment("8", forgotten.id) is None


# The disk


async def test_what_a_crash_left_half_written_is_removed_at_start(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        whole = await world.add()
    left = tmp_path / "incoming" / "atc_1.0"
    left.write_bytes(b"half")
    async with open_attachment_files(tmp_path) as files:
        assert not left.exists()
        assert await files.size(whole.id) == len(PNG)


async def test_processes_that_start_at_once_remove_it_together(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    for number in range(300):
        (tmp_path / "incoming" / f"atc_{number}.0").touch()
    async with AsyncExitStack() as stack:
        opening = (stack.enter_async_context(open_attachment_files(tmp_path)) for _ in range(4))
        await asyncio.gather(*opening)
        assert not list((tmp_path / "incoming").iterdir())


async def test_a_start_leaves_what_another_process_is_writing(world: World) -> None:
    async with world.files.incoming("atc_1") as file:
        await file.write(CHUNK)
        async with open_attachment_files(world.directory) as others:
            await file.keep(lambda _: None)
            assert await others.size("atc_1") == len(CHUNK)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """The kernel refuses to write more than 300 KiB to a file, as when a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
async def test_a_full_disk_is_unavailable_and_logged(world: World) -> None:
    with structlog.testing.capture_logs() as logged, pytest.raises(Unavailable):
        await direct(world, *[CHUNK] * 10)
    assert [(e["event"], e["error"]) for e in logged] == [("attachments cannot be kept", "EFBIG")]
    assert world.on_disk() == []


async def test_where_attachments_are_off_there_are_no_new_ones(tmp_path: Path) -> None:
    async with open_world(tmp_path, allowed=False) as world:
        with pytest.raises(AttachmentTypeNotAllowed) as refused:
            await world.add()
        assert refused.value.metadata == {"cause": "off"}
        with pytest.raises(AttachmentTypeNotAllowed):
            await world.announce()
        assert world.on_disk() == []


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with open_world(tmp_path / "file" / "attachments") as world:
        with pytest.raises(Unavailable):
            await world.add()


async def test_memory_does_not_grow_with_what_goes_through(tmp_path: Path) -> None:
    """200 MB in and out again: the process peaks below a tenth of that above where it began."""
    size = 200 * 1024 * 1024
    async with open_world(tmp_path, max_bytes=size) as world:
        await content(world, await direct(world, *[CHUNK] * 16))  # what is loaded at first use
        before = _peak_bytes(reset=True)
        chunks = Counted(CHUNK for _ in range(size // len(CHUNK)))
        attachment = await world.attachments.upload_direct("7", "a.txt", "text/plain", 0, chunks)
        _, data = await world.attachments.read(read_link(world, attachment))
        assert sum([len(chunk) async for chunk in data]) == size
        assert _peak_bytes() - before < 20 * 1024 * 1024


def _peak_bytes(*, reset: bool = False) -> int:
    """Linux's high-water mark of resident memory, see proc(5)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


# The model


@pytest.mark.parametrize(
    ("kind", "name"), [("image/png", "foto ñ.png"), ("application/pdf", "a.pdf"), (WORD, "a.docx")]
)
async def test_the_model_gets_a_copy_that_is_made_once(world: World, kind: str, name: str) -> None:
    data = EXAMPLES[kind][1]
    attachment = await direct(world, data, name=name, kind=kind)
    first = await world.attachments.to_model(attachment)
    again = await world.attachments.to_model(await _row(world, attachment.id))
    assert first == again
    assert first == (
        {"type": "input_image", "file_id": "file-1", "detail": "auto"}
        if kind == "image/png"
        else {"type": "input_file", "file_id": "file-1"}
    )
    assert world.openai.files == {"file-1": (name, kind, data)}
    assert world.openai.headers[0]["authorization"] == f"Bearer {API_KEY}"
    assert world.openai.headers[0]["x-client-request-id"]


async def test_callers_at_once_share_a_copy_even_if_the_first_leaves(world: World) -> None:
    attachment = await world.add()
    first = asyncio.create_task(world.attachments.to_model(attachment))
    second = asyncio.create_task(world.attachments.to_model(attachment))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)["file_id"] == "file-1"
    assert first.cancelled()
    assert world.openai.uploads == 1


async def test_a_copy_that_openai_has_lost_is_made_again(world: World) -> None:
    attachment = await world.add()
    await world.attachments.to_model(attachment)
    world.openai.files.clear()
    renewed = await world.attachments.to_model(await _row(world, attachment.id), renew=True)
    assert renewed["file_id"] == "file-2"
    assert (await _row(world, attachment.id)).openai_file_id == "file-2"


async def test_what_is_remembered_of_a_copy_changes_nothing_else(world: World) -> None:
    attachment = await world.add()
    await world.send(attachment)
    await world.attachments.to_model(attachment)  # as it was before it was sent
    assert (await _row(world, attachment.id)).thread_id == "thr_1"


async def test_a_copy_of_what_was_deleted_meanwhile_is_deleted(world: World) -> None:
    attachment = await world.add()
    world.openai.may_end.clear()
    copying = asyncio.create_task(world.attachments.to_model(attachment))
    await world.openai.began.wait()
    await world.store.delete_attachment("7", attachment.id)
    world.openai.may_end.set()
    with pytest.raises(AttachmentNotFound):
        await copying
    assert world.openai.files == {}


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "bad file", "code": "invalid_file"}, UpstreamRejected),
        (401, {"message": f"Incorrect API key provided: {API_KEY}"}, InvalidAPIKey),
        (404, {"message": "no such model"}, UpstreamRejected),
    ],
)
async def test_a_copy_that_openai_refuses_is_an_error_of_openais(
    world: World, status: int, error: dict[str, object], expected: type[ServiceError]
) -> None:
    attachment = await world.add()
    world.openai.failures.append((status, error))
    with structlog.testing.capture_logs() as logged, pytest.raises(expected) as caught:
        await world.attachments.to_model(attachment)
    assert (logged[0]["event"], logged[0]["status"]) == (
        "openai did not take an attachment",
        status,
    )
    assert API_KEY not in f"{logged}{caught.value}"
    assert (await world.attachments.to_model(attachment))["file_id"] == "file-2"


async def test_what_has_no_bytes_has_no_copy(world: World) -> None:
    link = await world.announce()
    with pytest.raises(AttachmentNotFound):
        await world.attachments.to_model(await _row(world, link.attachment_id))
    lost = await world.add()
    await world.files.remove(lost.id)
    with pytest.raises(AttachmentNotFound):
        await world.attachments.to_model(lost)
    assert world.openai.uploads == 0


async def _row(world: World, attachment_id: str) -> Attachment:
    found = await world.store.attachment("7", attachment_id)
    assert found is not None
    return found
