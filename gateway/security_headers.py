"""What every answer tells browsers: to take it for what it says it is, and for nothing else.

Strict-Transport-Security is not among it: that is for whoever speaks TLS, the proxy in front.
"""

from starlette.datastructures import MutableHeaders

DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",  # frame-ancestors, for who does not know that
    "Referrer-Policy": "no-referrer",
    # Not for requests with CORS, which the dashboard's all are but for images and modules.
    "Cross-Origin-Resource-Policy": "same-origin",
}

PAGE = {
    # On pages alone: on what has a sandbox in its policy, browsers take it for an error.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


_RAW = [(name.lower().encode(), value.encode()) for name, value in DEFAULTS.items()]


def secure(headers: MutableHeaders) -> None:
    """Adds to the headers of an answer what it does not say for itself."""
    # Not by `setdefault`, which looks through all of them for each, with every answer.
    said = {name for name, _ in headers.raw}
    headers.raw.extend([header for header in _RAW if header[0] not in said])
