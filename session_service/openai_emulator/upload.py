"""A file on its way in: counted and hashed part by part, as 512 MiB would not fit in memory."""

import hashlib

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from session_service.openai_emulator.errors import JSON, APIError

_MAX_FIELD_BYTES = 1024


class Upload:
    """The parts of a multipart body as the parser calls them out."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.media_type = ""
        self.size = 0
        self._hash = hashlib.sha256()
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._value = b""
        self._is_file = False
        self.is_complete = False

    def summary(self) -> JSON:
        return {
            **self.fields,
            "filename": self.filename,
            "content_type": self.media_type,
            "bytes": self.size,
            "sha256": self._hash.hexdigest(),
        }

    def on_part_begin(self) -> None:
        self._headers, self._value = {}, b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def on_header_end(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = [b"", b""]

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = options.get(b"name", b"").decode(errors="replace")
        self._is_file = b"filename" in options
        if self._is_file:
            if self._name != "file" or self.filename is not None:
                message = f"Unknown parameter: '{self._name}'."
                raise APIError(400, message, param=self._name, code="unknown_parameter")
            self.filename = options[b"filename"].decode(errors="replace")
            self.media_type = self._headers.get(b"content-type", b"").decode(errors="replace")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.size += end - start
            self._hash.update(memoryview(data)[start:end])
        elif len(self._value) < _MAX_FIELD_BYTES:
            self._value += data[start:end]

    def on_part_end(self) -> None:
        if not self._is_file:
            self.fields[self._name] = self._value.decode(errors="replace")

    def on_end(self) -> None:
        self.is_complete = True


async def read_upload(request: Request) -> Upload:
    """Reads all of a request, also of one that it refuses by `APIError`."""
    _, options = parse_options_header(request.headers.get("content-type"))
    upload, unreadable = Upload(), APIError(400, "Could not parse multipart form data.")
    refusal: APIError | None = None
    try:
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": upload.on_part_begin,
                "on_part_data": upload.on_part_data,
                "on_part_end": upload.on_part_end,
                "on_header_field": upload.on_header_field,
                "on_header_value": upload.on_header_value,
                "on_header_end": upload.on_header_end,
                "on_headers_finished": upload.on_headers_finished,
                "on_end": upload.on_end,
            },
        )
    except (KeyError, FormParserError):
        refusal = unreadable
    async for chunk in request.stream():
        # To the end, or a client that is still sending would not see the answer.
        if refusal is None:
            try:
                parser.write(chunk)
            except APIError as error:
                refusal = error
            except FormParserError:
                refusal = unreadable
    if refusal or not upload.is_complete:
        raise refusal or unreadable
    return upload
