"""Who a token names: everything that a hostile or a sloppy issuer can put into one."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from gateway.auth import Authenticator, Caller, effective_user, user_id_of
from gateway.errors import APIError

SECRET = "a-secret-of-the-dashboard-of-these-tests"
DEEP = 20_000


def authenticator(**settings: Any) -> Authenticator:
    return Authenticator(**{"secret": SecretStr(SECRET), "keys": None, **settings})


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(payload: object, header: object = None, key: bytes = SECRET.encode()) -> str:
    """Signs whatever is given, with a good key, also what no library would."""
    head = encoded({"alg": "HS256", "typ": "JWT"} if header is None else header)
    signing_input = f"{head}.{encoded(payload)}"
    signature = hmac.digest(key, signing_input.encode(), "sha256")
    return f"{signing_input}.{encoded(signature)}"


def claims(**others: object) -> dict[str, object]:
    now = int(time.time())
    return {"userId": 7, "iat": now, "exp": now + 24 * 3600, **others}


async def caller_of(token: str, **settings: Any) -> Caller:
    return await authenticator(**settings).authenticate(f"Bearer {token}")


async def refused(authorization: str | None, **settings: Any) -> None:
    with pytest.raises(APIError) as caught:
        await authenticator(**settings).authenticate(authorization)
    assert caught.value.reason == "UNAUTHENTICATED"
    assert caught.value.status_code == 401
    assert caught.value.headers["WWW-Authenticate"] == "Bearer"


async def test_the_dashboards_token_names_its_user() -> None:
    assert await caller_of(jwt.encode(claims(), SECRET)) == Caller("7", is_admin=False)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("space", [" ", "   "])
async def test_the_scheme_has_no_case(scheme: str, space: str) -> None:
    token = jwt.encode(claims(), SECRET)
    assert (await authenticator().authenticate(f"{scheme}{space}{token}")).user_id == "7"


GOOD = jwt.encode({"userId": 7, "exp": int(time.time()) + 600}, SECRET)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        GOOD,
        f"Basic {GOOD}",
        f"JWT {GOOD}",
        f"Bearer{GOOD}",
        f"Bearer {GOOD} {GOOD}",
        f"Bearer {GOOD}.",
        f"Bearer {GOOD[:-2]}",
        "Bearer ..",
        "Bearer a.b.c",
        "Bearer ñ.ñ.ñ",
        "Bearer \x00",
        f"Bearer\t{GOOD}",
        f"Bearer {GOOD}!!",
        f"Bearer {GOOD}, Bearer {GOOD}",
        f"Bearer token={GOOD}",
        f'Bearer "{GOOD}"',
        f"Bearer {GOOD}.{GOOD}",
        f"Bearer {GOOD}.a.b",  # five parts are an encrypted token
        "Bearer " + GOOD.replace(".", ".."),
        "Bearer " + GOOD.replace("-", "+").replace("_", "/") + "=+/",
    ],
)
async def test_what_is_no_bearer_token_is_refused(authorization: str | None) -> None:
    await refused(authorization)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS512"},
        {"alg": "HS384"},
        {"alg": "hs256"},
        {"alg": "RS256"},
        {"alg": "ES256"},
        {"alg": None},
        {"alg": ["HS256"]},
        {"alg": {"HS256": 1}},
        {},
        [],
        "HS256",
        {"alg": "HS256", "crit": ["b64"], "b64": False},
        {"alg": "HS256", "crit": ["x"], "x": 1},
        {"alg": "HS256", "crit": []},
        {"alg": "HS256", "crit": "x"},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "b64": False},
        {"alg": "HS256", "kid": 7},
        {"alg": "HS256", "kid": None},
    ],
)
async def test_another_algorithm_is_refused_whatever_the_signature(header: object) -> None:
    await refused(f"Bearer {signed(claims(), header)}")


async def test_a_token_without_a_signature_is_refused() -> None:
    await refused(f"Bearer {jwt.encode(claims(), '', algorithm='none')}")
    await refused(f"Bearer {encoded({'alg': 'none'})}.{encoded(claims())}.")
    await refused(f"Bearer {encoded({'alg': 'HS256'})}.{encoded(claims())}.")


async def test_hs512_with_the_right_secret_is_refused() -> None:
    await refused(f"Bearer {jwt.encode(claims(), SECRET * 2, algorithm='HS512')}", secret=None)
    secret = SecretStr(SECRET * 2)
    await refused(f"Bearer {jwt.encode(claims(), SECRET * 2, algorithm='HS512')}", secret=secret)


async def test_another_secret_is_refused() -> None:
    await refused(f"Bearer {jwt.encode(claims(), SECRET + '!')}")


async def test_without_a_secret_no_shared_secret_counts() -> None:
    await refused(f"Bearer {jwt.encode(claims(), SECRET)}", secret=None)
    await refused(f"Bearer {signed(claims(), key=b'')}", secret=None)


@pytest.mark.parametrize(
    "times",
    [
        {"exp": int(time.time()) - 1},
        {"exp": 0},
        {"exp": -1},
        {"exp": "soon"},
        {"exp": None},
        {"exp": [9_999_999_999]},
        {"exp": True},
        {"exp": str(int(time.time()) + 24 * 3600)},
        {"exp": {}},
        {"nbf": int(time.time()) + 24 * 60 * 60},
        {"nbf": int(time.time()) + 3600},
        {"nbf": "now"},
        {"nbf": []},
        {"nbf": float("inf")},
        {"nbf": float("nan")},
        {"iat": int(time.time()) + 3600},
        {"iat": "now"},
        {"iat": {}},
        {"iat": float("inf")},
        {"iat": float("nan")},
    ],
)
async def test_a_token_counts_in_its_time_alone(times: dict[str, object]) -> None:
    await refused(f"Bearer {signed(claims(**times))}")


async def test_a_token_without_an_end_is_refused() -> None:
    await refused(f"Bearer {signed({'userId': 7, 'iat': int(time.time())})}")


async def test_the_clock_of_who_made_the_token_may_be_ahead_of_ours() -> None:
    ahead = int(time.time()) + 30
    assert (await caller_of(signed(claims(iat=ahead, nbf=ahead)))).user_id == "7"


@pytest.mark.parametrize("exp", [4e9 + 0.5, 1e15, 10**40])
async def test_an_end_may_be_any_number_ahead(exp: float) -> None:
    assert (await caller_of(signed(claims(exp=exp)))).user_id == "7"


async def test_a_token_needs_no_iat() -> None:
    payload = claims()
    del payload["iat"]
    assert (await caller_of(signed(payload))).user_id == "7"


@pytest.mark.parametrize(
    ("user", "user_id"),
    [
        (7, "7"),
        ("7", "7"),
        (0, "0"),
        (2**63, str(2**63)),
        ("jose@example.com", "jose@example.com"),
        ("José Ñandú", "José Ñandú"),
        ("x" * 256, "x" * 256),
        ("a\tb\nc\u00a0d\u200de", "a\tb\nc\u00a0d\u200de"),
    ],
)
@pytest.mark.parametrize("claim", ["userId", "sub"])
async def test_a_user_is_an_integer_or_a_text(claim: str, user: object, user_id: str) -> None:
    payload = claims()
    del payload["userId"]
    assert (await caller_of(signed({**payload, claim: user}))).user_id == user_id


NOBODY: list[object] = [True, False, None, {}, [], [7], 7.5, 7.0, "", "x" * 257, "x" * 300, "a\0b"]


@pytest.mark.parametrize("user", NOBODY)
async def test_anything_else_is_nobody_even_where_sub_is_somebody(user: object) -> None:
    await refused(f"Bearer {signed(claims(userId=user))}")
    await refused(f"Bearer {signed(claims(userId=user, sub='8'))}")


async def test_a_token_that_names_nobody_is_refused() -> None:
    payload = claims()
    del payload["userId"]
    await refused(f"Bearer {signed(payload)}")
    await refused(f"Bearer {signed({**payload, 'userid': 7, 'user_id': 7, 'id': 7})}")


async def test_user_id_comes_before_sub() -> None:
    assert (await caller_of(signed(claims(userId=7, sub="8")))).user_id == "7"


async def test_the_claim_can_be_chosen() -> None:
    payload = claims(uid="nine", sub="8")
    assert (await caller_of(signed(payload), user_claim="uid")).user_id == "nine"
    await refused(f"Bearer {signed(claims(sub='8'))}", user_claim="uid")


async def test_the_issuer_is_checked_where_it_is_configured() -> None:
    issuer = "https://issuer.example.com"
    assert (await caller_of(signed(claims(iss=issuer)), issuer=issuer)).user_id == "7"
    assert (await caller_of(signed(claims(iss="any")))).user_id == "7"
    for wrong in (claims(), claims(iss="other"), claims(iss=7), claims(iss=[issuer])):
        await refused(f"Bearer {signed(wrong)}", issuer=issuer)


async def test_the_audience_is_checked_where_it_is_configured() -> None:
    for right in ("chat", ["chat"], ["other", "chat"]):
        assert (await caller_of(signed(claims(aud=right)), audience="chat")).user_id == "7"
    assert (await caller_of(signed(claims(aud="any")))).user_id == "7"
    for wrong in (claims(), claims(aud="other"), claims(aud=[]), claims(aud=7), claims(aud=[7])):
        await refused(f"Bearer {signed(wrong)}", audience="chat")


async def test_administrators_have_the_role_or_are_listed() -> None:
    listed = frozenset(("1", "boss"))
    assert (await caller_of(signed(claims(role="admin")))).is_admin
    assert (await caller_of(signed(claims(userId=1)), admin_user_ids=listed)).is_admin
    assert (await caller_of(signed(claims(userId="boss")), admin_user_ids=listed)).is_admin
    not_quite: list[object] = ["Admin", "administrator", ["admin"], True, {"admin": True}, "user"]
    for role in not_quite:
        assert not (await caller_of(signed(claims(role=role)), admin_user_ids=listed)).is_admin


async def test_of_a_claim_that_comes_twice_the_last_counts_for_the_user_and_the_rights() -> None:
    # As everywhere in Python (RFC 7519, 4): what matters is that there are no two readings.
    end = int(time.time()) + 600
    twice = b'{"userId": 1, "role": "admin", "exp": %d, "userId": 7, "role": "user"}' % end
    listed = frozenset(("1",))
    assert await caller_of(signed(twice), admin_user_ids=listed) == Caller("7", is_admin=False)


HOSTILE = {
    "deep payload": signed(b"[" * DEEP + b"]" * DEEP),
    "deep object": signed(b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    "payload not UTF-8": signed(b'{"userId": "\xff"}'),
    "payload no object": signed([1]),
    "payload a text": signed("7"),
    "payload null": signed(None),
    "payload empty": signed(b""),
    "a lone surrogate": signed(claims(userId="\ud800")),
    "a number beyond any": signed(b'{"exp": 1e999, "userId": 7}'),
    "not a number": signed(b'{"exp": NaN, "userId": 7}'),
    "a number of 5,000 digits": signed(b'{"exp": 9999999999, "userId": %s}' % (b"9" * 5000)),
    "an end of 5,000 digits": signed(b'{"exp": %s, "userId": 7}' % (b"9" * 5000)),
    "deep header": signed(claims(), b"[" * DEEP),
    "deep alg": signed(claims(), b'{"alg":' * DEEP + b"1" + b"}" * DEEP),
    "header not UTF-8": signed(claims(), b'{"alg": "\xff"}'),
    "alg a lone surrogate": signed(claims(), {"alg": "\ud800"}),
    "huge": "a" * 10_000_000,
    "huge and well-formed": signed(claims(padding="x" * 1_000_000)),
    "many dots": "." * 8000,
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_token_is_a_bad_token(token: str) -> None:
    await refused(f"Bearer {token}")


# Short enough for the limit on tokens, deep enough for the parser.
@pytest.mark.parametrize("raw", [b"[" * 3000, b'{"a":' * 1000, b"[" * 2000 + b"]" * 2000])
async def test_depth_below_the_limit_on_tokens_is_a_bad_token_too(raw: bytes) -> None:
    await refused(f"Bearer {signed(raw)}")
    await refused(f"Bearer {signed(claims(), raw)}")


@pytest.mark.parametrize("value", [*NOBODY, "\ud800", b"7"])
def test_what_is_no_user_id(value: object) -> None:
    assert user_id_of(value) is None


CALLER, ADMINISTRATOR = Caller("7", is_admin=False), Caller("1", is_admin=True)


@pytest.mark.parametrize("named", [7, "7", 7.0])
def test_one_may_name_oneself(named: object) -> None:
    assert effective_user(CALLER, named) == "7"


@pytest.mark.parametrize("named", [8, "8", " 7", "07", "7 "])
def test_only_an_administrator_may_name_another(named: object) -> None:
    assert effective_user(ADMINISTRATOR, named) == str(named)
    with pytest.raises(APIError) as caught:
        effective_user(CALLER, named)
    assert caught.value.reason == "PERMISSION_DENIED"


@pytest.mark.parametrize("caller", [CALLER, ADMINISTRATOR])
@pytest.mark.parametrize("named", [value for value in NOBODY if value != 7.0])
def test_nobody_can_be_named(caller: Caller, named: object) -> None:
    with pytest.raises(APIError) as caught:
        effective_user(caller, named)
    assert (caught.value.reason, caught.value.detail) == ("INVALID_ARGUMENT", "userId")
