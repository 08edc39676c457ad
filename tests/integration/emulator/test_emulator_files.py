"""The emulator's files: what it answers, what it refuses, and what it notes of an upload."""

import hashlib
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from session_service.openai_emulator.app import create_emulator
from tests.integration.emulator.conftest import fail, last_request, sdk
from tests.support import serve

FILES = "/v1/files"


async def test_a_file_is_counted_hashed_and_named(
    client: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    content = bytes(range(256)) * 4096 + b"\r\n--end"
    file = await client.files.create(
        file=("informe «final».pdf", content, "application/pdf"), purpose="user_data"
    )
    assert file.id.startswith("file-")
    assert (file.filename, file.purpose) == ("informe «final».pdf", "user_data")
    assert (file.bytes, file.status, file.expires_at) == (len(content), "processed", None)
    assert (await last_request(http, "files.create"))["body"] == {
        "purpose": "user_data",
        "filename": "informe «final».pdf",
        "content_type": "application/pdf",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


async def test_a_file_can_be_retrieved_until_it_is_deleted(client: AsyncOpenAI) -> None:
    file = await client.files.create(file=("a.txt", b"a"), purpose="assistants")
    assert await client.files.retrieve(file.id) == file
    deleted = await client.files.delete(file.id)
    assert (deleted.id, deleted.deleted) == (file.id, True)
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
        await client.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        await client.files.delete(file.id)


async def test_files_are_listed_newest_first_and_by_purpose(client: AsyncOpenAI) -> None:
    ids = []
    for number in range(5):
        file = await client.files.create(file=(f"{number}.txt", b"a"), purpose="user_data")
        ids.append(file.id)
    await client.files.create(file=("foto.png", b"a"), purpose="vision")
    listed = client.files.list(purpose="user_data", limit=2)
    assert [file.id async for file in listed] == ids[::-1]
    assert [file.id async for file in client.files.list(order="asc")][:5] == ids
    with pytest.raises(openai.NotFoundError):
        await client.files.list(after="file-unknown")


async def test_a_file_may_expire(client: AsyncOpenAI) -> None:
    file = await client.files.create(
        file=("a.txt", b"a"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at == file.created_at + 3600


async def test_a_file_that_is_too_long_is_refused() -> None:
    async with (
        serve(create_emulator(max_file_bytes=1000)) as base_url,
        sdk(base_url) as client,
    ):
        await client.files.create(file=("a.txt", b"a" * 1000), purpose="user_data")
        with pytest.raises(openai.APIStatusError, match="content size limit") as raised:
            await client.files.create(file=("a.txt", b"a" * 1_000_000), purpose="user_data")
        assert raised.value.status_code == 413


@pytest.mark.parametrize(
    ("data", "files", "param", "code"),
    [
        ({}, {"file": b"a"}, "purpose", "missing_required_parameter"),
        ({"purpose": "fun"}, {"file": b"a"}, "purpose", "invalid_value"),
        ({"purpose": "user_data"}, {"data": b"a"}, "data", "unknown_parameter"),
        ({"purpose": "user_data", "n": "1"}, {"file": b"a"}, "n", "unknown_parameter"),
        ({"purpose": "user_data"}, {"file": b""}, "file", None),
        (
            {"purpose": "user_data", "expires_after[seconds]": "3600"},
            {"file": b"a"},
            "expires_after[anchor]",
            "invalid_value",
        ),
        (
            {
                "purpose": "user_data",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "5",
            },
            {"file": b"a"},
            "expires_after[seconds]",
            "invalid_value",
        ),
    ],
)
async def test_an_upload_that_the_api_does_not_document_is_refused(
    http: httpx.AsyncClient,
    data: dict[str, str],
    files: dict[str, bytes],
    param: str,
    code: str | None,
) -> None:
    parts = {name: ("a.txt", content) for name, content in files.items()}
    answer = await http.post(FILES, data=data, files=parts)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


async def test_an_upload_without_a_file_is_refused(http: httpx.AsyncClient) -> None:
    content = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await http.post(FILES, content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "file"


@pytest.mark.parametrize("boundary", ["", "; boundary=x", "; boundary=y"])
async def test_an_unreadable_upload_is_refused(http: httpx.AsyncClient, boundary: str) -> None:
    content = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    headers = {"Content-Type": f"multipart/form-data{boundary}"}
    answer = await http.post(FILES, content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "Could not parse multipart form data."


async def test_an_upload_in_json_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post(FILES, json={"purpose": "user_data"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_content_type"


async def test_a_refused_upload_is_read_to_its_end(base_url: str) -> None:
    megabytes = b"a" * 5_000_000
    async with sdk(base_url, "sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.files.create(file=("a.txt", megabytes), purpose="user_data")


async def test_an_upload_fails_on_request(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    megabytes = b"a" * 5_000_000
    await fail(http, operation="files.create", status=503)
    with pytest.raises(openai.InternalServerError):
        await client.files.create(file=("a.txt", megabytes), purpose="user_data")
    for kind in ("reset", "truncate"):
        await fail(http, operation="files.create", kind=kind)
        with pytest.raises(openai.APIConnectionError):
            await client.files.create(file=("a.txt", megabytes), purpose="user_data")
    await fail(http, operation="files.create", kind="delay", delay_seconds=0.01)
    file = await client.files.create(file=("a.txt", megabytes), purpose="user_data")
    assert file.bytes == len(megabytes)


async def test_a_client_that_leaves_in_the_middle_of_an_upload_is_noted(
    http: httpx.AsyncClient,
) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        raise InterruptedError

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with pytest.raises(InterruptedError):
        await http.post(FILES, content=half(), headers=headers)
    while not (await last_request(http, "files.create"))["left_early"]:
        pass
