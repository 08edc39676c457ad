"""A gateway before a session service that wants to know its callers: what a browser is answered."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from session_service.server import serve
from tests.gateway_support import (
    ATTACHMENTS,
    CHAT,
    CLIENT_SECRET,
    REFRESH,
    SESSION,
    STATS,
    error_of,
    gateway_settings,
    open_gateway,
)
from tests.integration.test_grpc_callers import GATEWAYS, NOWHERE, REPORTS, tokens
from tests.support import settings_for
from tests.tls_support import Authority, for_gateway, for_service

Settings = Mapping[str, Any]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.asynccontextmanager
async def system(
    directory: Path, for_service: Settings, for_gateway: Settings
) -> AsyncIterator[httpx.AsyncClient]:
    """Runs both in self-hosted mode, which has all calls; yields a client of the gateway."""
    mode = {"chatkit_mode": "self_hosted", "chatkit_attachments_dir": directory / "attachments"}
    async with serve(settings_for(directory, NOWHERE, **mode, **for_service)) as server:
        target = (f"127.0.0.1:{server.port}",)
        settings = gateway_settings(**{"session_service_target": target, **for_gateway})
        async with open_gateway(settings) as http:
            yield http


async def answers(http: httpx.AsyncClient) -> AsyncIterator[httpx.Response]:
    """Asks for everything that needs the session service."""
    chat = {"Authorization": f"Bearer {CLIENT_SECRET}"}
    yield await http.post(SESSION, json={})
    yield await http.post(REFRESH, json={"existingSecret": CLIENT_SECRET})
    yield await http.get(f"{SESSION}/cksess_1")
    yield await http.delete(f"{SESSION}/cksess_1")
    yield await http.get(STATS)
    yield await http.post(CHAT, json={"type": "threads.list"}, headers=chat)
    yield await http.post(ATTACHMENTS, files={"file": ("a.txt", b"text")}, headers=chat)
    link = {"expires": "1", "signature": "a"}
    yield await http.get(f"{ATTACHMENTS}/atc_1", params=link)


async def not_available(http: httpx.AsyncClient) -> list[str]:
    """Asks for everything, which must be 503; returns the hints."""
    hints = []
    async for answer in answers(http):
        body = error_of(answer, "UNAVAILABLE", 503)
        assert "www-authenticate" not in answer.headers
        assert answer.headers["retry-after"]
        hints.append(body["hint"])
    assert len(hints) == 8
    return hints


async def test_both_over_mutual_tls_and_with_a_token_work_as_in_the_clear(
    tmp_path: Path, authority: Authority
) -> None:
    gateway = authority.identity("gateway", "gateway")
    async with system(
        tmp_path,
        {
            **for_service(authority.service(), clients=authority),
            **tokens(f"reports:{REPORTS}", f"gateway:{GATEWAYS}"),
        },
        # The same file for both may hold all callers' tokens: the gateway's is the first.
        {
            **for_gateway(authority, gateway),
            **tokens(f"gateway:{GATEWAYS}", f"reports:{REPORTS}"),
        },
    ) as http:
        assert (await http.get(STATS)).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        with capture_logs() as captured:
            assert (await http.get(f"{SESSION}/cksess_1")).status_code == 404
        assert "caller refused" not in {line["event"] for line in captured}


@pytest.mark.parametrize("token", [{}, tokens(REPORTS), tokens(f"gateway:{REPORTS}", GATEWAYS)])
async def test_a_token_that_the_service_does_not_know_is_nobodys_expired_login(
    token: Settings, tmp_path: Path
) -> None:
    async with system(tmp_path, tokens(f"gateway:{GATEWAYS}"), token) as http:
        with capture_logs() as captured:
            hints = await not_available(http)
        assert all("SESSION_SERVICE_TOKEN" in hint for hint in hints)
        loud = [line for line in captured if line["log_level"] == "error"]
        assert len(loud) == len(hints)
        assert all("SESSION_SERVICE_TOKEN" in line["remedy"] for line in loud)
        assert not any(secret in str(captured) for secret in (GATEWAYS, REPORTS))
        error_of(await http.get("/readyz"), "UNAVAILABLE", 503)  # though health is open


async def test_a_login_that_has_expired_is_still_401(tmp_path: Path) -> None:
    async with system(tmp_path, tokens(GATEWAYS), tokens(GATEWAYS)) as http:
        answer = await http.get(STATS, headers={"Authorization": "Bearer nonsense"})
        error_of(answer, "UNAUTHENTICATED", 401)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("the service speaks TLS, the gateway does not", "Socket closed"),
        ("the gateway speaks TLS, the service does not", "WRONG_VERSION_NUMBER"),
        ("the gateway trusts another authority", "CERTIFICATE_VERIFY_FAILED"),
        ("the service has another name", "127.0.0.1"),
        ("the gateway has no certificate", "Socket closed"),
        ("the gateway has a stranger's certificate", "Socket closed"),
    ],
)
async def test_without_a_connection_everything_is_503_and_the_log_says_why(
    case: str, said: str, tmp_path: Path, authority: Authority
) -> None:
    stranger = Authority(tmp_path, "stranger")
    clear, encrypted = dict[str, Any](), for_service(authority.service())
    elsewhere = for_service(authority.identity("elsewhere", "another.example.com"))
    mutual = for_service(authority.service(), clients=authority)
    service, gateway = {
        "the service speaks TLS, the gateway does not": (encrypted, clear),
        "the gateway speaks TLS, the service does not": (clear, for_gateway(authority)),
        "the gateway trusts another authority": (encrypted, for_gateway(stranger)),
        "the service has another name": (elsewhere, for_gateway(authority)),
        "the gateway has no certificate": (mutual, for_gateway(authority)),
        "the gateway has a stranger's certificate": (
            mutual,
            for_gateway(authority, stranger.identity("gateway", "gateway")),
        ),
    }[case]
    async with system(tmp_path, service, gateway) as http:
        with capture_logs() as captured:
            await not_available(http)
        causes = [
            line["grpc"] for line in captured if line["event"] == "session service not reached"
        ]
        assert len(causes) == 8
        assert all(said in cause for cause in causes), causes
        error_of(await http.get("/readyz"), "UNAVAILABLE", 503)


async def test_the_name_in_the_certificate_may_be_another_than_the_address(
    tmp_path: Path, authority: Authority
) -> None:
    settings = for_service(authority.identity("elsewhere", "session-service.example.com"))
    named = {"session_service_tls_server_name": "session-service.example.com"}
    async with system(tmp_path, settings, {**for_gateway(authority), **named}) as http:
        assert (await http.get(STATS)).status_code == 200


async def test_a_token_of_the_chat_is_not_taken_for_the_gateways(tmp_path: Path) -> None:
    """What a browser sends goes on as a field of the request, never as metadata."""
    settings = {"session_service_token": (SecretStr(GATEWAYS),)}
    async with system(tmp_path, settings, {}) as http:
        bearer = {"Authorization": f"Bearer {GATEWAYS}"}
        error_of(await http.post(CHAT, json={"type": "x"}, headers=bearer), "UNAVAILABLE", 503)
