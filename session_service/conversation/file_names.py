"""The names of attachments: what users call their files, made safe to show, to send and to save."""

import re
import unicodedata

MAX_NAME_BYTES = 255
"""As file systems have it."""

_MAX_EXTENSION_BYTES = 32
_FALLBACK = "file"
_INVISIBLE = frozenset(("Cc", "Cf", "Cs"))
"""Controls, formats such as those for the direction of writing, and halves of surrogate pairs."""
_FORBIDDEN = re.compile(r'[<>:"|?*]')
"""Windows does not take them in a name."""
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE
)
"""Windows opens the device, whatever the extension:
https://learn.microsoft.com/windows/win32/fileio/naming-a-file"""


def sanitized_name(name: str) -> str:
    """Returns the last part of a path, in NFC, without what hides or misleads; never empty.

    What goes are control and format characters, so those that change the direction of writing, and
    dots in front. At most 255 bytes of UTF-8 are left, with the extension.
    """
    name = re.split(r"[/\\]", name)[-1]
    # Before white space (line ends too) and the normal form: what was apart may go together.
    name = "".join(c for c in name if c.isspace() or unicodedata.category(c) not in _INVISIBLE)
    name = " ".join(name.split())
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).strip(". ")
    if _DEVICE.match(name):
        name = f"_{name}"
    return _shortened(name) or _FALLBACK


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension.encode()) > _MAX_EXTENSION_BYTES:
        stem, dot, extension = name, "", ""
    room = MAX_NAME_BYTES - len(f"{dot}{extension}".encode())
    # A character that was cut through is none.
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + dot + extension
