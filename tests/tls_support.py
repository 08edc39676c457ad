"""Certificates of an authority of the tests' own, in files as operators have them."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path

    def replace_by(self, other: "Identity") -> None:
        """Puts another in its place, as one who renews it does: each file at once, as a whole."""
        for ours, theirs in ((self.key, other.key), (self.certificate, other.certificate)):
            new = ours.with_suffix(".new")
            new.write_bytes(theirs.read_bytes())
            new.rename(ours)


class Authority:
    """Makes certificates, and files of them in a directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def identity(self, file: str, *names: str, expired: bool = False) -> Identity:
        """Makes a certificate for these names."""
        days = datetime.timedelta(days=-1 if expired else 1)
        issued = self._ca.issue_cert(
            *names, not_after=datetime.datetime.now(datetime.UTC) + days, common_name="a-machine"
        )
        paths = Identity(self._directory / f"{file}.pem", self._directory / f"{file}.key")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        paths.certificate.write_bytes(chain)
        issued.private_key_pem.write_to_path(paths.key)
        return paths

    def service(self) -> Identity:
        return self.identity("service", "session-service", "127.0.0.1")


def for_service(identity: Identity, clients: Authority | None = None) -> Mapping[str, Path]:
    """Returns the settings of a session service with that certificate."""
    settings = {
        "session_service_tls_cert": identity.certificate,
        "session_service_tls_key": identity.key,
    }
    if clients is not None:
        settings["session_service_tls_client_ca"] = clients.file
    return settings


def for_gateway(authority: Authority, identity: Identity | None = None) -> Mapping[str, Path]:
    """Returns the settings of a gateway that trusts the authority."""
    settings = {"session_service_tls_ca": authority.file}
    if identity is not None:
        settings["session_service_tls_client_cert"] = identity.certificate
        settings["session_service_tls_client_key"] = identity.key
    return settings


def as_environment(settings: Mapping[str, Path]) -> dict[str, str]:
    return {name.upper(): str(path) for name, path in settings.items()}
