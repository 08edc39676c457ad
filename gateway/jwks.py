"""The public keys of whoever issues the tokens: fetched carefully, cached, rotated with them."""

import asyncio
import time

import httpx
import jwt
import structlog

from gateway.errors import APIError

_LIFETIME_SECONDS = 600.0
"""Keys that were withdrawn are believed for no longer than this, while the issuer can be asked."""
_COOLDOWN_SECONDS = 10.0
"""Tokens with invented key ids must not make us flood the issuer."""
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
        self._fetched_at = -_LIFETIME_SECONDS
        self._tried_at = -_COOLDOWN_SECONDS
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, key_id: object, algorithm: str) -> jwt.PyJWK:
        """Returns the key for a token, fetching the set where it is old or lacks the key.

        Raises jwt.InvalidKeyError if the issuer has no such key, and APIError (UNAVAILABLE) if it
        cannot be asked.
        """
        found = self._find(key_id, algorithm)
        if time.monotonic() - self._fetched_at > _LIFETIME_SECONDS:
            fetch = self._fetch_soon()
            if found is None:
                await asyncio.shield(fetch)
        elif found is None and time.monotonic() - self._tried_at > _COOLDOWN_SECONDS:
            await asyncio.shield(self._fetch_soon())
        found = found or self._find(key_id, algorithm)
        if found is not None:
            return found
        if self._fetched_at < self._tried_at:  # the last try failed
            raise APIError("UNAVAILABLE", "keys", retry_after_seconds=_COOLDOWN_SECONDS)
        raise jwt.InvalidKeyError("the issuer has no such key")

    def _find(self, key_id: object, algorithm: str) -> jwt.PyJWK | None:
        usable = [key for key in self._keys if key.key_type == _KEY_TYPES[algorithm]]
        if key_id is None:  # fine as long as there is no doubt which key is meant
            return usable[0] if len(usable) == 1 else None
        return next((key for key in usable if key.key_id == key_id), None)

    def _fetch_soon(self) -> "asyncio.Task[None]":
        """Starts a fetch, unless one runs or has just failed; returns the latest."""
        if self._fetching is None or (
            self._fetching.done() and time.monotonic() - self._tried_at > _COOLDOWN_SECONDS
        ):
            self._tried_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                self._keys = jwt.PyJWKSet.from_json(await self._download()).keys
        except (httpx.HTTPError, TimeoutError, jwt.PyJWTError, ValueError, TypeError) as error:
            log.warning("keys not fetched", url=self._url, error=f"{type(error).__name__}: {error}")
        else:
            self._fetched_at = time.monotonic()
            log.info("keys fetched", url=self._url, keys=len(self._keys))

    async def _download(self) -> str:
        body = b""
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != 200:  # a redirect too: it could lead anywhere
                raise ValueError(f"the answer is {response.status_code}, not 200")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ValueError(f"the answer is larger than {_MAX_BYTES} bytes")
        return body.decode()
