"""What is around every call of chatkit.v1, in all four kinds that gRPC has, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf.message import DecodeError
from structlog.testing import capture_logs

from runtime import log as logs
from runtime.admission import Admission, Counts
from session_service.errors import AttachmentTooLarge, ThreadNotFound
from session_service.interceptors import CallInterceptor
from tests.support import refused

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behavior: TypeAlias = Callable[[Any, Context], Any]

ID = ("x-request-id", "req-of-this-test")
SERVICE = "chatkit.v1.TestService"
MEBIBYTE = 1024 * 1024


class Running:
    """A server with one method of each kind, and the calls of them."""

    def __init__(self, channel: grpc.aio.Channel, interceptor: CallInterceptor) -> None:
        self._channel: Any = channel
        self.interceptor = interceptor

    def begin(self, kind: str, first: bytes = b"1") -> Any:
        """Begins a call, and returns it."""
        method = getattr(self._channel, kind)(f"/{SERVICE}/{kind}")
        request = parts(first, b"2") if kind.startswith("stream") else first
        return method(request, metadata=(ID,))

    def begin_refused(self, kind: str, *sent: bytes) -> Any:
        """Begins a call that is refused when it has read that, or before.

        Then nothing more is on its way: grpc.aio tells INTERNAL where a stream is refused while it
        writes (https://github.com/grpc/grpc/issues/36066).
        """
        method = getattr(self._channel, kind)(f"/{SERVICE}/{kind}")
        request = unended(*sent) if kind.startswith("stream") else b"".join(sent)
        return method(request, metadata=(ID,))


async def answers_of(call: Any) -> list[bytes]:
    """Returns what comes until a call ends, of either kind."""
    if hasattr(call, "__aiter__"):
        return [answer async for answer in call]
    return [await call]


async def parts(*values: bytes) -> AsyncIterator[bytes]:
    for value in values:
        yield value


async def unended(*values: bytes) -> AsyncIterator[bytes]:
    for value in values:
        yield value
    await asyncio.Event().wait()


async def echo_one(request: bytes, context: Context) -> bytes:
    return request + logs.request_id.get().encode()


async def echo_parts(request: bytes, context: Context) -> AsyncIterator[bytes]:
    yield request
    yield logs.request_id.get().encode()


async def join(request: AsyncIterator[bytes], context: Context) -> bytes:
    return b"".join([part async for part in request]) + logs.request_id.get().encode()


async def echo_all(request: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for part in request:
        yield part
    yield logs.request_id.get().encode()


async def write_parts(request: bytes, context: Context) -> None:
    await context.write(request)
    await context.write(logs.request_id.get().encode())


ECHOES: dict[str, Behavior] = {
    "unary_unary": echo_one,
    "unary_stream": echo_parts,
    "stream_unary": join,
    "stream_stream": echo_all,
}
ANSWERS = {
    "unary_unary": [b"1req-of-this-test"],
    "unary_stream": [b"1", b"req-of-this-test"],
    "stream_unary": [b"12req-of-this-test"],
    "stream_stream": [b"1", b"2", b"req-of-this-test"],
}
BUILD: dict[str, Any] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


@asynccontextmanager
async def serving(
    deserializer: Callable[[bytes], bytes] | None = None,
    admission: Admission | None = None,
    /,
    **behaviors: Behavior,
) -> AsyncIterator[Running]:
    interceptor = CallInterceptor(admission or Admission())
    server = grpc.aio.server(interceptors=[interceptor])
    handlers = {
        kind: BUILD[kind](behavior, request_deserializer=deserializer)
        for kind, behavior in behaviors.items()
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Running(channel, interceptor)
    finally:
        await server.stop(None)


def outcomes(captured: list[Any]) -> list[tuple[str, str]]:
    return [(line["method"], line["outcome"]) for line in captured if line["event"] == "rpc"]


@pytest.mark.parametrize("kind", ECHOES)
async def test_a_call_of_any_kind_has_a_request_id_and_one_log_line(kind: str) -> None:
    async with serving(**ECHOES) as running:
        with capture_logs() as captured:
            assert await answers_of(running.begin(kind)) == ANSWERS[kind]
            await running.interceptor.idle()
        assert outcomes(captured) == [(kind, "OK")]


@pytest.mark.parametrize("kind", ECHOES)
async def test_a_call_of_any_kind_returns_its_request_id(kind: str) -> None:
    async with serving(**ECHOES) as running:
        call = running.begin(kind)
        await answers_of(call)
        trailing = dict(await call.trailing_metadata())
        assert trailing["x-request-id"] == "req-of-this-test"


async def test_a_stream_may_be_written_instead_of_yielded() -> None:
    async with serving(unary_stream=write_parts) as running:
        with capture_logs() as captured:
            assert await answers_of(running.begin("unary_stream")) == ANSWERS["unary_stream"]
            await running.interceptor.idle()
        assert outcomes(captured) == [("unary_stream", "OK")]


async def take(request: Any) -> None:
    """Reads a stream of requests: grpc.aio's client may lose the status to a write that fails,
    https://github.com/grpc/grpc/issues/36066.
    """
    if hasattr(request, "__aiter__"):
        async for _ in request:
            pass


async def refuse_one(request: Any, context: Context) -> bytes:
    await take(request)
    raise ThreadNotFound


async def refuse_stream(request: Any, context: Context) -> AsyncIterator[bytes]:
    await take(request)
    for part in list[bytes]():  # what makes it a generator
        yield part
    raise ThreadNotFound


async def refuse_after_a_part(request: Any, context: Context) -> AsyncIterator[bytes]:
    yield b"the first"
    raise AttachmentTooLarge


async def fail_after_a_part(request: Any, context: Context) -> AsyncIterator[bytes]:
    yield b"the first"
    raise RuntimeError("a defect that nobody outside may see")


@pytest.mark.parametrize("kind", ECHOES)
async def test_an_error_of_any_kind_of_call_is_its_status(kind: str) -> None:
    behavior = refuse_stream if kind.endswith("stream") else refuse_one
    async with serving(**{kind: behavior}) as running:
        with capture_logs() as captured:
            with refused("THREAD_NOT_FOUND") as refusal:
                await answers_of(running.begin(kind))
            await running.interceptor.idle()
        assert refusal.trailing["x-request-id"] == "req-of-this-test"
        assert outcomes(captured) == [(kind, "THREAD_NOT_FOUND")]


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [(refuse_after_a_part, "ATTACHMENT_TOO_LARGE"), (fail_after_a_part, "INTERNAL")],
)
async def test_an_error_in_mid_stream_is_the_status_after_the_data(
    behavior: Behavior, reason: str
) -> None:
    got: list[bytes] = []
    async with serving(unary_stream=behavior) as running:
        with refused(reason) as refusal:
            async for part in running.begin("unary_stream"):
                got.append(part)
        assert got == [b"the first"]
        assert "nobody outside" not in refusal.message


class Endless:
    """A stream that goes on for ever, and says when it has begun and when it has ended, how."""

    def __init__(self, part: bytes | None = None) -> None:
        self._part = part
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.kept = False

    async def __call__(self, request: Any, context: Context) -> AsyncIterator[bytes]:
        try:
            yield b"the first"
            self.begun.set()
            while self._part:
                yield self._part
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as a store needs that keeps the half of an answer
            self.kept = True
            self.ended.set()


@pytest.mark.parametrize("part", [None, b"x" * MEBIBYTE], ids=["which waits", "which is not read"])
async def test_a_stream_that_is_cancelled_ends_at_once_and_is_logged_as_that(
    part: bytes | None,
) -> None:
    endless = Endless(part)
    async with serving(unary_stream=endless) as running:
        with capture_logs() as captured:
            call = running.begin("unary_stream")
            assert await call.read() == b"the first"
            await asyncio.wait_for(endless.begun.wait(), 5)
            call.cancel()
            await asyncio.wait_for(endless.ended.wait(), 5)
            await asyncio.wait_for(running.interceptor.idle(), 5)
        assert endless.kept
        assert outcomes(captured) == [("unary_stream", "CANCELLED")]


async def test_an_upload_that_is_cancelled_is_logged_as_that() -> None:
    begun = asyncio.Event()

    async def take(request: AsyncIterator[bytes], context: Context) -> bytes:
        async for _ in request:
            begun.set()
            await asyncio.Event().wait()
        return b""

    async with serving(stream_unary=take) as running:
        with capture_logs() as captured:
            call = running.begin("stream_unary")
            await asyncio.wait_for(begun.wait(), 5)
            call.cancel()
            await asyncio.wait_for(running.interceptor.idle(), 5)
        assert outcomes(captured) == [("stream_unary", "CANCELLED")]


@pytest.mark.parametrize("kind", ECHOES)
async def test_a_call_that_is_cut_hears_why(kind: str) -> None:
    begun = asyncio.Event()

    async def hang(request: Any, context: Context) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    async def hang_after_a_part(request: Any, context: Context) -> AsyncIterator[bytes]:
        yield b"the first"
        yield await hang(request, context)

    behavior = hang_after_a_part if kind.endswith("stream") else hang
    async with serving(**{kind: behavior}) as running:
        with capture_logs() as captured:
            answers = asyncio.create_task(answers_of(running.begin(kind)))
            await asyncio.wait_for(begun.wait(), 5)
            running.interceptor.cut()
            with refused("UNAVAILABLE") as refusal:
                await asyncio.wait_for(answers, 5)
            await running.interceptor.idle()
        assert refusal.details.retry_after_seconds == 1
        assert refusal.trailing["x-request-id"] == "req-of-this-test"
        assert outcomes(captured) == [(kind, "UNAVAILABLE")]


def picky(data: bytes) -> bytes:
    if data == b"2":
        raise DecodeError("no message")
    return data


@pytest.mark.parametrize("kind", ECHOES)
async def test_a_message_that_cannot_be_parsed_is_the_callers_mistake(kind: str) -> None:
    async with serving(picky, **ECHOES) as running:
        with capture_logs() as captured:
            with refused("INVALID_ARGUMENT") as refusal:
                await answers_of(running.begin_refused(kind, b"2"))
            await running.interceptor.idle()
        assert refusal.details.field_violations.keys() == {"request"}
        assert outcomes(captured) == [(kind, "INVALID_ARGUMENT")]
        assert not [line for line in captured if line["log_level"] == "error"]


async def test_a_stream_is_in_flight_until_it_has_ended() -> None:
    go_on, begun = asyncio.Event(), asyncio.Event()

    async def slow(request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"the first"
        begun.set()
        await go_on.wait()
        yield b"the last"

    async with serving(unary_stream=slow) as running:
        call = running.begin("unary_stream")
        assert await call.read() == b"the first"
        await asyncio.wait_for(begun.wait(), 5)
        idle = asyncio.create_task(running.interceptor.idle())
        await asyncio.sleep(0)
        assert not idle.done()
        go_on.set()
        assert await call.read() == b"the last"
        await asyncio.wait_for(idle, 5)


@pytest.mark.parametrize("kind", ECHOES)
async def test_what_is_too_much_is_refused_before_it_is_read(kind: str) -> None:
    """And nobody logs a line for each: what was refused is counted."""
    read: list[bytes] = []

    def note(data: bytes) -> bytes:
        read.append(data)
        return data

    admission = Admission(few=0, most=0)
    async with serving(note, admission, **ECHOES) as running:
        with capture_logs() as captured, refused("UNAVAILABLE") as refusal:
            await answers_of(running.begin_refused(kind))
    assert refusal.details.metadata == {"cause": "overload"}
    assert refusal.details.retry_after_seconds == 1
    assert refusal.trailing["x-request-id"] == "req-of-this-test"
    assert not read
    assert not captured
    assert admission.take_counts() == Counts(refused=1)
