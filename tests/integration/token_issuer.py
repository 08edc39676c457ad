"""Someone who issues tokens and publishes keys, and an authenticator that asks for them."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.auth import Authenticator, Caller
from gateway.errors import APIError
from gateway.jwks import KeySet
from tests.support import serve

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def published(key: Key, kid: str | None, **others: str) -> dict[str, Any]:
    algorithm = jwt.get_algorithm_by_name(
        "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    )
    to_jwk: Any = algorithm
    public: dict[str, Any] = to_jwk.to_jwk(key.public_key(), as_dict=True)
    return {**public, **({"kid": kid} if kid else {}), **others}


def signed(key: Key, kid: str | None, algorithm: str = "RS256", **claims: object) -> str:
    payload = {"sub": "7", "exp": int(time.time()) + 24 * 3600, **claims}
    return jwt.encode(payload, key, algorithm, headers={"kid": kid} if kid else None)


@dataclass(slots=True)
class Issuer:
    """Publishes keys, or answers otherwise where it is told to; counts how often it was asked."""

    keys: list[dict[str, Any]] = field(default_factory=lambda: [published(RSA_KEY, "one")])
    otherwise: Callable[[], Awaitable[Response]] | None = None
    asked: int = 0
    trapped: int = 0
    """How often it was asked for what a token or a redirect names."""
    url: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if Request(scope).url.path != "/keys":
            self.trapped += 1
            response = Response(json.dumps({"keys": self.keys}))
        else:
            self.asked += 1
            if self.otherwise:
                response = await self.otherwise()
            else:
                response = Response(json.dumps({"keys": self.keys}))
        await response(scope, receive, send)

    def answers(self, body: str | bytes, status: int = 200) -> None:
        async def answer() -> Response:
            return Response(body, status)

        self.otherwise = answer


@contextlib.asynccontextmanager
async def open_issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    async with serve(issuer) as url:
        issuer.url = f"{url}/keys"
        yield issuer


@contextlib.asynccontextmanager
async def open_authenticator(url: str, secret: str | None = None) -> AsyncIterator[Authenticator]:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        yield Authenticator(secret=SecretStr(secret) if secret else None, keys=KeySet(client, url))


async def caller_of(authenticator: Authenticator, token: str) -> Caller:
    return await authenticator.authenticate(f"Bearer {token}")


async def refusal_of(authenticator: Authenticator, token: str) -> APIError:
    with pytest.raises(APIError) as caught:
        await caller_of(authenticator, token)
    return caught.value
