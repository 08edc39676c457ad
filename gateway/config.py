"""The settings of the gateway; README.md documents them under "Configuration"."""

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
    gateway_public_url: Annotated[str, AfterValidator(_public_url)] | None = None
    """Where browsers reach the gateway, for links in answers; None is where they say they do."""
    session_service_token: Tokens = ()
    """The first goes with every call; the others are for the session service."""
    session_service_plaintext: bool = False
    session_service_tls_ca: AuthoritiesFile | None = None
    """Whose certificate the session service must have; None is to speak in the clear."""
    session_service_tls_server_name: Annotated[str, AfterValidator(_server_name)] | None = None
    """What is in that certificate where it is not the target's own name."""
    session_service_tls_client_cert: CertificateFile | None = None
    session_service_tls_client_key: Annotated[Path | None, Field(validate_default=True)] = None
    session_service_target: Annotated[
        tuple[HostAndPort, ...],
        NoDecode,
        CommaSeparated,
        Field(min_length=1),
        AfterValidator(_balanceable),
    ] = ("127.0.0.1:50051",)
    jwt_jwks_url: Annotated[str, AfterValidator(_careful_url)] | None = None
    jwt_secret: Annotated[SecretStr | None, Field(validate_default=True)] = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_user_claim: str | None = None
    """None is `userId`, else `sub`."""
    admin_user_ids: Annotated[frozenset[str], NoDecode, CommaSeparated] = frozenset()
    cors_allow_origins: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, CommaSeparated
    ] = ()
    chatkit_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30

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
