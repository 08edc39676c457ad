"""Names of files, made safe."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from session_service.conversation.file_names import MAX_NAME_BYTES, sanitized_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Informe de año.pdf", "Informe de año.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("/", "file"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        (" . . ", "file"),
        (".htaccess", "htaccess"),
        ("a\0.png", "a.png"),
        ("\0", "file"),
        ("a\r\nb\t c.png", "a b c.png"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("\u200f\u2066a\ufeff\u200b.pdf", "a.pdf"),
        ("a\ud800.pdf", "a.pdf"),
        ("e\u0301.txt", "é.txt"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("LPT¹.pdf", "_LPT¹.pdf"),
        ("com1 .pdf", "_com1 .pdf"),
        ("console.pdf", "console.pdf"),
        ('a<b>"c|d?e*f:g.txt', "a_b__c_d_e_f_g.txt"),
        ("a.txt. . ", "a.txt"),
        ("🎉.png", "🎉.png"),
    ],
)
def test_names_are_made_safe(name: str, expected: str) -> None:
    assert sanitized_name(name) == expected


@pytest.mark.parametrize("letter", ["a", "ñ", "你", "🎉"])
def test_a_long_name_keeps_its_extension_and_its_characters(letter: str) -> None:
    name = sanitized_name(letter * 5000 + ".docx")
    assert name.removesuffix(".docx") == letter * ((MAX_NAME_BYTES - 5) // len(letter.encode()))
    assert name.endswith(".docx")


def test_what_is_too_long_for_an_extension_is_none() -> None:
    assert sanitized_name("a." + "b" * 5000) == "a." + "b" * 253


@given(st.text())
@example("\u212b/../\u202e.")
@example("." * 300)
@example("a" + "." * 300 + "b")
@example("0\r\x1b\r0")
def test_every_name_is_safe_and_stays_as_it_is(text: str) -> None:
    name = sanitized_name(text)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not set(name) & set('/\\<>:"|?*\0')
    assert not {unicodedata.category(character) for character in name} & {"Cc", "Cf", "Cs"}
    assert not name.startswith((".", " "))
    assert unicodedata.is_normalized("NFC", name)
    assert sanitized_name(name) == name
