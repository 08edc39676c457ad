"""The public keys of whoever issues the tokens: fetched carefully, cached, rotated with them."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.errors import APIError

_LIFETIME_SECONDS = 600.0
"""Keys that are older are fetched again, meanwhile believed: the issuer may have withdrawn some."""
_MAX_LIFETIME_SECONDS = 2 * _LIFETIME_SECONDS
"""Older ones, as after a night without requests, are believed only while the issuer is down."""
_MAX_FETCHES = 10
_FETCHES_SECONDS = 60.0
"""A key that is not known may be a new one, or invented to make us flood the issuer."""
_RETRY_SECONDS = 2.0
"""How long to leave the issuer alone after a fetch that failed."""
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100
"""Of a set; to read a key takes 0.1 ms, and to look for one in thousands happens per request."""
_RSA_BITS = range(2048, 8192 + 1)
"""Shorter keys can be broken (RFC 7518, 3.3), longer ones make every request slow."""

FETCH_ERRORS = (httpx.HTTPError, TimeoutError, ValueError)
"""What to fetch a set fails with: the issuer is not reached, or it is no set that can be used."""

log = structlog.get_logger()


class KeySet:
    """A JSON Web Key Set (RFC 7517) at an address."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.shown_url = parts._replace(netloc=host, query="", fragment="").geturl()
        """Without what may be a secret in it."""
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
        age = time.monotonic() - self._fetches[-1] if self._fetches else 0
        if found is None or (age > _MAX_LIFETIME_SECONDS and self._failed_at is None):
            await self._fetch_now()
            found = self._find(key_id, algorithm)
        elif age > _LIFETIME_SECONDS:
            self._start_fetch()
        if found is not None:
            return found
        if self._failed_at is not None:
            raise APIError("UNAVAILABLE", "keys", retry_after_seconds=_RETRY_SECONDS)
        raise jwt.InvalidKeyError("the issuer has no such key")

    def _find(self, key_id: object, algorithm: str) -> jwt.PyJWK | None:
        usable = [key for key in self._keys if key.algorithm_name == algorithm]
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
            self._keys = await self.download()
        except FETCH_ERRORS as error:
            self._failed_at = time.monotonic()
            problem = f"{type(error).__name__}: {error}"
            log.warning("keys not fetched", url=self.shown_url, error=problem)
        else:
            self._failed_at = None
            self._fetches.append(time.monotonic())
            log.info("keys fetched", url=self.shown_url, keys=len(self._keys))
        finally:
            self._fetching = None

    async def download(self) -> list[jwt.PyJWK]:
        """Returns the keys that are there now, and forgets them. Raises FETCH_ERRORS."""
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return _parse(await self._download())

    async def _download(self) -> bytes:
        body = b""
        # Neither asked for nor taken: a few kilobytes of gzip can be gigabytes.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code != 200:  # a redirect too: it could lead anywhere
                raise ValueError(f"the answer is {response.status_code}, not 200")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ValueError("the answer is compressed")
            async for chunk in response.aiter_raw():
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
    """Returns the keys that tokens can be checked with; a set may hold others, too.

    Raises ValueError where there is none.
    """
    match orjson.loads(body):
        case {"keys": [*keys]} if len(keys) <= _MAX_KEYS:
            usable = [usable for key in keys if (usable := _usable(key)) is not None]
            if usable:
                return usable
            raise ValueError("the answer has no key that can be used")
        case {"keys": [*_]}:
            raise ValueError(f"the answer has more than {_MAX_KEYS} keys")
    raise ValueError("the answer is no JSON Web Key Set")


def _usable(key: object) -> jwt.PyJWK | None:
    """Returns a key if it is public, strong, and meant to verify signatures (RFC 7517, 4)."""
    if not isinstance(key, dict) or not _is_to_verify(key):
        return None
    try:
        found = jwt.PyJWK(key)
    # PyJWT expects that all values are there and have the right types.
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, LookupError):
        return None
    match found.key:
        case rsa.RSAPublicKey(key_size=bits) if bits in _RSA_BITS:
            return found
        case ec.EllipticCurvePublicKey():
            return found
    return None  # also a private key: whoever can read the set can sign with it


def _is_to_verify(key: Mapping[str, Any]) -> bool:
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("kty") in ("RSA", "EC")
        and key.get("alg") in (None, "RS256", "ES256")
        and key.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )
