"""What the exceptions of OpenAI's SDKs mean: each is one of ours, or a defect."""

import contextlib
import json
from collections.abc import Iterator

import agents
import httpx2
import openai
from agents.exceptions import ModelTimeoutError, ToolTimeoutError

from runtime.hops import Attribute, Hop
from session_service.errors import (
    ServiceError,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
    WorkflowNotFound,
)
from session_service.openai_errors import Answer, error_of
from session_service.retries import AttemptFailed, failed_with

_MAX_LOGGED_CHARACTERS = 300

# Errors in mid-answer have no status, but a code or a type:
# https://platform.openai.com/docs/api-reference/responses-streaming/error
_STATUS_OF_CODE = {
    "insufficient_quota": 429,
    "credit_balance_exhausted": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "tokens": 429,
    "requests": 429,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
}


def failure_of(error: Exception) -> ServiceError | None:
    """Returns what a call of OpenAI's SDKs failed with; None where that is a defect of ours."""
    match error:
        case ServiceError():
            return error
        case openai.APIStatusError():
            return _of_answer(answer_of(error))
        case openai.APITimeoutError() | ModelTimeoutError() | ToolTimeoutError():
            return UpstreamTimeout()
        case openai.APIConnectionError() | openai.APIResponseValidationError():
            return UpstreamUnavailable()
        case openai.APIError():
            return _of_code(error)
        case agents.ModelRefusalError():
            return UpstreamRejected()
        case agents.ModelBehaviorError() | agents.MaxTurnsExceeded():
            return UpstreamUnavailable()
        case openai.OpenAIError() | json.JSONDecodeError() | UnicodeDecodeError():
            return UpstreamUnavailable()
    # The Agents SDK has exceptions of its own around some: of what an agent ran as a tool, say.
    cause = error.__cause__
    return failure_of(cause) if isinstance(cause, Exception) else None


@contextlib.contextmanager
def asking(operation: str, attributes: dict[str, Attribute]) -> Iterator[Hop]:
    """Makes a hop of the block, which fails for our reason where it does so with their exception.

    `attributes` are those of OpenTelemetry's conventions for what is asked.
    """
    with Hop("upstream", operation, attributes) as hop:
        try:
            yield hop
        except Exception as error:
            if failure := failure_of(error):
                hop.error = failure.reason
            raise


@contextlib.contextmanager
def attempt_failures() -> Iterator[None]:
    """Raises AttemptFailed for what an attempt by the SDK fails with."""
    try:
        yield
    except openai.APIStatusError as error:
        raise failed_with(answer_of(error), error) from None
    except openai.APITimeoutError as error:  # it has waited for as long as there is time
        raise AttemptFailed(error, is_alive=False) from None
    except openai.APIConnectionError as error:
        if isinstance(error.__cause__, httpx2.ReadError | httpx2.RemoteProtocolError):
            raise AttemptFailed(error) from None  # an answer, of which only its end is missing
        raise AttemptFailed(error, is_alive=False, is_retryable=True) from None
    except openai.APIError as error:
        raise AttemptFailed(error) from None


def problem_of(error: Exception) -> dict[str, object]:
    """Returns what is to be logged of it: never the key, which OpenAI quotes when it is wrong."""
    said: dict[str, object] = {"error": type(error).__name__}
    if isinstance(error, openai.APIError):
        said |= {"type": error.type, "code": error.code, "param": error.param}
        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        if isinstance(error, openai.APIStatusError):
            said |= {"status": status, "upstream_request_id": error.request_id}
        if status not in (401, 403) and _STATUS_OF_CODE.get(str(error.code)) != 401:
            said["message"] = error.message[:_MAX_LOGGED_CHARACTERS]
    elif isinstance(error, agents.AgentsException):
        said["message"] = str(error)[:_MAX_LOGGED_CHARACTERS]
    return {key: value for key, value in said.items() if value is not None}


def answer_of(error: openai.APIStatusError) -> Answer:
    """Returns what OpenAI has answered."""
    response = error.response
    # One that was closed before it was read has no body to ask for.
    body = response.content if response.is_stream_consumed else b""
    return Answer(response.status_code, response.headers, body)


def _of_answer(answer: Answer) -> UpstreamError:
    failure = error_of(answer)
    # There is no workflow here that could be missing: it is the model, or a file.
    return UpstreamRejected() if isinstance(failure, WorkflowNotFound) else failure


def _of_code(error: openai.APIError) -> UpstreamError:
    body = json.dumps({"error": {"code": error.code, "type": error.type}}).encode()
    for said in (error.code, error.type):
        if status := _STATUS_OF_CODE.get(str(said)):
            return _of_answer(Answer(status, {}, body))
    return UpstreamUnavailable()
