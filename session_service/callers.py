"""Who calls: what callers need to be let in, and the name that each has in logs."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import grpc
import structlog

from runtime.tls import PEM, Watched
from session_service.errors import Unauthenticated

MAX_NAME_LENGTH = 64
UNVERIFIED = "unverified"
"""Who has no name that is proven: one for all of them, as they could claim any number."""

_CERTIFICATE_NAMES = ("peer_uri", "peer_dns", "x509_common_name")
"""What of a certificate names its holder, the best first."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._:/@*-]")

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Callers:
    """Those who may call.

    A caller's name is its certificate's, else its token's. Without either it is what its
    User-Agent claims, marked as that.
    """

    def __init__(
        self, tokens: Iterable[tuple[str | None, str]] = (), *, certificates: bool = False
    ) -> None:
        """`tokens` are name and token each; none is that callers need none.

        `certificates` says whether those of callers are checked, by TLS.
        """
        self._tokens = [(name, _digest(token)) for name, token in tokens]
        self._certificates = certificates

    def admit(self, metadata: Mapping[str, str | bytes], context: Context) -> str:
        """Returns the caller's name for logs. Raises Unauthenticated for a wrong token."""
        try:
            by_token = self.check_token(metadata)
        except Unauthenticated:
            log.warning("caller refused", peer=context.peer(), remedy="see SESSION_SERVICE_TOKEN")
            raise
        if name := (self._certificates and _certificate_name(context)) or by_token:
            return name
        claimed = str(metadata.get("user-agent", "")).partition(" ")[0].partition("/")[0]
        return f"{_sane(claimed)} ({UNVERIFIED})" if claimed else UNVERIFIED

    def check_token(self, metadata: Mapping[str, str | bytes]) -> str | None:
        """Returns the name of the token, if it has one. Raises Unauthenticated for a wrong one."""
        if not self._tokens:
            return None
        scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
        # All are compared, by digests of one length, so that the time tells nothing of them.
        digest = _digest(token if scheme.lower() == "bearer" else "")
        found = [name for name, known in self._tokens if hmac.compare_digest(digest, known)]
        if not found:
            raise Unauthenticated(
                "Callers need a token of SESSION_SERVICE_TOKEN: authorization: Bearer <token>",
                metadata={"cause": "service_token"},
            )
        return found[0]


ANYBODY = Callers()


def server_credentials(watched: Watched) -> grpc.ServerCredentials:
    """Returns TLS with what the files hold at each handshake; mutual, where there are authorities.

    Connections that there are go on as they are.
    """

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        pem = watched.renewed()
        return None if pem is None else _configuration(pem)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(watched.pem),
        renewed,  # type: ignore[arg-type]  # gRPC documents None: the configuration stays
        require_client_authentication=watched.pem.authorities is not None,
    )


def _configuration(pem: PEM) -> grpc.ServerCertificateConfiguration:
    assert pem.key is not None
    assert pem.certificate is not None
    return grpc.ssl_server_certificate_configuration(
        [(pem.key, pem.certificate)], root_certificates=pem.authorities
    )


def _certificate_name(context: Context) -> str | None:
    properties = context.auth_context()
    for key in _CERTIFICATE_NAMES:
        for value in properties.get(key, ()):
            if value:
                return _sane(value.decode("utf-8", "replace"))
    return None


def _sane(name: str) -> str:
    """Returns a name that can be nothing but a name wherever a log ends up."""
    return _UNSAFE.sub("_", name[:MAX_NAME_LENGTH])


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
