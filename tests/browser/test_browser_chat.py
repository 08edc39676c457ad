"""A person chats in self-hosted mode: a browser, and the processes as `make run` starts them."""

import base64
import contextlib
import sqlite3
import time
from pathlib import Path

import httpx
from playwright.async_api import FilePayload, Page, expect

from tests.browser.conftest import Chat, Tab
from tests.e2e.dashboard import EmulatorControl

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SESSION, REFRESH, CHAT = "/api/chatkit/session", "/api/chatkit/refresh", "/api/chatkit"


async def say(page: Page, text: str) -> None:
    """Sends a message and waits for its answer, which the emulated model begins by quoting it."""
    await page.get_by_label("Mensaje").fill(text)
    await page.get_by_role("button", name="Enviar").click()
    await expect(page.locator(".assistant .text").last).to_contain_text(f"«{text}»")
    await expect(page.get_by_role("button", name="Enviar")).to_be_visible()


async def attach(page: Page, name: str, mime_type: str, content: bytes) -> None:
    file: FilePayload = {"name": name, "mimeType": mime_type, "buffer": content}
    await page.locator("#file").set_input_files(file)
    await expect(page.locator("#attached .chip")).to_contain_text(name)


async def test_an_answer_grows_and_shows_its_tools_and_its_sources(
    tab: Tab, chat: Chat, token: str, tmp_path: Path
) -> None:
    await tab.open_chat(chat.system.url, token)
    await tab.run(
        """() => {
            window.lengths = new Set();
            const note = () => {
                const text = document.querySelector(".assistant .text")?.textContent;
                if (text) lengths.add(text.length);
            };
            const items = document.querySelector("#items");
            new MutationObserver(note).observe(items, { childList: true, subtree: true });
        }"""
    )
    await say(tab.page, "Busca los proyectos activos")
    await expect(tab.page.locator(".user .text")).to_have_text("Busca los proyectos activos")
    assert await tab.run("() => lengths.size") > 5
    await expect(tab.page.locator(".workflow [data-status=complete]")).not_to_have_count(0)
    await expect(tab.page.locator(".sources a")).to_have_text("Página de ejemplo")
    await attach(tab.page, "notas.txt", "text/plain", b"Tres proyectos.")
    await say(tab.page, "¿Qué dicen mis notas?")
    await tab.page.screenshot(path=tmp_path / "chat.png")
    assert (tmp_path / "chat.png").stat().st_size > 10_000


async def test_a_conversation_is_there_after_a_reload(tab: Tab, chat: Chat, token: str) -> None:
    await tab.open_chat(chat.system.url, token)
    await say(tab.page, "Hola")
    await say(tab.page, "Adiós")
    said = await tab.page.locator(".assistant .text").all_text_contents()
    await tab.page.reload()
    await tab.page.wait_for_selector("body[data-ready]")
    await tab.page.locator("#threads button").click()
    await expect(tab.page.locator(".user .text")).to_have_text(["Hola", "Adiós"])
    await expect(tab.page.locator(".assistant .text")).to_have_text(said)


async def test_a_secret_that_expires_is_renewed_and_nobody_notices(
    tab: Tab, chat: Chat, token: str
) -> None:
    await tab.open_chat(chat.system.url, token)
    await say(tab.page, "Antes")
    a_second_ago = int((time.time() - 1) * 1000)
    with contextlib.closing(sqlite3.connect(chat.database, timeout=10)) as database, database:
        assert database.execute("UPDATE sessions SET expires_ms = ?", (a_second_ago,)).rowcount
    tab.expected.append("401")
    tab.answers.clear()
    await say(tab.page, "Después")
    assert tab.answers[:3] == [(CHAT, 401), (REFRESH, 200), (CHAT, 200)]
    assert [status for _, status in tab.answers].count(401) == 1
    await expect(tab.page.locator(".user .text")).to_have_text(["Antes", "Después"])
    await expect(tab.page.locator(".error")).to_have_count(0)


async def test_a_secret_is_renewed_before_it_expires(tab: Tab, chat: Chat, token: str) -> None:
    await tab.open_chat(chat.system.url, token)
    await say(tab.page, "Antes")
    await tab.run("() => { const now = Date.now; Date.now = () => now() + 580_000; }")
    tab.answers.clear()
    await say(tab.page, "Después")
    assert tab.answers[:2] == [(REFRESH, 200), (CHAT, 200)]


async def test_who_is_still_logged_in_goes_on_after_the_session_was_deleted(
    tab: Tab, chat: Chat, token: str
) -> None:
    async with tab.page.expect_response(lambda answer: answer.url.endswith(SESSION)) as created:
        await tab.open_chat(chat.system.url, token)
    session_id = (await (await created.value).json())["data"]["session_id"]
    await say(tab.page, "Antes")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, verify=False) as http:
        (await http.delete(f"{chat.system.url}{SESSION}/{session_id}")).raise_for_status()
    tab.expected.append("410")
    tab.answers.clear()
    await say(tab.page, "Después")
    assert tab.answers[:4] == [(CHAT, 410), (REFRESH, 410), (SESSION, 200), (CHAT, 200)]
    await expect(tab.page.locator(".user .text")).to_have_text(["Antes", "Después"])


async def test_a_file_reaches_the_model(tab: Tab, chat: Chat, token: str) -> None:
    await tab.open_chat(chat.system.url, token)
    await attach(tab.page, "notas.txt", "text/plain", b"Tres proyectos.")
    await say(tab.page, "Resume el archivo")
    await expect(tab.page.locator(".user .chip")).to_have_text("notas.txt")
    await expect(tab.page.locator(".assistant .text")).to_contain_text("Has adjuntado")


async def test_an_image_is_shown(tab: Tab, chat: Chat, token: str) -> None:
    await tab.open_chat(chat.system.url, token)
    await attach(tab.page, "punto.png", "image/png", PIXEL)
    await say(tab.page, "¿Qué se ve?")
    await tab.page.wait_for_function("() => document.querySelector('.user img')?.naturalWidth == 1")


async def test_a_file_that_lies_about_its_type_is_refused(tab: Tab, chat: Chat, token: str) -> None:
    await tab.open_chat(chat.system.url, token)
    tab.expected.append("415")
    file: FilePayload = {"name": "punto.png", "mimeType": "image/png", "buffer": b"<script>"}
    await tab.page.locator("#file").set_input_files(file)
    await expect(tab.page.locator(".error")).to_have_count(1)
    await expect(tab.page.locator("#attached .chip")).to_have_count(0)


async def test_an_answer_that_fails_is_tried_again(
    tab: Tab, chat: Chat, token: str, openai: EmulatorControl
) -> None:
    await tab.open_chat(chat.system.url, token)
    openai.fail(operation="responses.create", kind="failed_event")
    await tab.page.get_by_label("Mensaje").fill("Hola")
    await tab.page.get_by_role("button", name="Enviar").click()
    await expect(tab.page.locator(".error span")).not_to_be_empty()
    await tab.page.get_by_role("button", name="Reintentar").click()
    await expect(tab.page.locator(".assistant .text")).to_contain_text("«Hola»")
    await expect(tab.page.locator(".user")).to_have_count(1)
    await expect(tab.page.locator(".error")).to_have_count(0)
