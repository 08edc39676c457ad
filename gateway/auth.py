"""Who is calling: the dashboard's JSON Web Token says so, in the chat the client secret."""

import hashlib
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jwt
from pydantic import SecretStr

from gateway.errors import APIError
from gateway.jwks import KeySet

_MAX_TOKEN_LENGTH = 8 * 1024
_MAX_USER_ID_LENGTH = 256
_TOKEN = re.compile(r"[\w=-]+\.[\w=-]+\.[\w=-]+", re.ASCII)
"""A signed token in compact form (RFC 7515, 3.1); an encrypted one has five parts."""
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What JSON can say, but neither UTF-8 nor every database can hold."""
_CLIENT_SECRET = re.compile(r"[\x21-\x7e]{1,512}")
_CLOCK_SKEW_SECONDS = 60
"""How far the clock of who makes the tokens may be ahead of ours."""
_DEFAULT_USER_CLAIMS = ("userId", "sub")
_MAX_VERIFIED = 4096
"""Tokens that are remembered, some 500 bytes each; who was forgotten is verified again."""

_Key: TypeAlias = str | jwt.PyJWK


@dataclass(frozen=True, slots=True)
class Caller:
    """The user whom a token names."""

    user_id: str
    is_admin: bool
    expires_at: float = field(default=math.inf, compare=False)
    """When the token expires, in Unix seconds: whoever it is, it is the same user after it."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a token said whose signature is right."""

    caller: Caller
    algorithm: object
    key_id: object
    key: _Key
    """That of its signature: another has taken its place where the issuer withdrew it."""


def user_id_of(value: object) -> str | None:
    """Returns an integer or a text as a user id, 7 and "7" alike; None for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_USER_ID_LENGTH:
        return None
    return None if _NO_TEXT.search(value) else value


def effective_user(caller: Caller, named: object) -> str:
    """Returns the user to act for: the caller, or whom an administrator names.

    Raises APIError: INVALID_ARGUMENT for what is no user id, PERMISSION_DENIED.
    """
    if isinstance(named, float) and named.is_integer():
        named = int(named)  # JSON knows numbers alone: 7.0 is an integer, as JSON Schema has it
    user_id = user_id_of(named)
    if user_id is None:
        raise APIError("INVALID_ARGUMENT", "userId")
    if user_id != caller.user_id and not caller.is_admin:
        raise APIError("PERMISSION_DENIED")
    return user_id


def client_secret_of(authorization: str | None) -> str:
    """Returns the client secret in the Authorization header of a chat; the service judges it.

    Raises APIError: UNAUTHENTICATED for what cannot be one.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not _CLIENT_SECRET.fullmatch(secret):
        raise APIError("UNAUTHENTICATED", "secret")
    return secret


class Authenticator:
    """Verifies tokens with a shared secret (HS256), with published keys (RS256, ES256), or both."""

    def __init__(
        self,
        *,
        secret: SecretStr | None,
        keys: KeySet | None,
        issuer: str | None = None,
        audience: str | None = None,
        user_claim: str | None = None,
        admin_user_ids: frozenset[str] = frozenset(),
    ) -> None:
        self._secret = secret.get_secret_value() if secret else None
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._user_claims = (user_claim,) if user_claim else _DEFAULT_USER_CLAIMS
        self._admin_user_ids = admin_user_ids
        self._verified: dict[bytes, _Verified] = {}

    async def authenticate(self, authorization: str | None) -> Caller:
        """Returns whom an Authorization header names.

        Raises APIError: UNAUTHENTICATED, or UNAVAILABLE while the keys cannot be had.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or len(token) > _MAX_TOKEN_LENGTH:
            raise APIError("UNAUTHENTICATED")
        try:
            verified = await self._recall(token)
            # No leeway for this: who logged out stays out.
            if verified.caller.expires_at > time.time():
                return verified.caller
        # PyJWT lets some of what a hostile token causes through, such as nesting that is too deep.
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            pass
        raise APIError("UNAUTHENTICATED")

    async def _recall(self, token: str) -> _Verified:
        """Returns what a token says, verified once for all of its user's requests."""
        digest = hashlib.sha256(token.encode()).digest()  # as tokens are not to be kept
        known = self._verified.get(digest)
        if known and known.key is await self._key_for(known.algorithm, known.key_id):
            return known
        verified = self._verified[digest] = await self._verify(token)
        if len(self._verified) > _MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        return verified

    async def _verify(self, token: str) -> _Verified:
        if not _TOKEN.fullmatch(token):
            raise jwt.DecodeError
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        key = await self._key_for(algorithm, key_id)
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[str(algorithm)],
            issuer=self._issuer,
            audience=self._audience,
            leeway=_CLOCK_SKEW_SECONDS,
            options={
                "require": ["exp"],
                "verify_aud": self._audience is not None,
                "verify_sub": False,  # an integer user id is fine with us
            },
        )
        claim = next((name for name in self._user_claims if name in claims), None)
        user_id = user_id_of(claims[claim]) if claim else None
        if user_id is None:
            raise jwt.InvalidTokenError
        is_admin = claims.get("role") == "admin" or user_id in self._admin_user_ids
        caller = Caller(user_id, is_admin, claims["exp"])
        return _Verified(caller, algorithm, key_id, key)

    async def _key_for(self, algorithm: object, key_id: object) -> _Key:
        """Returns the key for this one algorithm: never a public key for HS256."""
        match algorithm:
            case "HS256" if self._secret is not None:
                return self._secret
            case "RS256" | "ES256" if self._keys is not None:
                return await self._keys.key(key_id, str(algorithm))
        raise jwt.InvalidAlgorithmError
