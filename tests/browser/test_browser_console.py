"""The console at /, as people use it: a browser, and the processes as `make run` starts them."""

import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, Page, Route, expect

from gateway.texts import TEXTS
from tests.browser.conftest import Tab
from tests.e2e import processes
from tests.e2e.dashboard import EmulatorControl, token_of
from tests.e2e.processes import System

ADMINISTRATOR = 1000
COMPONENT = "https://cdn.platform.openai.com/deployments/chatkit/chatkit.js"

_users = itertools.count(20_000)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with processes.make_run(
        tmp_path_factory.mktemp("console"),
        JWT_SECRET=processes.SECRET,
        ADMIN_USER_IDS=str(ADMINISTRATOR),
        CHATKIT_SESSIONS_PER_MINUTE="0",
    ) as system:
        yield system


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom no other test knows: their token, and what their dashboard does."""

    id: int
    token: str
    http: httpx.AsyncClient

    async def chat(self) -> str:
        """Opens a session as the dashboard does. Returns its id."""
        answer = await self.http.post("/api/chatkit/session", json={})
        return str(answer.raise_for_status().json()["data"]["session_id"])


@pytest_asyncio.fixture(loop_scope="session")
async def user(system: System) -> AsyncIterator[User]:
    user_id = next(_users)
    token = token_of(user_id)
    async with httpx.AsyncClient(
        base_url=system.url,
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        verify=False,
    ) as http:
        yield User(user_id, token, http)


@pytest.fixture
def page(tab: Tab) -> Page:
    return tab.page


async def enter(page: Page, system: System, token: str) -> None:
    """Opens the console by a link, as `make run` prints one."""
    await page.goto(f"{system.url}/#token={token}")
    await expect(page.locator("#live")).to_have_attribute("data-state", "live")


def figure(page: Page, name: str) -> Any:
    return page.locator(f"[data-figure={name}] .value")


async def test_the_link_of_make_run_logs_in_and_leaves_no_token_in_the_address(
    tab: Tab, page: Page, system: System
) -> None:
    link = system.process.wait_for(r"Console +(\S+)")[1]
    assert link == f"{system.url}/#token={system.token}"
    await page.goto(link)
    await expect(page.locator("#whose")).to_have_text("Tus cifras (usuario 7)")
    assert page.url == f"{system.url}/"
    await page.reload()
    await expect(page.locator("#whose")).to_have_text("Tus cifras (usuario 7)")
    await page.get_by_role("button", name="Salir").click()
    await expect(page.get_by_label("Token de acceso")).to_be_focused()
    tab.expected.append("401")
    await page.get_by_label("Token de acceso").fill("not.a.token")
    await page.get_by_role("button", name="Entrar", exact=True).click()
    await expect(page.locator("#login-problem")).to_contain_text("vuelve a entrar")
    assert await page.evaluate("() => sessionStorage.length") == 0


async def test_what_happens_is_seen_without_a_reload_and_a_session_is_deleted(
    page: Page, system: System, user: User
) -> None:
    await enter(page, system, user.token)
    await expect(figure(page, "sessions")).to_have_text("0")
    await expect(page.locator("#sessions-list")).to_contain_text("No hay sesiones activas")
    await expect(page.locator("#plots")).to_contain_text("Sin actividad en este periodo")
    session_id = await user.chat()
    await expect(figure(page, "sessions")).to_have_text("1")
    await expect(figure(page, "active")).to_have_text("1")
    row = page.get_by_role("row").filter(has_text=session_id)
    await expect(row).to_contain_text("Activa")
    sessions = page.get_by_role("img", name="Sesiones: total 1")
    await expect(sessions.locator(".bar")).to_have_count(30)
    await page.get_by_label("7 días").check()
    await expect(sessions.locator(".bar")).to_have_count(7)
    await page.get_by_text("Ver como tabla").click()
    await expect(page.locator("#numbers tbody tr").first).to_contain_text("1")

    await row.get_by_role("button", name="Detalles").click()
    details = page.get_by_role("dialog", name="Detalles")
    await expect(details).to_contain_text(session_id)
    await expect(details).to_contain_text("wf_emulator")
    await page.keyboard.press("Escape")
    await row.get_by_role("button", name="Eliminar").click()
    question = page.get_by_role("dialog", name="¿Eliminar esta sesión?")
    await question.get_by_role("button", name="Cancelar").click()
    await expect(question).to_be_hidden()
    told = (await user.http.get(f"/api/chatkit/session/{session_id}")).json()["data"]
    assert told["status"] == "active"
    await row.get_by_role("button", name="Eliminar").click()
    await question.get_by_role("button", name="Eliminar").click()
    await expect(figure(page, "active")).to_have_text("0")
    await expect(row).to_have_count(0)
    told = (await user.http.get(f"/api/chatkit/session/{session_id}")).json()["data"]
    assert told["status"] == "deleted"


async def test_everybody_sees_their_own_and_an_administrator_whom_they_want(
    page: Page, system: System, user: User
) -> None:
    theirs = await user.chat()
    await enter(page, system, token_of(next(_users)))
    await expect(page.locator("#sessions-list")).to_contain_text("No hay sesiones activas")
    await expect(figure(page, "active")).to_have_text("0")
    await expect(page.locator("#scope")).to_be_hidden()
    await expect(page.locator("#search-user-field")).to_be_hidden()

    await enter(page, system, token_of(ADMINISTRATOR))
    await expect(page.locator("#whose")).to_have_text("Las cifras de todos")
    await expect(figure(page, "active")).to_have_text(re.compile("[1-9]"))
    await page.locator("#scope").get_by_label("Usuario").fill(str(user.id))
    await page.get_by_role("button", name="Ver", exact=True).click()
    await expect(page.locator("#whose")).to_have_text(f"Las cifras del usuario {user.id}")
    await expect(figure(page, "active")).to_have_text("1")
    await expect(page.locator("#sessions-list tbody tr")).to_have_count(1)
    await page.get_by_role("button", name="Todos").click()
    search = page.get_by_role("search")
    await search.get_by_label("Id de sesión").fill("cksess_nobodys")
    await search.get_by_role("button", name="Buscar").click()
    await expect(page.locator("#sessions-list")).to_contain_text("Nada coincide")
    await search.get_by_label("Id de sesión").fill(theirs)
    await page.keyboard.press("Enter")
    row = page.get_by_role("row").filter(has_text=theirs)
    await row.get_by_role("button", name="Detalles").click()
    await expect(page.get_by_role("dialog")).to_contain_text(str(user.id))
    await page.keyboard.press("Escape")
    await row.get_by_role("button", name="Eliminar").click()
    await page.get_by_role("dialog").get_by_role("button", name="Eliminar").click()
    await expect(page.locator("#announcer")).to_have_text(f"Sesión {theirs} eliminada.")
    told = (await user.http.get(f"/api/chatkit/session/{theirs}")).json()["data"]
    assert told["status"] == "deleted"


async def test_failures_have_a_remedy_a_reason_and_a_request_id(
    tab: Tab, page: Page, system: System, user: User
) -> None:
    openai = EmulatorControl(system.emulator)
    try:
        openai.fail(operation="sessions.create", status=404)
        failed = await user.http.post("/api/chatkit/session", json={})
    finally:
        openai.heal()
        openai.close()
    assert failed.json()["code"] == "WORKFLOW_NOT_FOUND"
    await enter(page, system, user.token)
    reasons = page.locator("#reasons")
    await expect(reasons).to_contain_text("Workflow not found")
    await expect(reasons).to_contain_text(TEXTS["WORKFLOW_NOT_FOUND"].es.hint)
    await expect(reasons).to_contain_text("1 en 30 días")

    async def refuse(route: Route) -> None:
        await route.fulfill(
            status=503,
            headers={"X-Request-Id": "the-id", "Server-Timing": "gateway;dur=3.2, rpc;dur=1.5"},
            json={
                "success": False,
                "error": "No se puede.",
                "code": "UNAVAILABLE",
                "hint": "Espera un poco.",
                "requestId": "the-id",
            },
        )

    tab.expected.append("503")
    await page.route("**/api/chatkit/sessions?*", refuse)
    await page.get_by_role("search").get_by_role("button").click()
    problem = page.locator("#sessions-problem")
    for text in ("No se puede.", "Espera un poco.", "UNAVAILABLE", "the-id"):
        await expect(problem).to_contain_text(text)
    calls = page.locator("#calls")
    await expect(calls).to_contain_text("3,2 ms")
    await expect(calls).to_contain_text("Gateway")
    await page.unroute("**/api/chatkit/sessions?*")
    await page.get_by_role("search").get_by_role("button").click()
    await expect(problem).to_be_empty()


async def test_the_checklist_is_for_all_and_what_to_mend_for_administrators(
    page: Page, system: System, user: User
) -> None:
    await enter(page, system, user.token)
    checks = page.locator("#checks")
    await expect(checks).to_contain_text("hosted: responde un workflow en OpenAI")
    for process in ("Servicio de sesiones", "Gateway"):
        own = checks.get_by_role("list", name=process, exact=True)
        await expect(own.get_by_text("Variables bien escritas")).to_have_count(1)
    origins = checks.locator("[data-state=warning]").filter(has_text="CORS")
    await expect(origins).to_be_visible()
    await expect(origins).not_to_contain_text("CORS_ALLOW_ORIGINS")
    ask = page.get_by_role("button", name="Preguntar también a OpenAI")
    await expect(ask).to_be_hidden()
    await enter(page, system, token_of(ADMINISTRATOR))
    await expect(origins).to_contain_text("CORS_ALLOW_ORIGINS")
    skipped = checks.locator("[data-state=skipped]")
    before = await skipped.count()
    await ask.click()
    await expect(ask).to_be_enabled()
    assert await skipped.count() < before
    await page.get_by_role("button", name="English").click()
    await expect(checks).to_contain_text("hosted: a workflow at OpenAI answers")


async def test_who_is_logged_in_no_longer_is_told_so(
    tab: Tab, page: Page, system: System, user: User
) -> None:
    # Not `enter`: on a busy machine the token has expired before everything is there.
    await page.goto(f"{system.url}/#token={token_of(user.id, exp=int(time.time()) + 3)}")
    await expect(page.locator("#login-problem")).to_contain_text("Tu acceso ha caducado")
    await expect(page.get_by_label("Token de acceso")).to_be_focused()
    await expect(page.locator("#board")).to_be_hidden()


async def test_language_and_colours_are_chosen_and_kept(
    page: Page, system: System, user: User
) -> None:
    await enter(page, system, user.token)
    await page.get_by_role("button", name="English").click()
    await page.get_by_role("button", name="Dark theme").click()
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(page.locator("#whose")).to_have_text(f"Your figures (user {user.id})")
    await expect(page.locator("#sessions-list")).to_contain_text("There are no active sessions")
    assert await page.evaluate("() => getComputedStyle(document.body).colorScheme") == "dark"


async def test_a_phone_and_a_keyboard_are_enough(page: Page, system: System, user: User) -> None:
    session_id = await user.chat()
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto(system.url)
    await reach(page, "Token de acceso (JWT)")
    await page.keyboard.insert_text(user.token)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(figure(page, "active")).to_have_text("1")
    assert await page.evaluate("() => document.documentElement.scrollWidth") == 360
    await reach(page, f"Eliminar: {session_id}")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Cancelar")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(figure(page, "active")).to_have_text("0")
    await expect(page.get_by_role("heading", name="Sesiones", exact=True)).to_be_focused()
    # An administrator sees the most.
    await enter(page, system, token_of(ADMINISTRATOR))
    await expect(page.locator("#checks li").first).to_be_visible()
    assert await page.evaluate("() => document.documentElement.scrollWidth") == 360


async def reach(page: Page, name: str) -> None:
    """Presses Tab until what has that name has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if name == await page.evaluate(
            """() => document.activeElement.ariaLabel
                ?? document.activeElement.labels?.[0]?.textContent
                ?? document.activeElement.textContent"""
        ):
            return
    raise AssertionError(f"no Tab leads to {name!r}")


@pytest.mark.parametrize(("locale", "scheme"), [("es-ES", "light"), ("en-GB", "dark")])
async def test_axe_finds_nothing_that_keeps_people_out(
    browser: Browser, system: System, user: User, locale: str, scheme: Any
) -> None:
    await user.chat()
    context = await browser.new_context(locale=locale, color_scheme=scheme)
    page = await context.new_page()
    await page.goto(system.url)
    await expect(page.locator("#login")).to_be_visible()
    assert await violations(page) == []
    await enter(page, system, token_of(ADMINISTRATOR))
    await expect(page.locator("#sessions-list tbody tr").first).to_be_visible()
    await page.locator("#numbers summary").click()
    assert await violations(page) == []
    await page.locator("#sessions-list button.danger").first.click()
    await expect(page.locator("#confirm")).to_be_visible()
    assert await violations(page) == []
    await context.close()


async def violations(page: Page) -> list[str]:
    await page.evaluate(AXE_SCRIPT)
    found = await page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


async def test_in_hosted_mode_the_chat_is_openais_component_or_a_word_about_it(
    tab: Tab, page: Page, system: System, user: User
) -> None:
    await enter(page, system, user.token)
    tab.expected += ["ERR_FAILED"]
    await page.route(COMPONENT, lambda route: route.abort())
    await page.get_by_role("button", name="Chat").click()
    room = page.locator("#chat-room")
    await expect(room).to_contain_text("El componente de ChatKit no se ha podido cargar.")
    await page.unroute(COMPONENT)
    await page.route(
        COMPONENT,
        lambda route: route.fulfill(
            content_type="text/javascript",
            body="""
                customElements.define("openai-chatkit", class extends HTMLElement {
                    async setOptions({ api, locale }) {
                        const first = await api.getClientSecret(null);
                        const next = await api.getClientSecret(first);
                        this.textContent = `${locale} ${first !== next} ${next.slice(0, 3)}`;
                    }
                });""",
        ),
    )
    await room.get_by_role("button", name="Reintentar").click()
    await expect(room.locator("openai-chatkit")).to_have_text(re.compile(r"es true ek_"))
    await page.get_by_role("button", name="Cerrar").click()
    await expect(page.get_by_role("button", name="Chat")).to_be_focused()
