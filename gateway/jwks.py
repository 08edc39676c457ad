"""The public keys of whoever issues the tokens: fetched carefully, cached, rotated with them."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator

import httpx
import jwt
import orjson
import structlog

from gateway.errors import APIError

_LIFETIME_SECONDS = 600.0
"""Keys that were withdrawn are believed for no longer than this, while the issuer can be asked."""
_MAX_FETCHES = 10
_FETCHES_SECONDS = 60.0
"""A key that is not known may be a new one, or invented to make us flood the issuer."""
_RETRY_SECONDS = 2.0
"""How long to leave the issuer alone after a fetch that failed."""
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 256 * 1024
_KEY_TYPES = {"RS256": "RSA", "ES256": "EC"}

log = structlog.get_logger()


class KeySet:
    """A JSON Web Key Set (RFC 7517) at an address."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        self._keys: list[jwt.PyJWK] = []
        self._fetches: deque[float] = deque(maxlen=_MAX_FETCHES)
        self._failed_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, key_id: object, algorithm: str) -> jwt.PyJWK:
        """Returns the key for a token, fetching the set where it is old or lacks the key.

        Raises jwt.InvalidKeyError if the issuer has no such key, and APIError (UNAVAILABLE) if it
        cannot be asked.
        """
        found = self._find(key_id, algorithm)
        if found is None:
            await self._fetch_now()
            found = self._find(key_id, algorithm)
        elif time.monotonic() - self._fetches[-1] > _LIFETIME_SECONDS:
            self._start_fetch()
        if found is not None:
            return found
        if self._failed_at is not None:
            raise APIError("UNAVAILABLE", "keys", retry_after_seconds=_RETRY_SECONDS)
        raise jwt.InvalidKeyError("the issuer has no such key")

    def _find(self, key_id: object, algorithm: str) -> jwt.PyJWK | None:
        usable = [key for key in self._keys if key.key_type == _KEY_TYPES[algorithm]]
        if key_id is None:  # fine as long as there is no doubt which key is meant
            return usable[0] if len(usable) == 1 else None
        return next((key for key in usable if key.key_id == key_id), None)

    async def _fetch_now(self) -> None:
        """Waits for a fetch that others wait for as well, if there may be one."""
        if fetching := self._start_fetch():
            await asyncio.shield(fetching)

    def _start_fetch(self) -> "asyncio.Task[None] | None":
        if self._fetching is None and self._may_fetch(time.monotonic()):
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    def _may_fetch(self, now: float) -> bool:
        if self._failed_at is not None:
            return now - self._failed_at > _RETRY_SECONDS
        return len(self._fetches) < _MAX_FETCHES or now - self._fetches[0] > _FETCHES_SECONDS

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                self._keys = _parse(await self._download())
        except (httpx.HTTPError, TimeoutError, jwt.PyJWTError, ValueError) as error:
            self._failed_at = time.monotonic()
            log.warning("keys not fetched", url=self._url, error=f"{type(error).__name__}: {error}")
        else:
            self._failed_at = None
            self._fetches.append(time.monotonic())
            log.info("keys fetched", url=self._url, keys=len(self._keys))
        finally:
            self._fetching = None

    async def _download(self) -> bytes:
        body = b""
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != 200:  # a redirect too: it could lead anywhere
                raise ValueError(f"the answer is {response.status_code}, not 200")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ValueError(f"the answer is larger than {_MAX_BYTES} bytes")
        return body


@contextlib.asynccontextmanager
async def open_key_set(url: str | None) -> AsyncIterator[KeySet | None]:
    """Opens the client that a key set at `url` is fetched with; None where there is none."""
    if url is None:
        yield None
        return
    async with httpx.AsyncClient() as client:
        yield KeySet(client, url)


def _parse(body: bytes) -> list[jwt.PyJWK]:
    match orjson.loads(body):
        case {"keys": [*keys]} if all(isinstance(key, dict) for key in keys):
            return list(jwt.PyJWKSet(keys).keys)
    raise ValueError("the answer is no JSON Web Key Set")
