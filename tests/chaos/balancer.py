"""A load balancer as a transport of httpx: requests go to several gateways in turn."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence

import httpx


class Balancer(httpx.AsyncBaseTransport):
    """Whatever host a request names, it goes to one of the gateways that are in use."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._used = [httpx.URL(url) for url in urls]
        self._turn = itertools.count()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self._transport = httpx.AsyncHTTPTransport(limits=limits, verify=False, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        chosen = self._used[next(self._turn) % len(self._used)]
        request.url = request.url.copy_with(host=chosen.host, port=chosen.port)
        return await self._transport.handle_async_request(request)

    @contextlib.contextmanager
    def without(self, url: str) -> Iterator[None]:
        """Within the block a gateway gets no more requests; those that it has go on."""
        self._used.remove(httpx.URL(url))
        try:
            yield
        finally:
            self._used.append(httpx.URL(url))

    async def aclose(self) -> None:
        await self._transport.aclose()
