"""The HTTP client that calls OpenAI's ChatKit API: aiohttp, bounded, through a proxy if any.

httpx costs three times the CPU time a call, and its deadline is ours anyway.
"""

import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import aiohttp
import httpx
import structlog
from yarl import URL

CONNECTION_ERRORS = (aiohttp.ClientError, OSError)
"""What a request, or reading its answer, fails with."""

_MAX_ANSWER_BYTES = 1024 * 1024
_MAX_CONNECTIONS = 1000
_CONNECT_SECONDS = 5.0
_KEEPALIVE_SECONDS = 30.0
"""Below the idle time-outs of what stands in front of such APIs, usually 60 s and more."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Client:
    """Connections to OpenAI."""

    host: str
    _session: aiohttp.ClientSession
    _base_url: str
    _proxy: str | None

    def request(
        self,
        method: str,
        path: str,
        content: bytes | None,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Begins a request to a path that is quoted already."""
        query = f"?{urlencode(params)}" if params else ""
        return self._session.request(
            method,
            URL(f"{self._base_url}{path}{query}", encoded=True),
            data=content,
            headers=headers,
            proxy=self._proxy,
            allow_redirects=False,
        )


@asynccontextmanager
async def open_client(base_url: str) -> AsyncIterator[Client]:
    """Opens the HTTP client that `ChatKitAPI` takes, through the environment's proxy if any."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=_MAX_CONNECTIONS,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            ssl=httpx.create_ssl_context(),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),  # and deadlines
        auto_decompress=False,
        headers={
            "OpenAI-Beta": "chatkit_beta=v1",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # so that the limit below is one on what is read
            "User-Agent": "chatkit-backend",
        },
    ) as session:
        session._retry_connection = False  # or each GET is two, beyond all that `retries` limits
        yield Client(urlsplit(base_url).hostname or "", session, base_url, _proxy_for(base_url))


def _proxy_for(base_url: str) -> str | None:
    """Returns the proxy that the usual variables, such as HTTPS_PROXY and NO_PROXY, name.

    Asked once: aiohttp's own `trust_env` reads them and ~/.netrc with every request, which costs a
    millisecond, and takes credentials from there that contradict ours.
    """
    url = urlsplit(base_url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy is None or urllib.request.proxy_bypass(url.netloc):
        return None
    scheme, separator, _ = proxy.partition("://")
    if not separator:  # as in HTTPS_PROXY=proxy.example.com:3128
        return f"http://{proxy}"
    if scheme not in ("http", "https"):
        log.warning("proxy ignored", scheme=scheme, remedy="only http:// proxies can be used")
        return None
    return proxy


async def read(response: aiohttp.ClientResponse) -> bytes:
    """Reads a body; one that is too large or breaks off is as good as none.

    It is not a reason to try again: what the status says has happened.
    """
    size = int(response.headers.get("content-length", "0"))
    chunks: list[bytes] = []
    try:
        if size <= _MAX_ANSWER_BYTES:
            size = 0
            async for chunk in response.content.iter_any():
                size += len(chunk)
                chunks.append(chunk)
                if size > _MAX_ANSWER_BYTES:
                    break
    except CONNECTION_ERRORS as error:
        log.warning("openai broke off its answer", error=type(error).__name__)
        return b""
    if size > _MAX_ANSWER_BYTES:
        log.warning("openai's answer is too large", limit_bytes=_MAX_ANSWER_BYTES)
        return b""
    return b"".join(chunks)
