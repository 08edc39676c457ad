"""Attacks on tokens signed with published keys (RFC 8725), and on the fetch of the keys."""

import asyncio
import base64
import gzip
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.responses import Response, StreamingResponse

from gateway import jwks
from gateway.auth import Authenticator
from tests.integration.token_issuer import (
    EC_KEY,
    OTHER_RSA_KEY,
    P384_KEY,
    RSA_KEY,
    Issuer,
    caller_of,
    open_authenticator,
    open_issuer,
    published,
    refusal_of,
    signed,
)

SHORT_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
K256_KEY = ec.generate_private_key(ec.SECP256K1())


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with open_issuer() as issuer:
        yield issuer


@pytest.fixture
async def authenticator(issuer: Issuer) -> AsyncIterator[Authenticator]:
    async with open_authenticator(issuer.url) as authenticator:
        yield authenticator


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(algorithm: str, **header: object) -> str:
    """Returns the part of a token that a signature is of."""
    claims = {"sub": "7", "role": "admin", "exp": int(time.time()) + 600}
    return f"{encoded({'alg': algorithm, 'kid': 'one', **header})}.{encoded(claims)}"


def private(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    to_jwk: Any = jwt.get_algorithm_by_name("RS256")
    return {**to_jwk.to_jwk(key, as_dict=True), "kid": "one"}


@pytest.mark.parametrize(
    "signature", [bytes(64), b"", bytes(1), bytes(63), b"\x30\x00", b"\1" * 64]
)
@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_a_signature_of_nothing_signs_nothing(
    issuer: Issuer, authenticator: Authenticator, algorithm: str, signature: bytes
) -> None:
    # r = s = 0 was good for everything in Java once: CVE-2022-21449.
    issuer.keys = [published(EC_KEY if algorithm == "ES256" else RSA_KEY, "one")]
    token = f"{unsigned(algorithm)}.{encoded(signature)}"
    assert (await refusal_of(authenticator, token)).reason == "UNAUTHENTICATED"


async def test_no_key_comes_out_of_the_token(issuer: Issuer, authenticator: Authenticator) -> None:
    mine = published(OTHER_RSA_KEY, "one")
    trap = issuer.url.replace("/keys", "/trap")
    for header in ({"jwk": mine}, {"jku": trap}, {"x5u": trap}, {"x5c": ["MIIB"]}, {"x5t": "MIIB"}):
        claims = {"sub": "7", "exp": int(time.time()) + 600}
        token = jwt.encode(claims, OTHER_RSA_KEY, "RS256", headers={"kid": "one", **header})
        assert (await refusal_of(authenticator, token)).reason == "UNAUTHENTICATED"
        unknown = jwt.encode(claims, OTHER_RSA_KEY, "RS256", headers={"kid": "two", **header})
        assert (await refusal_of(authenticator, unknown)).reason == "UNAUTHENTICATED"
    assert issuer.trapped == 0


@pytest.mark.parametrize(
    "kid",
    ["../../dev/null", "one' OR '1'='1", "one\0", "", " one", "ONE", "/keys", 1, None, ["one"], {}],
)
async def test_a_key_id_is_compared_and_nothing_else(
    issuer: Issuer, authenticator: Authenticator, kid: object
) -> None:
    issuer.keys = [published(RSA_KEY, "one"), published(OTHER_RSA_KEY, "two")]
    signing_input = unsigned("RS256", kid=kid)
    algorithm = jwt.get_algorithm_by_name("RS256")
    token = f"{signing_input}.{encoded(algorithm.sign(signing_input.encode(), RSA_KEY))}"
    assert (await refusal_of(authenticator, token)).reason == "UNAUTHENTICATED"


USELESS: dict[str, tuple[Any, dict[str, Any]]] = {
    "for encryption": (RSA_KEY, published(RSA_KEY, "one", use="enc")),
    "to sign with": (RSA_KEY, {**published(RSA_KEY, "one"), "key_ops": ["sign"]}),
    "key_ops that are none": (RSA_KEY, {**published(RSA_KEY, "one"), "key_ops": "verify"}),
    "private": (RSA_KEY, private(RSA_KEY)),
    "of 1,024 bits": (SHORT_KEY, published(SHORT_KEY, "one")),
    "for another algorithm": (RSA_KEY, published(RSA_KEY, "one", alg="PS256")),
    "an algorithm that is none": (RSA_KEY, {**published(RSA_KEY, "one"), "alg": ["RS256"]}),
    "a modulus that is a number": (RSA_KEY, {**published(RSA_KEY, "one"), "n": 5}),
    "a modulus that is null": (RSA_KEY, {**published(RSA_KEY, "one"), "n": None}),
    "an exponent of one": (RSA_KEY, {**published(RSA_KEY, "one"), "e": "AQ"}),
    "an even exponent": (RSA_KEY, {**published(RSA_KEY, "one"), "e": "Ag"}),
    "another curve": (P384_KEY, published(P384_KEY, "one")),
    "another curve that says it is ours": (P384_KEY, published(P384_KEY, "one", alg="ES256")),
    "Bitcoin's curve": (K256_KEY, {**published(K256_KEY, "one"), "alg": "ES256"}),
    "Bitcoin's curve that says it is ours": (
        K256_KEY,
        {**published(K256_KEY, "one"), "crv": "P-256"},
    ),
    "no point of its curve": (EC_KEY, {**published(EC_KEY, "one"), "y": "A" * 43}),
    "a coordinate that is a list": (EC_KEY, {**published(EC_KEY, "one"), "x": []}),
    "shared": (RSA_KEY, {"kty": "oct", "kid": "one", "k": "c2VjcmV0"}),
    "for no algorithm": (RSA_KEY, published(RSA_KEY, "one", alg="none")),
    "shared for no algorithm": (RSA_KEY, {"kty": "oct", "kid": "one", "alg": "none"}),
    "shared without a key": (RSA_KEY, {"kty": "oct", "kid": "one"}),
    "shared that says it is public": (
        RSA_KEY,
        {"kty": "oct", "kid": "one", "k": "c2VjcmV0", "alg": "RS256"},
    ),
}


@pytest.mark.parametrize(("key", "jwk"), USELESS.values(), ids=USELESS.keys())
async def test_a_key_that_is_none_for_our_tokens_is_left_out_of_the_set(
    issuer: Issuer, authenticator: Authenticator, key: Any, jwk: dict[str, Any]
) -> None:
    issuer.keys = [jwk, published(OTHER_RSA_KEY, "good")]
    algorithm = jwt.get_algorithm_by_name(
        "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    )
    # Not with jwt.encode, which would refuse most of these keys.
    signing_input = unsigned("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
    token = f"{signing_input}.{encoded(algorithm.sign(signing_input.encode(), key))}"
    assert (await refusal_of(authenticator, token)).reason == "UNAUTHENTICATED"
    assert (await caller_of(authenticator, signed(OTHER_RSA_KEY, "good"))).user_id == "7"


async def test_a_shared_key_in_the_set_signs_nothing(
    issuer: Issuer, authenticator: Authenticator
) -> None:
    shared = b"k" * 32
    issuer.keys = [
        {"kty": "oct", "kid": "one", "k": encoded(shared), "alg": "HS256"},
        published(OTHER_RSA_KEY, "good"),
    ]
    claims = {"sub": "7", "exp": int(time.time()) + 600}
    token = jwt.encode(claims, shared, "HS256", headers={"kid": "one"})
    assert (await refusal_of(authenticator, token)).reason == "UNAUTHENTICATED"


async def test_a_set_of_thousands_of_keys_is_not_read(
    issuer: Issuer, authenticator: Authenticator
) -> None:
    tiny = {"kty": "RSA", "n": "AQ", "e": "AQ"}
    issuer.keys = [published(RSA_KEY, "one"), *(tiny for _ in range(5000))]
    assert (await refusal_of(authenticator, signed(RSA_KEY, "one"))).reason == "UNAVAILABLE"


async def test_a_compressed_bomb_is_not_unpacked(
    issuer: Issuer, authenticator: Authenticator
) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    assert len(bomb) < 256 * 1024

    async def answer() -> Response:
        return Response(bomb, headers={"Content-Encoding": "gzip"})

    issuer.otherwise = answer
    tracemalloc.start()
    try:
        assert (await refusal_of(authenticator, signed(RSA_KEY, "one"))).reason == "UNAVAILABLE"
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


async def test_an_answer_that_drips_is_slow_too(
    issuer: Issuer, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_TIMEOUT_SECONDS", 0.2)

    async def drops() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" "
            await asyncio.sleep(0.05)

    async def answer() -> Response:
        return StreamingResponse(drops())

    issuer.otherwise = answer
    assert (await refusal_of(authenticator, signed(RSA_KEY, "one"))).reason == "UNAVAILABLE"


async def test_keys_are_not_believed_over_night(
    issuer: Issuer, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await caller_of(authenticator, signed(RSA_KEY, "one"))
    issuer.keys = [published(OTHER_RSA_KEY, "two")]
    monkeypatch.setattr(jwks, "_MAX_LIFETIME_SECONDS", -1.0)  # nobody came in that time
    assert (await refusal_of(authenticator, signed(RSA_KEY, "one"))).reason == "UNAUTHENTICATED"


async def test_in_an_outage_at_night_known_keys_are_believed_and_nobody_waits_twice(
    issuer: Issuer, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed(RSA_KEY, "one")
    await caller_of(authenticator, token)
    monkeypatch.setattr(jwks, "_MAX_LIFETIME_SECONDS", -1.0)
    monkeypatch.setattr(jwks, "_LIFETIME_SECONDS", -1.0)
    issuer.answers("down", 500)
    assert (await caller_of(authenticator, token)).user_id == "7"
    asked = issuer.asked
    for _ in range(5):
        assert (await caller_of(authenticator, token)).user_id == "7"
    assert issuer.asked == asked


async def test_what_is_secret_in_the_address_of_the_keys_is_not_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = "http://127.0.0.1:1/keys?api_key=of-the-address"
    async with open_authenticator(url) as authenticator:
        assert (await refusal_of(authenticator, signed(RSA_KEY, "one"))).reason == "UNAVAILABLE"
    logged = capsys.readouterr().out
    assert "keys not fetched" in logged
    assert "of-the-address" not in logged
