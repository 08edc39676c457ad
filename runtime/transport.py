"""Settings of how the processes speak to each other: certificates, tokens, or in the clear."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, SecretStr
from pydantic_settings import NoDecode

from runtime import tls
from runtime.settings import BEARER_TOKEN, CommaSeparated

# A bearer token has nothing that separates entries and names.
_TOKEN = re.compile(rf"(?:([A-Za-z0-9._-]{{1,64}}):)?({BEARER_TOKEN})")

IN_THE_CLEAR = (
    "or SESSION_SERVICE_PLAINTEXT=true where nobody else can listen in on the network between them"
    " (SESSION_SERVICE_TOKEN alone is not enough: it could be read there)"
)
"""The second remedy of two for an address beyond this machine."""


def split_token(entry: SecretStr) -> tuple[str | None, str]:
    """Splits an entry of SESSION_SERVICE_TOKEN into a name, if it has one, and the token."""
    match = _TOKEN.fullmatch(entry.get_secret_value())
    assert match is not None
    return match[1], match[2]


def is_loopback(host: str) -> bool:
    """Tells whether a host, as in host:port, is this machine for certain."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_pair(
    key: Path | None, others: Mapping[str, Any], certificate_setting: str
) -> Path | None:
    """Returns the key. Raises ValueError where one of both is missing, or it is another's key."""
    if certificate_setting.lower() not in others:
        return key  # what is wrong with the certificate is said elsewhere
    certificate: Path | None = others[certificate_setting.lower()]
    if (key is None) is not (certificate is None):
        raise ValueError(f"is of use together with {certificate_setting} alone: set both")
    if key is not None and certificate is not None:
        tls.check_key(tls.read_file(key), tls.read_file(certificate))
    return key


def _check_token(entry: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(entry.get_secret_value()):
        raise ValueError(
            "must be token or name:token, the token of 16 to 256 letters, digits and -._~+/="
            " (openssl rand -hex 32 makes one)"
        )
    return entry


def _check_certificate(path: Path) -> Path:
    tls.check_certificate(tls.read_file(path))
    return path


def _check_authorities(path: Path) -> Path:
    tls.check_authorities(tls.read_file(path))
    return path


Tokens = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_check_token)], ...], NoDecode, CommaSeparated
]
CertificateFile = Annotated[Path, AfterValidator(_check_certificate)]
AuthoritiesFile = Annotated[Path, AfterValidator(_check_authorities)]
