"""The page that stands in for ChatKit's component, before a stand-in for the gateway."""

import asyncio
from pathlib import Path

from playwright.async_api import FilePayload, Page, expect

from gateway.errors import APIError
from gateway.texts import TEXTS
from tests.browser.conftest import Tab
from tests.browser.stand_in import CHAT, REFRESH, TOKEN, StandIn

ANSWER = "Tienes tres proyectos activos."
ERROR = {"type": "error", "code": "custom", "message": "El modelo no responde."}


async def write(page: Page, text: str) -> None:
    await page.get_by_label("Mensaje").fill(text)
    await page.get_by_role("button", name="Enviar").click()


async def test_an_answer_comes_with_its_tools_and_its_sources(
    tab: Tab, gateway: str, tmp_path: Path
) -> None:
    await tab.open_chat(gateway, TOKEN)
    await write(tab.page, "¿Qué proyectos tengo?")
    await expect(tab.page.locator(".user .text")).to_have_text("¿Qué proyectos tengo?")
    await expect(tab.page.locator(".assistant .text")).to_have_text(ANSWER)
    await expect(tab.page.locator(".workflow li")).to_have_text("Buscar: proyectos activos")
    await expect(tab.page.locator(".sources a")).to_have_attribute("href", "https://example.com/p")
    await expect(tab.page.locator("#title")).to_have_text("Proyectos")
    await tab.page.screenshot(path=tmp_path / "chat.png")
    assert (tmp_path / "chat.png").stat().st_size > 10_000


async def test_a_message_goes_on_in_the_thread_that_is_open(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.open_chat(gateway, TOKEN)
    await write(tab.page, "Uno")
    await expect(tab.page.locator(".assistant")).to_have_count(1)
    await expect(tab.page.get_by_role("button", name="Enviar")).to_be_visible()
    await write(tab.page, "Dos")
    await expect(tab.page.locator(".assistant")).to_have_count(2)
    assert len(stand_in.threads) == 1
    await tab.page.get_by_role("button", name="+ Nueva conversación").click()
    await expect(tab.page.locator(".assistant")).to_have_count(0)
    await tab.page.locator("#threads button").click()
    await expect(tab.page.locator(".user .text")).to_have_text(["Uno", "Dos"])
    await expect(tab.page.locator(".assistant .text")).to_have_text([ANSWER, ANSWER])


async def test_a_file_is_uploaded_and_sent_with_the_message(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.open_chat(gateway, TOKEN)
    file: FilePayload = {"name": "datos.csv", "mimeType": "text/csv", "buffer": b"uno,dos"}
    await tab.page.locator("#file").set_input_files(file)
    await expect(tab.page.locator("#attached .chip")).to_have_text("datos.csv")
    await write(tab.page, "Resume el archivo")
    await expect(tab.page.locator(".user .chip")).to_have_count(1)
    await expect(tab.page.locator("#attached .chip")).to_have_count(0)
    (message, *_) = next(iter(stand_in.threads.values()))
    assert [attachment["id"] for attachment in message["attachments"]] == ["atc_2"]


async def test_a_secret_that_expires_is_renewed_and_nobody_notices(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.open_chat(gateway, TOKEN)
    stand_in.expire()
    tab.expected.append("401")
    tab.answers.clear()
    await write(tab.page, "Uno")
    await expect(tab.page.locator(".assistant .text")).to_have_text(ANSWER)
    assert tab.answers[:3] == [(CHAT, 401), (REFRESH, 200), (CHAT, 200)]
    await expect(tab.page.locator(".user")).to_have_count(1)
    await expect(tab.page.locator(".error")).to_have_count(0)


async def test_an_error_in_mid_answer_is_tried_again_without_the_message_twice(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.open_chat(gateway, TOKEN)
    stand_in.stream = [{**ERROR, "allow_retry": True}]
    await write(tab.page, "Uno")
    await expect(tab.page.locator(".error span")).to_have_text(ERROR["message"])
    await tab.page.get_by_role("button", name="Reintentar").click()
    await expect(tab.page.locator(".assistant .text")).to_have_text(ANSWER)
    await expect(tab.page.locator(".error")).to_have_count(0)
    await expect(tab.page.locator(".user")).to_have_count(1)


async def test_an_error_before_the_answer_is_tried_again_with_the_message(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.open_chat(gateway, TOKEN)
    stand_in.fail[CHAT] = [APIError("UNAVAILABLE")]
    tab.expected.append("503")
    await write(tab.page, "Uno")
    await expect(tab.page.locator(".error span")).to_have_text(TEXTS["UNAVAILABLE"].es.error)
    await tab.page.get_by_role("button", name="Reintentar").click()
    await expect(tab.page.locator(".assistant .text")).to_have_text(ANSWER)
    await expect(tab.page.locator(".user")).to_have_count(1)


async def test_an_error_that_cannot_be_tried_again_and_a_notice_have_no_button(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.open_chat(gateway, TOKEN)
    notice = {"type": "notice", "level": "warning", "message": "Has llegado a 100 mensajes."}
    stand_in.stream = [{**ERROR, "allow_retry": False}, notice]
    await write(tab.page, "Uno")
    await expect(tab.page.locator(".notice")).to_have_text("Has llegado a 100 mensajes.")
    await expect(tab.page.locator(".error")).to_have_count(1)
    await expect(tab.page.get_by_role("button", name="Reintentar")).to_have_count(0)


async def test_an_answer_can_be_stopped(tab: Tab, gateway: str, stand_in: StandIn) -> None:
    await tab.open_chat(gateway, TOKEN)
    stand_in.stream = [{"type": "hold", "until": asyncio.Event()}]
    await write(tab.page, "Uno")
    await tab.page.get_by_role("button", name="Detener").click()
    await expect(tab.page.get_by_role("button", name="Enviar")).to_be_visible()
    async with asyncio.timeout(5):
        await stand_in.left.wait()
    await expect(tab.page.locator(".error")).to_have_count(0)
