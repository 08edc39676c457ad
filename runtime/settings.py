"""Settings from the environment and `.env` (the environment wins), and what is wrong with them."""

import os
import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.log import LogFormat, LogLevel

S = TypeVar("S", bound="ProcessSettings")


BEARER_TOKEN = r"[A-Za-z0-9._~+/=-]{16,256}"
"""Of RFC 6750; shorter ones can be guessed."""

# By pydantic's type of error: its own words are for programmers.
_SENTENCES = {
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "greater_than": "must be a number above {gt:g}",
    "greater_than_equal": "must be a number, {ge:g} or more",
    "less_than": "must be a number below {lt:g}",
    "less_than_equal": "must be a number, {le:g} or less",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "string_too_short": "must not be empty",
    "too_short": "must have at least one entry",
}


def _host_and_port(value: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})", value, re.ASCII)
    if not match or int(match[2]) > 65535:
        raise ValueError("must be host:port, for example 127.0.0.1:8080")
    return value


def _collector(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError("must be an http:// or https:// address, such as http://127.0.0.1:4318")
    return value


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _bearer_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(BEARER_TOKEN, value.get_secret_value(), re.ASCII):
        raise ValueError(
            "must be 16 to 256 letters, digits and -._~+/= (openssl rand -hex 32 makes one)"
        )
    return value


HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
CommaSeparated = BeforeValidator(_split)
"""For a collection, together with pydantic-settings' NoDecode, which else expects JSON."""


class ProcessSettings(BaseSettings):
    """What every process has; an empty value counts as absent."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,  # a person reads them, see setting_descriptions
    )

    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = "info"
    """The least important lines that are logged."""
    log_format: Annotated[LogFormat | None, BeforeValidator(_lower)] = None
    """JSON lines or lines for people; without it `console` on a terminal, else `json`."""
    metrics_token: Annotated[SecretStr, AfterValidator(_bearer_token)] | None = None
    """What Prometheus has to send as bearer token, 16 characters or more; without it `/metrics` is
    there for the same machine alone."""
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(_collector)] | None = Field(
        default=None, examples=["http://127.0.0.1:4318"]
    )
    """Where traces go, by OTLP over HTTP; without it there are none. OpenTelemetry's other
    variables (`OTEL_…`) hold too."""


class BadSettings(Exception):
    """Some settings are wrong."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        """`problems` are names of settings and what is wrong with each: never its value."""
        super().__init__()
        self.problems = problems

    @property
    def lines(self) -> list[str]:
        return [f"{name}: {said}" if name else said for name, said in self.problems]


def read(settings: type[S]) -> S:
    """Reads settings. Raises BadSettings, which names every bad one."""
    try:
        return settings()
    except ValidationError as error:
        problems = [
            (name, f"{entry}{_sentence(problem)}")
            for problem in error.errors(include_input=False, include_url=False)
            for name, entry in (_name(problem["loc"]),)
        ]
    except UnicodeDecodeError:
        problems = [(".env", "is not a text file in UTF-8")]
    raise BadSettings(problems)


def load(settings: type[S], process: str) -> S:
    """Reads settings. Exits with one message that names every bad one and none of their values."""
    try:
        return read(settings)
    except BadSettings as error:
        problems = "".join(f"\n  {line}" for line in error.lines)
    raise SystemExit(
        f"{process} cannot start, please correct these settings"
        f" (docs/configuration.md, or --help):{problems}"
    )


def overridden(settings: type[ProcessSettings]) -> list[str]:
    """Returns the settings that `.env` has, too, but whose value is another in the environment."""
    file = settings.model_config["env_file"]
    assert isinstance(file, str)
    try:
        written = {name.upper(): value for name, value in dotenv_values(file).items()}
    except UnicodeDecodeError:  # that is said where it is read
        return []
    shell = {name.upper(): value.strip() for name, value in os.environ.items()}
    return [
        name
        for name in map(str.upper, settings.model_fields)
        if (value := (written.get(name) or "").strip()) and shell.get(name) not in (None, "", value)
    ]


def _name(location: tuple[int | str, ...]) -> tuple[str, str]:
    """Returns the setting and, of a comma-separated one, which entry: not what it says."""
    match location:
        case (str(name), int(index), *_):
            return name.upper(), f"entry {index + 1} "
        case (name, *_):
            return str(name).upper(), ""
    return "", ""


def _sentence(problem: ErrorDetails) -> str:
    sentence = _SENTENCES.get(problem["type"])
    if sentence is None:
        return problem["msg"].removeprefix("Value error, ")
    return sentence.format_map(problem.get("ctx", {})).replace("'", "")
