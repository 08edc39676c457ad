"""uvicorn's HTTP protocol; what is not even HTTP is answered in JSON too."""

import re
import uuid

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import APIError, error_response
from gateway.texts import DEFAULT_LANGUAGE

# Of the same length, as the rest of the request is counted.
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_HIDDEN = b"\r\nx-offer:"


class HTTPProtocol(HttpToolsProtocol):
    """Stands below the application: there are no headers yet that could name a language."""

    _in_body = False

    def data_received(self, data: bytes) -> None:
        # `curl --http2` and Java offer an upgrade with every request. A server may ignore that,
        # but httptools then drops the body, so it must not see the offer.
        if not self._in_body:
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(_HIDDEN, head) + end + rest
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        request_id = uuid.uuid4().hex
        headers = {"Connection": "close", "X-Request-Id": request_id}
        error = APIError("INVALID_ARGUMENT", "http", headers=headers)
        response = error_response(error, request_id, DEFAULT_LANGUAGE)
        head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + response.body)
        self.transport.close()
