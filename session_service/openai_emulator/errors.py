"""How OpenAI's API words a refusal: its errors, and bodies checked against pydantic models.

The wording is OpenAI's wherever it is on record.
"""

from collections.abc import Iterable
from http.client import responses
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

JSON = dict[str, Any]


class APIError(Exception):
    """An answer of OpenAI's that is not 2xx."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}


def incorrect_key(key: str) -> APIError:
    message = (
        f"Incorrect API key provided: {masked(key)}. "
        "You can find your API key at https://platform.openai.com/account/api-keys."
    )
    return APIError(401, message, code="invalid_api_key")


def missing_scope(area: str = "chatkit") -> APIError:
    message = (
        f"You have insufficient permissions for this operation. Missing scopes: api.{area}.write. "
        "Check that you have the correct role in your organization (Reader, Writer, Owner) and "
        "project (Member, Owner), and if you're using a restricted API key, that it has the "
        "necessary scopes."
    )
    return APIError(403, message)


def not_found(kind: str, id: str, *, param: str | None = None) -> APIError:
    return APIError(404, f"{kind} with id '{id}' not found.", param=param)


def typical_error(status: int) -> APIError:
    """What OpenAI says with `status` when the request gives no reason for it."""
    match status:
        case 401:
            return incorrect_key("sk-proj-0000000000000000")
        case 403:
            return missing_scope()
        case 429:
            message = "Rate limit reached for requests. Please try again later."
            return APIError(429, message, type="requests", code="rate_limit_exceeded")
        case _ if status >= 500:
            message = "The server had an error while processing your request. Sorry about that!"
            return APIError(status, message, type="server_error")
        case _:
            return APIError(status, responses.get(status, "Unknown error"))


def masked(key: str) -> str:
    """`key` as OpenAI quotes it back: enough to recognise, too little to use."""
    return f"{key[:7]}****{key[-4:]}" if len(key) > 16 else f"{key[:3]}****"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _not_null(value: object) -> object:
    if value is None:
        raise PydanticCustomError("null", "expected a value")
    return value


class Nothing(Strict):
    """The body or query of an operation that takes none."""


T = TypeVar("T")
# The API tells a field that is left out, which has a default, from one that is null.
Omittable = Annotated[T | None, BeforeValidator(_not_null)]
NonEmpty = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]

Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], body: bytes) -> Model:
    """`body`, a JSON object, as a `model`; raises `APIError`."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise APIError(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you "
            "aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, "
            "but what was sent was not valid JSON.)",
        ) from error
    return validate(model, value)


def validate(model: type[Model], value: object, where: str = "") -> Model:
    """`value`, found at `where`, as a `model`; raises `APIError` for the first thing amiss."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False)[0], where) from error


def wrong_type(param: str, expected: str, value: object) -> APIError:
    message = (
        f"Invalid type for '{param}': expected {expected}, but got {_GOT[type(value)]} instead."
    )
    return APIError(400, message, param=param, code="invalid_type")


def unsupported_value(param: str, value: object, supported: Iterable[str]) -> APIError:
    names = ", ".join(f"'{name}'" for name in supported)
    message = f"Invalid value: '{value}'. Supported values are: {names}."
    return APIError(400, message, param=param, code="invalid_value")


def missing_parameter(param: str) -> APIError:
    message = f"Missing required parameter: '{param}'."
    return APIError(400, message, param=param, code="missing_required_parameter")


# By pydantic's type of error: OpenAI's code and wording.
_REFUSALS = {
    "extra_forbidden": ("unknown_parameter", "Unknown parameter: '{param}'."),
    "missing": ("missing_required_parameter", "Missing required parameter: '{param}'."),
    "null": ("invalid_type", "Invalid type for '{param}': {msg}, but got null instead."),
    "string_too_short": (
        "empty_string",
        "Invalid '{param}': empty string. Expected a string with minimum length {min_length}.",
    ),
    "string_too_long": (
        "string_above_max_length",
        "Invalid '{param}': string too long. Expected a string with maximum length {max_length}.",
    ),
    "too_long": (
        "object_above_max_properties",
        "Invalid '{param}': object with too many properties. Expected an object with at most "
        "{max_length} properties, but got an object with {actual_length} properties instead.",
    ),
    "greater_than_equal": (
        "integer_below_min_value",
        "Invalid '{param}': integer below minimum value. Expected a value >= {ge}, "
        "but got {input} instead.",
    ),
    "less_than_equal": (
        "integer_above_max_value",
        "Invalid '{param}': integer above maximum value. Expected a value <= {le}, "
        "but got {input} instead.",
    ),
    "literal_error": (
        "invalid_value",
        "Invalid value: '{input}'. Supported values are: {expected}.",
    ),
    "string_pattern_mismatch": (
        "invalid_value",
        "Invalid '{param}': '{input}'. Expected {pattern}.",
    ),
}
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "bool_type": "a boolean",
    "dict_type": "an object",
    "list_type": "an array",
    "model_type": "an object",
    "state_value_type": "one of a string, a number or a boolean",
}
_GOT = {
    str: "a string",
    int: "an integer",
    float: "a decimal number",
    bool: "a boolean",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


def _refusal(error: ErrorDetails, where: str) -> APIError:
    # pydantic marks an error in a key of a map by a last element "[key]".
    path = [part for part in error["loc"] if part != "[key]"]
    param = where
    for part in path:
        param += f"[{part}]" if isinstance(part, int) else f".{part}" if param else str(part)
    if expected := _EXPECTED.get(error["type"]):
        return wrong_type(param or "body", expected, error["input"])
    code, wording = _REFUSALS.get(error["type"], ("invalid_value", "Invalid '{param}': {msg}."))
    known = {"param": param or "body", "msg": error["msg"], "input": error["input"]}
    known |= error.get("ctx", {})
    if "pattern" in known:
        prefix = known["pattern"].removeprefix("^")
        is_prefix = prefix.replace("_", "").isalnum()
        known["pattern"] = (
            f"an ID that begins with '{prefix}'"
            if is_prefix
            else f"a string that matches the pattern '{known['pattern']}'"
        )
    if isinstance(known.get("ge", known.get("le")), float):
        code, wording = code.replace("integer", "decimal"), wording.replace("integer", "decimal")
    return APIError(400, wording.format_map(known), param=param or None, code=code)
