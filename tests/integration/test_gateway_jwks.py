"""Tokens that are signed with published keys: the issuer rotates them, is slow, fails, or lies."""

import asyncio
import base64
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.responses import RedirectResponse, Response

from gateway import jwks
from gateway.auth import Authenticator
from gateway.errors import APIError
from tests.gateway_support import STATS, FakeService, error_of, gateway_before
from tests.integration.token_issuer import (
    EC_KEY,
    OTHER_RSA_KEY,
    P384_KEY,
    RSA_KEY,
    Issuer,
    Key,
    caller_of,
    open_authenticator,
    open_issuer,
    published,
    refusal_of,
    signed,
)
from tests.support import eventually


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with open_issuer() as issuer:
        yield issuer


@pytest.fixture
async def authenticator(issuer: Issuer) -> AsyncIterator[Authenticator]:
    async with open_authenticator(issuer.url) as authenticator:
        yield authenticator


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (EC_KEY, "ES256")])
@pytest.mark.parametrize("kid", ["one", None])
async def test_both_kinds_of_keys_with_and_without_an_id(
    issuer: Issuer, authenticator: Authenticator, key: Key, algorithm: str, kid: str | None
) -> None:
    issuer.keys = [published(key, kid)]
    assert (await caller_of(authenticator, signed(key, kid, algorithm))).user_id == "7"


async def test_keys_are_fetched_once_also_for_many_at_once(
    issuer: Issuer, authenticator: Authenticator
) -> None:
    token = signed(RSA_KEY, "one")
    callers = await asyncio.gather(*(caller_of(authenticator, token) for _ in range(20)))
    assert {caller.user_id for caller in callers} == {"7"}
    await caller_of(authenticator, token)
    assert issuer.asked == 1


async def test_a_token_without_an_id_needs_a_key_beyond_doubt(
    issuer: Issuer, authenticator: Authenticator
) -> None:
    issuer.keys = [published(RSA_KEY, "one"), published(EC_KEY, "two")]
    assert (await caller_of(authenticator, signed(RSA_KEY, None))).user_id == "7"
    issuer.keys = [published(RSA_KEY, "one"), published(OTHER_RSA_KEY, "two")]
    async with open_authenticator(issuer.url) as another:
        error = await refusal_of(another, signed(RSA_KEY, None))
    assert error.reason == "UNAUTHENTICATED"


async def test_a_new_key_counts_at_once_for_everybody_who_comes_with_it(
    issuer: Issuer, authenticator: Authenticator
) -> None:
    await caller_of(authenticator, signed(RSA_KEY, "one"))
    issuer.keys = [published(OTHER_RSA_KEY, "two")]
    token = signed(OTHER_RSA_KEY, "two")
    callers = await asyncio.gather(*(caller_of(authenticator, token) for _ in range(20)))
    assert {caller.user_id for caller in callers} == {"7"}
    assert issuer.asked == 2
    # What the issuer has withdrawn is nobody's key any more.
    assert (await refusal_of(authenticator, signed(RSA_KEY, "one"))).reason == "UNAUTHENTICATED"


async def test_invented_key_ids_do_not_flood_the_issuer(
    issuer: Issuer, authenticator: Authenticator
) -> None:
    await caller_of(authenticator, signed(RSA_KEY, "one"))
    for number in range(50):
        token = signed(OTHER_RSA_KEY, f"invented-{number}")
        error = await refusal_of(authenticator, token)
        assert error.reason in ("UNAUTHENTICATED", "UNAVAILABLE")
    assert issuer.asked <= 12
    assert (await caller_of(authenticator, signed(RSA_KEY, "one"))).user_id == "7"


@pytest.mark.parametrize(
    ("token", "keys"),
    [
        (signed(OTHER_RSA_KEY, "one"), [published(RSA_KEY, "one")]),
        (signed(RSA_KEY, "one", "RS512"), [published(RSA_KEY, "one")]),
        (signed(RSA_KEY, "one", "PS256"), [published(RSA_KEY, "one")]),
        (signed(RSA_KEY, "one"), [published(RSA_KEY, "one", alg="RS512")]),
        (signed(EC_KEY, "one", "ES256"), [published(RSA_KEY, "one")]),
        (signed(P384_KEY, "one", "ES384"), [published(P384_KEY, "one")]),
        (signed(RSA_KEY, "one", exp=int(time.time()) - 1), [published(RSA_KEY, "one")]),
        (signed(RSA_KEY, "one", sub=7.5), [published(RSA_KEY, "one")]),
    ],
)
async def test_what_these_keys_did_not_sign_is_refused(
    issuer: Issuer, authenticator: Authenticator, token: str, keys: list[dict[str, Any]]
) -> None:
    issuer.keys = [*keys, published(EC_KEY, "other")]
    assert (await refusal_of(authenticator, token)).reason == "UNAUTHENTICATED"


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
@pytest.mark.parametrize("secret", [None, "a-secret-of-the-dashboard-of-these-tests"])
async def test_a_public_key_is_nobodys_shared_secret(
    issuer: Issuer, form: PublicFormat, secret: str | None
) -> None:
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, form)
    payload = {"sub": "7", "role": "admin", "exp": int(time.time()) + 600}
    signing_input = jwt.encode(payload, "x" * 32, headers={"kid": "one"}).rpartition(".")[0]
    # PyJWT refuses to sign with a public key; attackers do not.
    signature = hmac.digest(public, signing_input.encode(), "sha256")
    token = f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    async with open_authenticator(issuer.url, secret) as authenticator:
        await caller_of(authenticator, signed(RSA_KEY, "one"))
        assert (await refusal_of(authenticator, token)).reason == "UNAUTHENTICATED"


async def test_a_shared_secret_and_published_keys_live_side_by_side(issuer: Issuer) -> None:
    secret = "a-secret-of-the-dashboard-of-these-tests"
    async with open_authenticator(issuer.url, secret) as authenticator:
        by_secret = jwt.encode({"userId": 8, "exp": int(time.time()) + 600}, secret)
        assert (await caller_of(authenticator, by_secret)).user_id == "8"
        assert issuer.asked == 0
        assert (await caller_of(authenticator, signed(RSA_KEY, "one"))).user_id == "7"


GARBAGE: dict[str, tuple[str | bytes, int]] = {
    "an error": ("{}", 500),
    "an error with keys": (json.dumps({"keys": [published(RSA_KEY, "one")]}), 503),
    "nothing": ("", 200),
    "no JSON": ("<html>", 200),
    "not UTF-8": (b'{"keys": "\xff"}', 200),
    "no keys": ('{"keys": []}', 200),
    "no list of keys": ('{"keys": {"one": 1}}', 200),
    "no key for signatures": (json.dumps({"keys": [published(RSA_KEY, "one", use="enc")]}), 200),
    "keys that are none": ('{"keys": [1, null, "a", {}, {"kty": "RSA"}]}', 200),
    "a list": ("[]", 200),
    "a text": ('"keys"', 200),
    "null": ("null", 200),
    "nested too deep": ("[" * 100_000, 200),
    "huge": (json.dumps({"keys": [published(RSA_KEY, "one")], "x": "y" * 300_000}), 200),
}


@pytest.mark.parametrize(("body", "status"), GARBAGE.values(), ids=GARBAGE.keys())
async def test_an_issuer_that_answers_garbage_is_not_the_users_fault(
    issuer: Issuer, authenticator: Authenticator, body: str | bytes, status: int
) -> None:
    issuer.answers(body, status)
    error = await refusal_of(authenticator, signed(RSA_KEY, "one"))
    assert (error.reason, error.detail, error.status_code) == ("UNAVAILABLE", "keys", 503)
    assert int(error.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    issuer: Issuer, authenticator: Authenticator, status: int
) -> None:
    async def redirect() -> Response:
        return RedirectResponse("/elsewhere", status)

    issuer.otherwise = redirect
    assert (await refusal_of(authenticator, signed(RSA_KEY, "one"))).reason == "UNAVAILABLE"
    assert issuer.trapped == 0


async def test_an_issuer_that_is_down_or_slow_is_not_the_users_fault(
    issuer: Issuer, fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_TIMEOUT_SECONDS", 0.2)
    slow = asyncio.Event()

    async def later() -> Response:
        await slow.wait()
        return Response("")

    issuer.otherwise = later
    for url in (issuer.url, "http://127.0.0.1:1/keys"):
        async with gateway_before(fake, jwt_secret=None, jwt_jwks_url=url) as http:
            headers = {"Authorization": f"Bearer {signed(RSA_KEY, 'one')}"}
            answer = await http.get(STATS, headers=headers)
            assert "JWT_JWKS_URL" in error_of(answer, "UNAVAILABLE", 503)["hint"]
            assert int(answer.headers["retry-after"]) >= 1
    slow.set()
    assert not fake.calls


@pytest.fixture
async def fake() -> AsyncIterator[FakeService]:
    async with FakeService().serve() as fake:
        yield fake


async def test_known_keys_outlive_an_outage(
    issuer: Issuer, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed(RSA_KEY, "one")
    await caller_of(authenticator, token)
    monkeypatch.setattr(jwks, "_LIFETIME_SECONDS", -1.0)  # from now on the keys are old
    issuer.answers("down", 500)
    for _ in range(5):
        assert (await caller_of(authenticator, token)).user_id == "7"

    async def was_asked_again() -> bool:
        return issuer.asked >= 2

    await eventually(was_asked_again)
    error = await refusal_of(authenticator, signed(OTHER_RSA_KEY, "two"))
    assert error.reason == "UNAVAILABLE"
    assert (await caller_of(authenticator, token)).user_id == "7"


async def test_an_issuer_that_is_back_is_believed_again(
    issuer: Issuer, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_RETRY_SECONDS", 0.05)
    issuer.answers("down", 500)
    token = signed(RSA_KEY, "one")
    assert (await refusal_of(authenticator, token)).reason == "UNAVAILABLE"
    issuer.otherwise = None

    async def is_believed() -> bool:
        with contextlib.suppress(APIError):
            return (await caller_of(authenticator, token)).user_id == "7"
        return False

    await eventually(is_believed)


async def test_a_caller_who_leaves_does_not_stop_the_fetch_for_others(
    issuer: Issuer, authenticator: Authenticator
) -> None:
    came, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> Response:
        came.set()
        await go_on.wait()
        return Response(json.dumps({"keys": issuer.keys}))

    issuer.otherwise = slowly
    token = signed(RSA_KEY, "one")
    first = asyncio.create_task(caller_of(authenticator, token))
    second = asyncio.create_task(caller_of(authenticator, token))
    await came.wait()
    first.cancel()
    go_on.set()
    assert (await second).user_id == "7"
    assert issuer.asked == 1
