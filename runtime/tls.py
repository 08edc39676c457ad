"""Certificates and keys in PEM files, which may be replaced while a process runs."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PEM:
    """What the files hold, each None where there is no such file."""

    authorities: bytes | None = None
    """Who the other side's certificate must be from."""
    certificate: bytes | None = None
    """Our own, with what is between it and its authority."""
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """Where they are."""

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def read(self) -> PEM:
        """Raises ValueError where they cannot be used; it says nothing of what they hold."""
        pem = PEM(*(read_file(path) if path else None for path in self._paths))
        if pem.authorities is not None:
            check_authorities(pem.authorities)
        if pem.certificate is not None and pem.key is not None:
            check_certificate(pem.certificate)
            check_key(pem.key, pem.certificate)
        return pem

    def stamp(self) -> tuple[object, ...]:
        """Returns what is another as soon as one of them is replaced or written to."""
        return tuple(_stamp(path) if path else None for path in self._paths)

    @property
    def _paths(self) -> tuple[Path | None, ...]:
        return self.authorities, self.certificate, self.key


class Watched:
    """Files that are looked at again and again; whoever replaces them need not tell us."""

    def __init__(self, files: Files) -> None:
        """Raises ValueError where they cannot be used."""
        self._files = files
        self._stamp = files.stamp()
        self.pem = files.read()

    def renewed(self) -> PEM | None:
        """Returns what the files hold, if that is new since the last call and can be used.

        What cannot be used is logged once, and what was read before stays. Never raises: it is
        called by gRPC's threads, too.
        """
        stamp = self._files.stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            pem = self._files.read()
        except ValueError as error:
            log.error("new certificates cannot be used, the old ones stay", problem=str(error))
            return None
        if pem == self.pem:
            return None
        self.pem = pem
        log.info("certificates renewed", **({"expires": expiry(pem)} if pem.certificate else {}))
        return pem


def read_file(path: Path) -> bytes:
    """Raises ValueError where it cannot be read."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # such as a zero byte in the name
        cause = error.strerror if isinstance(error, OSError) else None
        raise ValueError(f"cannot be read: {cause or 'not a file name'}") from None


def check_authorities(pem: bytes) -> None:
    """Raises ValueError where there is no certificate in it."""
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError("must hold certificates of authorities in PEM") from None


def check_certificate(pem: bytes) -> None:
    """Raises ValueError where there is no certificate in it, or one that nobody would accept."""
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise ValueError("must hold a certificate in PEM") from None
    if certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise ValueError(f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}")


def check_key(pem: bytes, certificate: bytes) -> None:
    """Raises ValueError where it is no key, one with a passphrase, or another certificate's."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError asks for a passphrase
        raise ValueError("must hold a private key in PEM, without a passphrase") from None
    if key.public_key() != x509.load_pem_x509_certificates(certificate)[0].public_key():
        raise ValueError("the key is not the certificate's")


def expiry(pem: PEM) -> str:
    """Returns when our certificate expires, in RFC 3339."""
    assert pem.certificate is not None
    certificate = x509.load_pem_x509_certificates(pem.certificate)[0]
    return certificate.not_valid_after_utc.isoformat()


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
