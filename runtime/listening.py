"""Addresses to listen on: whether this machine has them, and whether they are taken."""

import errno
import socket
from typing import Literal

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""What leads to whoever listens on all addresses."""


def check_address(host: str, port: int) -> None:
    """Raises OSError where it is in use or not an address of this machine."""
    failure: OSError | None = None
    for family, kind, protocol, _, endpoint in socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(endpoint)
                return  # one address of several is enough
            except OSError as error:
                failure = error
    raise failure or OSError("it has no address")


def state_of(listen: str) -> tuple[Literal["free", "taken", "impossible"], str]:
    """Tells whether a process could listen on `host:port`, and if not, the system's word for it."""
    host, _, port = listen.rpartition(":")
    try:
        check_address(host, int(port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        return "taken" if taken else "impossible", error.strerror or str(error)
    return "free", ""


def reachable(listen: str) -> str:
    """Returns where on this machine to reach what listens there, which may be everywhere."""
    host, _, port = listen.rpartition(":")
    return f"{_LOOPBACK.get(host, host)}:{port}"
