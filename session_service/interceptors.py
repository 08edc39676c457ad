"""One interceptor around every call of ours: its request id, its log line, its error's status."""

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
)
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from protos.chatkit.v1.errors import ErrorDetails, to_status
from runtime import hops
from runtime import log as logs
from runtime.admission import Admission
from runtime.hops import TIMINGS_KEY, Hop, server_timing
from session_service.callers import ANYBODY, Callers
from session_service.errors import (
    InvalidArgument,
    ServiceError,
    Unauthenticated,
    Unavailable,
    overloaded,
)

STATUS_CODES = {
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "INVALID_ARGUMENT": grpc.StatusCode.INVALID_ARGUMENT,
    "SESSION_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "SESSION_DELETED": grpc.StatusCode.FAILED_PRECONDITION,
    "RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "WORKFLOW_NOT_CONFIGURED": grpc.StatusCode.FAILED_PRECONDITION,
    "INVALID_API_KEY": grpc.StatusCode.FAILED_PRECONDITION,
    "WORKFLOW_NOT_FOUND": grpc.StatusCode.FAILED_PRECONDITION,
    "UPSTREAM_RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "UPSTREAM_QUOTA_EXHAUSTED": grpc.StatusCode.FAILED_PRECONDITION,
    "UPSTREAM_REJECTED": grpc.StatusCode.INTERNAL,
    "UPSTREAM_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "UPSTREAM_TIMEOUT": grpc.StatusCode.DEADLINE_EXCEEDED,
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL": grpc.StatusCode.INTERNAL,
    "THREAD_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "ATTACHMENT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "ATTACHMENT_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "ATTACHMENT_TYPE_NOT_ALLOWED": grpc.StatusCode.INVALID_ARGUMENT,
}
"""The status code of every reason, as the contract's table has it."""

REQUEST_ID_KEY = "x-request-id"
_CARRIER = "/chatkit.v1.CallStreamService/Carry"
"""Not a call, but what calls come on, from known callers; each is wrapped by itself."""
_WAITING = frozenset({"WatchStats"})
"""Calls that next to always wait for something to happen: no work that could be too much."""
_DEFECT_MESSAGE = "Internal error; the request id finds it in the log of the session service"

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behavior: TypeAlias = Callable[[Any, Context], Any]
Deserializer: TypeAlias = Callable[[bytes], Any]

_BUILD = {
    # Whether the request and the response are streams: as gRPC calls such a handler.
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the calls of chatkit.v1, of all four kinds.

    Others pass untouched, health for everybody and reflection for known callers.
    """

    def __init__(self, admission: Admission, callers: Callers = ANYBODY) -> None:
        self._admission = admission
        self._callers = callers
        self._in_flight = 0
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._limits: set[asyncio.Timeout] = set()

    @property
    def in_flight(self) -> int:
        """How many calls of chatkit.v1 have no outcome yet."""
        return self._in_flight

    def cut(self) -> None:
        """Ends all calls in flight as UNAVAILABLE: gRPC itself would end them without a reason."""
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())

    async def idle(self) -> None:
        """Waits until no call of chatkit.v1 is in flight."""
        await self._idle.wait()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith("/grpc.health."):
            return handler
        if method == _CARRIER or not method.startswith("/chatkit.v1."):
            return self._for_known_callers(handler, handler_call_details)
        if not self.admits():
            _, build = _BUILD[handler.request_streaming, handler.response_streaming]
            return build(refuse)  # the request is not even parsed
        return self.wrap(handler, method)

    def admits(self) -> bool:
        """Tells whether to begin one more call; else it is to be ended with `refuse`."""
        return self._admission.admits(self._in_flight - self._waiting)

    def wrap(self, handler: Handler, method: str) -> Handler:
        """Returns a handler that does what this one does, with what is around every call."""
        kind, build = _BUILD[handler.request_streaming, handler.response_streaming]
        wrap = self._wrap_stream if handler.response_streaming else self._wrap_unary
        return build(
            wrap(getattr(handler, kind), method.removeprefix("/")),
            request_deserializer=_tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _for_known_callers(self, handler: "Handler", details: grpc.HandlerCallDetails) -> "Handler":
        try:
            self._callers.check_token(dict(details.invocation_metadata or ()))
        except Unauthenticated:

            async def turn_away(_: Any, context: Context) -> None:
                try:
                    self._callers.admit(dict(context.invocation_metadata() or ()), context)
                except Unauthenticated as error:  # and the log has it
                    status = status_of(error)
                    await context.abort(status.code, status.details, status.trailing_metadata or ())

            # Of this kind, as it waits for no message, whatever the client means to send.
            return grpc.stream_stream_rpc_method_handler(turn_away)
        return handler

    def _wrap_unary(self, behavior: Behavior, method: str) -> Behavior:
        async def wrapped(request: Any, context: Context) -> Any:
            async with self._call(method, context):
                return await behavior(_readable(request), context)

        return wrapped

    def _wrap_stream(self, behavior: Behavior, method: str) -> Behavior:
        # Not a generator itself: gRPC drops one that is suspended when the client goes away, and
        # its end, as keeping the half of an answer, would be up to the garbage collector.
        async def wrapped(request: Any, context: Context) -> None:
            async with self._call(method, context):
                responses = behavior(_readable(request), context)
                if not isinstance(responses, AsyncGenerator):  # it writes them by itself
                    await responses
                    return
                try:
                    is_first = True
                    async for response in responses:
                        if is_first:
                            is_first = False
                            await _begin_answer(context)
                        await write(context, response)
                finally:
                    await _close(responses)

        return wrapped

    @contextlib.asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        """What is around every call, whatever it sends and answers."""
        sent = dict(context.invocation_metadata() or ())
        metadata = [(REQUEST_ID_KEY, logs.begin_request(_proposed_request_id(sent)))]
        name = _short(method)
        outcome = "CANCELLED"
        said: dict[str, str] = {}
        status: grpc.Status | None = None
        self._enter(name)
        attributes: dict[str, hops.Attribute] = {"rpc.system.name": "grpc", "rpc.method": method}
        with Hop("service", method, attributes, carrier=sent) as hop:
            try:
                context.set_trailing_metadata(metadata)
                logs.caller.set(self._callers.admit(sent, context))
                async with self._until_cut():
                    yield
                outcome = "OK"
            except ServiceError as error:
                outcome = hop.error = error.reason
                status = status_of(error)
                if error.field_violations:
                    said["problem"] = str(error)
            except Exception:
                log.exception("defect", method=name)
                outcome = hop.error = "INTERNAL"
                status = to_status(
                    grpc.StatusCode.INTERNAL, _DEFECT_MESSAGE, ErrorDetails(reason=outcome)
                )
            finally:
                self._leave(name)
                log.info(
                    "rpc",
                    method=name,
                    outcome=outcome,
                    duration_ms=round(hop.elapsed * 1000, 1),
                    **hop.waits("upstream", "store"),
                    **said,
                )
        if timings := server_timing(hop.timings, "upstream", "store"):
            metadata.append((TIMINGS_KEY, timings))
            context.set_trailing_metadata(metadata)
        if status is not None:
            await context.abort(
                status.code, status.details, (*(status.trailing_metadata or ()), *metadata)
            )

    @contextlib.asynccontextmanager
    async def _until_cut(self) -> AsyncIterator[None]:
        """Raises Unavailable when `cut` ends the call: a handler that is cancelled says nothing."""
        try:
            async with asyncio.timeout(None) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if limit.expired():
                raise Unavailable from None
            raise

    def _enter(self, method: str) -> None:
        self._in_flight += 1
        self._waiting += method in _WAITING
        self._idle.clear()

    def _leave(self, method: str) -> None:
        self._in_flight -= 1
        self._waiting -= method in _WAITING
        if self._in_flight == 0:
            self._idle.set()


async def refuse(_: Any, context: Context) -> NoReturn:
    """Ends a call that is one too many; `admission` counts them for the log."""
    sent = dict(context.invocation_metadata() or ())
    request_id = (REQUEST_ID_KEY, logs.name_for(_proposed_request_id(sent)))
    status = status_of(overloaded())
    trailing = (*(status.trailing_metadata or ()), request_id)
    await context.abort(status.code, status.details, trailing)
    raise AssertionError("abort raises")


async def _begin_answer(context: Context) -> None:
    """Sends what the call took until there was anything to answer."""
    hop = hops.current()
    if hop is not None and (timings := server_timing(hop.timings, "upstream", "store")):
        hop.event("head")
        try:
            await context.send_initial_metadata(((TIMINGS_KEY, timings),))
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None


async def write(context: Context, response: Any) -> None:
    """Raises CancelledError where the caller has gone."""
    try:
        await context.write(response)
    except grpc.aio.InternalError:  # the caller has gone, and the cancel of this is on its way
        raise asyncio.CancelledError from None


class _Unreadable:
    """In the place of a message that cannot be parsed, which gRPC would take for our defect."""


def _tolerant(deserializer: Deserializer | None) -> Deserializer | None:
    if deserializer is None:
        return None

    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError:
            return _Unreadable()

    return deserialize


def _readable(request: Any) -> Any:
    """Returns a message, or a stream of them, as it is. Raises InvalidArgument, now or then."""
    if isinstance(request, _Unreadable):
        raise InvalidArgument("request", "is not a valid protobuf message")
    return _readable_parts(request) if isinstance(request, AsyncIterable) else request


async def _readable_parts(requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


async def _close(responses: AsyncGenerator[Any, None]) -> None:
    """Lets a generator finish what it has to, though the call may be cancelled meanwhile.

    When a client leaves, a write may fail shortly before gRPC cancels the call.
    """
    closing = asyncio.ensure_future(responses.aclose())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait((closing,))
        raise


def status_of(error: ServiceError) -> grpc.Status:
    """Returns what a call ends with that raised this."""
    details = ErrorDetails(
        reason=error.reason,
        metadata=error.metadata,
        field_violations=error.field_violations,
        retry_after_seconds=error.retry_after_seconds,
    )
    return to_status(STATUS_CODES[error.reason], str(error), details)


def _short(method: str) -> str:
    return method.rpartition("/")[2]


def _proposed_request_id(sent: Mapping[str, str | bytes]) -> str | None:
    proposed = sent.get(REQUEST_ID_KEY)
    return proposed if isinstance(proposed, str) else None
