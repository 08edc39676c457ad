"""uvicorn's HTTP protocol, with errors in JSON, an end to its patience, and cancellation.

It stands below the application: there are no headers yet that could name a language.
"""

import asyncio
import uuid
from typing import Any, cast

import httptools
import structlog
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.errors import APIError, error_response
from gateway.security_headers import secure
from gateway.shedding import Shedding
from gateway.texts import DEFAULT_LANGUAGE

CANCELLED = "gateway.cancelled"
"""In the scope of a request that is cancelled from here: why, one of the next two."""
CLIENT_GONE, BODY_LATE = "client gone", "body late"

AT_REST = "gateway.at_rest"
"""In the scope: what an application calls whose answer goes on, but is work no more."""

_MAX_HEAD_BYTES = 64 * 1024
_MAX_FRAMING_BYTES = 64 * 1024
_FRAMING_PER_BODY_BYTE = 16
"""What may come around a chunked body, its chunks' heads and extensions and its trailers: so much
and so much more for each byte of it. A chunk of one byte takes six."""
_CLOSE = (b"connection", b"close")

log = structlog.get_logger()


class HTTPProtocol(HttpToolsProtocol):
    """One connection.

    A request is cancelled as soon as its client is gone, so that what is done for it ends all the
    way. This costs an ordinary request nothing, unlike a task that waits for `http.disconnect`.
    """

    head_seconds = 30.0
    """How long a request may take to come, up to its body."""
    body_seconds = 60.0
    least_body_bytes = 16 * 1024
    """What must come of a body in that time, else it counts as one that does not come."""
    untaken_seconds = 60.0
    """How long a client may take nothing of an answer that waits for it."""

    most_connections = 16_384
    """To one server."""
    most_surplus = 1_024
    """Of connections beyond that, how many are there to be told; more are dropped."""
    surplus_seconds = 1.0
    """How long those may take to ask something."""

    _surplus = False
    _started: RequestResponseCycle | None = None
    _working = False
    _running: tuple[Scope, asyncio.Task[Any]] | None = None
    _offered = False
    _in_head = False
    _in_body = False
    _head_goes_on = False
    _head_bytes = 0
    _unread_bytes = 0
    _body_bytes = 0
    _framing_bytes = 0
    _untaken_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _body_timer: asyncio.TimerHandle | None = None
    _untaken_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._application, self.app = self.app, self._run
        self._shedding: Shedding = self.app_state["shedding"]
        self._shedding.connections += 1
        self._limit_waiting()
        if (surplus := len(self.connections) - self.most_connections) > 0:
            self._surplus = True
            seconds = self.surplus_seconds if surplus <= self.most_surplus else 0
            self.loop.call_later(seconds, self._drop)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._shedding.connections -= 1
        self._stop_head_timer()
        self._stop_body_timer()
        self._stop_untaken_timer()
        # A delete goes on: to leave the page is no change of mind, and who asked for it does not
        # come back to see to it. Everything else is of use only to who gets the answer.
        if self._running and self._running[0]["method"] != "DELETE":
            self._cancel(CLIENT_GONE)

    def _drop(self) -> None:
        if not self._running:
            self.transport.abort()

    def _cancel(self, reason: str) -> None:
        if self._running:
            scope, task = self._running
            scope[CANCELLED] = reason
            task.cancel()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task
        self._running = scope, task
        try:
            await self._application(scope, receive, send)
        finally:
            self._running = self._started = None
            self._count(False)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begins a request, when its head is there and those before it have had their answers."""
        scope = cast(Scope, cycle.scope)
        if self._surplus:
            cycle.keep_alive = False
        if not self._shedding.refuses(scope, surplus=self._surplus):
            self._started = cycle
            scope[AT_REST] = self._rest
            self._count(not cycle.more_body)
            super()._start_asgi_task(cycle, app)
            return
        # Who waits to be asked for the body may send it or not: that leaves no next request.
        cycle.keep_alive = cycle.keep_alive and not cycle.waiting_for_100_continue
        headers = cycle.default_headers if cycle.keep_alive else (*cycle.default_headers, _CLOSE)
        self.transport.write(self._shedding.refusal(scope, headers))
        cycle.response_started = cycle.response_complete = True  # so that its body is dropped
        if not cycle.keep_alive:
            self.transport.close()
        if self.pipeline:
            self.loop.call_soon(self.on_response_complete)  # as the next may be refused, too
        else:
            self.on_response_complete()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._head_goes_on = self._in_head
        if self._in_body:
            self._framing_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(type(error).__name__)
            return
        if self._in_head and self._head_goes_on:  # with a header that has no end yet
            self._unread_bytes += len(data)
            if self._unread_bytes > _MAX_HEAD_BYTES:
                self._refuse("the head is too large")
                return
        if self._in_body and self._framing_bytes > _MAX_FRAMING_BYTES:
            self._refuse("there is more around the body than in it")
            return
        self._body_bytes += len(data)
        self._limit_waiting()

    def _parse(self, data: bytes) -> None:
        """Parses as if nobody had offered an upgrade.

        `curl --http2` and Java offer one with every request. A server may ignore that, but
        httptools then drops the body. So it parses the head again, without the offer.
        """
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if not self._offered:
                    return  # a CONNECT that is no error: it is answered, and is the last
                (end_of_head,) = upgrade.args
            rest = memoryview(rest)[end_of_head:]
            head = self._head_without_offer()
            self._offered = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)

    def _head_without_offer(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))

    def on_message_begin(self) -> None:
        self._in_head, self._head_goes_on = True, False
        self._head_bytes = self._unread_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:  # a trailer, and no header: who is in front of us has not looked at it
            return
        self._head_bytes += len(name) + len(value) + len(": \r\n")
        if self._head_bytes > _MAX_HEAD_BYTES:  # though it has come all at once
            raise ValueError("the head is too large")
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= (1 + _FRAMING_PER_BODY_BYTE) * len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offered = True
            return
        self._check_host()
        self._in_head, self._in_body = False, True
        self._framing_bytes = 0
        self._stop_head_timer()
        super().on_headers_complete()

    def _check_host(self) -> None:
        """Raises ValueError where it is not certain whom a request is for (RFC 9112, 3.2)."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1") or hosts > 1 or (hosts == 0 and version == "1.1"):
            raise ValueError("there must be one Host")

    def on_message_complete(self) -> None:
        if not self._offered:
            self._in_body = False
            if self._started is self.cycle:
                self._count(True)
            self._stop_body_timer()
            super().on_message_complete()

    def _count(self, working: bool) -> None:
        """Counts a request as work from when all of it is there until it has its answer."""
        self._shedding.in_flight += working - self._working
        self._working = working

    def _rest(self) -> None:
        self._count(False)

    def _limit_waiting(self) -> None:
        """Limits how long we wait for what has not come yet; nothing, for most requests."""
        if self.cycle and not self.cycle.response_complete:
            if self._in_body and self._body_timer is None:
                self._limit_body()
        elif self._in_body:  # the rest of a request that has had its answer
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def _limit_body(self) -> None:
        self._body_bytes = 0
        self._body_timer = self.loop.call_later(self.body_seconds, self._see_what_came)

    def _see_what_came(self) -> None:
        if self.flow.read_paused or self._body_bytes >= self.least_body_bytes:
            self._limit_body()  # it comes, or waits for the application
        else:
            self._cancel(BODY_LATE)

    def _stop_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_body_timer(self) -> None:
        if self._body_timer:
            self._body_timer.cancel()
            self._body_timer = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit_untaken()

    def resume_writing(self) -> None:
        self._stop_untaken_timer()
        super().resume_writing()

    def _limit_untaken(self) -> None:
        self._untaken_bytes = self.transport.get_write_buffer_size()
        self._untaken_timer = self.loop.call_later(self.untaken_seconds, self._see_what_is_taken)

    def _see_what_is_taken(self) -> None:
        if self.transport.get_write_buffer_size() < self._untaken_bytes:
            self._limit_untaken()
        else:
            self.transport.abort()

    def _stop_untaken_timer(self) -> None:
        if self._untaken_timer:
            self._untaken_timer.cancel()
            self._untaken_timer = None

    def _refuse(self, problem: str) -> None:
        if self.cycle and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # in the middle of an answer there is no room for another
            return
        request_id = uuid.uuid4().hex
        # One line each, as of any other request: a connection ends with it, so there are not more.
        log.info("no HTTP", status=400, problem=problem, request_id=request_id)
        headers = {"Connection": "close", "X-Request-Id": request_id}
        error = APIError("INVALID_ARGUMENT", "http", headers=headers)
        response = error_response(error, request_id, DEFAULT_LANGUAGE)
        secure(response.headers)
        head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + response.body)
        self.transport.close()
