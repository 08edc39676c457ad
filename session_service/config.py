"""The settings of the session service, from the environment and `.env` (the environment wins)."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from session_service.log import LogFormat, LogLevel

Tool = Literal["search", "file_upload", "code_interpreter"]


def _host_and_port(value: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})", value, re.ASCII)
    if not match or int(match[2]) > 65535:
        raise ValueError("must be host:port, for example 127.0.0.1:50051")
    return value


def _sqlite_url(value: str) -> str:
    if not value.startswith("sqlite:///") or value.removeprefix("sqlite:///") in ("", ":memory:"):
        raise ValueError("must be sqlite:///path/to/file.db (sqlite://// begins an absolute path)")
    return value


def _http_url(value: str) -> str:
    if not re.match(r"https?://[^/\s]+", value):
        raise ValueError("must be an http:// or https:// address")
    return value.rstrip("/")


def _comma_separated(value: object) -> object:
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """What README.md documents under "Configuration"; an empty value counts as absent."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        str_strip_whitespace=True,
    )

    openai_api_key: SecretStr | None = None
    openai_chatkit_workflow_id: str | None = None
    openai_base_url: Annotated[str, AfterValidator(_http_url)] = "https://api.openai.com/v1"
    chatkit_mode: Literal["hosted"] = "hosted"
    session_service_listen: Annotated[str, AfterValidator(_host_and_port)] = "127.0.0.1:50051"
    database_url: Annotated[str, AfterValidator(_sqlite_url)] = "sqlite:///data/chatkit.db"
    chatkit_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    chatkit_tools: Annotated[frozenset[Tool], NoDecode, BeforeValidator(_comma_separated)] = (
        frozenset(("search", "file_upload", "code_interpreter"))
    )
    chatkit_usage_sync_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60
    chatkit_sessions_per_minute: Annotated[int, Field(ge=0)] = 30
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = "info"
    log_format: Annotated[LogFormat | None, BeforeValidator(_lower)] = None
    """None is `console` on a terminal, else `json`."""

    # These two belong to the workflow: in hosted mode it holds them itself, at OpenAI. They are
    # read here so that a mistake in them is found at start, whatever the mode.
    chatkit_max_messages: Annotated[int, Field(ge=1)] = 100
    chatkit_system_message: str | None = None


def load_settings() -> Settings:
    """Reads the settings.

    Exits with one message that names every bad one and none of their values.
    """
    try:
        return Settings()
    except ValidationError as error:
        # A value may be a secret: say which setting and what is wrong, never what it was.
        problems = "\n".join(
            f"  {str(problem['loc'][0]).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SystemExit(
            "session_service cannot start, please correct these settings"
            f" (README.md, Configuration):\n{problems}"
        ) from None
