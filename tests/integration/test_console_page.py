"""The console as a browser loads it: its page, its files, and what it may do."""

import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from importlib.resources import files

import httpx
import pytest

from gateway.errors import STATUS_CODES
from gateway.texts import TEXTS
from tests.gateway_support import FakeService, error_of, gateway_before

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FOLDER = files("gateway") / "console"
MODULES = sorted(file.name for file in FOLDER.iterdir() if file.name.endswith(".js"))


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a token, before a gateway whose session service is away."""
    async with FakeService().serve() as fake:
        pass
    async with gateway_before(fake) as http:
        del http.headers["authorization"]
        yield http


class Tags(HTMLParser):
    """The attributes of all tags, and whatever stands in a script or a style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[dict[str, str | None]] = []
        self.inline = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append(dict(attrs))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            self.inline += data.strip()

    def all(self, name: str) -> list[str]:
        return [value for tag in self.attributes if (value := tag.get(name)) is not None]


async def test_a_browser_gets_the_page_and_a_program_what_it_always_got(
    http: httpx.AsyncClient,
) -> None:
    page = await http.get("/", headers=BROWSER)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for accept in ("*/*", "application/json"):
        answer = await http.get("/", headers={"Accept": accept})
        error_of(answer, "NOT_FOUND", 404)
        assert "Accept" in answer.headers["vary"].split(", ")
    assert "Accept" in page.headers["vary"].split(", ")


@pytest.mark.parametrize("path", ["/", "/console/console.js", "/console/reasons.json"])
async def test_it_behaves_as_http_says(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path, headers=BROWSER)
    assert answer.headers["cache-control"] == "no-cache"
    known = {**BROWSER, "If-None-Match": answer.headers["etag"]}
    same = await http.get(path, headers=known)
    assert (same.status_code, same.content) == (304, b"")
    head = await http.head(path, headers=BROWSER)
    assert (head.status_code, head.content) == (200, b"")
    refused = await http.post(path, headers=BROWSER)
    error_of(refused, "METHOD_NOT_ALLOWED", 405)
    assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
    options = await http.options(path)
    assert (options.status_code, options.headers["allow"]) == (200, refused.headers["allow"])


async def test_the_page_may_load_what_is_ours_and_openais_component_and_nothing_else(
    http: httpx.AsyncClient,
) -> None:
    page = await http.get("/", headers=BROWSER)
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in page.headers["content-security-policy"].split(";")
    )
    openai = "https://cdn.platform.openai.com"
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'self' {openai}/deployments/chatkit/",
        "frame-src": openai,
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    tags = Tags(page.text)
    # What the policy would block, and quietly.
    assert tags.inline == ""
    assert tags.all("style") == []
    assert not any(name.startswith("on") for tag in tags.attributes for name in tag)


async def test_all_that_the_page_and_its_modules_name_is_there(http: httpx.AsyncClient) -> None:
    page = Tags((await http.get("/", headers=BROWSER)).text)
    paths = {link for link in (*page.all("src"), *page.all("href")) if link.startswith("/console")}
    assert {"/console/console.js", "/console/console.css", "/console/theme.js"} <= paths
    for name in MODULES:
        answer = (await http.get(f"/console/{name}")).raise_for_status()
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        paths |= {f"/console/{one}" for one in re.findall(r'from "\./([^"]+)"', answer.text)}
    for path in paths:
        assert (await http.get(path)).status_code == 200, path
    for nothing in ("index.html", "nothing.js", "../auth.py", "..%2fauth.py"):
        error_of(await http.get(f"/console/{nothing}"), "NOT_FOUND", 404)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    named = [name for key in ("aria-labelledby", "aria-describedby") for name in page.all(key)]
    dialogs = {"details-title", "confirm-title", "confirm-text"}  # are filled when they open
    assert set(named) | set(page.all("for")) <= set(ids) | dialogs


async def test_every_reason_is_told_in_both_languages(http: httpx.AsyncClient) -> None:
    reasons = (await http.get("/console/reasons.json")).json()
    for language in ("es", "en"):
        assert set(reasons[language]) == set(STATUS_CODES)
        text = getattr(TEXTS["UPSTREAM_TIMEOUT"], language)
        told = {"error": text.error, "hint": text.hint}
        assert reasons[language]["UPSTREAM_TIMEOUT"] == told


def test_the_page_has_a_word_in_both_languages_for_all_that_it_says() -> None:
    words = (FOLDER / "texts.js").read_text("utf-8")
    spanish, english = (
        {
            json.loads(name) if name.startswith('"') else name: text
            for name, text in re.findall(r'(?m)^    ([\w-]+|"[^"]+"): "(.*)",$', block)
        }
        for block in re.findall(r"(?s)\n  e[sn]: \{\n(.*?)\n  \},", words)
    )
    assert spanish.keys() == english.keys()
    page = Tags((FOLDER / "index.html").read_text("utf-8"))
    said = {*page.all("data-text"), *page.all("data-label")}
    for name in MODULES:
        code = (FOLDER / name).read_text("utf-8")
        said |= set(re.findall(r'\bwords\["([^"]+)"\]', code))
        said |= set(re.findall(r"\bwords\.(\w+)\b", code))
    assert said <= spanish.keys()
    for name in spanish:
        assert re.findall(r"\{\w+\}", spanish[name]) == re.findall(r"\{\w+\}", english[name]), name
