"""What no log may hold: keys, client secrets, tokens, and credentials in addresses."""

import re
from collections.abc import Callable, Iterable

import orjson

REDACTED = "[redacted]"

_SHORTEST_SECRET = 6
"""What is shorter cannot be told from other text."""

# A word of its own; before it may be the end of a colour on a terminal, or of a character
# that is percent-encoded, as in a path.
_BEGIN = r"(?:(?<![A-Za-z0-9_-])|(?<=\x1b\[\dm)|(?<=\x1b\[\d\dm)|(?<=%[0-9A-Fa-f]{2}))"
_SECRETS = (
    _BEGIN + r"(?:sk(?:-|%2[Dd])|(?:ek|cksec)(?:_|%5[Ff]))[\w*.%-]{4,}",
    _BEGIN + r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*",  # a JSON Web Token
    r"(?<=://)[^\s/@\"']+@",  # https://user:password@host
    r"(?<=password=)[^\s&\"']+",
)
_SIGNS = ("sk-", "sk%", "ek_", "ek%", "cksec_", "cksec%", "eyJ", "://", "password=")
"""One of these is in every secret that the patterns find."""


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """Returns what takes secrets out of a text: those, and what looks like one."""
    known = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)
    as_json = [orjson.dumps(secret).decode()[1:-1] for secret in known]
    exact = tuple(dict.fromkeys((*known, *as_json)))
    pattern = re.compile("|".join((*map(re.escape, exact), *_SECRETS)))
    signs = (*exact, *_SIGNS)

    def redact(text: str) -> str:
        # Few lines have one, and a look for them is fifty times as fast as the pattern.
        return pattern.sub(REDACTED, text) if any(sign in text for sign in signs) else text

    return redact
