"""Which files are taken, by what they claim and by what they are."""

import io
import struct
import time
import zipfile

import pytest

from session_service.conversation.file_types import (
    EXTENSIONS,
    TypeCheck,
    allowed_type,
    is_unspecific,
    with_extension,
)
from session_service.conversation.zip_members import NotAZip, member_names
from session_service.errors import AttachmentTypeNotAllowed
from tests.attachment_examples import EXAMPLES, EXCEL, PDF, PNG, POWERPOINT, WORD, zipped

HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
TEXTS = [kind for kind in EXTENSIONS if kind.startswith("text/") or kind.endswith(("json", "yaml"))]


def check(kind: str, data: bytes, step: int | None = None) -> None:
    checking = TypeCheck(kind)
    for start in range(0, len(data), step or len(data) or 1):
        checking.feed(data[start : start + (step or len(data))])
    checking.finish(io.BytesIO(data))


def refuses(kind: str, data: bytes) -> bool:
    """Whether it does, with the same outcome byte by byte."""
    outcomes = set()
    for step in (None, 1):
        try:
            check(kind, data, step)
            outcomes.add(False)
        except AttachmentTypeNotAllowed:
            outcomes.add(True)
    assert len(outcomes) == 1
    return outcomes.pop()


def test_there_is_an_example_of_every_type() -> None:
    assert EXAMPLES.keys() == EXTENSIONS.keys()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_file_is_what_it_claims_to_be(kind: str) -> None:
    name, data = EXAMPLES[kind]
    assert allowed_type(kind, name) == kind
    assert not refuses(kind, data)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_file_of_any_other_type_is_refused(kind: str) -> None:
    for other, (_, data) in EXAMPLES.items():
        if other != kind and not (kind in TEXTS and other in TEXTS):
            # A PDF with nothing but ASCII in it is a text as well, and harmless as one.
            assert refuses(kind, data) or (kind in TEXTS and data == PDF), (kind, other)


@pytest.mark.parametrize(
    "data",
    [
        HTML,
        SVG,
        b"\xef\xbb\xbf" + HTML,
        b"\r\n\t <HTML>",
        b"<!-- a --><!-- b -->\n<!doctype   HTML>",
        b"<script>alert(1)</script>",
        b"<svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>",
        b"#!/bin/sh\nrm -rf /\n",
        b"\x7fELF\x02\x01\x01" + bytes(99),
        b"MZ\x90\0\x03\0\0\0" + bytes(99),
        b"\xcf\xfa\xed\xfe\x07\0\0\x01" + bytes(99),
        b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(99),
    ],
)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_what_could_be_run_is_refused_whatever_it_claims(kind: str, data: bytes) -> None:
    assert refuses(kind, data)


@pytest.mark.parametrize(
    "name",
    [
        "a.html",
        "a.HTM",
        "a.svg",
        "a.exe",
        "a.bat",
        "a.js",
        "a.docm",
        "a.pdf.exe",
        ".svg",
        "a.xhtml",
    ],
)
@pytest.mark.parametrize("kind", ["", "image/png", "text/plain", WORD, "application/octet-stream"])
def test_what_is_named_as_something_to_run_is_refused(name: str, kind: str) -> None:
    with pytest.raises(AttachmentTypeNotAllowed):
        allowed_type(kind, name)


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        ("IMAGE/PNG", "a", "image/png"),
        ("image/jpg", "a.jpg", "image/jpeg"),
        (" Image/PJPEG ", "a.jpg", "image/jpeg"),
        ("text/plain; charset=utf-8", "a.log", "text/plain"),
        ("text/csv;header=present", "a.csv", "text/csv"),
        ("", "README.MD", "text/markdown"),
        ("application/octet-stream", "a.pdf", "application/pdf"),
        ("application/x-zip-compressed", "a.xlsx", EXCEL),
        ("application/vnd.ms-excel", "a.csv", "text/csv"),
        (POWERPOINT.upper(), "a.pptx", POWERPOINT),
    ],
)
def test_types_are_read_as_browsers_declare_them(declared: str, name: str, expected: str) -> None:
    assert allowed_type(declared, name) == expected


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("image/svg+xml", "a.png"),
        ("text/html", "a.txt"),
        ("application/vnd.ms-excel", "a.xls"),
        ("application/zip", "a.zip"),
        ("application/octet-stream", "a"),
        ("", ""),
        ("video/mp4", "a.mp4"),
        ("image/png\0", "a.png"),
        ("*/*", "a.png"),
    ],
)
def test_other_types_are_refused(declared: str, name: str) -> None:
    with pytest.raises(AttachmentTypeNotAllowed):
        allowed_type(declared, name)


def test_what_says_nothing_contradicts_nothing() -> None:
    assert is_unspecific("application/octet-stream; charset=binary")
    assert not is_unspecific("image/png")


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        ("ñ".encode(), False),
        ("ñ".encode()[:1], True),
        ("a" * 5000 + "ñ", False),
        ("José".encode("latin-1"), True),
        (b"a\0b", True),
        (b"a" * 5000 + b"\0", True),
        ("text".encode("utf-16"), True),
        (b"\xed\xa0\x80", True),
        (b"The word <html> may be in it", False),
        (b"<!-- a note -->\n# Title", False),
    ],
)
def test_a_text_is_utf_8_without_nul(data: bytes | str, refused: bool) -> None:
    assert refuses("text/plain", data.encode() if isinstance(data, str) else data) == refused


def test_a_wrong_type_is_seen_in_the_first_bytes() -> None:
    with pytest.raises(AttachmentTypeNotAllowed):
        TypeCheck("application/pdf").feed(PNG)
    with pytest.raises(AttachmentTypeNotAllowed):
        TypeCheck("text/plain").feed(HTML.ljust(1024))


def test_many_comments_are_looked_at_in_no_time() -> None:
    started = time.process_time()
    for filler in (b"<!---->", b" ", b"<?a>", b"<!--", b"<a:"):
        assert not refuses("text/plain", filler * 500)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "names",
    [
        ("word/document.xml",),
        ("[Content_Types].xml",),
        ("[Content_Types].xml", "xl/workbook.xml"),
        ("[Content_Types].xml", "words/document.xml"),
        ("[Content_Types].xml", "word/document.xml", "word/vbaProject.bin"),
    ],
)
def test_a_zip_file_without_the_right_members_is_no_document(names: tuple[str, ...]) -> None:
    assert refuses(WORD, zipped(*names))


@pytest.mark.parametrize("missing", [1, 22, 23, 60])
def test_a_document_that_was_cut_off_is_refused(missing: int) -> None:
    assert refuses(WORD, EXAMPLES[WORD][1][:-missing])


def test_a_document_may_have_a_comment_and_odd_names() -> None:
    file = io.BytesIO(zipped("[Content_Types].xml", "word/document.xml", "word/ñ🎉.xml"))
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"made by hand"
    assert "word/document.xml" in member_names(file)


def test_a_directory_that_lies_is_no_zip_file() -> None:
    data = bytearray(zipped("[Content_Types].xml", "word/document.xml"))
    end = data.rindex(b"PK\x05\x06")
    for offset, value in ((10, 1), (10, 9), (12, 2**32 - 1), (12, 5 * 2**20), (16, 2**32 - 1)):
        lying = bytearray(data)
        struct.pack_into("<H" if offset == 10 else "<L", lying, end + offset, value)
        with pytest.raises(NotAZip):
            member_names(io.BytesIO(lying))


def test_openai_is_told_a_name_that_ends_as_the_type_does() -> None:
    assert with_extension("a.PNG", "image/png") == "a.PNG"
    assert with_extension("photo", "image/jpeg") == "photo.jpg"
    assert with_extension("a.png", "image/jpeg") == "a.png.jpg"
    assert with_extension("a.csv", "text/plain") == "a.csv"
    assert with_extension("a.py", "text/plain") == "a.py.txt"
