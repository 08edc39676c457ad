"""Fails every test of the suite during which a secret came where none may be.

It looks through what the test printed and logged, in this process and in those that it started,
and through the files in its `tmp_path`, the database and its log among them. The answers that the
tests' HTTP clients get are looked through as they come (`refuse_to_tell`).
"""

import re
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest

SECRETS_OF_TESTS = (
    "a-secret-of-the-gateway-of-these-tests",
    "a-secret-of-the-dashboard-of-these-tests",
)
"""What tokens are signed with; see gateway_support and e2e/processes."""

_SIGNS = (b"ek_", b"cksec_", b"eyJ", b"sk-", b"a-secret-of-the-")
"""One of these is in every secret: to look for them is cheap."""
_SECRET = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    rb"ek_[0-9a-f]{32}_[\w-]{43}"  # OpenAI's client secrets, as the emulator makes them
    rb"|cksec_[\w-]{43}"  # our own
    rb"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{40,}"  # users' tokens
    rb"|sk-[\w-]{20,}"
    rb"|" + b"|".join(secret.encode() for secret in SECRETS_OF_TESTS) + rb")",
    re.ASCII,
)
_MAX_FILE_BYTES = 16 * 1024 * 1024
"""Larger files are attachments of tests of their size."""
_SHOWN_ON_PURPOSE = re.compile(r"\s+(?:Console |Token |curl |SECRET=\$\(curl )")
"""By `make run`, to whoever tries this out, and not by any process that serves."""

_printed: list[str] = []
_lock = threading.Lock()


def secrets_in(data: bytes) -> list[str]:
    """Returns the beginnings of the secrets in there."""
    if not any(sign in data for sign in _SIGNS):
        return []
    return [found[:12].decode() + "…" for found in _SECRET.findall(data)]


def watch(line: str) -> None:
    """Takes down what a process has printed, if that is a secret."""
    if secrets_in(line.encode()) and not _SHOWN_ON_PURPOSE.match(line):
        with _lock:
            _printed.append(line)


async def refuse_to_tell(answer: httpx.Response) -> None:
    """For `event_hooks` of a client: no failure and no page may hold a secret."""
    if answer.status_code >= 400:
        found = secrets_in(await answer.aread())
        assert not found, f"{answer.url.path} answered {answer.status_code} with {found}"


class LeakWatch:
    """A plugin of pytest."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        directory: Path | None = getattr(item, "funcargs", {}).get("tmp_path")
        yield
        if found := sorted(set(_leaks(item, directory))):
            pytest.fail("secrets came where none may be: " + "; ".join(found), pytrace=False)


def _leaks(item: pytest.Item, directory: Path | None) -> Iterator[str]:
    for when, kind, text in item._report_sections:
        for found in secrets_in(text.encode(errors="replace")):
            yield f"{found} in {kind} of {when}"
    with _lock:
        printed = _printed[:]
        _printed.clear()
    for line in printed:
        yield f"{secrets_in(line.encode())[0]} in the output of a process: {line[:60]!r}"
    for path in directory.rglob("*") if directory else ():
        if path.is_file() and path.stat().st_size <= _MAX_FILE_BYTES:
            for found in secrets_in(path.read_bytes()):
                yield f"{found} in {path.name}"
