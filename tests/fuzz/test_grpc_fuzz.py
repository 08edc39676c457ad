"""Whatever is sent to the session service: a status of the contract, in time, and no defect."""

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import given
from hypothesis import strategies as st

from protos.chatkit.v1 import conversation_service_pb2 as pb_chat
from protos.chatkit.v1 import session_service_pb2 as pb
from protos.chatkit.v1.errors import details_of
from protos.chatkit.v1.session_service_pb2_grpc import SessionServiceStub
from session_service.interceptors import STATUS_CODES
from tests.fuzz.conftest import System, fuzzing
from tests.fuzz.protobuf_bytes import Known, hostile, messages

METHODS: list[MethodDescriptor] = [
    *pb.DESCRIPTOR.services_by_name["SessionService"].methods,
    *pb_chat.DESCRIPTOR.services_by_name["ConversationService"].methods,
]
USERS = ["fuzz-1", "fuzz-2", "Ana"]
IN_TIME_SECONDS = 10.0
SLACK_SECONDS = 5.0
"""For a machine that is busy with something else."""

OURS = frozenset(STATUS_CODES) - {"INTERNAL"}
OF_GRPC = frozenset(
    # What it says itself: of messages and metadata that are too large, and of what we ended.
    (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    )
)

MESSAGE = {"content": [{"type": "input_text", "text": "a"}], "attachments": []}
THREAD = json.dumps(
    {"type": "threads.create", "params": {"input": {**MESSAGE, "inference_options": {}}}}
).encode()
REQUESTS = [
    THREAD,
    b'{"type":"threads.list","params":{"limit":5}}',
    b'{"type":"items.list","params":{"thread_id":"thr_x"}}',
    b"{}",
    b"",
    b"[" * 5_000,
    b"\xff",
]


@dataclass(frozen=True, slots=True)
class Target:
    """The session service of a system, and what it has said."""

    system: System
    channel: grpc.Channel
    known: Known
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def stub(self) -> Any:
        return SessionServiceStub(self.channel)

    def call(
        self,
        method: MethodDescriptor,
        requests: Sequence[bytes],
        *,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        timeout: float = IN_TIME_SECONDS,
        answers: int | None = None,
        hangs: bool = False,
    ) -> None:
        """Makes sure that a call ends as it may. It leaves after so many answers.

        Where it hangs, it sends no end of its requests.
        """
        started = time.monotonic()
        left = threading.Event()
        try:
            self._send(method, requests, metadata, timeout, answers, left if hangs else None)
            outcome = "OK"
        except grpc.RpcError as error:
            outcome = reason(error)
        finally:
            left.set()
        self.outcomes[outcome] += 1
        assert time.monotonic() - started < timeout + SLACK_SECONDS

    def _send(
        self,
        method: MethodDescriptor,
        requests: Sequence[bytes],
        metadata: Sequence[tuple[str, str | bytes]],
        timeout: float,
        answers: int | None,
        left: threading.Event | None,
    ) -> None:
        kind = "_".join(
            "stream" if streams else "unary"
            for streams in (method.client_streaming, method.server_streaming)
        )
        assert method.containing_service
        path = f"/{method.containing_service.full_name}/{method.name}"
        call = getattr(self.channel, kind)(path)  # bytes in, bytes out
        given = {"timeout": timeout, "metadata": metadata}

        def parts() -> Iterator[bytes]:
            yield from requests
            if left:
                left.wait()

        sent = parts() if method.client_streaming else requests[0]
        if not method.server_streaming:
            call(sent, **given)
            return
        running = call(sent, **given)
        for number, _ in enumerate(running, start=1):
            if number == answers or method.name == "WatchStats":  # which has no end
                running.cancel()
                return


def reason(error: Any) -> str:
    """Returns why a call failed; fails where that is none of the reasons there may be."""
    details = details_of(error)
    if details is None:
        assert error.code() in OF_GRPC, f"{error.code()} {error.details()}"
        return f"gRPC {error.code().name}"
    assert details.reason in OURS
    assert STATUS_CODES[details.reason] is error.code()
    assert "Traceback" not in error.details()
    return details.reason


@pytest.fixture
def target(self_hosted: System) -> Iterator[Target]:
    # Larger than what the service takes, so that it is the one who refuses.
    options = (("grpc.max_send_message_length", -1),)
    with grpc.insecure_channel(self_hosted.service.address, options) as channel:
        stub: Any = SessionServiceStub(channel)
        made = [stub.CreateSession(pb.CreateSessionRequest(user_id=user)) for user in USERS * 2]
        yield Target(
            self_hosted,
            channel,
            {
                "user_id": USERS,
                "session_id": [answer.session.id for answer in made],
                "client_secret": [answer.client_secret for answer in made],
                "request": REQUESTS,
                "language": ["es", "en"],
                "base_url": ["https://chat.example.com"],
                "mime_type": ["text/plain", "image/png"],
                "name": ["a.txt"],
                "key": ["username", "userContext.permissions.ticketControl"],
            },
        )


@contextlib.contextmanager
def unharmed(target: Target) -> Iterator[None]:
    """Afterwards the service answers, its log has no defect, and its counters are its rows."""
    yield
    assert not target.system.defects()
    for user in USERS:
        stats = target.stub.GetStats(pb.GetStatsRequest(user_id=user), timeout=IN_TIME_SECONDS)
        rows = sessions_of(target, user)
        first = [row for row in rows if not row.refreshed_from]
        assert stats.total_sessions == len(first)
        assert stats.refreshes == len(rows) - len(first)
        deleted = [row for row in first if row.status == pb.SESSION_STATUS_DELETED]
        assert stats.deleted_sessions == len(deleted)


def sessions_of(target: Target, user: str) -> list[pb.Session]:
    found: list[pb.Session] = []
    request = pb.ListSessionsRequest(user_id=user, page_size=1000)
    while True:
        page = target.stub.ListSessions(request, timeout=IN_TIME_SECONDS)
        found += page.sessions
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


METADATA = st.lists(
    st.one_of(
        st.tuples(
            st.just("x-request-id"),
            st.one_of(
                st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200),
                st.sampled_from(["", " ", "x" * 129, '"}{', "%n%s"]),
            ),
        ),
        st.tuples(st.from_regex(r"\A[a-z0-9_.][a-z0-9_.-]{0,20}-bin\Z"), st.binary(max_size=300)),
        st.tuples(st.sampled_from(["authorization", "x-a", "cookie"]), st.just("a" * 2_000)),
        st.tuples(st.just("x-large"), st.just("a" * 20_000)),
    ),
    max_size=5,
)
DEADLINES = st.sampled_from([IN_TIME_SECONDS] * 6 + [0.001, 0.02])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_call_ends_in_time_as_the_contract_says(
    target: Target, method: MethodDescriptor
) -> None:
    kind = method.input_type
    many = 4 if method.client_streaming else 1
    right, wrong = messages(kind, target.known), hostile(kind, target.known)
    sequences = st.lists(st.one_of(right, right, wrong), min_size=1, max_size=many)

    @fuzzing(40)
    @given(requests=sequences, metadata=METADATA, timeout=DEADLINES, answers=st.integers(1, 30))
    def calls(requests: list[bytes], metadata: list[Any], timeout: float, answers: int) -> None:
        target.call(method, requests, metadata=metadata, timeout=timeout, answers=answers)

    target.outcomes.clear()
    with unharmed(target):
        calls()
    # It did not all end at the door; uploads that get further are made below.
    if not method.client_streaming:
        assert target.outcomes["OK"] or target.outcomes.keys() & (OURS - {"INVALID_ARGUMENT"})


def test_an_upload_may_come_in_any_order_or_stop_anywhere(target: Target) -> None:
    secrets = target.known["client_secret"]
    part = pb_chat.UploadAttachmentRequest

    def head(secret: Any) -> bytes:
        head = pb_chat.UploadAttachmentHead(
            client_secret=secret, name="a.txt", mime_type="text/plain", base_url="https://a.example"
        )
        return part(head=head).SerializeToString()

    data = st.binary(max_size=5_000).map(lambda data: part(data=data).SerializeToString())
    end = st.just(part(end=True).SerializeToString())
    pieces = st.one_of(
        st.sampled_from(secrets).map(head),
        *(data, data, end),
        hostile(part.DESCRIPTOR, target.known),
    )
    (method,) = (method for method in METHODS if method.name == "UploadAttachment")

    @fuzzing(40)
    @given(requests=st.lists(pieces, max_size=8), hangs=st.booleans())
    def uploads(requests: list[bytes], hangs: bool) -> None:
        timeout = 0.2 if hangs else IN_TIME_SECONDS
        target.call(method, requests, timeout=timeout, hangs=hangs)

    with unharmed(target):
        uploads()
        target.outcomes.clear()
        whole = [head(secrets[0]), part(data=b"a").SerializeToString()]
        target.call(method, [*whole, part(end=True).SerializeToString()])
        assert target.outcomes == {"OK": 1}


def test_a_message_that_is_too_large_is_grpcs_to_refuse(target: Target) -> None:
    for method in METHODS:
        target.outcomes.clear()
        target.call(method, [b"\x0a" + b"\xff" * (2 * 1024 * 1024)])
        assert target.outcomes == {"gRPC RESOURCE_EXHAUSTED": 1}
