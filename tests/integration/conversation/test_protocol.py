"""Every request of the ChatKit protocol, as its component sends it."""

import asyncio
from typing import Any

from protos.chatkit.v1 import conversation_service_pb2 as pb
from tests.integration.conversation.chat import (
    BASE_URL,
    Chat,
    kinds,
    message,
    new_chat,
    text_of,
    texts,
    thread_id_of,
)
from tests.support import Emulator, refused

# One pixel.
PNG = (
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
)
PLAIN_ANSWER = [
    "item.done(user_message)",
    "stream_options",
    "item.added(assistant_message)",
    "content_part.added",
    "content_part.text_delta",
    "content_part.done",
    "item.done(assistant_message)",
]


async def test_a_first_message_makes_a_thread_and_is_answered(chat: Chat) -> None:
    events = await chat.say("¿Cuántos tickets hay?")
    assert kinds(events) == ["created", *PLAIN_ANSWER, "updated"]
    assert events[-1]["thread"]["title"] == "¿Cuántos tickets hay?"
    assert text_of(events) == events[-2]["item"]["content"][0]["text"] != ""
    created_at = events[0]["thread"]["created_at"]
    assert created_at.endswith("Z"), "a browser would take it for its own time"


async def test_a_further_message_is_answered_in_its_thread(chat: Chat, emulator: Emulator) -> None:
    thread_id = await chat.new_thread("Me llamo Ana")
    assert kinds(await chat.say("¿Cómo me llamo?", thread_id)) == PLAIN_ANSWER
    said = (await emulator.requests("responses.create"))[-1]["body"]["input"]
    assert "Me llamo Ana" in str(said[0])
    assert "¿Cómo me llamo?" in str(said[-1])
    kept = await chat.items(thread_id)
    assert [item["type"] for item in kept] == ["user_message", "assistant_message"] * 2


async def test_a_web_search_is_shown_and_its_sources_are_cited(chat: Chat) -> None:
    events = await chat.say("busca el precio")
    assert kinds(events) == [
        "created",
        "item.done(user_message)",
        "stream_options",
        "item.added(workflow)",
        "workflow.task.updated",
        "item.done(workflow)",
        "item.added(assistant_message)",
        "content_part.added",
        "content_part.text_delta",
        "content_part.annotation_added",
        "content_part.done",
        "item.done(assistant_message)",
        "updated",
    ]
    (added,) = (e["item"] for e in events if kinds([e]) == ["item.added(workflow)"])
    assert added["workflow"]["tasks"][0]["status_indicator"] == "loading"
    (done,) = (e["item"] for e in events if kinds([e]) == ["item.done(workflow)"])
    (task,) = done["workflow"]["tasks"]
    assert (task["type"], task["status_indicator"]) == ("web_search", "complete")
    assert task["queries"]
    assert task["sources"][0]["url"].startswith("https://")
    (answer,) = (e["item"] for e in events if kinds([e]) == ["item.done(assistant_message)"])
    assert answer["content"][0]["annotations"][0]["source"]["type"] == "url"


async def test_code_that_was_run_is_shown(chat: Chat) -> None:
    events = await chat.say("calcula 6 por 7")
    (done,) = (e["item"] for e in events if kinds([e]) == ["item.done(workflow)"])
    (task,) = done["workflow"]["tasks"]
    assert task["title"] == "Ejecución de código"
    assert task["content"].startswith("```python\n")


async def test_the_user_is_told_in_their_language(chat: Chat) -> None:
    events = await chat.say("calcula 6 por 7", language="en")
    (done,) = (e["item"] for e in events if kinds([e]) == ["item.done(workflow)"])
    assert done["workflow"]["tasks"][0]["title"] == "Running code"


async def test_an_answer_can_be_had_again(chat: Chat) -> None:
    thread_id = await chat.new_thread("Hola")
    first, old = await chat.items(thread_id)
    events = await chat.stream(
        "threads.retry_after_item", thread_id=thread_id, item_id=first["id"]
    ).events()
    assert kinds(events) == PLAIN_ANSWER[1:]
    kept = await chat.items(thread_id)
    assert kept[0] == first
    assert [item["type"] for item in kept] == ["user_message", "assistant_message"]
    assert kept[1]["id"] != old["id"]


async def test_a_thread_is_read_listed_renamed_and_deleted(chat: Chat) -> None:
    older, newer = await chat.new_thread("uno"), await chat.new_thread("dos")
    listed = await chat.ask("threads.list")
    assert [thread["id"] for thread in listed["data"]] == [newer, older]
    assert not listed["has_more"]
    page = await chat.ask("threads.list", limit=1, order="asc")
    assert ([thread["id"] for thread in page["data"]], page["has_more"]) == ([older], True)
    page = await chat.ask("threads.list", limit=1, order="asc", after=page["after"])
    assert ([thread["id"] for thread in page["data"]], page["has_more"]) == ([newer], False)
    assert (await chat.ask("threads.update", thread_id=older, title="Nuevo"))["title"] == "Nuevo"
    thread = await chat.ask("threads.get_by_id", thread_id=older)
    assert thread["title"] == "Nuevo"
    assert texts(thread["items"]["data"])[0] == "uno"
    assert await chat.ask("threads.delete", thread_id=older) == {}
    with refused("THREAD_NOT_FOUND"):
        await chat.ask("threads.get_by_id", thread_id=older)
    with refused("THREAD_NOT_FOUND"):
        await chat.ask("threads.delete", thread_id=older)
    assert [thread["id"] for thread in (await chat.ask("threads.list"))["data"]] == [newer]


async def test_a_name_that_the_user_gave_stays(chat: Chat) -> None:
    thread_id = await chat.new_thread("Hola")
    await chat.ask("threads.update", thread_id=thread_id, title="Mío")
    await chat.say("¿Y ahora?", thread_id)
    assert (await chat.ask("threads.get_by_id", thread_id=thread_id))["title"] == "Mío"


async def test_items_are_read_in_pages_from_either_end(chat: Chat) -> None:
    thread_id = await chat.new_thread("uno")
    await chat.say("dos", thread_id)
    ids = [item["id"] for item in await chat.items(thread_id)]
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        found: list[str] = []
        page: dict[str, Any] = {"after": None}
        while "after" in page:
            page = await chat.ask(
                "items.list", thread_id=thread_id, limit=3, order=order, after=page["after"]
            )
            found += [item["id"] for item in page["data"]]
        assert found == expected


async def test_feedback_is_kept_for_what_is_there(chat: Chat) -> None:
    thread_id = await chat.new_thread()
    _, answer = await chat.items(thread_id)
    ask: dict[str, Any] = {"thread_id": thread_id, "item_ids": [answer["id"]]}
    assert await chat.ask("items.feedback", kind="positive", **ask) == {}
    assert await chat.ask("items.feedback", kind="negative", **ask) == {}
    with refused("THREAD_NOT_FOUND"):
        await chat.ask("items.feedback", thread_id=thread_id, item_ids=["x"], kind="positive")


async def test_an_attachment_comes_in_two_phases_and_reaches_the_model(
    chat: Chat, emulator: Emulator
) -> None:
    text = b"nombre;importe\nAna;12\n"
    made = await chat.ask(
        "attachments.create", name="cuentas.csv", size=len(text), mime_type="text/csv"
    )
    upload = made["upload_descriptor"]
    assert upload["method"] == "POST"
    assert upload["url"].startswith(f"{BASE_URL}/api/chatkit/attachments/{made['id']}?")
    with refused("INVALID_ARGUMENT"):  # there are no bytes yet
        await chat.stream("threads.create", input=message("Mira", made["id"])).events()
    query = dict(part.split("=") for part in upload["url"].partition("?")[2].split("&"))
    link = pb.AttachmentLink(
        attachment_id=made["id"],
        expires_at=int(query["expires"]),
        signature=query["signature"],
    )
    head = pb.UploadAttachmentHead(link=link, mime_type="text/csv", base_url=BASE_URL)
    await chat.upload(head, text)
    events = await chat.stream("threads.create", input=message("Mira", made["id"])).events()
    assert "cuentas.csv" in text_of(events)
    (sent,) = (e["item"] for e in events if kinds([e]) == ["item.done(user_message)"])
    assert "upload_descriptor" not in sent["attachments"][0]
    thread_id = thread_id_of(events)
    assert (await chat.items(thread_id))[0]["attachments"][0]["id"] == made["id"]
    await chat.say("¿Y el total?", thread_id)
    assert len(await emulator.requests("files.create")) == 1  # it is at OpenAI already
    await chat.ask("threads.delete", thread_id=thread_id)
    assert len(await emulator.requests("files.delete")) == 1
    with refused("ATTACHMENT_NOT_FOUND"):
        await chat.ask("attachments.delete", attachment_id=made["id"])


async def test_an_image_has_a_fresh_preview_whenever_it_is_read(chat: Chat) -> None:
    png = bytes.fromhex(PNG)
    head = pb.UploadAttachmentHead(
        client_secret=chat.secret, name="foto.png", mime_type="image/png", base_url=BASE_URL
    )
    made = await chat.upload(head, png)
    thread_id = thread_id_of(
        await chat.stream("threads.create", input=message("Mira", made["id"])).events()
    )
    (shown,) = (await chat.items(thread_id))[0]["attachments"]
    assert "signature=" in shown["preview_url"]
    await asyncio.sleep(1.1)  # the time in a link is in seconds
    (again,) = (await chat.items(thread_id))[0]["attachments"]
    assert again["preview_url"] != shown["preview_url"]


async def test_what_cannot_be_done_is_said_before_anything_is_stored(chat: Chat) -> None:
    thread_id = await chat.new_thread()
    _, answer = kept = await chat.items(thread_id)
    action = {"thread_id": thread_id, "item_id": answer["id"], "action": {"type": "x"}}
    for kind, params in (
        ("threads.add_client_tool_output", {"thread_id": thread_id, "result": 1}),
        ("threads.retry_after_item", {"thread_id": thread_id, "item_id": answer["id"]}),
        (
            "threads.add_structured_input",
            {"thread_id": thread_id, "item_id": answer["id"], "input": {}},
        ),
        ("threads.custom_action", action),
    ):
        with refused("INVALID_ARGUMENT"):
            await chat.stream(kind, **params).events()
    for kind, params in (
        (
            "threads.sync_custom_action",
            {"thread_id": thread_id, "item_id": answer["id"], "action": {"type": "x"}},
        ),
        ("input.transcribe", {"audio_base64": "%%%", "mime_type": "audio/webm"}),
        ("threads.unknown", {}),
        ("items.list", {}),
    ):
        with refused("INVALID_ARGUMENT"):
            await chat.ask(kind, **params)
    for kind, params in (
        ("threads.add_user_message", {"thread_id": "thr_no", "input": message("x")}),
        ("threads.retry_after_item", {"thread_id": thread_id, "item_id": "msg_no"}),
    ):
        with refused("THREAD_NOT_FOUND"):
            await chat.stream(kind, **params).events()
    with refused("ATTACHMENT_NOT_FOUND"):
        await chat.stream("threads.create", input=message("x", "atc_no")).events()
    assert await chat.items(thread_id) == kept
    assert len((await chat.ask("threads.list"))["data"]) == 1


async def test_an_action_of_a_widget_is_told_to_the_agent(chat: Chat, emulator: Emulator) -> None:
    thread_id = await chat.new_thread()
    action = {"type": "ticket.close", "payload": {"id": 12}}
    events = await chat.stream(
        "threads.custom_action", thread_id=thread_id, item_id=None, action=action
    ).events()
    assert kinds(events) == PLAIN_ANSWER[1:]
    assert "ticket.close" in str((await emulator.requests("responses.create"))[-1]["body"]["input"])
    kept = await chat.items(thread_id)
    assert [item["type"] for item in kept] == ["user_message", *["assistant_message"] * 2]
    sync: dict[str, Any] = {"thread_id": thread_id, "item_id": None, "action": action}
    assert await chat.ask("threads.sync_custom_action", **sync) == {}


async def test_another_users_thread_is_not_there(chat: Chat) -> None:
    thread_id = await chat.new_thread()
    item, _ = await chat.items(thread_id)
    other = await new_chat(chat.service, "8")
    plain: dict[str, dict[str, Any]] = {
        "threads.get_by_id": {},
        "items.list": {},
        "threads.update": {"title": "x"},
        "threads.delete": {},
        "items.feedback": {"item_ids": [item["id"]], "kind": "positive"},
    }
    for kind, params in plain.items():
        with refused("THREAD_NOT_FOUND"):
            await other.ask(kind, thread_id=thread_id, **params)
    streamed: dict[str, dict[str, Any]] = {
        "threads.add_user_message": {"input": message("x")},
        "threads.retry_after_item": {"item_id": item["id"]},
        "threads.add_client_tool_output": {"result": 1},
        "threads.custom_action": {"action": {"type": "x"}},
    }
    for kind, params in streamed.items():
        with refused("THREAD_NOT_FOUND"):
            await other.stream(kind, thread_id=thread_id, **params).events()
    assert (await other.ask("threads.list"))["data"] == []
    assert len(await chat.items(thread_id)) == 2


async def test_only_a_living_secret_of_ours_opens_the_door(chat: Chat) -> None:
    for secret in ("", "ek_unknown", chat.session_id):
        with refused("UNAUTHENTICATED"):
            await Chat(chat.service, secret, "").ask("threads.list")
    await chat.service.refresh(chat.secret)
    assert (await chat.ask("threads.list"))["data"] == []  # it lives until it expires
    await chat.service.delete(chat.session_id)
    with refused("SESSION_DELETED"):
        await chat.ask("threads.list")


async def test_everything_of_one_user_can_be_deleted(chat: Chat, emulator: Emulator) -> None:
    await chat.new_thread()
    other = await new_chat(chat.service, "8")
    await other.new_thread()
    await emulator.answers(pause_seconds=0.02, deltas=200)
    running = chat.begin("otra cosa")
    await running.until("item.added(assistant_message)")
    deleted = await chat.stub.DeleteUserData(pb.DeleteUserDataRequest(user_id="7"))
    assert (deleted.sessions, deleted.threads) == (1, 2)
    with refused("SESSION_DELETED"):
        await running.events()
    with refused("UNAUTHENTICATED"):
        await chat.ask("threads.list")
    again = await chat.stub.DeleteUserData(pb.DeleteUserDataRequest(user_id="7"))
    assert (again.sessions, again.threads) == (0, 0)
    assert len((await other.ask("threads.list"))["data"]) == 1
    stats = await chat.service.stats("7")
    assert (stats.total_sessions, stats.total_messages, stats.turns) == (0, 0, 0)
