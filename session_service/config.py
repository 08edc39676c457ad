"""The settings of the session service; docs/configuration.md is made of them."""

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
    """In hosted mode a key with write permission for ChatKit, in self-hosted mode one that may use
    the model. Without it, `make run` uses the built-in emulator."""
    openai_chatkit_workflow_id: str | None = None
    """The workflow that answers, `wf_…`, of the same project as the key; hosted mode alone needs
    it."""
    openai_base_url: Annotated[str, AfterValidator(_http_url)] = "https://api.openai.com/v1"
    """Where OpenAI is, or who stands in for it."""
    chatkit_mode: Mode = "hosted"
    """Who answers: a workflow at OpenAI (`hosted`), until Agent Builder closes on 2026-11-30, or
    this back end (`self_hosted`)."""
    session_service_token: Tokens = ()
    """What callers of the session service need: a token of 16 to 256 characters, `name:token`, or
    several. The gateway sends the first."""
    session_service_plaintext: bool = False
    """`true` lets gateway and session service speak in the clear beyond this machine."""
    session_service_tls_cert: CertificateFile | None = Field(
        default=None, examples=["tls/session-service.pem"]
    )
    """PEM file of the session service's certificate; with it, the service speaks TLS alone."""
    session_service_tls_key: Annotated[
        Path | None, Field(validate_default=True, examples=["tls/session-service.key"])
    ] = None
    """PEM file of the key of the session service's certificate."""
    session_service_tls_client_ca: AuthoritiesFile | None = Field(
        default=None, examples=["tls/ca.pem"]
    )
    """PEM file of authorities; with it, callers need a certificate of one of them."""
    session_service_listen: HostAndPort = "127.0.0.1:50051"  # after what it depends on
    """Where the session service listens."""
    session_service_metrics_listen: Annotated[HostAndPort | None, BeforeValidator(_unless_off)] = (
        "127.0.0.1:9464"
    )
    """Where the session service has its `/metrics`; `off` is nowhere."""
    database_url: Annotated[str, AfterValidator(_database_url)] = "sqlite:///data/chatkit.db"
    """Where everything is kept: `sqlite:///path/to/file.db`, or
    `postgresql://user:password@host/database`. Made and migrated at start."""
    chatkit_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    """How long a whole request may take, retries included; in self-hosted mode a whole answer,
    tools included."""
    chatkit_tools: Annotated[frozenset[Tool], NoDecode, CommaSeparated] = frozenset(
        ("search", "file_upload", "code_interpreter")
    )
    """The tools of an answer. In hosted mode `file_upload` is what a session can switch on, the
    others are the workflow's; in self-hosted mode all three are ours."""
    chatkit_usage_sync_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60
    """How often messages of hosted mode are counted at OpenAI; 0 is off."""
    chatkit_sessions_per_minute: Annotated[int, Field(ge=0, le=100_000)] = 30
    """How many sessions a user may create and refresh; 0 is off."""

    # The rest is for self-hosted mode: in hosted mode the workflow has it itself, at OpenAI. It is
    # always read, so that a mistake in it is found at start, whatever the mode.
    chatkit_model: Annotated[str, Field(min_length=1)] = "gpt-5-mini"
    """Self-hosted mode: the model of OpenAI's that answers."""
    chatkit_agent: str | None = Field(default=None, examples=["package.module:attribute"])
    """Self-hosted mode: your own `agents.Agent`, or a function that returns one, instead of system
    message, tools and vector stores."""
    openai_vector_store_ids: Annotated[tuple[str, ...], NoDecode, CommaSeparated] = Field(
        default=(), examples=["vs_…"]
    )
    """Self-hosted mode: where the tool `search` looks besides the web."""
    chatkit_requests_per_minute: Annotated[int, Field(ge=0, le=100_000)] = 10
    """Self-hosted mode: how many requests that run the agent a session may send; 0 is off."""
    chatkit_retention_days: Annotated[float, Field(ge=0, le=36_500)] = 0
    """Self-hosted mode: threads without an entry for so long are deleted; 0 keeps them."""
    chatkit_attachments_dir: Path = Path("data/attachments")
    """Self-hosted mode: where attachments are kept."""
    chatkit_attachment_max_mb: Annotated[float, Field(gt=0, le=512)] = 512
    """Self-hosted mode: how large an attachment may be, in megabytes."""
    chatkit_max_messages: Annotated[int, Field(ge=1)] = 100
    """Self-hosted mode: how many messages a thread may have, the user's and the assistant's."""
    chatkit_system_message: str = (
        "Eres un asistente de IA especializado en ayudar con tareas administrativas y de gestión"
        " del sistema Movonte Dashboard. Puedes ayudar con consultas sobre proyectos, usuarios,"
        " servicios, tickets y configuraciones del sistema."
    )
    """Self-hosted mode: what the model is told before every conversation."""

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
