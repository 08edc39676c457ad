"""What OpenAI's ChatKit API accepts and what it fills in.

Fields and defaults are those of the official SDK (`openai.types.beta.chatkit`).
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from session_service.openai_emulator.errors import NonEmpty, Omittable, Positive, Strict


def _state_value(value: object) -> object:
    # Not a union of types: pydantic would report one error for each of its members.
    if not isinstance(value, str | int | float):
        raise PydanticCustomError("state_value_type", "expected a string, a number or a boolean")
    return value


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


class ListQuery(BaseModel):
    # Not strict: everything in a query string is text.
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class ThreadListQuery(ListQuery):
    user: str | None = None
