"""What a log line may not hold is taken out of it, and nothing else."""

import pytest

from runtime.redaction import REDACTED, redactor

SECRETS = [
    "sk-proj-Abc_123-xyz",
    "sk-test",
    "sk-abcd********wxyz",
    "ek_68f0a1b2c3",
    "cksec_Q2hhdEtpdA-_9",
    "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VySWQiOjd9.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "line",
    ["{}", '{{"message":"Not {} here"}}', "key={},", "Bearer {}", "\x1b[35m{}\x1b[0m", "({})"],
)
def test_what_looks_like_a_secret_is_taken_out(line: str, secret: str) -> None:
    assert redactor([])(line.format(secret)) == line.format(REDACTED)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("postgresql://chat:pass@db:5432/chat", f"postgresql://{REDACTED}db:5432/chat"),
        ("postgresql:///d?password=pass&x=1", f"postgresql:///d?password={REDACTED}&x=1"),
        ('"http://me@proxy:3128"', f'"http://{REDACTED}proxy:3128"'),
    ],
)
def test_of_an_address_the_credentials_are_taken_out(line: str, left: str) -> None:
    assert redactor([])(line) == left


@pytest.mark.parametrize(
    "line",
    [
        "task-force of the disk-drive, risk-averse",
        "sk-SK",
        "week_2026_11 and seek_something",
        "cksess_0123456789abcdef",
        "https://api.openai.com/v1?mail=a@b.example",
        "sqlite:///data/chatkit.db",
        "client_secret",
    ],
)
def test_everything_else_stays(line: str) -> None:
    assert redactor([])(line) == line


def test_a_known_secret_is_taken_out_whatever_it_looks_like() -> None:
    redact = redactor(['gate"way\\key', "gateway-key-2", ""])
    assert redact("of gateway-key-2, no more") == f"of {REDACTED}, no more"
    assert redact(r'{"message":"not gate\"way\\key"}') == f'{{"message":"not {REDACTED}"}}'


def test_what_is_too_short_to_be_told_from_text_stays() -> None:
    assert redactor(["a", "key"])("a key") == "a key"


@pytest.mark.parametrize("secret", ["ek_68f0_abc-DEF", "cksec_abc-DEF", "sk-proj-abc_DEF"])
@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_secret_that_is_taken_for_an_id_is_taken_out_of_a_path(
    secret: str, encoded: bool, slash: str
) -> None:
    name = secret.replace("_", "%5F").replace("-", "%2d") if encoded else secret
    path = f"/api/chatkit/session{slash}"
    assert redactor(())(f"{path}{name}") == f"{path}{REDACTED}"
    assert redactor(())(f"{path}cksess_1") == f"{path}cksess_1"
