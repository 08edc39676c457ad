"""/chatkit-client.js as a dashboard's browser asks for it: the mode, caching, other origins."""

from collections.abc import AsyncIterator

import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from tests.gateway_support import ORIGIN, FakeService, error_of, gateway_before

CONVERSATIONS = "chatkit.v1.ConversationService"
SCRIPT, TYPES = "/chatkit-client.js", "/chatkit-client.d.ts"
HOSTED = 'const SERVED_MODE = "hosted";'
SELF_HOSTED = 'const SERVED_MODE = "self_hosted";'


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    async with FakeService().serve() as fake:
        yield fake


@pytest.fixture
async def http(fake: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has no token: a module is imported without headers."""
    async with gateway_before(fake) as http:
        del http.headers["authorization"]
        yield http


async def first_line(http: httpx.AsyncClient) -> str:
    return (await http.get(SCRIPT)).raise_for_status().text.partition("\n")[0]


async def test_a_service_without_conversations_is_in_hosted_mode(http: httpx.AsyncClient) -> None:
    assert await first_line(http) == HOSTED


async def test_a_service_with_conversations_is_in_self_hosted_mode(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    await fake.health.set(CONVERSATIONS, HealthCheckResponse.SERVING)
    assert await first_line(http) == SELF_HOSTED


async def test_while_the_mode_cannot_be_known_there_is_no_script(
    http: httpx.AsyncClient, fake: FakeService
) -> None:
    await fake.health.set(CONVERSATIONS, HealthCheckResponse.NOT_SERVING)
    answer = await http.get(SCRIPT, headers={"Origin": "https://other.example.com"})
    error_of(answer, "UNAVAILABLE", 503)
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_while_the_service_is_away_there_is_no_script() -> None:
    async with FakeService().serve() as fake:
        pass
    async with gateway_before(fake) as http:
        error_of(await http.get(SCRIPT), "UNAVAILABLE", 503)
        assert (await http.get(TYPES)).status_code == 200


async def test_a_change_of_mode_is_seen_at_once(http: httpx.AsyncClient, fake: FakeService) -> None:
    before = await http.get(SCRIPT)
    assert before.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": before.headers["etag"]}
    same = await http.get(SCRIPT, headers=known)
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == before.headers["etag"]
    await fake.health.set(CONVERSATIONS, HealthCheckResponse.SERVING)
    changed = await http.get(SCRIPT, headers=known)
    assert changed.status_code == 200
    assert changed.headers["etag"] != before.headers["etag"]


@pytest.mark.parametrize("path", [SCRIPT, TYPES])
@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("{etag}", 304),
        ("W/{etag}", 304),  # a proxy that has compressed it says so
        ('"other", {etag}', 304),
        ("*", 304),
        ('"other"', 200),
    ],
)
async def test_whoever_has_kept_the_file_is_told_whether_it_is_the_same(
    http: httpx.AsyncClient, path: str, given: str, status: int
) -> None:
    etag = (await http.get(path)).headers["etag"]
    answer = await http.get(path, headers={"If-None-Match": given.format(etag=etag)})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("path", "media_type"), [(SCRIPT, "text/javascript"), (TYPES, "application/typescript")]
)
async def test_any_origin_may_read_the_files(
    http: httpx.AsyncClient, path: str, media_type: str
) -> None:
    answer = await http.get(path, headers={"Origin": "https://other.example.com"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    ours = await http.get(path, headers={"Origin": ORIGIN})
    assert ours.headers["access-control-allow-origin"] == ORIGIN
    assert ours.content == answer.content


async def test_what_is_served_is_the_file_but_for_its_first_line(http: httpx.AsyncClient) -> None:
    text = (await http.get(SCRIPT)).text
    assert "export function chatkitApi" in text
    assert text.count("SERVED_MODE") == 2  # where it is said, and where it is read
    types = (await http.get(TYPES)).text
    assert "export function chatkitApi" in types
