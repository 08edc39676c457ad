"""Whatever body the chat and its attachments get: an answer of the protocol, or one of ours."""

import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pydantic
import pytest
from chatkit.types import ChatKitReq, ThreadStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic.json_schema import PydanticJsonSchemaWarning

from gateway.errors import HTTP_STATUS_CODES, STATUS_CODES
from tests.attachment_examples import PNG
from tests.e2e.dashboard import token_of
from tests.fuzz.conftest import System, fuzzing
from tests.fuzz.json_trees import described, spoilt, written

CHAT, ATTACHMENTS = "/api/chatkit", "/api/chatkit/attachments"
CODES = STATUS_CODES | HTTP_STATUS_CODES
PATIENCE_SECONDS = 30
EVENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ThreadStreamEvent)
with warnings.catch_warnings(action="ignore", category=PydanticJsonSchemaWarning):
    SCHEMA = pydantic.TypeAdapter[Any](ChatKitReq).json_schema()


@dataclass(slots=True)
class Chat:
    """One user's browser, and what it has been answered."""

    system: System
    http: httpx.Client
    secret: str
    outcomes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, system: System, http: httpx.Client, user: str) -> "Chat":
        headers = {"Authorization": f"Bearer {token_of(user)}"}
        made = http.post("/api/chatkit/session", headers=headers).raise_for_status()
        return cls(system, http, made.json()["data"]["client_secret"])

    def ask(self, body: dict[str, Any]) -> Any:
        return self.send(json.dumps(body).encode())

    def send(self, body: bytes) -> Any:
        """Sends a body; returns the answer in JSON, or all events, and makes sure it is one."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.secret}"}
        with self.http.stream("POST", CHAT, content=body, headers=headers) as answer:
            if answer.headers["content-type"].startswith("text/event-stream"):
                return self._events(answer)
            answer.read()
        return self.judge(answer)

    def judge(self, answer: httpx.Response) -> Any:
        """Returns the JSON of an answer that is no stream."""
        assert answer.headers["content-type"] == "application/json", answer.text
        body = answer.json()
        if answer.status_code == 200:
            self.outcomes["OK"] += 1
            return body
        assert body["success"] is False
        assert CODES[body["code"]] == answer.status_code
        assert answer.status_code < 500, body
        assert body["requestId"] == answer.headers["x-request-id"]
        self.outcomes[body["code"]] += 1
        return body

    def _events(self, answer: httpx.Response) -> list[Any]:
        assert answer.status_code == 200
        text = answer.read().decode()
        assert text.endswith("\n\n")
        found = []
        for frame in text[:-2].split("\n\n"):
            assert frame.startswith("data: ")
            assert "\n" not in frame
            found.append(json.loads(frame[6:]))
            EVENT.validate_python(found[-1])
        # An agent may fail at what it is told, but that says so, and never is a defect.
        self.outcomes[f"ends with {found[-1]['type']}"] += 1
        return found

    def kept(self) -> Any:
        """Returns what is stored: the newest threads, and how much there is of everything."""
        page = self.ask({"type": "threads.list", "params": {"limit": 20}})
        threads = [(thread["id"], thread.get("title")) for thread in page["data"]]
        newest = page["data"][0]["id"]
        asked = {"type": "items.list", "params": {"thread_id": newest, "limit": 50}}
        return threads, [item["id"] for item in self.ask(asked)["data"]]


@pytest.fixture(scope="module")
def http(self_hosted: System) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=self_hosted.url, timeout=PATIENCE_SECONDS, trust_env=False, verify=False
    ) as client:
        yield client


@pytest.fixture
def chat(self_hosted: System, http: httpx.Client) -> Chat:
    return Chat.of(self_hosted, http, "chatting")


def said(text: str, *attachments: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"content": content, "attachments": [*attachments], "inference_options": {}}


def upload(chat: Chat) -> str:
    headers = {"Authorization": f"Bearer {chat.secret}"}
    files = {"file": ("a.png", PNG, "image/png")}
    return str(chat.http.post(ATTACHMENTS, headers=headers, files=files).json()["id"])


def talk(chat: Chat) -> dict[str, list[Any]]:
    """Begins a conversation; returns what can be referred to in it, by the field for that."""
    events = chat.ask({"type": "threads.create", "params": {"input": said("Hola")}})
    announced = chat.ask(
        {
            "type": "attachments.create",
            "params": {"name": "b.png", "size": len(PNG), "mime_type": "image/png"},
        }
    )
    return {
        "thread_id": [events[0]["thread"]["id"]],
        "item_id": [event["item"]["id"] for event in events if "item" in event],
        "attachments": [upload(chat), announced["id"]],
    }


def test_whatever_is_asked_the_answer_is_one_and_what_is_refused_is_not_kept(
    chat: Chat, self_hosted: System, http: httpx.Client
) -> None:
    own = talk(chat)
    stranger = Chat.of(self_hosted, http, "a stranger")
    others = talk(stranger)
    known: dict[str, list[Any]] = {name: own[name] * 3 + others[name] for name in own}
    known["attachment_id"] = known["attachments"]
    known["item_ids"] = known["item_id"]
    known |= {"text": ["Hola", "¿Qué tal?"], "after": [*own["item_id"], "nothing", ""]}
    known |= {"limit": [1, 20, 0, -1, 10**9], "order": ["asc", "desc", "sideways"]}
    trees = described(SCHEMA, known)
    bodies = written(st.one_of(trees, trees, spoilt(trees)))
    strangers = stranger.kept()
    kept = chat.kept()

    @fuzzing(120)
    @given(body=bodies)
    def requests(body: bytes) -> None:
        nonlocal kept
        before = chat.outcomes.copy()
        chat.send(body)
        (outcome,) = chat.outcomes - before
        now = chat.kept()
        if outcome in CODES:
            assert now == kept, f"{outcome}, but something has changed"
        kept = now

    chat.ask({"type": "threads.create", "params": {"input": said("the newest stays")}})
    kept = chat.kept()
    requests()
    assert not self_hosted.defects()
    assert stranger.kept() == strangers
    assert {"OK", "INVALID_ARGUMENT", "THREAD_NOT_FOUND"} <= chat.outcomes.keys()
    assert any(outcome.startswith("ends with thread") for outcome in chat.outcomes)


BOUNDARY = b"a-boundary"
DISPOSITIONS = st.sampled_from(
    [
        b'form-data; name="file"; filename="a.png"',
        b'form-data; name="file"; filename="a.png"',
        b'form-data; name="file"; filename="../../../etc/passwd"',
        b'form-data; name="file"; filename="a\\"b\r\n.png"',
        b"form-data; name=\"file\"; filename*=UTF-8''%00%ff.png",
        b'form-data; name="file"; filename="' + "🎉".encode() * 100 + b'.png"',
        b'form-data; name="file"; filename=""',
        b'form-data; name="file"',
        b'form-data; name="other"',
        b'form-data; name="\xff"; filename="\xff"',
        b"form-data",
        b"",
        b'attachment; name="file"; filename="a.png"; ' + b"a=b; " * 1000,
    ]
)
TYPES = st.sampled_from(
    [b"image/png", b"image/png", b"IMAGE/PNG; q=1", b"text/html", b"", b"\xff/\0", b"a" * 5_000]
)
NAMES = st.sampled_from([b"Content-Disposition"] * 4 + [b"content-disposition", b"X" * 3_000, b""])
CONTENTS = st.one_of(st.just(PNG), st.just(PNG), st.binary(max_size=100), st.just(b"x" * 200_000))


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """A multipart body: its parts may be right, and its end may be missing."""
    body = draw(st.sampled_from([b"", b"", b"a preamble\r\n", b"\r\n"]))
    for _ in range(draw(st.integers(0, 3))):
        head = draw(NAMES) + b": " + draw(DISPOSITIONS) + b"\r\nContent-Type: " + draw(TYPES)
        body += b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + draw(CONTENTS) + b"\r\n"
    body += draw(st.sampled_from([b"--" + BOUNDARY + b"--\r\n"] * 3 + [b"--" + BOUNDARY, b""]))
    return body[: draw(st.sampled_from([len(body)] * 4 + [len(body) // 2, len(body) - 3]))]


FORM_TYPES = st.sampled_from(
    [
        *(["multipart/form-data; boundary=a-boundary"] * 6),
        'multipart/form-data; boundary="a-boundary"; charset=x',
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 500,
        "multipart/form-data; boundary=another",
        "multipart/form-data",
        "multipart/mixed; boundary=a-boundary",
        "application/x-www-form-urlencoded",
        "",
    ]
)


def test_whatever_form_is_uploaded_the_answer_is_one_and_what_is_refused_is_not_kept(
    chat: Chat, self_hosted: System
) -> None:
    headers = {"Authorization": f"Bearer {chat.secret}"}

    @fuzzing(80)
    @given(body=forms(), content_type=FORM_TYPES, chunked=st.booleans())
    def uploads(body: bytes, content_type: str, chunked: bool) -> None:
        sent = iter([body]) if chunked else body
        given = {**headers, "Content-Type": content_type}
        answer = chat.judge(chat.http.post(ATTACHMENTS, content=sent, headers=given))
        if "id" in answer:
            assert answer["type"] in ("image", "file")
            assert not set(answer["name"]) & set("/\\\r\n\0")

    before = self_hosted.files()
    uploads()
    assert not self_hosted.defects()
    assert {"OK", "INVALID_ARGUMENT", "ATTACHMENT_TYPE_NOT_ALLOWED"} <= chat.outcomes.keys()
    assert len(self_hosted.files() - before) == chat.outcomes["OK"]
