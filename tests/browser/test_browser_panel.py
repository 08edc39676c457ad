"""The chat of the console, in a browser, before the processes as `make run` starts them."""

import asyncio
from urllib.parse import urlencode

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import FilePayload, Page, expect

from gateway.texts import TEXTS
from tests.browser.conftest import Chat, Tab
from tests.browser.stand_in import CHAT, REFRESH, TOKEN, StandIn
from tests.browser.test_browser_chat import PIXEL
from tests.e2e.dashboard import EmulatorControl

NOTES: FilePayload = {"name": "notas.txt", "mimeType": "text/plain", "buffer": b"Tres proyectos."}
PICTURE: FilePayload = {"name": "punto.png", "mimeType": "image/png", "buffer": PIXEL}
LIE: FilePayload = {"name": "mentira.png", "mimeType": "image/png", "buffer": b"<script>"}

HOSTILE = """<img src="x" onerror="hacked = true"> <script>hacked = true</script>
[one](javascript:hacked=true) [two](/logout) [three](https://example.com/three) \uf8f01\uf8f1

**bold <b>b</b>** and `code <i>i</i>` and snake_case_name and 2 * 3 * 4

- first
  1. nested <svg onload="hacked = true">

```html
<script>hacked = true</script>
```

| <u>a</u> | b |
|---|--:|
| 1 | 2 |
"""


async def open_panel(tab: Tab, gateway: str, token: str, language: str = "es") -> None:
    query = urlencode({"gateway": gateway, "token": token, "lang": language})
    await tab.page.goto("about:blank")  # else a reload would not begin anew: the path is the same
    await tab.page.goto(f"{tab.site}/panel#{query}")
    await expect(tab.page.get_by_role("textbox")).to_be_visible()


async def write(page: Page, text: str) -> None:
    """Types a message, as `fill` would not, and sends it."""
    await page.locator("chatkit-chat textarea").press_sequentially(text)
    await page.keyboard.press("Enter")


async def is_done(page: Page) -> None:
    """Waits for the end of an answer."""
    await expect(page.locator("form.composer [type=submit]")).to_be_visible()


async def problems(tab: Tab) -> list[str]:
    """Returns what axe finds serious or critical, in both colour schemes."""
    found, errors = [], list(tab.errors)
    for scheme in ("light", "dark"):
        await tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        results = await Axe().run(tab.page)
        for violation in results.response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"] for node in violation["nodes"]]
                found.append(f"{scheme}: {violation['id']}: {nodes}")
    tab.errors[:] = errors  # axe tries inline styles, which the policy forbids to it as well
    return found


async def test_an_answer_grows_and_shows_its_tools_its_sources_and_the_users_files(
    tab: Tab, chat: Chat, token: str
) -> None:
    await open_panel(tab, chat.system.url, token)
    page = tab.page
    assert await problems(tab) == []
    files = page.locator("form.composer .file")
    await page.locator("input[type=file]").set_input_files([NOTES, PICTURE])
    await expect(files.and_(page.locator("[data-status=ready]"))).to_have_count(2)
    tab.expected.append("415")
    await page.locator("input[type=file]").set_input_files(LIE)
    refusal = TEXTS["ATTACHMENT_TYPE_NOT_ALLOWED"].es.error
    await expect(files.filter(has_text="mentira.png")).to_contain_text(refusal)
    assert await problems(tab) == []
    await page.get_by_role("button", name="Quitar mentira.png").click()
    await tab.run(
        """() => {
            window.lengths = new Set();
            window.states = new Set();
            const root = document.querySelector("chatkit-chat").shadowRoot;
            const note = () => {
                const text = root.querySelector(".assistant .markdown")?.textContent;
                if (text) lengths.add(text.length);
                for (const { dataset } of root.querySelectorAll(".workflow .status"))
                    states.add(dataset.status);
            };
            new MutationObserver(note).observe(root, { childList: true, subtree: true });
        }"""
    )
    await write(page, "Busca los proyectos y calcula 6 * 7")
    await expect(page.get_by_role("button", name="Detener")).to_be_visible()
    await expect(page.locator(".thinking")).to_have_text("Pensando…")
    await is_done(page)

    assert await tab.run("() => lengths.size") > 5
    assert set(await tab.run("() => [...states]")) == {"loading", "complete"}
    await expect(page.locator(".workflow .what")).to_contain_text(
        ["Búsqueda en la web", "Ejecución de código"]
    )
    await page.locator(".workflow summary", has_text="Ejecución").click()
    await expect(page.locator(".workflow pre")).to_contain_text("print(6 * 7)")
    await expect(page.locator(".user .bubble")).to_have_text("Busca los proyectos y calcula 6 * 7")
    await expect(page.locator(".user .name")).to_have_text(["notas.txt", "punto.png"])
    assert await page.locator(".user img").evaluate("image => image.decode()") is None
    answer = page.locator(".assistant .body")
    await expect(answer).to_contain_text("Has adjuntado: notas.txt")
    await expect(answer.locator(".cite")).to_have_text(["1", "2"])
    await expect(page.locator(".sources li")).to_contain_text(
        ["resultado.csv", "Página de ejemplo"]
    )
    link = page.locator(".sources a")
    await expect(link).to_have_attribute("href", "https://example.com/emulator?utm_source=openai")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")
    await expect(page.get_by_role("status")).to_contain_text("Respuesta completa: He usado")
    assert await problems(tab) == []


async def test_what_was_stopped_is_kept_and_found_again_after_a_reload(
    tab: Tab, chat: Chat, token: str, openai: EmulatorControl
) -> None:
    openai.answers(text=" ".join(f"palabra{number}" for number in range(3000)))
    await open_panel(tab, chat.system.url, token)
    page, answer = tab.page, tab.page.locator(".assistant .markdown")
    await write(page, "Cuenta hasta tres mil")
    await expect(answer).to_contain_text("palabra20 ")
    await page.get_by_role("button", name="Detener").click()
    await is_done(page)
    await expect(page.locator(".stopped")).to_have_text("Respuesta detenida.")
    half = (await answer.inner_text()).split()
    assert 20 < len(half) < 3000
    openai.answers()
    await write(page, "¿Y ahora?")
    await expect(answer.nth(1)).to_contain_text("«¿Y ahora?»")
    await is_done(page)

    await open_panel(tab, chat.system.url, token)
    await page.get_by_role("button", name="Cuenta hasta tres mil").first.click()
    await expect(page.locator(".bubble")).to_have_text(["Cuenta hasta tres mil", "¿Y ahora?"])
    kept = (await answer.first.inner_text()).split()
    assert kept[:20] == half[:20]
    assert len(kept) < 3000
    await expect(answer.nth(1)).to_contain_text("«¿Y ahora?»")


async def test_an_answer_that_fails_and_a_message_that_does_not_arrive_are_tried_again(
    tab: Tab, chat: Chat, token: str, openai: EmulatorControl
) -> None:
    await open_panel(tab, chat.system.url, token)
    page = tab.page
    openai.fail(operation="responses.create", kind="failed_event")
    await write(page, "Hola")
    await expect(page.locator(".failure .message")).to_have_text(
        TEXTS["UPSTREAM_UNAVAILABLE"].es.error
    )
    assert await problems(tab) == []
    await page.get_by_role("button", name="Reintentar").click()
    await expect(page.locator(".assistant .markdown")).to_contain_text("«Hola»")
    await is_done(page)
    await expect(page.locator(".failure")).to_have_count(0)
    await expect(page.locator(".bubble")).to_have_text("Hola")

    tab.expected.append("ERR_INTERNET_DISCONNECTED")
    await page.context.set_offline(True)
    await write(page, "¿Sigues ahí?")
    await expect(page.locator(".failure")).to_contain_text("No hay conexión")
    await expect(page.get_by_role("textbox")).to_have_value("¿Sigues ahí?")
    await expect(page.locator(".bubble")).to_have_count(1)
    await page.context.set_offline(False)
    await page.get_by_role("button", name="Reintentar").click()
    await expect(page.locator(".assistant .markdown").nth(1)).to_contain_text("«¿Sigues ahí?»")
    await is_done(page)
    await expect(page.locator(".bubble")).to_have_text(["Hola", "¿Sigues ahí?"])
    assert await tab.run("() => failures.at(-1)") == "NETWORK"


async def test_what_a_model_writes_is_text_and_a_little_markdown(
    tab: Tab, chat: Chat, token: str, openai: EmulatorControl
) -> None:
    openai.answers(text=HOSTILE, pause_seconds=0)
    await open_panel(tab, chat.system.url, token)
    page, answer = tab.page, tab.page.locator(".assistant .body")
    await write(page, "<b>Hola</b>")
    await is_done(page)
    await expect(page.locator(".bubble")).to_have_text("<b>Hola</b>")
    await expect(answer).to_contain_text('<img src="x" onerror="hacked = true">')
    await expect(answer.locator("img, script, svg, b, i, u")).to_have_count(0)
    await expect(answer.locator("a")).to_have_text("three")
    await expect(answer.locator("a")).to_have_attribute("rel", "noopener noreferrer")
    await expect(answer.locator("strong")).to_have_text("bold <b>b</b>")
    await expect(answer.locator("em")).to_have_count(0)
    await expect(answer.locator("p code")).to_have_text("code <i>i</i>")
    await expect(answer.locator("ul > li > ol > li")).to_contain_text("nested <svg")
    await expect(answer.locator("pre")).to_have_text("<script>hacked = true</script>")
    await expect(answer.locator("th")).to_have_text(["<u>a</u>", "b"])
    await expect(answer.locator(".cite")).to_have_count(0)
    assert await tab.run("() => window.hacked === undefined")

    drawn = await tab.run(
        """async (texts) => {
            const { showMarkdown } = await import("/console/chat_markdown.js");
            const began = performance.now();
            for (const text of texts) showMarkdown(document.createElement("div"), text);
            return performance.now() - began;
        }""",
        [start * 20_000 for start in ("*a ", "`", "[", "_", "> ", "- ", "|-", "![a](", "** ", "#")],
    )
    assert drawn < 20_000  # and not for ever: 500 ms on a quiet machine


async def test_conversations_are_renamed_and_deleted_on_a_phone_in_english(
    tab: Tab, chat: Chat, token: str
) -> None:
    page = tab.page
    await page.set_viewport_size({"width": 360, "height": 640})
    await open_panel(tab, chat.system.url, token, "en")
    await page.get_by_role("button", name="What can you do?").click()
    await expect(page.locator(".assistant .markdown")).to_contain_text("«What can you do?»")
    await is_done(page)
    await page.get_by_role("button", name="Good answer").click()
    await expect(page.get_by_role("status")).to_have_text("Thank you for your opinion.")
    assert await page.locator(".main").evaluate("main => main.scrollWidth <= innerWidth")

    await page.get_by_role("button", name="Conversations").click()
    await expect(page.locator("button.open")).to_be_focused()
    assert await problems(tab) == []
    await page.get_by_role("button", name="Rename: What can you do?").click()
    await page.get_by_label("Name of the conversation").fill("Skills")
    await page.keyboard.press("Enter")
    await expect(page.locator("button.open")).to_contain_text("Skills")
    await expect(page.locator("button.open")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Conversations")).to_be_focused()
    await expect(page.locator(".title")).to_have_text("Skills")

    await tab.run("() => (document.querySelector('chatkit-chat').lang = 'es')")
    await expect(page.get_by_role("button", name="Nueva conversación")).to_be_visible()
    await expect(page.locator(".bubble")).to_have_text("What can you do?")
    await page.get_by_role("button", name="Conversaciones").click()
    await page.get_by_role("button", name="Eliminar: Skills").click()
    await page.get_by_role("button", name="Eliminar", exact=True).click()
    await expect(page.locator(".history .empty")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator(".greeting")).to_have_text("¿En qué puedo ayudarte?")


async def test_a_closed_conversation_says_why_and_an_expired_secret_is_renewed_once(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    page, go_on, end = tab.page, asyncio.Event(), asyncio.Event()
    await open_panel(tab, gateway, TOKEN)
    await expect(page.locator(".history .empty")).to_be_visible()
    reason = "Límite de 100 mensajes alcanzado."
    closed = {"id": "thr_3", "title": "Proyectos", "status": {"type": "closed", "reason": reason}}
    stand_in.stream = [
        {"type": "progress_update", "text": "Leyendo los archivos…"},
        {"type": "hold", "until": go_on},
        {"type": "notice", "level": "warning", "message": "Has llegado al **límite**."},
        {"type": "thread.updated", "thread": {**closed, "created_at": "2026-11-24T09:00:00Z"}},
        {"type": "hold", "until": end},
    ]
    stand_in.expire()
    tab.expected.append("401")
    tab.answers.clear()
    await write(page, "Uno")
    await expect(page.locator(".thinking")).to_have_text("Leyendo los archivos…")
    assert tab.answers[:3] == [(CHAT, 401), (REFRESH, 200), (CHAT, 200)]
    go_on.set()
    await expect(page.locator(".notice strong")).to_have_text("límite")
    await expect(page.locator("footer")).to_contain_text(reason)
    await expect(page.get_by_role("textbox")).to_be_hidden()
    await page.locator("footer").get_by_role("button", name="Nueva conversación").click()
    await expect(page.get_by_role("textbox")).to_be_visible()
    await expect(page.locator(".greeting")).to_be_visible()
    end.set()  # of an answer that goes on though nobody looks at it
    await expect(page.locator("button.open")).to_contain_text("Proyectos")


async def test_the_console_opens_it_beside_its_own_page(tab: Tab, chat: Chat, token: str) -> None:
    page = tab.page
    await page.goto(f"{chat.system.url}/#token={token}")
    await page.get_by_role("button", name="Chat").click()
    await write(page, "Busca los proyectos")
    await expect(page.locator(".assistant .markdown")).to_contain_text("He usado web_search")
    await is_done(page)
    await page.locator("input[type=file]").set_input_files(PICTURE)
    await expect(page.locator("form.composer .file img")).to_be_visible()
    assert await problems(tab) == []
    await page.get_by_role("button", name="Conversaciones").click()
    await expect(page.locator("button.open")).to_contain_text("Busca los proyectos")
    await page.keyboard.press("Escape")
    await expect(page.locator(".bubble")).to_have_text("Busca los proyectos")
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog#chat")).to_be_hidden()
