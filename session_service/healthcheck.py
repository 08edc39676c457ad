"""`python -m session_service.healthcheck`: exits with 0 if the service on this machine serves."""

import os
import socket
import ssl
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.listening import reachable

_TIMEOUT_SECONDS = 2.0
_OPTIONS = (("grpc.enable_http_proxy", 0),)


def main() -> int:
    # From the environment alone, as in a container: it runs every few seconds, and to load all the
    # settings takes three times as long as the check.
    pair = None
    if os.environ.get("SESSION_SERVICE_TLS_CLIENT_CA"):
        certificate, key = (os.environ[f"SESSION_SERVICE_TLS_{name}"] for name in ("CERT", "KEY"))
        pair = Path(certificate), Path(key)
    try:
        is_serving = serves(
            os.environ.get("SESSION_SERVICE_LISTEN") or "127.0.0.1:50051",
            encrypted=bool(os.environ.get("SESSION_SERVICE_TLS_CERT")),
            pair=pair,
        )
    except grpc.RpcError as error:
        sys.exit(f"not healthy: {error.code().name}")
    except OSError as error:
        sys.exit(f"not healthy: {error}")
    return int(not is_serving)


def serves(
    listen: str, *, encrypted: bool, pair: tuple[Path, Path] | None, service: str = ""
) -> bool:
    """Asks the service on this machine for its health.

    `pair` is its own certificate and key, where it wants one of its callers. Raises OSError and
    grpc.RpcError.
    """
    host, _, port = reachable(listen).rpartition(":")
    address = (host, int(port))
    try:
        with _encrypted(*address, pair) if encrypted else _plain(*address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
            request = health_pb2.HealthCheckRequest(service=service)
            reply = check(request, timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        if pair and error.code() is grpc.StatusCode.UNAVAILABLE:
            # The service's own certificate may be none that callers could have. That it speaks TLS,
            # which it has done for us to come here, is all that can be told then.
            return True
        raise
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def _plain(host: str, port: int) -> grpc.Channel:
    return grpc.insecure_channel(f"{host}:{port}", _OPTIONS)


def _encrypted(host: str, port: int, pair: tuple[Path, Path] | None) -> grpc.Channel:
    """Opens a channel that trusts whatever is there: we ask ourselves, and as ourselves.

    Raises OSError where nobody speaks TLS.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    key = certificate = None
    if pair:
        context.load_cert_chain(*pair)
        certificate, key = (path.read_bytes() for path in pair)
    with (
        socket.create_connection((host.strip("[]"), port), _TIMEOUT_SECONDS) as connection,
        context.wrap_socket(connection) as encrypted,
    ):
        found = encrypted.getpeercert(binary_form=True)
    assert found is not None
    return grpc.secure_channel(
        f"{host}:{port}",
        grpc.ssl_channel_credentials(ssl.DER_cert_to_PEM_cert(found).encode(), key, certificate),
        (*_OPTIONS, ("grpc.ssl_target_name_override", _name_in(found))),
    )


def _name_in(certificate: bytes) -> str:
    """Returns a name that the certificate is good for."""
    from cryptography import x509  # not above: most services do without TLS

    parsed = x509.load_der_x509_certificate(certificate)
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        first = next(str(name.value) for name in names)
    except x509.ExtensionNotFound:
        common = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        first = str(common[0].value)
    return first.replace("*", "healthcheck")


if __name__ == "__main__":
    sys.exit(main())
