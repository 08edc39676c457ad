"""The OpenAPI document is valid, complete, and says what the code does."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from gateway import messages
from gateway.documentation import examples
from gateway.documentation.openapi import openapi_document
from gateway.errors import HTTP_STATUS_CODES, STATUS_CODES
from gateway.routes import ROUTES
from gateway.texts import TEXTS, Language, language_of
from protos.chatkit.v1 import session_service_pb2 as pb

DOCUMENT = openapi_document()
SCHEMAS = DOCUMENT["components"]["schemas"]
ALL_STATUS_CODES = STATUS_CODES | HTTP_STATUS_CODES


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def error_responses() -> Iterator[tuple[str, dict[str, Any]]]:
    for _, _, operation in operations():
        yield from ((s, r) for s, r in operation["responses"].items() if s != "200")
    for response in DOCUMENT["components"]["responses"].values():
        (example, *_) = response["content"]["application/json"]["examples"].values()
        yield str(ALL_STATUS_CODES[example["value"]["code"]]), response


def bodies() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yields every schema of a body beside each of its examples."""
    found = [body for _, _, operation in operations() for body in _bodies_of(operation)]
    for body in [*found, *DOCUMENT["components"]["responses"].values()]:
        for media in body["content"].values():
            for name, example in media.get("examples", {}).items():
                yield name, media["schema"], example["value"]


def _bodies_of(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "requestBody" in operation:
        yield operation["requestBody"]
    yield from operation["responses"].values()


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


def schema(name: str) -> Draft202012Validator:
    return validator({"$ref": f"#/components/schemas/{name}"})


@pytest.mark.parametrize("language", ["es", "en"])
def test_the_document_is_valid_openapi(language: Language) -> None:
    OpenAPIV31SpecValidator(openapi_document(language, language)).validate()


def test_the_document_has_every_route_and_no_other() -> None:
    served = {
        (method, re.sub(r"_id\}", "Id}", route.path))
        for route in ROUTES
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(method, path) for method, path, _ in operations()} == served


def test_every_code_is_documented_under_its_status() -> None:
    documented: set[str] = set()
    for status, response in error_responses():
        codes = response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["code"]
        assert {ALL_STATUS_CODES[code] for code in codes["enum"]} == {int(status)}
        documented.update(codes["enum"])
    assert documented == set(ALL_STATUS_CODES)
    assert SCHEMAS["ErrorCode"]["enum"] == [*ALL_STATUS_CODES]


def test_every_text_is_an_example_in_spanish() -> None:
    shown = {
        name: example["value"]
        for _, response in error_responses()
        for name, example in response["content"]["application/json"]["examples"].items()
    }
    # The one text that stands in where a field has none of its own.
    assert shown.keys() == TEXTS.keys() - {"INVALID_ARGUMENT"}
    for name, body in shown.items():
        assert (body["error"], body["hint"]) == (TEXTS[name].es.error, TEXTS[name].es.hint)


def test_whatever_can_carry_retry_after_says_so() -> None:
    for _, response in error_responses():
        codes = response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["code"]
        retryable = {"RATE_LIMITED", "UPSTREAM_RATE_LIMITED", "UPSTREAM_UNAVAILABLE", "UNAVAILABLE"}
        expected = not retryable.isdisjoint(codes["enum"])
        assert ("Retry-After" in response["headers"]) == expected


def test_only_what_needs_a_token_asks_for_one() -> None:
    public = {path for _, path, operation in operations() if operation.get("security") == []}
    by_link = "/api/chatkit/attachments/{attachmentId}"
    assert public == {
        "/healthz",
        "/readyz",
        "/chatkit-client.js",
        "/chatkit-client.d.ts",
        "/openapi.json",
        "/docs",
        "/",
        "/console/{file}",
        by_link,
    }
    by_secret = {path for _, path, operation in operations() if operation.get("security")}
    assert by_secret == {"/api/chatkit", "/api/chatkit/attachments", "/metrics"}
    for _, path, operation in operations():
        # To nobody who reads metrics a dashboard could say that their login has expired.
        assert ("401" in operation["responses"]) == (path not in public | {"/metrics"})


@pytest.mark.parametrize(
    ("body_schema", "example"),
    [pytest.param(schema, example, id=name) for name, schema, example in bodies()],
)
def test_every_example_satisfies_its_schema(body_schema: dict[str, Any], example: object) -> None:
    validator(body_schema).validate(example)


def test_the_examples_of_parameters_and_headers_satisfy_their_schemas() -> None:
    parameters = [p for _, _, operation in operations() for p in operation["parameters"]]
    components = DOCUMENT["components"]
    declared = [*components["parameters"].values(), *components["headers"].values()]
    for item in [*(p for p in parameters if "$ref" not in p), *declared]:
        validator(item["schema"]).validate(item["example"])


@pytest.mark.parametrize("user_id", [7, "7", -1, 2**63, "auth0|5f7c", "ñ", "x" * 256, None])
def test_a_user_id_may_be(user_id: object) -> None:
    assert schema("CreateSessionRequest").is_valid({"userId": user_id})


@pytest.mark.parametrize("user_id", [True, {}, [], 7.5, "", "x" * 257, "a\0", "a\u00ad"])
def test_a_user_id_may_not_be(user_id: object) -> None:
    assert not schema("CreateSessionRequest").is_valid({"userId": user_id})


def test_requests_tolerate_other_fields() -> None:
    assert schema("CreateSessionRequest").is_valid({"locale": "es", "userContext": {"x": 1}})
    assert schema("RefreshSessionRequest").is_valid({"existingSecret": "ek_1", "x": None})


def test_a_refresh_takes_either_name_of_the_secret_but_not_none() -> None:
    assert schema("RefreshSessionRequest").is_valid({"currentClientSecret": "ek_1"})
    both = {"existingSecret": None, "currentClientSecret": "ek_1"}
    assert schema("RefreshSessionRequest").is_valid(both)
    for wrong in ({"userId": 7}, {"existingSecret": ""}, {**both, "existingSecret": 0}):
        assert not schema("RefreshSessionRequest").is_valid(wrong)


def test_the_schemas_are_what_the_gateway_answers() -> None:
    session = pb.Session(
        status=pb.SESSION_STATUS_REFRESHED, refreshed_from="cksess_1", refreshed_to="cksess_2"
    )
    session.deleted_at.GetCurrentTime()
    stats = pb.GetStatsResponse(daily=[pb.DailyStats(date="2026-11-22")])
    for name, answer in (
        ("IssuedSession", messages.issued(pb.CreateSessionResponse(client_secret="ek_1"))),
        ("Session", messages.session(session)),
        ("Stats", messages.stats(stats)),
    ):
        assert list(SCHEMAS[name]["properties"]) == list(answer)
        schema(name).validate(answer)
    (day,) = messages.stats(stats)["daily"]
    assert list(SCHEMAS["DailyStats"]["properties"]) == list(day)
    stats.last_activity.GetCurrentTime()
    for counted in (stats, stats.daily[0]):
        counted.answer_time.p95_seconds = 2.5
        counted.failures_by_reason["INTERNAL"] = 1
    schema("Stats").validate(messages.stats(stats))


def test_every_day_of_the_examples_has_all_that_a_day_has() -> None:
    for example in (examples.STATS, examples.NEW_STATS):
        assert list(example) == list(SCHEMAS["Stats"]["properties"])
        for day in example["daily"]:
            assert list(day) == list(SCHEMAS["DailyStats"]["properties"])


def test_the_example_of_a_create_is_the_dashboards_real_request() -> None:
    assert examples.DASHBOARD_REQUEST["userContext"]["permissions"]["ticketControl"] is True
    request = messages.create_session_request("7", examples.DASHBOARD_REQUEST)
    assert len(request.state_variables) == 10


def test_a_document_has_the_languages_that_were_asked_for() -> None:
    assert language_of(None) == "es"
    document = openapi_document("es", "en")
    operation = document["paths"]["/api/chatkit/session"]["post"]
    assert operation["summary"] == "Crear una sesión"
    example = operation["responses"]["401"]["content"]["application/json"]["examples"]
    assert example["UNAUTHENTICATED"]["value"]["error"] == TEXTS["UNAUTHENTICATED"].en.error
