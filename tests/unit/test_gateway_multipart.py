"""A file in a form, however the network cuts the form, and forms that have none."""

import pytest

from gateway.errors import APIError
from gateway.multipart import FileForm, FileHead

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
CONTENT = b"\x89PNG\r\n\x1a\n\r\n--not the boundary\r\n------WebKitFormBoundary7MA4YWxkTrZu0gx\r"


def part(disposition: str, content: bytes, *headers: str) -> bytes:
    lines = [f"--{BOUNDARY}", f"Content-Disposition: form-data; {disposition}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
FILE = part('name="file"; filename="ñ.png"', CONTENT, "Content-Type: image/PNG; x=y")


def read(body: bytes, cut: int | None = None) -> tuple[FileHead | None, bytes]:
    form = FileForm(CONTENT_TYPE)
    cut = cut or len(body) or 1
    found = b"".join(form.feed(body[start : start + cut]) for start in range(0, len(body), cut))
    form.finish()
    return form.head, found


@pytest.mark.parametrize("cut", [*range(1, 80), None])
def test_the_file_is_the_same_wherever_the_form_is_cut(cut: int | None) -> None:
    body = part('name="note"', b"before") + FILE + part('name="more"', b"after") + END
    assert read(body, cut) == (FileHead("ñ.png", "image/png"), CONTENT)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="file"; filename="a.txt"', "a.txt"),
        ("name=file; filename=a.txt", "a.txt"),
        ('filename="a; b.txt"; name="file"', "a; b.txt"),
        ('name="file"; filename="say %22hi%22.txt"', "say %22hi%22.txt"),
        ('name="file"; filename="../../etc/passwd"', "../../etc/passwd"),  # the service cleans it
        ('name="file"; filename=""', ""),
    ],
)
def test_the_name_is_the_browsers(disposition: str, name: str) -> None:
    head, _ = read(part(disposition, b"x") + END)
    assert head == FileHead(name, "application/octet-stream")


def test_a_name_that_is_not_utf8_is_still_a_text() -> None:
    head, _ = read(FILE.replace("ñ".encode(), b"\xff\xfe") + END)
    assert head is not None
    assert head.name == "\ufffd\ufffd.png"


def test_an_empty_file_is_a_file() -> None:
    assert read(part('name="file"; filename="a"', b"") + END)[1] == b""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        END,
        b"garbage",
        b"\x00" * 1000,
        FILE,  # without its end
        FILE[:-20],
        FILE + END[:-4],
        part('name="other"; filename="a"', b"x") + END,
        part('name="file"', b"a field, not a file") + END,
        FILE + FILE + END,
        b"--" + BOUNDARY.encode() + b"\r\n\r\nno headers\r\n" + END,
        FILE.replace(b"Content-Type", b"Content Type") + END,
        FILE.replace(b"Content-Type", b"X" * 10_000) + END,
        part('name="file"; filename="a"', b"", *["X: y"] * 50) + END,
        FILE.replace(BOUNDARY.encode(), b"another") + END,
    ],
)
@pytest.mark.parametrize("cut", [1, None])
def test_a_form_without_one_whole_file_names_the_field(body: bytes, cut: int | None) -> None:
    with pytest.raises(APIError) as caught:
        read(body, cut)
    assert (caught.value.reason, caught.value.detail) == ("INVALID_ARGUMENT", "file")


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300, "multipart/form-data;"],
)
def test_a_boundary_is_needed(content_type: str) -> None:
    with pytest.raises(APIError) as caught:
        FileForm(content_type)
    assert (caught.value.reason, caught.value.detail) == ("INVALID_ARGUMENT", "file")


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/mixed; boundary=a"])
def test_another_type_is_no_form(content_type: str) -> None:
    with pytest.raises(APIError) as caught:
        FileForm(content_type)
    assert caught.value.reason == "UNSUPPORTED_MEDIA_TYPE"
