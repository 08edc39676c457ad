"""Every reason of the contract has its status and its texts; nothing is forgotten."""

from collections.abc import Sequence

import grpc
import orjson
import pytest
from grpc.aio import AioRpcError, Metadata

from gateway.errors import (
    HTTP_STATUS_CODES,
    RETRYABLE,
    STATUS_CODES,
    APIError,
    error_response,
    from_conversation_rpc,
    from_rpc,
)
from gateway.texts import TEXTS, Language, text_of
from protos.chatkit.v1.errors import REASONS as WIRE_REASONS
from protos.chatkit.v1.errors import ErrorDetails, to_status
from tests.gateway_support import DOCUMENTED_ERRORS, REASONS

LANGUAGES: Sequence[Language] = ("es", "en")
HTTP_CODES = {
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
}
"""What the contract says of HTTP's own codes."""


def rpc_error(reason: str, **details: object) -> AioRpcError:
    """What grpc.aio raises for a call that the session service refuses."""
    status = to_status(REASONS[reason][1], "in English", ErrorDetails(reason, **details))  # type: ignore[arg-type]
    return AioRpcError(
        status.code,
        initial_metadata=Metadata(),
        trailing_metadata=Metadata(*status.trailing_metadata),
        details=status.details,
    )


def test_the_table_is_the_contracts() -> None:
    assert {reason: status for reason, (status, _) in REASONS.items()} == STATUS_CODES
    assert HTTP_STATUS_CODES == HTTP_CODES


def test_no_reason_of_the_wire_is_forgotten() -> None:
    assert STATUS_CODES.keys() == WIRE_REASONS


def test_only_our_own_refusal_of_a_token_is_401() -> None:
    assert [reason for reason, status in STATUS_CODES.items() if status == 401] == [
        "UNAUTHENTICATED"
    ]


@pytest.mark.parametrize("reason", [*REASONS, *HTTP_CODES])
def test_each_reason_has_texts_in_both_languages(reason: str) -> None:
    spanish, english = (text_of(reason, None, language) for language in LANGUAGES)
    assert all((spanish.error, spanish.hint, english.error, english.hint))
    assert spanish.hint != english.hint
    assert (spanish.error == english.error) is (reason in DOCUMENTED_ERRORS)


def test_each_text_belongs_to_a_reason() -> None:
    assert {key.partition(".")[0] for key in TEXTS} == REASONS.keys() | HTTP_CODES.keys()


@pytest.mark.parametrize("key", [key for key in TEXTS if key.split(".")[0] in DOCUMENTED_ERRORS])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_documented_errors_keep_their_english_name(key: str, language: Language) -> None:
    reason, _, detail = key.partition(".")
    assert text_of(reason, detail, language).error == DOCUMENTED_ERRORS[reason]


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("user_id", "userId"),
        ("session_id", "sessionId"),
        ("client_secret", "existingSecret"),
        ("days", "days"),
        ("request", "request"),
        ("name", "file"),
        ("mime_type", "file"),
        ("size", "file"),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_field_is_named_as_the_dashboard_names_it(
    field: str, named: str, language: Language
) -> None:
    error = from_rpc(rpc_error("INVALID_ARGUMENT", field_violations={field: "is wrong"}))
    text = text_of(error.reason, error.detail, language)
    assert named in text.error
    assert text != text_of("INVALID_ARGUMENT", None, language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_field_that_the_dashboard_does_not_know_has_a_text_too(language: Language) -> None:
    violations = {"state_variables": "too many"}
    error = from_rpc(rpc_error("INVALID_ARGUMENT", field_violations=violations))
    assert text_of(error.reason, error.detail, language).error


@pytest.mark.parametrize(
    ("reason", "causes"),
    [
        ("WORKFLOW_NOT_CONFIGURED", ["missing", "malformed"]),
        ("INVALID_API_KEY", ["missing", "rejected", "permission"]),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_cause_has_its_own_remedy(
    reason: str, causes: Sequence[str], language: Language
) -> None:
    hints = set()
    for cause in causes:
        error = from_rpc(rpc_error(reason, metadata={"cause": cause}))
        hints.add(text_of(error.reason, error.detail, language).hint)
    assert len(hints) == len(causes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_that_the_gateway_is_not_known_is_not_that_the_user_is_not(language: Language) -> None:
    refused = rpc_error("UNAUTHENTICATED", metadata={"cause": "service_token"})
    for error in (from_rpc(refused), from_conversation_rpc(refused)):
        assert (error.reason, error.status_code) == ("UNAVAILABLE", 503)
        assert "WWW-Authenticate" not in error.headers
        assert "SESSION_SERVICE_TOKEN" in text_of(error.reason, error.detail, language).hint


def test_when_to_try_again_is_passed_on() -> None:
    error = from_rpc(rpc_error("RATE_LIMITED", retry_after_seconds=12.3))
    assert error.headers["Retry-After"] == "13"
    assert "Retry-After" not in from_rpc(rpc_error("RATE_LIMITED")).headers


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
@pytest.mark.parametrize("trailing", [(), (("grpc-status-details-bin", b"\xff\xff"),)])
def test_without_details_of_ours_the_code_is_all_there_is(
    code: grpc.StatusCode, trailing: Sequence[tuple[str, bytes]]
) -> None:
    metadata = Metadata(*trailing)
    error = from_rpc(AioRpcError(code, Metadata(), metadata, details="not for anybody"))
    expected = {
        "UNAVAILABLE": "UNAVAILABLE",
        "CANCELLED": "UNAVAILABLE",
        "DEADLINE_EXCEEDED": "UPSTREAM_TIMEOUT",
    }
    assert error.reason == expected.get(code.name, "INTERNAL")
    assert ("Retry-After" in error.headers) is (error.reason == "UNAVAILABLE")


def test_every_reason_says_whether_the_chat_may_try_again() -> None:
    assert RETRYABLE.keys() == STATUS_CODES.keys() | {"NOT_FOUND"}
    assert {reason for reason, retryable in RETRYABLE.items() if retryable} == {
        "UPSTREAM_TIMEOUT",
        "UPSTREAM_UNAVAILABLE",
        "UPSTREAM_RATE_LIMITED",
        "RATE_LIMITED",
        "UNAVAILABLE",
        "INTERNAL",
    }


@pytest.mark.parametrize("reason", ["UNAUTHENTICATED", "SESSION_DELETED", "RATE_LIMITED"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_means_something_else_to_the_chat_has_a_text_for_it(
    reason: str, language: Language
) -> None:
    dashboards, chats = (
        text_of(error.reason, error.detail, language)
        for error in (from_rpc(rpc_error(reason)), from_conversation_rpc(rpc_error(reason)))
    )
    assert (dashboards.error, dashboards.hint) != (chats.error, chats.hint)


def test_the_cause_that_the_service_names_wins() -> None:
    error = from_conversation_rpc(rpc_error("RATE_LIMITED", metadata={"cause": "tokens"}))
    assert error.detail == "tokens"


def test_only_a_call_that_does_not_exist_means_hosted_mode() -> None:
    def failed(code: grpc.StatusCode, *trailing: tuple[str, str | bytes]) -> APIError:
        return from_conversation_rpc(AioRpcError(code, Metadata(), Metadata(*trailing)))

    missing = failed(grpc.StatusCode.UNIMPLEMENTED)
    assert (missing.reason, missing.detail) == ("NOT_FOUND", "chatkit")
    assert failed(grpc.StatusCode.INTERNAL).reason == "INTERNAL"
    assert failed(grpc.StatusCode.CANCELLED).reason == "UNAVAILABLE"


def test_the_envelope_is_the_contracts() -> None:
    response = error_response(APIError("SESSION_NOT_FOUND"), "the-id", "en")
    assert response.status_code == 404
    assert response.media_type == "application/json"
    assert orjson.loads(response.body) == {
        "success": False,
        "error": TEXTS["SESSION_NOT_FOUND"].en.error,
        "code": "SESSION_NOT_FOUND",
        "hint": TEXTS["SESSION_NOT_FOUND"].en.hint,
        "requestId": "the-id",
    }
