"""/docs and /openapi.json, as a browser meets them."""

import base64
import hashlib
import itertools
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest
from pydantic import SecretStr

from gateway.app import create_app
from gateway.config import Settings
from gateway.documentation.openapi import openapi_document
from gateway.texts import TEXTS
from tests.support import serve

DOCUMENT = openapi_document()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway whose session service does not run."""
    app = create_app(Settings(jwt_secret=SecretStr("s" * 32)))
    async with serve(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


class Page(HTMLParser):
    """What the tests look at in a page: its tags, ids, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: dict[str, str] = {}
        self.text = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in ("style", "script"):
            self.inline[self._open] = data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def all(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute)) is not None]


async def page(http: httpx.AsyncClient, language: str) -> Page:
    answer = await http.get("/docs", headers={"Accept-Language": language})
    return Page(answer.raise_for_status().text)


async def test_the_document_is_served(http: httpx.AsyncClient) -> None:
    answer = await http.get("/openapi.json", headers={"X-Request-Id": "abc"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "abc"
    assert answer.json() == DOCUMENT


@pytest.mark.parametrize(
    ("accept", "query", "language"),
    [
        (None, "", "es"),
        ("es-CO,es;q=0.9,en;q=0.8", "", "es"),
        ("en-GB,en;q=0.9", "", "en"),
        ("fr", "", "es"),
        ("es", "?lang=en", "en"),
        ("en", "?lang=es", "es"),
        ("en", "?lang=fr", "en"),
    ],
)
async def test_the_page_speaks_the_readers_language(
    http: httpx.AsyncClient, accept: str | None, query: str, language: str
) -> None:
    headers = {"Accept-Language": accept} if accept else {}
    answer = await http.get(f"/docs{query}", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-language"] == language
    assert "Accept-Language" in answer.headers["vary"]
    assert f'<html lang="{language}">' in answer.text
    heading = {"es": "Crear una sesión", "en": "Create a session"}
    assert [name for name, text in heading.items() if text in answer.text] == [language]


async def test_the_page_may_load_nothing_and_run_only_what_is_in_it(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-request-id"]
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in answer.headers["content-security-policy"].split(";")
    )
    for name in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == "'none'"
    inline = Page(answer.text).inline
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(inline[tag].encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"


@pytest.mark.parametrize("language", ["es", "en"])
async def test_the_page_names_no_other_server(http: httpx.AsyncClient, language: str) -> None:
    found = await page(http, language)
    assert found.all("src") == []
    for link in found.all("href"):
        assert re.match(r"#|\?lang=(es|en)$|/openapi\.json$|data:,$", link), link
    assert not re.search(r"url\(|@import|fetch\(|https?:", found.inline["style"])
    assert not re.search(r"fetch\(|import|https?:", found.inline["script"])
    # What a strict policy would block, and quietly.
    assert found.all("style") == []
    assert not any(name.startswith("on") for _, attrs in found.tags for name in attrs)


@pytest.mark.parametrize("language", ["es", "en"])
async def test_the_page_has_every_route_and_every_text(
    http: httpx.AsyncClient, language: str
) -> None:
    found = await page(http, language)
    ids = found.all("id")
    for path, item in DOCUMENT["paths"].items():
        assert path in found.text
        for operation in item.values():
            assert operation["operationId"] in ids
    for name, texts in TEXTS.items():
        text = texts.es if language == "es" else texts.en
        if name != "INVALID_ARGUMENT":  # stands in where a field has no text of its own
            assert text.error in found.text
            assert text.hint in found.text


@pytest.mark.parametrize("language", ["es", "en"])
async def test_the_page_can_be_found_ones_way_around_in(
    http: httpx.AsyncClient, language: str
) -> None:
    found = await page(http, language)
    ids = found.all("id")
    assert len(ids) == len(set(ids))
    named = [link[1:] for link in found.all("href") if link.startswith("#")]
    named += [name for label in found.all("aria-labelledby") for name in label.split()]
    assert set(named) <= set(ids)
    tags = [tag for tag, _ in found.tags]
    for landmark in ("header", "nav", "main", "h1"):
        assert tags.count(landmark) == 1
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


async def test_the_page_shows_a_line_to_copy_for_every_route(http: httpx.AsyncClient) -> None:
    found = await page(http, "en")
    for path in DOCUMENT["paths"]:
        path = path.replace("{sessionId}", "cksess_").replace("{attachmentId}", "atc_")
        path = path.replace("{file}", "console.js")
        assert f"http://127.0.0.1:8080{path}" in found.text
    assert '-H "Authorization: Bearer $TOKEN"' in found.text
    assert '-H "Authorization: Bearer $CLIENT_SECRET"' in found.text


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_the_documentation_behaves_as_http_says(http: httpx.AsyncClient, path: str) -> None:
    head = await http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    refused = await http.post(path)
    assert refused.status_code == 405
    assert refused.json()["code"] == "METHOD_NOT_ALLOWED"
    assert (await http.get(f"{path}/")).json()["code"] == "NOT_FOUND"
