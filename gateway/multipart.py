"""The one file of a multipart/form-data body, read piece by piece and never kept as a whole."""

from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import APIError

_FIELD = b"file"


@dataclass(frozen=True, slots=True)
class FileHead:
    """What the browser says about a file before its bytes."""

    name: str
    mime_type: str


class FileForm:
    """A form with one file, in the field `file`; other fields are read over.

    What it cannot be read from is an APIError that names the field.
    """

    def __init__(self, content_type: str) -> None:
        media_type, parameters = parse_options_header(content_type)
        if media_type != b"multipart/form-data":
            raise APIError("UNSUPPORTED_MEDIA_TYPE", "file")
        self.head: FileHead | None = None
        """None until the file begins."""
        self._ended = False
        self._in_file = False
        self._found = bytearray()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        try:
            self._parser = MultipartParser(
                parameters.get(b"boundary", b""),
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise _unreadable() from None
        if b"boundary" not in parameters:
            raise _unreadable()

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes of the body; returns those of the file among them."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise _unreadable() from None
        found = bytes(self._found)
        self._found.clear()
        return found

    def finish(self) -> None:
        """Makes sure at the end of the body that the file was there, as a whole."""
        if self.head is None or not self._ended:
            raise _unreadable()

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition"))
        if disposition.get(b"name") != _FIELD:
            return
        if b"filename" not in disposition or self.head is not None:
            raise _unreadable()
        mime_type, _ = parse_options_header(self._headers.get(b"content-type"))
        self.head = FileHead(
            name=disposition[b"filename"].decode("utf-8", "replace"),
            mime_type=mime_type.decode("ascii", "replace") or "application/octet-stream",
        )
        self._in_file = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._found += data[start:end]

    def _on_part_end(self) -> None:
        self._in_file = False

    def _on_end(self) -> None:
        self._ended = True


def _unreadable() -> APIError:
    return APIError("INVALID_ARGUMENT", "file")
