"""ChatKitAPI over real sockets: what it sends, when it tries again, what it makes of answers."""

import asyncio
import time
from collections.abc import AsyncIterator

import orjson
import pytest

from runtime import log as logs
from session_service import retries
from session_service.errors import (
    InvalidAPIKey,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
    WorkflowNotFound,
)
from session_service.issuer import IssuedSession
from session_service.openai_api import ChatKitAPI, Entry
from tests.integration.peer import (
    SESSION,
    answering,
    api_of,
    create,
    headers_of,
    http,
    listening,
    within,
)
from tests.support import Emulator, eventually


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[ChatKitAPI]:
    async with api_of(emulator.url) as opened:
        yield opened


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "backoff_seconds", lambda retry: 0.001)


async def test_what_is_sent_is_exactly_this() -> None:
    logs.request_id.set("req-1")
    async with listening(answering(http(SESSION))) as peer, api_of(peer.url) as api:
        issued = await api.create_session("ñ7", {"a.b": True, "n": 1.0}, within(10))
        await api.cancel_session("cksess_../1?x", within(10))
    assert issued == IssuedSession("cksess_1", "ek_1", 1_800_000_000)
    created, cancelled = peer.requests
    head, _, body = created.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chatkit/sessions HTTP/1.1\r\n")
    assert orjson.loads(body) == {
        "user": "ñ7",
        "workflow": {"id": "wf_test", "state_variables": {"a.b": True, "n": 1.0}},
        "chatkit_configuration": {"file_upload": {"enabled": True}},
    }
    expected = {
        "host": peer.url.split("/")[2],
        "authorization": "Bearer sk-test",
        "openai-beta": "chatkit_beta=v1",
        "x-client-request-id": "req-1",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "chatkit-backend",
    }
    of_create = expected | {"content-type": "application/json", "content-length": f"{len(body)}"}
    assert sorted(headers_of(created)) == sorted((of_create | connection_of(created)).items())
    assert cancelled.startswith(b"POST /v1/chatkit/sessions/cksess_..%2F1%3Fx/cancel HTTP/1.1\r\n")
    # As OpenAI's own client; what is said of no body must not be that it is something else.
    of_cancel = expected | {"content-type": "application/json", "content-length": "0"}
    assert sorted(headers_of(cancelled)) == sorted((of_cancel | connection_of(cancelled)).items())
    assert cancelled.endswith(b"\r\n\r\n")


def connection_of(request: bytes) -> dict[str, str]:
    """The one header that a client may send or not: HTTP/1.1 keeps connections alive anyway."""
    return {name: value for name, value in headers_of(request) if name == "connection"}


async def test_outside_of_a_request_there_is_no_request_id() -> None:
    async def in_the_background(url: str) -> None:
        async with api_of(url) as api:
            await api.cancel_session("cksess_1", within(10))

    async with listening(answering(http(SESSION))) as peer:
        await in_the_background(peer.url)
    assert dict(headers_of(peer.requests[0])).get("x-client-request-id") != ""


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529, 599])
async def test_what_may_pass_is_asked_three_times(
    status: int, api: ChatKitAPI, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", status=status, times=2)
    assert (await create(api)).id.startswith("cksess_")
    await emulator.fail("sessions.create", status=status, times=None)
    with pytest.raises(UpstreamError):
        await create(api)
    statuses = [request["status"] for request in await emulator.requests()]
    assert statuses == [status, status, 200, status, status, status]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422, 425, 451, 499])
async def test_what_will_not_pass_is_asked_once(
    status: int, api: ChatKitAPI, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", status=status)
    with pytest.raises(UpstreamError):
        await create(api)
    assert len(await emulator.requests()) == 1


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("code", ["insufficient_quota", "credit_balance_exhausted"])
async def test_exhausted_quota_is_not_asked_again(
    code: str, api: ChatKitAPI, emulator: Emulator
) -> None:
    body = {"error": {"type": code, "code": code, "message": "You exceeded your current quota"}}
    headers = {"retry-after-ms": "1"}
    await emulator.fail("sessions.create", status=429, body=body, headers=headers)
    with pytest.raises(UpstreamError) as caught:
        await create(api)
    assert caught.value.reason == "UPSTREAM_QUOTA_EXHAUSTED"
    assert len(await emulator.requests()) == 1


@pytest.mark.parametrize("header", [("retry-after-ms", "600"), ("retry-after", "0.6")])
async def test_what_openai_asks_to_wait_is_waited(
    header: tuple[str, str], api: ChatKitAPI, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", status=429, headers=dict([header]))
    started = time.monotonic()
    await create(api)
    assert 0.6 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("status", "error"), [(429, UpstreamRateLimited), (503, UpstreamUnavailable)]
)
async def test_a_wait_that_does_not_fit_is_not_begun(
    status: int, error: type[UpstreamError], api: ChatKitAPI, emulator: Emulator
) -> None:
    await emulator.fail("sessions.create", status=status, headers={"retry-after": "20"})
    started = time.monotonic()
    with pytest.raises(error) as caught:
        await create(api, 15)
    assert time.monotonic() - started < 5
    assert len(await emulator.requests()) == 1
    if status == 429:
        assert caught.value.retry_after_seconds == 20


async def test_one_callers_wait_is_not_anothers(api: ChatKitAPI, emulator: Emulator) -> None:
    await emulator.fail("sessions.create", status=429, headers={"retry-after": "2"})
    started = time.monotonic()
    first = asyncio.create_task(create(api))

    async def refused() -> bool:
        return bool(await emulator.requests())

    await eventually(refused)
    await create(api)
    assert not first.done()
    assert time.monotonic() - started < 1.9
    first.cancel()


@pytest.mark.usefixtures("hasty")
async def test_retries_and_all_end_at_the_deadline(api: ChatKitAPI, emulator: Emulator) -> None:
    await emulator.fail("sessions.create", status=500, delay_seconds=0.3)
    await emulator.fail("sessions.create", kind="hang")
    started = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        await create(api, 0.8)
    assert 0.7 < time.monotonic() - started < 3


async def test_one_connection_serves_call_after_call() -> None:
    async with listening(answering(http(SESSION))) as peer, api_of(peer.url) as api:
        for _ in range(20):
            await create(api)
        assert (peer.accepted, peer.open, len(peer.requests)) == (1, 1, 20)


async def test_many_calls_at_once_are_all_answered(api: ChatKitAPI, emulator: Emulator) -> None:
    issued = await asyncio.gather(*(create(api) for _ in range(150)))
    assert len({session.client_secret for session in issued}) == 150


async def test_threads_are_listed_newest_first_in_pages(
    api: ChatKitAPI, emulator: Emulator
) -> None:
    mine = [await emulator.add_thread("7") for _ in range(3)]
    await emulator.add_thread("8")
    page = await api.list_threads("7", None, within(10))
    assert sorted(entry.id for entry in page.entries) == sorted(mine)
    assert not page.has_more
    rest = await api.list_threads("7", page.entries[0].id, within(10))
    assert rest.entries == page.entries[1:]
    first, second = (request["query"] for request in await emulator.requests("threads.list"))
    assert first == {"user": "7", "order": "desc", "limit": "100"}
    assert second == first | {"after": page.entries[0].id}


async def test_items_are_listed_oldest_first_in_pages(api: ChatKitAPI, emulator: Emulator) -> None:
    thread = await emulator.add_thread("7")
    await emulator.add_items(thread, "chatkit.user_message", count=100, created_at=1_700_000_000)
    await emulator.add_items(thread, "chatkit.widget", count=5, created_at=1_700_000_001)
    page = await api.list_items(thread, None, within(10))
    assert (len(page.entries), page.has_more) == (100, True)
    assert {(e.type, e.created_at) for e in page.entries} == {
        ("chatkit.user_message", 1_700_000_000)
    }
    rest = await api.list_items(thread, page.entries[-1].id, within(10))
    assert [entry.type for entry in rest.entries] == ["chatkit.widget"] * 5
    assert not rest.has_more
    with pytest.raises(WorkflowNotFound):
        await api.list_items("cthr_unknown", None, within(10))


@pytest.mark.parametrize("answer", [b"{}", b"[]", b'{"data": {}, "has_more": true}', b""])
async def test_a_list_that_cannot_be_used_is_unavailable(answer: bytes) -> None:
    async with listening(answering(http(answer))) as peer, api_of(peer.url) as api:
        with pytest.raises(UpstreamUnavailable):
            await api.list_threads("7", None, within(10))
        assert len(peer.requests) == 1


async def test_what_is_no_entry_is_left_out_and_no_page_is_endless() -> None:
    body = b'{"data": [{"id": "a", "created_at": 1}, {"id": 5}, null, {},\
 {"id": "b", "created_at": true}], "has_more": true}'
    async with listening(answering(http(body))) as peer, api_of(peer.url) as api:
        page = await api.list_items("t", None, within(10))
        assert (page.entries, page.has_more) == ((Entry("a", "", 1),), True)
        peer.handler = answering(http(b'{"data": [{}], "has_more": true}'))
        page = await api.list_items("t", None, within(10))
        assert (page.entries, page.has_more) == ((), False)


@pytest.mark.parametrize(("key", "cause"), [("sk-wrong", "rejected"), ("sk-noscope", "permission")])
async def test_what_is_wrong_with_a_key_is_told(key: str, cause: str, emulator: Emulator) -> None:
    async with api_of(emulator.url, api_key=key) as api:
        with pytest.raises(InvalidAPIKey) as caught:
            await create(api)
    assert caught.value.metadata == {"cause": cause}


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_the_proxy_of_the_environment_is_used(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(answering(http(SESSION))) as proxy:
        address = proxy.url.removeprefix("http://").removesuffix("/v1")
        monkeypatch.setenv("http_proxy", scheme + address)
        async with api_of("http://openai.example/v1") as api:
            assert (await create(api)).id == "cksess_1"
    (request,) = proxy.requests
    assert request.startswith(b"POST http://openai.example/v1/chatkit/sessions HTTP/1.1\r\n")


async def test_where_the_environment_says_so_there_is_no_proxy(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with api_of(emulator.url) as api:
        assert (await create(api)).id.startswith("cksess_")
