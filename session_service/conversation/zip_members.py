"""The names in a zip file, from its directory alone: nothing is unpacked, and not much is read.

The standard library's zipfile reads a directory of any size, and so would take the memory of who
sends one of half a gigabyte. The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

import os
import struct
from typing import BinaryIO

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_SIGNATURE = b"PK\x01\x02"
_MAX_COMMENT_BYTES = 0xFFFF
_MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
"""Of some 40,000 members; documents have dozens."""


class NotAZip(Exception):
    """It is none, it is damaged, or there is more in it than in any document."""


def member_names(file: BinaryIO) -> frozenset[str]:
    """Returns what is in a zip file. Raises NotAZip."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size - _MAX_COMMENT_BYTES))
    tail = file.read()
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise NotAZip
    *_, count, directory_size, offset, comment_size = _END.unpack_from(tail, at)
    end_offset = size - len(tail) + at
    # It is all there and of the plain kind: where zip64 has the numbers, these are huge.
    if (
        len(tail) - at != _END.size + comment_size
        or directory_size > _MAX_DIRECTORY_BYTES
        or offset + directory_size > end_offset
    ):
        raise NotAZip
    file.seek(offset)
    names = _names(file.read(directory_size))
    if len(names) != count:
        raise NotAZip
    return frozenset(names)


def _names(directory: bytes) -> list[str]:
    names = []
    at = 0
    while at < len(directory):
        if len(directory) - at < _ENTRY.size:
            raise NotAZip
        signature, *fields = _ENTRY.unpack_from(directory, at)
        if signature != _ENTRY_SIGNATURE:
            raise NotAZip
        name_size, extra_size, comment_size = fields[9:12]
        at += _ENTRY.size
        # The names that matter are ASCII; others are in UTF-8 or in a code page of 1981.
        names.append(directory[at : at + name_size].decode("ascii", "replace"))
        at += name_size + extra_size + comment_size
    return names
