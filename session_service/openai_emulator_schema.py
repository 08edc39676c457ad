"""What OpenAI's ChatKit API accepts, what it fills in, and how it words a refusal.

Fields and defaults are those of the official SDK (`openai.types.beta.chatkit`), the wording of
the errors is OpenAI's wherever it is on record.
"""

from http.client import responses
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
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


def missing_scope() -> APIError:
    message = (
        "You have insufficient permissions for this operation. Missing scopes: api.chatkit.write. "
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


def _state_value(value: object) -> object:
    # Not a union of types: pydantic would report one error for each of its members.
    if not isinstance(value, str | int | float):
        raise PydanticCustomError("state_value_type", "expected a string, a number or a boolean")
    return value


T = TypeVar("T")
# The API tells a field that is left out, which has a default, from one that is null.
Omittable = Annotated[T | None, BeforeValidator(_not_null)]
NonEmpty = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]
StateKey = Annotated[str, Field(max_length=64)]
StateValue = Annotated[Any, AfterValidator(_state_value)]


class Toggle(Strict):
    enabled: bool = True


class FileUpload(Strict):
    enabled: bool = False
    max_file_size: Annotated[int, Field(ge=1, le=512)] = 512
    max_files: Positive = 10


class History(Strict):
    enabled: bool = True
    recent_threads: Omittable[Positive] = None


class Configuration(Strict):
    automatic_thread_titling: Toggle = Toggle()
    file_upload: FileUpload = FileUpload()
    history: History = History()


class Workflow(Strict):
    id: Annotated[str, Field(pattern="^wf_")]
    state_variables: Omittable[Annotated[dict[StateKey, StateValue], Field(max_length=64)]] = None
    tracing: Toggle = Toggle()
    version: Omittable[NonEmpty] = None


class ExpiresAfter(Strict):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=1, le=600)]


class RateLimits(Strict):
    max_requests_per_1_minute: Positive = 10


class SessionRequest(Strict):
    """The body of `sessions.create`; dumped, it is the resolved part of the answer."""

    user: NonEmpty
    workflow: Workflow
    chatkit_configuration: Configuration = Configuration()
    expires_after: ExpiresAfter = ExpiresAfter(anchor="created_at", seconds=600)
    rate_limits: RateLimits = RateLimits()


class Nothing(Strict):
    """The body or query of an operation that takes none."""


class ListQuery(BaseModel):
    # Not strict: everything in a query string is text.
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class ThreadListQuery(ListQuery):
    user: str | None = None


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


def validate(model: type[Model], value: object) -> Model:
    """`value` as a `model`; raises `APIError` for the first thing that is wrong with it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False)[0]) from error


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
        "Invalid '{param}': '{input}'. Expected an ID that begins with 'wf_'.",
    ),
}
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "bool_type": "a boolean",
    "dict_type": "an object",
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


def _refusal(error: ErrorDetails) -> APIError:
    # pydantic marks an error in a key of a map by a last element "[key]".
    path = [str(part) for part in error["loc"] if part != "[key]"]
    param = ".".join(path) or "body"
    if expected := _EXPECTED.get(error["type"]):
        code, got = "invalid_type", _GOT[type(error["input"])]
        message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    else:
        code, wording = _REFUSALS.get(error["type"], ("invalid_value", "Invalid '{param}': {msg}."))
        known = {"param": param, "msg": error["msg"], "input": error["input"]}
        message = wording.format_map(known | error.get("ctx", {}))
    return APIError(400, message, param=".".join(path) or None, code=code)
