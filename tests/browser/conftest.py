"""One browser for all tests, a tab for each, and pages that are of another origin than the gateway.

A browser lives in one event loop, so these tests share one, too.
"""

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect
from playwright.async_api import Response as Answer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import gateway as gateway_package
from tests.browser.stand_in import TOKEN, StandIn
from tests.e2e import processes
from tests.e2e.dashboard import EmulatorControl, token_of
from tests.e2e.processes import System
from tests.support import serve

HERE = Path(__file__).parent
CONSOLE = Path(gateway_package.__file__).parent / "console"
PANEL_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self' http://127.0.0.1:*;"
    " img-src 'self' data: http://127.0.0.1:*; connect-src http://127.0.0.1:*"
)
"""As strict as the console's: no style and no script but those of files."""
PATIENCE_MS = 20_000
"""For a machine that is busy with something else; nothing takes that long."""

_users = itertools.count(9000)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def find_browser() -> str:
    """Returns what .ci/browser has found, too."""
    named = os.environ.get("CHROMIUM")
    names = (named,) if named else ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail("there is no Chromium: run make test, which installs it or says how")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser, with an empty profile of its own."""
    async with async_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        browser = await playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site() -> AsyncIterator[str]:
    """Where the dashboard is served from."""

    async def echo(request: Request) -> Response:
        return JSONResponse(dict(request.headers))

    async def empty(request: Request) -> Response:
        return HTMLResponse('<!doctype html><link rel="icon" href="data:,">')

    async def panel(request: Request) -> Response:
        return FileResponse(HERE / "panel.html", headers={"Content-Security-Policy": PANEL_POLICY})

    app = Starlette(
        routes=[
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/empty", empty),
            Route("/panel", panel),
            Mount("/console", StaticFiles(directory=CONSOLE)),
            Mount("/", StaticFiles(directory=HERE)),
        ]
    )
    async with serve(app) as url:
        yield url


@dataclass(slots=True)
class Tab:
    """A tab of the browser. Whatever its console calls an error is one, unless it is expected."""

    page: Page
    site: str
    errors: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    answers: list[tuple[str, int]] = field(default_factory=list)
    """The paths and the statuses of all answers so far."""

    async def open_chat(self, gateway: str, token: str) -> None:
        """Opens the page that chats."""
        query = urlencode({"gateway": gateway, "token": token})
        await self.page.goto(f"{self.site}/page.html#{query}")
        await self.page.wait_for_selector("body[data-ready]")

    async def import_client(self, gateway: str, **options: Any) -> None:
        """Opens an empty page that has `api`, made with these options, and `ask`."""
        await self.page.goto(f"{self.site}/empty")
        await self.page.evaluate(
            """async ([gateway, options]) => {
                const { chatkitApi } = await import(`${gateway}/chatkit-client.js`);
                window.chatkitApi = chatkitApi;
                window.api = chatkitApi({ baseUrl: gateway, ...options });
                window.ask = (init) => api.fetch(api.url, {
                    method: "POST",
                    headers: { "Content-Type": "application/json" },
                    body: JSON.stringify({ type: "threads.list", params: {} }),
                    ...init,
                });
            }""",
            [gateway, {"getToken": TOKEN, "domainKey": "localhost", **options}],
        )

    async def run(self, script: str, argument: Any = None) -> Any:
        """Returns what a function in the page returns."""
        return await self.page.evaluate(script, argument)

    def unexpected(self) -> list[str]:
        return [e for e in self.errors if not any(known in e for known in self.expected)]


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser, site: str) -> AsyncIterator[Tab]:
    context = await browser.new_context(locale="es-ES", viewport={"width": 1180, "height": 800})
    tab = Tab(await context.new_page(), site)
    tab.page.set_default_timeout(PATIENCE_MS)

    def on_console(said: ConsoleMessage) -> None:
        if said.type == "error":
            tab.errors.append(said.text)

    def on_response(answer: Answer) -> None:
        tab.answers.append((urlsplit(answer.url).path, answer.status))

    tab.page.on("console", on_console)
    tab.page.on("response", on_response)
    tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
    yield tab
    await context.close()
    assert tab.unexpected() == []


@dataclass(frozen=True, slots=True)
class Chat:
    """The running system and where its database is."""

    system: System
    database: Path


@pytest.fixture(scope="session")
def chat(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    directory = tmp_path_factory.mktemp("chat")
    with processes.make_run(
        directory,
        CHATKIT_MODE="self_hosted",
        JWT_SECRET=processes.SECRET,
        CORS_ALLOW_ORIGINS=site,
        CHATKIT_SESSIONS_PER_MINUTE="0",
        CHATKIT_REQUESTS_PER_MINUTE="0",
    ) as system:
        yield Chat(system, directory / "data" / "chatkit.db")


@pytest.fixture
def token() -> str:
    """Of a user who has not chatted yet."""
    return token_of(next(_users))


@pytest.fixture
def openai(chat: Chat) -> Iterator[EmulatorControl]:
    control = EmulatorControl(chat.system.emulator)
    yield control
    control.heal()
    control.answers()  # as ever
    control.close()


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(stand_in: StandIn, site: str) -> AsyncIterator[str]:
    """The address of a stand-in for the gateway."""
    async with serve(stand_in.app(allow_origins=(site,))) as url:
        yield url
