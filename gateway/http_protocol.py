"""uvicorn's HTTP protocol, answering what is not even HTTP in JSON too."""

import uuid

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import APIError, error_response
from gateway.texts import DEFAULT_LANGUAGE


class HTTPProtocol(HttpToolsProtocol):
    """Stands below the application: there are no headers yet that could name a language."""

    def send_400_response(self, msg: str) -> None:
        request_id = uuid.uuid4().hex
        headers = {"Connection": "close", "X-Request-Id": request_id}
        error = APIError("INVALID_ARGUMENT", "http", headers=headers)
        response = error_response(error, request_id, DEFAULT_LANGUAGE)
        head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + response.body)
        self.transport.close()
