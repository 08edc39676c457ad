"""What OpenAI's SDKs raise, as errors of ours."""

import json

import agents
import httpx2
import openai
import pytest
from agents.exceptions import ModelTimeoutError, ToolTimeoutError

from session_service import errors
from session_service.conversation.openai_failures import failure_of, problem_of

REQUEST = httpx2.Request("POST", "https://api.openai.com/v1/responses")
KEY = "sk-secret"


def answered(
    status: int, headers: dict[str, str] | None = None, **error: object
) -> openai.APIStatusError:
    """What the SDK makes of an answer."""
    response = httpx2.Response(status, headers=headers, json={"error": error}, request=REQUEST)
    client = openai.OpenAI(api_key=KEY)
    with client:
        return client._make_status_error_from_response(response)


def in_mid_answer(**error: object) -> openai.APIError:
    return openai.APIError("An error occurred", REQUEST, body=error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answered(400), errors.UpstreamRejected),
        (answered(401, code="invalid_api_key"), errors.InvalidAPIKey),
        (answered(403), errors.InvalidAPIKey),
        (answered(404, code="model_not_found"), errors.UpstreamRejected),
        (answered(422), errors.UpstreamRejected),
        (answered(429), errors.UpstreamRateLimited),
        (answered(429, code="insufficient_quota"), errors.UpstreamQuotaExhausted),
        (answered(500), errors.UpstreamUnavailable),
        (answered(503), errors.UpstreamUnavailable),
        (openai.APITimeoutError(REQUEST), errors.UpstreamTimeout),
        (openai.APIConnectionError(request=REQUEST), errors.UpstreamUnavailable),
        (
            openai.APIResponseValidationError(httpx2.Response(200, request=REQUEST), None),
            errors.UpstreamUnavailable,
        ),
        (in_mid_answer(), errors.UpstreamUnavailable),
        (in_mid_answer(code="server_error"), errors.UpstreamUnavailable),
        (in_mid_answer(code="rate_limit_exceeded"), errors.UpstreamRateLimited),
        (in_mid_answer(code="tokens", type="rate_limit_error"), errors.UpstreamRateLimited),
        (in_mid_answer(type="insufficient_quota"), errors.UpstreamQuotaExhausted),
        (in_mid_answer(code="context_length_exceeded"), errors.UpstreamRejected),
        (in_mid_answer(code="x", type="invalid_request_error"), errors.UpstreamRejected),
        (in_mid_answer(code="invalid_api_key"), errors.InvalidAPIKey),
        (openai.OpenAIError("The api_key client option must be set"), errors.UpstreamUnavailable),
        (json.JSONDecodeError("cut off", "{", 1), errors.UpstreamUnavailable),
        (ModelTimeoutError(1), errors.UpstreamTimeout),
        (ToolTimeoutError("search", 1), errors.UpstreamTimeout),
        (agents.ModelBehaviorError("no such tool"), errors.UpstreamUnavailable),
        (agents.MaxTurnsExceeded("10"), errors.UpstreamUnavailable),
        (agents.ModelRefusalError("no"), errors.UpstreamRejected),
        (errors.AttachmentNotFound(), errors.AttachmentNotFound),
    ],
    ids=repr,
)
def test_every_failure_of_openai_is_one_of_ours(
    error: Exception, expected: type[errors.ServiceError]
) -> None:
    assert type(failure_of(error)) is expected


@pytest.mark.parametrize("error", [agents.UserError("no such tool"), ValueError(), KeyError("a")])
def test_a_defect_stays_one(error: Exception) -> None:
    assert failure_of(error) is None


def test_what_an_exception_was_raised_from_counts() -> None:
    error = agents.UserError("the tool failed")
    error.__cause__ = openai.APITimeoutError(REQUEST)
    assert isinstance(failure_of(error), errors.UpstreamTimeout)


def test_how_long_openai_asks_to_wait_is_kept() -> None:
    failure = failure_of(answered(429, {"retry-after-ms": "1500"}))
    assert failure is not None
    assert failure.retry_after_seconds == 1.5


def test_an_answer_that_was_closed_unread_has_a_status_all_the_same() -> None:
    class Unread(httpx2.SyncByteStream):
        pass

    response = httpx2.Response(429, stream=Unread(), request=REQUEST)
    response.close()
    error = openai.RateLimitError("", response=response, body=None)
    assert isinstance(failure_of(error), errors.UpstreamRateLimited)


def test_the_log_says_why_but_never_the_key() -> None:
    wrong = answered(401, {"x-request-id": "req_1"}, message=f"Incorrect API key: {KEY}", code="x")
    assert KEY not in str(problem_of(wrong))
    assert problem_of(wrong)["upstream_request_id"] == "req_1"
    assert KEY not in str(problem_of(in_mid_answer(code="invalid_api_key", message=KEY)))
    said = problem_of(answered(400, message="Too many pages", type="invalid_request_error"))
    assert said == {
        "error": "BadRequestError",
        "type": "invalid_request_error",
        "status": 400,
        "message": "Error code: 400 - Too many pages",
    }
    assert problem_of(ValueError(KEY)) == {"error": "ValueError"}
