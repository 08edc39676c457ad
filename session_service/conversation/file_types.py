"""Which files may be attached, and whether the bytes of one are what it claims to be.

The types are those that OpenAI's models read: https://platform.openai.com/docs/guides/file-inputs.
What a browser or a system could run is refused whatever it claims. Nothing is ever unpacked.
"""

import codecs
import re
from collections.abc import Mapping
from typing import BinaryIO

from session_service.conversation.zip_members import NotAZip, member_names
from session_service.errors import AttachmentTypeNotAllowed

_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_POWERPOINT = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

EXTENSIONS: Mapping[str, tuple[str, ...]] = {
    "image/png": ("png",),
    "image/jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "image/gif": ("gif",),
    "image/webp": ("webp",),
    "application/pdf": ("pdf",),
    _WORD: ("docx",),
    _EXCEL: ("xlsx",),
    _POWERPOINT: ("pptx",),
    "text/plain": ("txt", "text", "log"),
    "text/csv": ("csv",),
    "text/tab-separated-values": ("tsv",),
    "text/markdown": ("md", "markdown"),
    "application/json": ("json",),
    "application/yaml": ("yaml", "yml"),
}
"""The types that are allowed, and how the names of such files end; the usual way first."""

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": "application/pdf",
    "application/csv": "text/csv",
    "text/x-csv": "text/csv",
    "text/comma-separated-values": "text/csv",
    "text/x-markdown": "text/markdown",
    "text/json": "application/json",
    "text/yaml": "application/yaml",
    "text/x-yaml": "application/yaml",
    "application/x-yaml": "application/yaml",
}

_UNSPECIFIC = frozenset(
    (
        "",
        "application/octet-stream",
        "application/zip",
        "application/x-zip-compressed",
        "application/vnd.ms-excel",  # Chrome says so of .csv where Excel is installed
    )
)
"""What browsers say of files that their system does not know: the name tells more."""

_SIGNATURES: Mapping[str, re.Pattern[bytes]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n....IHDR", re.DOTALL),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL),
    "application/pdf": re.compile(rb"%PDF-\d"),
    _WORD: re.compile(rb"PK\x03\x04"),
    _EXCEL: re.compile(rb"PK\x03\x04"),
    _POWERPOINT: re.compile(rb"PK\x03\x04"),
}
_SIGNATURE_BYTES = 16
"""As many as the longest."""

_OFFICE_FOLDERS = {_WORD: "word/", _EXCEL: "xl/", _POWERPOINT: "ppt/"}

_HEAD_BYTES = 1024
"""How much of a text is looked at for what would be run; browsers look as far."""
_ACTIVE_TEXT = re.compile(
    # Possessive and atomic, or comments after comments would be tried in every combination.
    rb"(?>\s+|<\?[^>]*>|<!--.*?-->)*+"
    rb"(#!|<(!doctype\s+(html|svg)|([a-z]+:)?(html|svg)|head|body|script|iframe)\b)",
    re.IGNORECASE | re.DOTALL,
)
_ACTIVE_EXTENSION = re.compile(
    # What browsers show, what Windows runs, what others run.
    r"s?html?|xht(ml)?|mht(ml)?|svgz?|xml|xslt?"
    r"|bat|chm|cmd|com|cpl|dll|exe|hta|inf|jar|jse?|lnk|ms[cip]|pif|psm?1|reg|sc[frt]|url|vb[es]?"
    r"|ws[fh]|(doc|dot|xls|xlt|xla|ppt|pot|ppa)m"
    r"|apk|app|command|deb|desktop|dmg|pkg|rpm|run|sh"
)


def allowed_type(declared: str, name: str) -> str:
    """Returns the type, as `EXTENSIONS` has it, that a file of this name is declared to be.

    Raises AttachmentTypeNotAllowed.
    """
    extension = extension_of(name)
    if _ACTIVE_EXTENSION.fullmatch(extension):
        raise AttachmentTypeNotAllowed
    plain = plain_type(declared)
    if plain in _UNSPECIFIC:
        plain = _TYPES_OF_EXTENSIONS.get(extension, plain)
    if plain not in EXTENSIONS:
        raise AttachmentTypeNotAllowed
    return plain


def plain_type(declared: str) -> str:
    """Returns a declared type in small letters, without parameters, under its usual name."""
    plain = declared.partition(";")[0].strip().lower()
    return _ALIASES.get(plain, plain)


def is_unspecific(declared: str) -> bool:
    """Tells whether a declared type says nothing that could contradict another."""
    return plain_type(declared) in _UNSPECIFIC


def is_image(mime_type: str) -> bool:
    """Tells whether the model sees it as an image; all else it reads as a file."""
    return mime_type.startswith("image/")


def extension_of(name: str) -> str:
    """Returns how a name ends, in small letters without the dot; empty where it does not."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def with_extension(name: str, mime_type: str) -> str:
    """Returns the name, ending as files of this type do: OpenAI goes by the name."""
    extension = extension_of(name)
    is_text = mime_type not in _SIGNATURES
    other = _TYPES_OF_EXTENSIONS.get(extension, "application/octet-stream")
    if other == mime_type or (is_text and other in EXTENSIONS and other not in _SIGNATURES):
        return name
    return f"{name}.{EXTENSIONS[mime_type][0]}"


class TypeCheck:
    """Looks at the bytes of one file as they come; keeps no more than a kilobyte of them.

    Raises AttachmentTypeNotAllowed as soon as they are not what the file claims to be.
    """

    def __init__(self, mime_type: str) -> None:
        self._mime_type = mime_type
        self._signature = _SIGNATURES.get(mime_type)
        self._head = b""
        self._head_seen = False
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        if self._signature is None:
            self._feed_text(data)
        elif not self._head_seen:
            self._head += data[: _SIGNATURE_BYTES - len(self._head)]
            if len(self._head) == _SIGNATURE_BYTES:
                self._check_signature()

    def finish(self, file: BinaryIO) -> None:
        """Takes the end: the whole file, for what can only be seen there. Reads from it."""
        if self._signature is None:
            self._decode(b"", final=True)
        if not self._head_seen:
            self._check_head()
        if folder := _OFFICE_FOLDERS.get(self._mime_type):
            _check_office(file, folder)

    def _feed_text(self, data: bytes) -> None:
        self._decode(data, final=False)
        if not self._head_seen:
            self._head += data[: _HEAD_BYTES - len(self._head)]
            if len(self._head) == _HEAD_BYTES:
                self._check_head()

    def _decode(self, data: bytes, *, final: bool) -> None:
        try:
            self._utf8.decode(data, final)
        except UnicodeDecodeError:
            raise AttachmentTypeNotAllowed from None
        if b"\0" in data:
            raise AttachmentTypeNotAllowed

    def _check_head(self) -> None:
        if self._signature is not None:
            self._check_signature()
        elif _ACTIVE_TEXT.match(self._head.removeprefix(codecs.BOM_UTF8)):
            raise AttachmentTypeNotAllowed
        self._head_seen = True

    def _check_signature(self) -> None:
        if self._signature is not None and not self._signature.match(self._head):
            raise AttachmentTypeNotAllowed
        self._head_seen = True


def _check_office(file: BinaryIO, folder: str) -> None:
    try:
        names = member_names(file)
    except NotAZip:
        raise AttachmentTypeNotAllowed from None
    fits = "[Content_Types].xml" in names and any(name.startswith(folder) for name in names)
    has_macros = any(name.lower().endswith("vbaproject.bin") for name in names)
    if not fits or has_macros:
        raise AttachmentTypeNotAllowed


_TYPES_OF_EXTENSIONS = {
    extension: mime_type for mime_type, endings in EXTENSIONS.items() for extension in endings
}
