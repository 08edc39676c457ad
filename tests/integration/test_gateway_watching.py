"""Statistics as server-sent events: what comes, when it ends, and that nobody else waits for it."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import watching
from protos.chatkit.v1 import session_service_pb2 as pb
from runtime.admission import Admission
from tests.e2e import processes
from tests.e2e.dashboard import token_of
from tests.gateway_support import (
    STATS,
    Context,
    FakeService,
    error_of,
    gateway_before,
    refuse,
    token,
)
from tests.support import eventually

STREAM = f"{STATS}/stream"
PATIENCE_SECONDS = 20


class Figures:
    """What the service says to all who watch: as many sessions as `count` says, once it is said."""

    def __init__(self) -> None:
        self.count = 0
        self.watching = 0
        self._changed = asyncio.Condition()

    async def watch(
        self, request: pb.WatchStatsRequest, context: Context
    ) -> AsyncIterator[pb.WatchStatsResponse]:
        self.watching += 1
        said = -1
        try:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: self.count != said)  # noqa: B023
                    said = self.count
                yield pb.WatchStatsResponse(stats=pb.GetStatsResponse(total_sessions=said))
        finally:
            self.watching -= 1

    async def say(self, count: int) -> None:
        async with self._changed:
            self.count = count
            self._changed.notify_all()

    async def nobody_watches(self) -> bool:
        return self.watching == 0


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
async def fake(figures: Figures) -> AsyncIterator[FakeService]:
    async with FakeService(watch=figures.watch).serve() as fake:
        yield fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_before(fake) as http:
        yield http


@contextlib.asynccontextmanager
async def stream(
    http: httpx.AsyncClient, path: str = STREAM, **headers: str
) -> AsyncIterator[AsyncIterator[str]]:
    """Yields the frames of a stream, comments too."""
    async with http.stream("GET", path, headers=headers, timeout=PATIENCE_SECONDS) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield _frames(answer)


async def _frames(answer: httpx.Response) -> AsyncIterator[str]:
    rest = ""
    async for text in answer.aiter_text():
        *frames, rest = (rest + text).split("\n\n")
        for frame in frames:
            yield frame
    assert rest == ""


def event(frame: str) -> tuple[str, Any]:
    name, data = frame.split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def bearer(user: object, **claims: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user, **claims)}"}


async def test_what_changes_comes_as_it_changes(
    http: httpx.AsyncClient, fake: FakeService, figures: Figures
) -> None:
    same = (await http.get(f"{STATS}?days=2")).json()["data"]
    async with stream(http, f"{STREAM}?days=2") as frames:
        assert event(await anext(frames)) == ("stats", same)
        await figures.say(1)
        assert event(await anext(frames)) == ("stats", {**same, "totalSessions": 1})
    request = fake.calls[-1].request
    assert (request.user_id, request.all_users, request.days) == ("7", False, 2)
    assert fake.calls[-1].metadata["x-request-id"]


@pytest.mark.parametrize(
    ("claims", "query", "user", "everybody"),
    [
        ({}, "", "7", False),
        ({}, "?userId=7", "7", False),
        ({"role": "admin"}, "", "", True),
        ({"role": "admin"}, "?userId=8", "8", False),
    ],
)
async def test_one_watches_oneself_and_an_administrator_whom_they_name_or_everybody(
    http: httpx.AsyncClient,
    fake: FakeService,
    claims: dict[str, str],
    query: str,
    user: str,
    everybody: bool,
) -> None:
    async with stream(http, STREAM + query, **bearer(7, **claims)) as frames:
        await anext(frames)
    request = fake.calls[-1].request
    assert (request.user_id, request.all_users) == (user, everybody)
    assert not request.HasField("days")


async def test_what_fails_before_the_first_event_has_a_status(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    error_of(await http.get(f"{STREAM}?userId=8"), "PERMISSION_DENIED", 403)
    error_of(await http.get(f"{STREAM}?days=x"), "INVALID_ARGUMENT", 400)
    error_of(await http.get(STREAM, headers={"Authorization": "x"}), "UNAUTHENTICATED", 401)

    async def refusing(_: pb.WatchStatsRequest, context: Context) -> Any:
        await refuse(context, "INVALID_ARGUMENT", field_violations={"days": "1 to 366"})
        yield

    fake.watch = refusing
    body = error_of(await http.get(f"{STREAM}?days=0"), "INVALID_ARGUMENT", 400)
    assert "days" in body["error"]


async def test_what_fails_later_is_the_last_event(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    async def failing(_: pb.WatchStatsRequest, context: Context) -> Any:
        yield pb.WatchStatsResponse(stats=pb.GetStatsResponse())
        await refuse(context, "UNAVAILABLE")

    fake.watch = failing
    async with stream(http, **{"X-Request-Id": "watching"}) as frames:
        (_, (name, data)) = [event(frame) async for frame in frames]
    assert (name, data["success"], data["code"]) == ("error", False, "UNAVAILABLE")
    assert data["error"]
    assert data["hint"]
    assert data["requestId"] == "watching"


async def test_it_ends_with_the_token(http: httpx.AsyncClient, figures: Figures) -> None:
    headers = bearer(7, exp=int(time.time()) + 2)
    async with stream(http, **headers) as frames:
        (*_, (name, data)) = [event(frame) async for frame in frames]
    assert (name, data["code"]) == ("error", "UNAUTHENTICATED")
    await eventually(figures.nobody_watches)


async def test_silence_is_broken_by_comments(
    http: httpx.AsyncClient, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_HEARTBEAT_SECONDS", 0.02)
    async with stream(http) as frames:
        assert event(await anext(frames))[0] == "stats"
        assert [await anext(frames), await anext(frames)] == [": still here", ": still here"]
        await figures.say(3)
        async for frame in frames:
            if not frame.startswith(":"):
                assert event(frame)[1]["totalSessions"] == 3
                break


async def test_who_leaves_is_watched_for_no_longer_and_frees_a_place(
    http: httpx.AsyncClient, figures: Figures
) -> None:
    async with contextlib.AsyncExitStack() as pages:
        # Kept, as a stream that nobody holds is closed.
        opened = [await pages.enter_async_context(stream(http)) for _ in range(8)]
        for frames in opened:
            await anext(frames)
        assert figures.watching == 8
        refused = await http.get(STREAM)
        error_of(refused, "RATE_LIMITED", 429)
        assert int(refused.headers["retry-after"]) > 0
        another = await pages.enter_async_context(stream(http, **bearer(8)))
        await anext(another)
    await eventually(figures.nobody_watches)
    async with stream(http) as frames:
        await anext(frames)


async def test_who_only_asks_for_the_head_watches_nothing(
    http: httpx.AsyncClient, figures: Figures
) -> None:
    answer = await http.head(STREAM)
    assert (answer.status_code, answer.content) == (200, b"")
    await eventually(figures.nobody_watches)


async def test_who_watches_takes_no_place_of_those_who_want_an_answer(fake: FakeService) -> None:
    one_at_a_time = Admission(few=1, most=1)
    async with (
        gateway_before(fake, admission=one_at_a_time) as http,
        stream(http) as first,
        stream(http) as second,
    ):
        await anext(first)
        await anext(second)
        assert (await http.get(STATS)).status_code == 200
        assert one_at_a_time.take_counts().refused == 0


async def test_a_drain_ends_it_at_once_and_well(fake: FakeService, tmp_path: Path) -> None:
    with processes.gateway(tmp_path, f"127.0.0.1:{fake.port}", grace_seconds=600) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, verify=False) as http:
            headers = {"Authorization": f"Bearer {token_of(7)}"}
            async with stream(http, **headers) as frames:
                await anext(frames)
                gateway.process.send(signal.SIGTERM)
                assert [frame async for frame in frames] == []
        assert await asyncio.to_thread(gateway.process.wait) == 0
        assert "cut off" not in gateway.process.output
