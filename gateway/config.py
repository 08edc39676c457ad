"""The settings of the gateway; docs/configuration.md is made of them."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
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

_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE
)


def _careful_url(value: str) -> str:
    try:
        url = urlsplit(value)
        host = url.hostname if url.port != 0 else None
    except ValueError:  # it would quote the value
        host = None
    careful = host and (url.scheme == "https" or (url.scheme == "http" and is_loopback(host)))
    if careful and not re.search(r"[^\x21-\x7e]|[#\\]", value):
        return value
    raise ValueError("must be an https:// address; http:// is for this machine alone")


def _origin(value: str) -> str:
    """Takes what browsers send, letter by letter: with anything else the header never agrees."""
    if value == "*":
        return value
    if not _ORIGIN.fullmatch(value):
        raise ValueError("must be origins such as https://dashboard.example.com, with no path")
    origin = value.lower()
    default_port = ":443" if origin.startswith("https:") else ":80"
    return origin.removesuffix(default_port)


def _public_url(value: str) -> str:
    try:
        url = urlsplit(value)
        fine = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # it would quote the value
        fine = False
    if not fine or re.search(r"[\s?#]", value):
        raise ValueError("must be an address such as https://chat.example.com")
    return value.rstrip("/")


def _server_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", value):
        raise ValueError("must be a name as in the certificate, such as session-service")
    return value


def _ip_version(host: str) -> int | None:
    try:
        return ipaddress.ip_address(host.strip("[]")).version
    except ValueError:
        return None


def _balanceable(targets: tuple[str, ...]) -> tuple[str, ...]:
    versions = {_ip_version(target.rpartition(":")[0]) for target in targets}
    if len(targets) > 1 and versions not in ({4}, {6}):
        raise ValueError(
            "several targets must be IP addresses of one version; or name one DNS name of them all"
        )
    return targets


class Settings(ProcessSettings):
    """Without any way to check tokens there is nothing to serve: that stops the start."""

    gateway_listen: HostAndPort = "127.0.0.1:8080"
    """Where the gateway listens."""
    gateway_public_url: Annotated[str, AfterValidator(_public_url)] | None = Field(
        default=None, examples=["https://chat.example.com"]
    )
    """Where browsers reach the gateway, for links to attachments; without it where the request says
    it was sent to. Needed behind a proxy that speaks TLS."""
    session_service_token: Tokens = ()
    """What callers of the session service need: a token of 16 to 256 characters, `name:token`, or
    several. The gateway sends the first."""
    session_service_plaintext: bool = False
    """`true` lets gateway and session service speak in the clear beyond this machine."""
    session_service_tls_ca: AuthoritiesFile | None = Field(default=None, examples=["tls/ca.pem"])
    """PEM file of the authorities of the session service's certificate; with it, the gateway speaks
    TLS alone."""
    session_service_tls_server_name: Annotated[str, AfterValidator(_server_name)] | None = Field(
        default=None, examples=["session-service"]
    )
    """The name in that certificate, where it is not the host of `SESSION_SERVICE_TARGET`."""
    session_service_tls_client_cert: CertificateFile | None = Field(
        default=None, examples=["tls/gateway.pem"]
    )
    """PEM file of the gateway's own certificate."""
    session_service_tls_client_key: Annotated[
        Path | None, Field(validate_default=True, examples=["tls/gateway.key"])
    ] = None
    """PEM file of the key of the gateway's own certificate."""
    session_service_target: Annotated[
        tuple[HostAndPort, ...],
        NoDecode,
        CommaSeparated,
        Field(min_length=1),
        AfterValidator(_balanceable),
    ] = ("127.0.0.1:50051",)
    """Where the session service is. Calls are balanced over several IP addresses, or over those of
    one name."""
    jwt_jwks_url: Annotated[str, AfterValidator(_careful_url)] | None = Field(
        default=None, examples=["https://login.example.com/.well-known/jwks.json"]
    )
    """Where the public keys of the users' tokens are (RS256, ES256)."""
    jwt_secret: Annotated[SecretStr | None, Field(validate_default=True)] = None
    """What the dashboard signs its users' tokens with (HS256); this or `JWT_JWKS_URL` is needed.
    `make run` makes one if there is neither."""
    jwt_issuer: str | None = Field(default=None, examples=["https://login.example.com"])
    """Whom tokens have to be from (`iss`); checked where set."""
    jwt_audience: str | None = Field(default=None, examples=["dashboard"])
    """For whom tokens have to be (`aud`); checked where set."""
    jwt_user_claim: str | None = Field(default=None, examples=["sub"])
    """The claim that holds the user id; without it `userId`, else `sub`."""
    admin_user_ids: Annotated[frozenset[str], NoDecode, CommaSeparated] = Field(
        default=frozenset(), examples=["1,2"]
    )
    """Who may see everybody's statistics and act for others, besides tokens with
    `role: "admin"`."""
    cors_allow_origins: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, CommaSeparated
    ] = Field(default=(), examples=["https://dashboard.example.com"])
    """Where the dashboard is served from: pages of other origins cannot call the gateway."""
    chatkit_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30
    """How long a whole request may take, retries included; in self-hosted mode a whole answer,
    tools included."""

    @field_validator("session_service_tls_client_cert")
    @classmethod
    def _is_of_use(cls, certificate: Path | None, others: ValidationInfo) -> Path | None:
        if certificate and others.data.get("session_service_tls_ca", "wrong") is None:
            raise ValueError("needs SESSION_SERVICE_TLS_CA: without it nothing is encrypted")
        return certificate

    @field_validator("session_service_tls_client_key")
    @classmethod
    def _is_the_certificates(cls, key: Path | None, others: ValidationInfo) -> Path | None:
        return check_pair(key, others.data, "SESSION_SERVICE_TLS_CLIENT_CERT")

    @field_validator("session_service_target")
    @classmethod
    def _is_safe(cls, targets: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        in_the_clear = others.data.get("session_service_tls_ca", "wrong") is None
        allowed = others.data.get("session_service_plaintext", True)
        near = all(is_loopback(target.rpartition(":")[0]) for target in targets)
        if in_the_clear and not allowed and not near:
            raise ValueError(f"is another machine: set SESSION_SERVICE_TLS_CA, {IN_THE_CLEAR}")
        return targets

    @field_validator("jwt_secret")
    @classmethod
    def _tokens_can_be_checked(
        cls, secret: SecretStr | None, others: ValidationInfo
    ) -> SecretStr | None:
        if not secret and others.data.get("jwt_jwks_url", "wrong, as is said elsewhere") is None:
            raise ValueError(
                "set it to the secret that your dashboard's tokens are signed with,"
                " or set JWT_JWKS_URL"
            )
        return secret


def load_settings() -> Settings:
    """Reads the settings. Exits with a message where some are wrong."""
    return load(Settings, "gateway")
