"""What is secret stays so: it is in no output and in no file, whatever happens."""

import asyncio
from pathlib import Path

import httpx

from tests.e2e import processes
from tests.e2e.dashboard import (
    VERBATIM,
    EmulatorControl,
    open_dashboard,
    token_of,
)
from tests.e2e.processes import SECRET

KEY = "sk-proj-of-the-secrets-test-0123456789"
SESSION, REFRESH = "/api/chatkit/session", "/api/chatkit/refresh"
FAILURES: list[dict[str, object]] = [
    {"status": 401},
    {"status": 400, "body": {"error": {"message": f"what is {KEY}?"}}},
    {"status": 500, "raw_body": KEY},
    {"kind": "malformed"},
    {"kind": "truncate"},
    {"kind": "reset"},
]


def parts_of(secret: str) -> set[str]:
    """Returns what must not be found: a secret's beginning, middle or end are too much, too."""
    middle = len(secret) // 2
    return {secret[3:23], secret[middle : middle + 20], secret[-20:]}


async def test_no_secret_is_printed_or_stored(
    directory: Path, own_emulator: str, own_openai: EmulatorControl
) -> None:
    token, other = token_of(7), token_of(8)
    secrets = {"token": token.rpartition(".")[2], "other": other.rpartition(".")[2]}
    secrets |= {"key": KEY, "shared secret": SECRET}
    settings = {"LOG_LEVEL": "debug", "OPENAI_API_KEY": KEY, "PYTHONASYNCIODEBUG": "1"}
    with processes.pair(directory, own_emulator, **settings) as (service, gateway):
        async with (
            open_dashboard(gateway.url, token=token) as dashboard,
            open_dashboard(gateway.url, token=other) as stranger,
        ):
            headers = {"Content-Type": "application/json"}
            answer = await dashboard.http.post(SESSION, content=VERBATIM, headers=headers)
            created = dashboard.data(answer)
            refreshed = await dashboard.refresh(created["client_secret"])
            secrets["created"] = created["client_secret"]
            secrets["refreshed"] = refreshed["client_secret"]
            body = {"existingSecret": created["client_secret"]}
            await stranger.http.post(REFRESH, json=body)
            for failure in FAILURES:
                own_openai.fail(**failure)
                await dashboard.http.post(REFRESH, json=body)
            own_openai.heal()
            await dashboard.http.get(f"{SESSION}/{created['session_id']}")
            # Where secrets do not belong, but where people put them.
            await dashboard.http.get("/api/chatkit/stats", params=body)
            await dashboard.http.post(f"{REFRESH}?token={token}", json={**body, "userId": 8})
            await dashboard.http.post(REFRESH, content=f'{{"existingSecret": "{KEY}')
            await misplace(dashboard.http, created["client_secret"])
            await misplace(dashboard.http, KEY)
            await dashboard.delete(created["session_id"])
        # Still running: what is in the write-ahead log counts, too.
        stored = b"".join(await asyncio.to_thread(contents, directory))
        assert created["session_id"].encode() in stored
        assert gateway.process.stop() == 0
        assert service.process.stop() == 0
        stored += b"".join(await asyncio.to_thread(contents, directory))
        output = gateway.process.output + service.process.output
    assert created["session_id"] in output
    for name, secret in secrets.items():
        for part in parts_of(secret):
            assert part not in output, name
            assert part.encode() not in stored, name
    assert "user7@example.com" not in output
    assert b"user7@example.com" not in stored


async def misplace(http: httpx.AsyncClient, secret: str) -> None:
    """Sends a secret wherever it can be sent; its client fails where an answer repeats it."""
    bearer = {"Authorization": f"Bearer {secret}"}
    for path in (f"{SESSION}/{secret}", f"/{secret}", f"/api/chatkit/attachments/{secret}"):
        for method in ("GET", "DELETE", "POST"):
            assert (await http.request(method, path)).status_code >= 400
            assert (await http.request(method, path, headers=bearer)).status_code >= 400
    for name in ("X-Request-Id", "Accept-Language", "Origin", "Content-Type", "User-Agent"):
        answer = await http.post(SESSION, content=b"[]", headers={name: secret})
        assert secret not in f"{answer.headers}{answer.text}"
    for body in ({"userId": secret}, {"existingSecret": [secret]}, {secret: secret}):
        assert (await http.post(REFRESH, json=body)).status_code >= 400
    assert (await http.get(f"/api/chatkit/stats?userId={secret}&days={secret}")).status_code >= 400
    assert (await http.get("/api/chatkit/stats", headers=bearer)).status_code == 401


def contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
