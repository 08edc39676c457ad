"""Whatever OpenAI answers means one exception, and some of it is worth another try."""

import email.utils
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from session_service.errors import UpstreamError, UpstreamRateLimited
from session_service.openai_errors import Answer, backoff_seconds, error_of, is_retryable

NOTHING: Mapping[str, str] = {}
SCOPES = "You have insufficient permissions for this operation. Missing scopes: api.chatkit.write."


def answer(status: int, headers: Mapping[str, str] = NOTHING, /, **error: object) -> Answer:
    return Answer(status, headers, orjson.dumps({"error": error}))


def expected_reason(status: int) -> str:
    match status:
        case 401 | 403:
            return "INVALID_API_KEY"
        case 404:
            return "WORKFLOW_NOT_FOUND"
        case 429:
            return "UPSTREAM_RATE_LIMITED"
        case _ if 400 <= status < 500:
            return "UPSTREAM_REJECTED"
    return "UPSTREAM_UNAVAILABLE"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b'{"error": "text"}', b'{"error": null}', b"{", b"\xff"],
)
def test_every_status_is_one_exception_of_the_contract(body: bytes) -> None:
    for status in range(300, 600):
        error = error_of(Answer(status, {}, body))
        assert isinstance(error, UpstreamError)
        assert error.reason == expected_reason(status), status


@pytest.mark.parametrize("code", ["insufficient_quota", "credit_balance_exhausted"])
@pytest.mark.parametrize("key", ["code", "type"])
def test_exhausted_quota_is_told_from_a_rate_limit(code: str, key: str) -> None:
    exhausted = answer(429, {"retry-after": "1"}, **{key: code})
    assert error_of(exhausted).reason == "UPSTREAM_QUOTA_EXHAUSTED"
    assert error_of(exhausted).retry_after_seconds is None
    assert not is_retryable(exhausted)
    # Only with 429 does it mean that.
    assert error_of(answer(500, {}, **{key: code})).reason == "UPSTREAM_UNAVAILABLE"
    assert error_of(answer(400, {}, **{key: code})).reason == "UPSTREAM_REJECTED"


@pytest.mark.parametrize("code", ["rate_limit_exceeded", None, "", 7, ["insufficient_quota"]])
def test_any_other_429_is_a_rate_limit(code: object) -> None:
    limited = answer(429, code=code, type="requests")
    assert error_of(limited).reason == "UPSTREAM_RATE_LIMITED"
    assert is_retryable(limited)


@pytest.mark.parametrize(
    ("status", "error", "cause"),
    [
        (401, {"code": "invalid_api_key", "message": "Incorrect API key provided"}, "rejected"),
        (401, {"code": None, "message": "You didn't provide an API key."}, "rejected"),
        (401, {}, "rejected"),
        (401, {"message": None}, "rejected"),
        (401, {"message": SCOPES}, "permission"),
        (401, {"message": "Missing scopes: x"}, "permission"),
        (403, {"message": SCOPES}, "permission"),
        (403, {}, "permission"),
    ],
)
def test_a_wrong_key_is_told_from_a_missing_permission(
    status: int, error: dict[str, object], cause: str
) -> None:
    refused = error_of(answer(status, {}, **error))
    assert (refused.reason, refused.metadata) == ("INVALID_API_KEY", {"cause": cause})
    assert not is_retryable(answer(status, {}, **error))


def test_what_openai_said_is_not_what_we_say() -> None:
    for status in (400, 401, 403, 404, 429, 500):
        told = error_of(answer(status, message="sk-proj-secret", code="sk-proj-secret"))
        assert "sk-proj" not in f"{told} {told.metadata}"


def test_only_what_may_pass_is_tried_again() -> None:
    retried = {status for status in range(200, 600) if is_retryable(answer(status))}
    assert retried == {408, 409, 429, *range(500, 600)}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "-1"}, 0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after-ms": "nan", "retry-after": "9"}, 9),
        ({"retry-after-ms": "inf", "retry-after": "9"}, 9),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 99 Foo 2026 00:00:00 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_what_openai_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert answer(429, headers).retry_after_seconds() == seconds


@pytest.mark.parametrize(
    "value",
    [
        "1e300",
        "99999999999999999999",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999",
        "Mon, 01 Jan 99999 00:00:00 GMT",
    ],
)
@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
def test_an_absurd_wait_is_none_or_one_that_a_protobuf_duration_holds(
    header: str, value: str
) -> None:
    seconds = answer(429, {header: value}).retry_after_seconds()
    assert seconds is None or 0 <= seconds <= 315_576_000_000


def test_a_date_to_wait_for_is_so_many_seconds_away() -> None:
    date = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    seconds = answer(429, {"retry-after": date}).retry_after_seconds()
    assert seconds is not None
    assert 60 < seconds <= 90


def test_a_rate_limit_always_says_how_long_to_wait() -> None:
    told = error_of(answer(429, {"retry-after-ms": "2500"}))
    assert isinstance(told, UpstreamRateLimited)
    assert told.retry_after_seconds == 2.5
    silent = error_of(answer(429)).retry_after_seconds
    assert silent is not None
    assert 0 < silent <= 60


def test_the_backoff_is_jittered_and_bounded() -> None:
    for retry, most in ((0, 0.5), (1, 1.0), (2, 2.0), (10, 8.0), (1000, 8.0)):
        waits = [backoff_seconds(retry) for _ in range(300)]
        assert all(0 <= wait <= most for wait in waits)
        assert max(waits) > most * 0.8
        assert min(waits) < most * 0.2
        assert math.isclose(sum(waits) / 300, most / 2, rel_tol=0.3)


def test_a_body_that_is_nested_too_deep_is_no_json() -> None:
    assert Answer(500, {}, b"[" * 1_000_000).json() is None
    assert Answer(500, {}, b'{"error":' * 100_000).error() == {}
