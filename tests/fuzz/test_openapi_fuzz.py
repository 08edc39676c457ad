"""schemathesis holds the gateway to its own OpenAPI, with all checks, where calls succeed and fail.

What it does by default is in schemathesis.toml, beside this file.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.attachment_examples import PNG
from tests.e2e import processes
from tests.e2e.dashboard import EmulatorControl, token_of
from tests.fuzz.conftest import System
from tests.fuzz.schemathesis_hooks import USER

CONFIG = Path(__file__).with_name("schemathesis.toml")
SEED = "7"


def schemathesis(
    system: System, directory: Path, *arguments: str, more_config: str = "", **variables: str
) -> str:
    """Runs it against a system; returns what it says. Fails where it finds something."""
    config = directory / "schemathesis.toml"
    config.write_text(CONFIG.read_text() + more_config)
    command = (sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run")
    done = subprocess.run(
        (*command, f"{system.url}/openapi.json", "--seed", SEED, *arguments),
        cwd=directory,
        env=processes.environment(NO_PROXY="127.0.0.1", **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert not system.defects()
    return done.stdout


@pytest.fixture
def user(hosted: System) -> Iterator[httpx.Client]:
    yield from _client(hosted)


@pytest.fixture
def chatting_user(self_hosted: System) -> Iterator[httpx.Client]:
    yield from _client(self_hosted)


def _client(system: System) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token_of(USER)}"}
    with httpx.Client(
        base_url=system.url, headers=headers, trust_env=False, verify=False
    ) as client:
        yield client


def secret_of(client: httpx.Client) -> str:
    answer = client.post("/api/chatkit/session").raise_for_status()
    return str(answer.json()["data"]["client_secret"])


def link(name: str, url: str) -> dict[str, str]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return {
        f"{name}_ID": parts.path.rpartition("/")[2],
        f"{name}_EXPIRES": query["expires"][0],
        f"{name}_SIGNATURE": query["signature"][0],
    }


def links(client: httpx.Client, secret: str) -> dict[str, str]:
    """Returns a link to read an attachment, and one to upload another."""
    headers = {"Authorization": f"Bearer {secret}"}
    files = {"file": ("a.png", PNG, "image/png")}
    shown = client.post("/api/chatkit/attachments", headers=headers, files=files)
    announced: dict[str, Any] = {
        "type": "attachments.create",
        "params": {"name": "a.txt", "size": 5, "mime_type": "text/plain"},
    }
    asked = client.post("/api/chatkit", headers=headers, json=announced)
    upload_url = asked.raise_for_status().json()["upload_descriptor"]["url"]
    return link("READ", shown.raise_for_status().json()["preview_url"]) | link("UPLOAD", upload_url)


NO_LINKS = link("READ", "/att_none?expires=1&signature=x") | link(
    "UPLOAD", "/att_none?expires=1&signature=x"
)


def ran(said: str) -> None:
    """Makes sure that it has called everything, and followed all links."""
    found = re.search(r"(\d+) selected / (\d+) total", said)
    assert found, said
    assert int(found[1]) == int(found[2]) - 1 > 0, said  # but for the stream, which does not end
    assert f"Tested: {found[1]}" in said, said
    covered = re.search(r"API Links:\s+(\d+) covered / (\d+) selected", said)
    assert covered, said
    assert covered[1] == covered[2] != "0", said


def test_in_hosted_mode_the_gateway_does_what_its_openapi_says(
    hosted: System, user: httpx.Client, tmp_path: Path
) -> None:
    secret = secret_of(user)
    token = token_of(USER)
    ran(schemathesis(hosted, tmp_path, TOKEN=token, CLIENT_SECRET=secret, **NO_LINKS))


def test_in_self_hosted_mode_the_gateway_does_what_its_openapi_says(
    self_hosted: System, chatting_user: httpx.Client, tmp_path: Path
) -> None:
    secret = secret_of(chatting_user)
    variables = {"TOKEN": token_of(USER), "CLIENT_SECRET": secret}
    ran(schemathesis(self_hosted, tmp_path, **variables, **links(chatting_user, secret)))


EXPECTED = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 502, 503, 504]
"""
"""Where OpenAI fails; 500 is a defect there, too."""


@pytest.mark.parametrize("status", [401, 422, 500])
def test_where_openai_fails_the_gateway_says_so_as_its_openapi_has_it(
    hosted: System, user: httpx.Client, tmp_path: Path, status: int
) -> None:
    secret = secret_of(user)
    openai = EmulatorControl(hosted.emulator)
    openai.fail(status=status, times=1_000_000, headers={"retry-after": "0"})
    try:
        schemathesis(
            hosted,
            tmp_path,
            *("--include-operation-id", "createSession", "--include-operation-id"),
            *("refreshSession", "--phases", "examples,fuzzing", "-n", "4", "--mode", "positive"),
            more_config=EXPECTED,
            TOKEN=token_of(USER),
            CLIENT_SECRET=secret,
            **NO_LINKS,
        )
    finally:
        openai.heal()
        openai.close()
