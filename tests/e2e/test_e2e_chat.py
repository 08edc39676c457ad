"""The self-hosted mode end to end: every request of the ChatKit protocol, over HTTP."""

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e import processes
from tests.e2e.dashboard import Dashboard, EmulatorControl, open_dashboard
from tests.e2e.processes import PATIENCE_SECONDS, System
from tests.integration.conversation.chat import Event, kinds, message, text_of, texts, thread_id_of
from tests.integration.conversation.test_protocol import PLAIN_ANSWER
from tests.support import eventually

CSV = b"nombre;importe\nAna;12\n"
_users = itertools.count(7000)


@pytest.fixture(scope="module")
def chat_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """What `make run MODE=self_hosted` starts."""
    with processes.make_run(
        tmp_path_factory.mktemp("chat"),
        CHATKIT_MODE="self_hosted",
        JWT_SECRET=processes.SECRET,
        CHATKIT_SESSIONS_PER_MINUTE="0",
        CHATKIT_REQUESTS_PER_MINUTE="12",
        CHATKIT_TIMEOUT_SECONDS="5",
    ) as system:
        yield system


@pytest.fixture
def openai(chat_system: System) -> Iterator[EmulatorControl]:
    control = EmulatorControl(chat_system.emulator)
    control.answers(pause_seconds=0)
    yield control
    control.heal()
    control.close()


class Widget:
    """The chat component in the browser of one user."""

    def __init__(self, dashboard: Dashboard, http: httpx.AsyncClient) -> None:
        self.dashboard = dashboard
        self.http = http
        self.session_id = ""

    async def open(self) -> None:
        """Gets a client secret."""
        created = await self.dashboard.create()
        self.session_id = created["session_id"]
        self.http.headers["Authorization"] = f"Bearer {created['client_secret']}"

    async def post(self, request: str, /, **params: Any) -> httpx.Response:
        return await self.http.post("/api/chatkit", json={"type": request, "params": params})

    async def ask(self, request: str, /, **params: Any) -> Any:
        answer = await self.post(request, **params)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    async def stream(self, request: str, /, **params: Any) -> list[Event]:
        answer = await self.post(request, **params)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        return events_of(answer.content)

    async def say(self, text: str, *attachments: str) -> list[Event]:
        return await self.stream("threads.create", input=message(text, *attachments))

    async def items(self, thread_id: str) -> list[dict[str, Any]]:
        page = await self.ask("items.list", thread_id=thread_id, order="asc")
        items: list[dict[str, Any]] = page["data"]
        return items


def events_of(body: bytes) -> list[Event]:
    *frames, rest = body.split(b"\n\n")
    assert rest == b""
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in frames]


@pytest.fixture
async def widget(chat_system: System, openai: EmulatorControl) -> AsyncIterator[Widget]:
    async with (
        open_dashboard(chat_system.url, next(_users)) as dashboard,
        httpx.AsyncClient(
            base_url=chat_system.url,
            headers={"Accept-Language": "es"},
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            verify=False,
        ) as http,
    ):
        widget = Widget(dashboard, http)
        await widget.open()
        yield widget


async def test_a_conversation_from_its_first_message_to_its_end(widget: Widget) -> None:
    events = await widget.say("Hola")
    assert kinds(events) == ["created", *PLAIN_ANSWER, "updated"]
    thread_id = thread_id_of(events)
    again = await widget.stream(
        "threads.add_user_message", thread_id=thread_id, input=message("¿Y?")
    )
    assert kinds(again) == PLAIN_ANSWER
    user, answer, *_ = await widget.items(thread_id)
    retried = await widget.stream(
        "threads.retry_after_item", thread_id=thread_id, item_id=user["id"]
    )
    assert kinds(retried) == PLAIN_ANSWER[1:]
    action = {"type": "close", "payload": {"id": 1}}
    acted = await widget.stream("threads.custom_action", thread_id=thread_id, action=action)
    assert kinds(acted) == PLAIN_ANSWER[1:]
    assert await widget.ask("threads.sync_custom_action", thread_id=thread_id, action=action) == {}
    _, answer, *_ = await widget.items(thread_id)
    feedback = {"thread_id": thread_id, "item_ids": [answer["id"]], "kind": "positive"}
    assert await widget.ask("items.feedback", **feedback) == {}
    renamed = await widget.ask("threads.update", thread_id=thread_id, title="Mi charla")
    assert renamed["title"] == "Mi charla"
    assert (await widget.ask("threads.list"))["data"][0]["title"] == "Mi charla"
    read = await widget.ask("threads.get_by_id", thread_id=thread_id)
    assert texts(read["items"]["data"])[0] == "Hola"
    assert await widget.ask("threads.delete", thread_id=thread_id) == {}
    assert (await widget.ask("threads.list"))["data"] == []


async def test_requests_that_cannot_be_done_have_a_reason_and_a_remedy(widget: Widget) -> None:
    thread_id = thread_id_of(await widget.say("Hola"))
    _, answer = await widget.items(thread_id)
    for kind, params, status, code in (
        ("threads.add_client_tool_output", {"result": 1}, 400, "INVALID_ARGUMENT"),
        (
            "threads.add_structured_input",
            {"item_id": answer["id"], "input": {}},
            400,
            "INVALID_ARGUMENT",
        ),
        ("items.list", {"thread_id": "thr_no"}, 404, "THREAD_NOT_FOUND"),
        ("nonsense", {}, 400, "INVALID_ARGUMENT"),
        (
            "input.transcribe",
            {"audio_base64": "", "mime_type": "audio/webm"},
            400,
            "INVALID_ARGUMENT",
        ),
    ):
        refused = await widget.post(kind, **{"thread_id": thread_id, **params})
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert refused.json()["hint"]


@pytest.mark.parametrize("strategy", ["direct", "two_phase"])
async def test_an_attachment_is_uploaded_sent_read_and_deleted(
    widget: Widget, openai: EmulatorControl, strategy: str
) -> None:
    if strategy == "direct":
        uploaded = await widget.http.post(
            "/api/chatkit/attachments", files={"file": ("cuentas.csv", CSV, "text/csv")}
        )
    else:
        made = await widget.ask(
            "attachments.create", name="cuentas.csv", size=len(CSV), mime_type="text/csv"
        )
        upload = made["upload_descriptor"]
        uploaded = await widget.http.request(
            upload["method"], upload["url"], content=CSV, headers={"Content-Type": "text/csv"}
        )
    assert uploaded.status_code == 200, uploaded.text
    attachment = uploaded.json()
    assert attachment["name"] == "cuentas.csv"
    events = await widget.say("Mira esto", attachment["id"])
    assert "cuentas.csv" in text_of(events)
    assert openai.requests("files.create")[-1]["body"]["bytes"] == len(CSV)
    assert await widget.ask("attachments.delete", attachment_id=attachment["id"]) == {}
    gone = await widget.post("attachments.delete", attachment_id=attachment["id"])
    assert (gone.status_code, gone.json()["code"]) == (404, "ATTACHMENT_NOT_FOUND")


async def test_a_browser_that_leaves_stops_the_model_within_a_second(
    widget: Widget, openai: EmulatorControl
) -> None:
    openai.answers(pause_seconds=0.02, deltas=200)
    body = {"type": "threads.create", "params": {"input": message("Cuéntame todo")}}
    received = b""
    async with widget.http.stream("POST", "/api/chatkit", json=body) as answer:
        async for chunk in answer.aiter_bytes():
            received += chunk
            if b"text_delta" in received:
                break

    async def stopped() -> bool:
        return bool(openai.requests("responses.create")[-1]["left_early"])

    await eventually(stopped, within=1)
    thread_id = thread_id_of(events_of(received.rpartition(b"\n\n")[0] + b"\n\n"))

    async def kept() -> bool:
        return len(await widget.items(thread_id)) == 2

    await eventually(kept)
    stats = await widget.dashboard.stats()
    assert (stats["turns"], stats["failedTurns"], stats["estimatedTurns"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("language", "said"),
    [("es", "Esta sesión de chat se ha cerrado"), ("en", "This chat session was closed")],
)
async def test_deleting_the_session_ends_its_answer_with_an_event(
    widget: Widget, openai: EmulatorControl, language: str, said: str
) -> None:
    openai.answers(pause_seconds=0.02, deltas=200)
    body = {"type": "threads.create", "params": {"input": message("Cuéntame todo")}}
    headers = {"Accept-Language": language}
    received, deleted = b"", False
    async with widget.http.stream("POST", "/api/chatkit", json=body, headers=headers) as answer:
        async for chunk in answer.aiter_bytes():
            received += chunk
            if b"text_delta" in received and not deleted:
                await widget.dashboard.delete(widget.session_id)
                deleted = True
    *_, error = events_of(received)
    assert (error["type"], error["allow_retry"]) == ("error", False)
    assert error["message"].startswith(said)
    refused = await widget.post("threads.list")
    assert (refused.status_code, refused.json()["code"]) == (410, "SESSION_DELETED")


async def test_an_answer_that_fails_before_and_after_its_first_byte(
    widget: Widget, openai: EmulatorControl
) -> None:
    openai.fail(operation="responses.create", kind="error_event", code="server_error")
    *_, error = await widget.say("Hola")
    assert (error["type"], error["allow_retry"]) == ("error", True)
    assert error["message"]
    full = await widget.http.post("/api/chatkit", content=b"x" * 600_000)
    assert full.status_code in (413, 415)
    unknown = await widget.http.post(
        "/api/chatkit", json={"type": "threads.list"}, headers={"Authorization": "Bearer cksec_x"}
    )
    assert (unknown.status_code, unknown.json()["code"]) == (401, "UNAUTHENTICATED")


async def test_requests_that_run_the_agent_are_limited_per_session(widget: Widget) -> None:
    answers = [
        await widget.post("threads.create", input=message(f"{number}")) for number in range(13)
    ]
    assert [answer.status_code for answer in answers] == [200] * 12 + [429]
    assert answers[-1].json()["code"] == "RATE_LIMITED"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert len((await widget.ask("threads.list"))["data"]) == 12


async def test_sessions_and_statistics_are_the_documented_ones(widget: Widget) -> None:
    await widget.say("calcula algo")
    session = await widget.dashboard.get(widget.session_id)
    assert (session["status"], session["mode"], session["workflow_id"]) == (
        "active",
        "self_hosted",
        None,
    )
    stats = await widget.dashboard.stats(days=1)
    assert (stats["totalSessions"], stats["totalMessages"], stats["messagesToday"]) == (1, 2, 2)
    assert (stats["turns"], stats["toolCalls"]) == (1, 1)
    assert stats["inputTokens"] > 0
    assert stats["outputTokens"] > 0
    assert stats["answerTime"]["p95"] >= stats["answerTime"]["p50"] > 0
    assert stats["daily"][0]["turns"] == 1
