"""Files of each type that may be attached, and the parts of links to them."""

import io
import zipfile

from session_service.conversation.links import Link

BASE_URL = "https://chat.example.com"

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
POWERPOINT = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489") + bytes(
    99
)
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n"


def zipped(*names: str, content: bytes = b"<x/>") -> bytes:
    """A zip file with such members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return file.getvalue()


EXAMPLES = {
    "image/png": ("a.png", PNG),
    "image/jpeg": ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(99)),
    "image/gif": ("a.gif", b"GIF89a" + bytes(99)),
    "image/webp": ("a.webp", b"RIFF\x24\0\0\0WEBPVP8 " + bytes(99)),
    "application/pdf": ("a.pdf", PDF),
    WORD: ("a.docx", zipped("[Content_Types].xml", "word/document.xml")),
    EXCEL: ("a.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml")),
    POWERPOINT: ("a.pptx", zipped("[Content_Types].xml", "ppt/presentation.xml")),
    "text/plain": ("a.txt", "¿Qué tal? 你好 🎉\n".encode()),
    "text/csv": ("a.csv", "﻿name,total\nJosé,7\n".encode()),
    "text/tab-separated-values": ("a.tsv", b"a\tb\n"),
    "text/markdown": ("a.md", b"<p align='center'>\n\n# A title\n"),
    "application/json": ("a.json", b'{"a": "<svg>"}'),
    "application/yaml": ("a.yaml", b"a: 1\n"),
}
"""One small file of each type that is allowed."""


def link_of(url: str) -> Link:
    """What the gateway makes of the URL of a link."""
    start, _, query = url.partition("?")
    base, _, attachment_id = start.rpartition("/")
    assert base == f"{BASE_URL}/api/chatkit/attachments"
    values = dict(pair.split("=", 1) for pair in query.split("&"))
    assert list(values) == ["expires", "signature"]
    return Link(attachment_id, int(values["expires"]), values["signature"])
