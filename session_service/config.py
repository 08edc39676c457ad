"""The settings of the session service; README.md documents them under "Configuration"."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode

from runtime.settings import CommaSeparated, HostAndPort, ProcessSettings, load
from runtime.transport import (
    IN_THE_CLEAR,
    AuthoritiesFile,
    CertificateFile,
    Tokens,
    check_pair,
    is_loopback,
)
from session_service.stores.base import Mode

METRICS_OFF = "off"

Tool = Literal["search", "file_upload", "code_interpreter"]


# Strict, as a log would not know as a password what is not escaped as it must be.
_POSTGRES_URL = re.compile(
    r"""postgres(?:ql)?://
    (?:[^\s@/?\#"'<>]*@)?                                              # user:password
    (?:(?:\[[0-9A-Fa-f:.]+\]|[\w.%-]+)(?::\d{1,5})?(?:,(?!/)|(?=/)))*  # hosts
    /[^\s@/?\#"'<>]+                                                   # database
    (?:\?[^\s@?\#"'<>]*)?                                              # options
    """,
    re.VERBOSE,
)


def _database_url(value: str) -> str:
    if value.startswith("sqlite:///"):
        if value.removeprefix("sqlite:///") in ("", ":memory:"):
            raise ValueError("must name a file: sqlite:///path/to/file.db")
    elif value.startswith(("postgres://", "postgresql://")):
        if not _POSTGRES_URL.fullmatch(value):
            raise ValueError(
                "must be postgresql://user:password@host:port/database, with characters of the"
                " password that have a meaning in addresses as %40, %2F, …"
            )
    else:
        raise ValueError(
            "must be sqlite:///path/to/file.db (sqlite://// begins an absolute path)"
            " or postgresql://user:password@host/database"
        )
    return value


def _unless_off(value: object) -> object:
    return None if value == METRICS_OFF else value


def _http_url(value: str) -> str:
    try:
        url = urlsplit(value)
        fine = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # it would quote the value, which may be a key in the wrong place
        fine = False
    if not fine or re.search(r"\s", value):
        raise ValueError("must be an http:// or https:// address")
    if re.search(r"[@?#]", value):  # a key is in OPENAI_API_KEY, and paths are put behind this
        raise ValueError("must be an address without user name, password, query and fragment")
    return value.rstrip("/")


class Settings(ProcessSettings):
    """Absent key and workflow do not stop the start: whoever asks for a session is told."""

    openai_api_key: SecretStr | None = None
    openai_chatkit_workflow_id: str | None = None
    openai_base_url: Annotated[str, AfterValidator(_http_url)] = "https://api.openai.com/v1"
    chatkit_mode: Mode = "hosted"
    session_service_token: Tokens = ()
    """Of which callers need one; none is that they need none."""
    session_service_plaintext: bool = False
    session_service_tls_cert: CertificateFile | None = None
    session_service_tls_key: Annotated[Path | None, Field(validate_default=True)] = None
    session_service_tls_client_ca: AuthoritiesFile | None = None
    """Whose certificates callers need; None is that they need none."""
    session_service_listen: HostAndPort = "127.0.0.1:50051"  # after what it depends on
    session_service_metrics_listen: Annotated[HostAndPort | None, BeforeValidator(_unless_off)] = (
        "127.0.0.1:9464"
    )
    """None, which is written `off`, as an empty value counts as absent, is nowhere."""
    database_url: Annotated[str, AfterValidator(_database_url)] = "sqlite:///data/chatkit.db"
    chatkit_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    chatkit_tools: Annotated[frozenset[Tool], NoDecode, CommaSeparated] = frozenset(
        ("search", "file_upload", "code_interpreter")
    )
    chatkit_usage_sync_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60
    chatkit_sessions_per_minute: Annotated[int, Field(ge=0, le=100_000)] = 30

    # The rest is for self-hosted mode: in hosted mode the workflow has it itself, at OpenAI. It is
    # always read, so that a mistake in it is found at start, whatever the mode.
    chatkit_model: Annotated[str, Field(min_length=1)] = "gpt-5-mini"
    chatkit_agent: str | None = None
    """`package.module:attribute`, an `agents.Agent` or a factory of one, instead of our own."""
    openai_vector_store_ids: Annotated[tuple[str, ...], NoDecode, CommaSeparated] = ()
    chatkit_requests_per_minute: Annotated[int, Field(ge=0, le=100_000)] = 10
    chatkit_retention_days: Annotated[float, Field(ge=0, le=36_500)] = 0
    """Threads without a message for so long are deleted; 0 keeps them."""
    chatkit_attachments_dir: Path = Path("data/attachments")
    chatkit_attachment_max_mb: Annotated[float, Field(gt=0, le=512)] = 512
    chatkit_max_messages: Annotated[int, Field(ge=1)] = 100
    chatkit_system_message: str = (
        "Eres un asistente de IA especializado en ayudar con tareas administrativas y de gestión"
        " del sistema Movonte Dashboard. Puedes ayudar con consultas sobre proyectos, usuarios,"
        " servicios, tickets y configuraciones del sistema."
    )

    @field_validator("session_service_tls_key")
    @classmethod
    def _is_the_certificates(cls, key: Path | None, others: ValidationInfo) -> Path | None:
        return check_pair(key, others.data, "SESSION_SERVICE_TLS_CERT")

    @field_validator("session_service_tls_client_ca")
    @classmethod
    def _is_of_use(cls, authorities: Path | None, others: ValidationInfo) -> Path | None:
        if authorities and others.data.get("session_service_tls_cert", "wrong") is None:
            raise ValueError("needs SESSION_SERVICE_TLS_CERT and SESSION_SERVICE_TLS_KEY")
        return authorities

    @field_validator("session_service_listen")
    @classmethod
    def _is_safe(cls, address: str, others: ValidationInfo) -> str:
        in_the_clear = others.data.get("session_service_tls_cert", "wrong") is None
        allowed = others.data.get("session_service_plaintext", True)
        if in_the_clear and not allowed and not is_loopback(address.rpartition(":")[0]):
            raise ValueError(
                "can be reached from other machines: set SESSION_SERVICE_TLS_CERT and"
                f" SESSION_SERVICE_TLS_KEY, {IN_THE_CLEAR}"
            )
        return address


def load_settings() -> Settings:
    """Reads the settings. Exits with a message where some are wrong."""
    return load(Settings, "session_service")
