"""The HTTP client below OpenAI's SDK, which takes answers of any size into memory: with limits."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""Of a streamed answer; and of one that is not streamed, as a whole. The largest that OpenAI sends
is a picture, in an event of its own and in the last one, which has the whole answer once more."""
_MAX_ERROR_BYTES = 64 * 1024


class HTTPClient(openai.DefaultAioHttpClient):
    """Follows no redirects: what users have written goes to OPENAI_BASE_URL and nowhere else."""

    def __init__(self) -> None:
        # Not compressed, so that the limits are on what is read and on what becomes of it.
        super().__init__(follow_redirects=False, headers={"Accept-Encoding": "identity"})

    def _init_transport(self, *args: Any, **kwargs: Any) -> httpx2.AsyncBaseTransport:
        return _Bounded(super()._init_transport(*args, **kwargs))

    def _init_proxy_transport(self, *args: Any, **kwargs: Any) -> httpx2.AsyncBaseTransport:
        return _Bounded(super()._init_proxy_transport(*args, **kwargs))


class _Bounded(httpx2.AsyncBaseTransport):
    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._transport.handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        kind = _ErrorBody if response.status_code >= 300 else _Body
        response.stream = kind(stream, response.headers)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


class _Body(httpx2.AsyncByteStream):
    """What is too large, or packed, is none that can be used."""

    def __init__(self, stream: httpx2.AsyncByteStream, headers: httpx2.Headers) -> None:
        self._stream = stream
        self._is_packed = headers.get("content-encoding", "identity") != "identity"
        self._is_events = headers.get("content-type", "").startswith("text/event-stream")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._is_packed:
            raise httpx2.RemoteProtocolError("the answer is packed, though that was not asked for")
        size = 0
        last = b""
        async for chunk in self._stream:
            size += len(chunk)
            if self._is_events:
                # The end of an event may be in two chunks.
                joined = last + chunk
                end = max(joined.rfind(b"\n\n"), joined.rfind(b"\r\n\r\n"))
                if end >= 0:
                    size = len(joined) - end
                last = joined[-3:]
            if size > MAX_EVENT_BYTES:
                raise httpx2.RemoteProtocolError("the answer is too large")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _ErrorBody(_Body):
    """One that is too large, packed, or breaks off, ends there: the status says what has happened.

    The SDK would let through what is raised where it reads one.
    """

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._is_packed:
            return
        size = 0
        with contextlib.suppress(httpx2.TransportError):
            async for chunk in self._stream:
                size += len(chunk)
                if size > _MAX_ERROR_BYTES:
                    return
                yield chunk
