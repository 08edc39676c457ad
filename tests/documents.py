"""The Markdown files of this repository, and what tests look at in them."""

import re
from pathlib import Path

import gateway.config
import session_service.config

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md")
)
SETTINGS = {
    name.upper()
    for settings in (gateway.config.Settings, session_service.config.Settings)
    for name in settings.model_fields
}
_MADE_IN_BOTH = ("docs/errors.md", "docs/configuration.md")
"""Whose Spanish page is made, or is shorter."""


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def translations() -> list[tuple[str, str]]:
    """Returns each document that somebody has translated, with its Spanish page."""
    return [
        (name, spanish)
        for name in DOCUMENTS
        if (spanish := name.replace(".md", ".es.md")) in DOCUMENTS and name not in _MADE_IN_BOTH
    ]


def blocks(text: str) -> list[tuple[str, str]]:
    """Returns the language and the content of each fenced block of code."""
    return re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", text)


def anchors(text: str) -> set[str]:
    """Returns what GitHub lets one link to: the headings, in small letters, with hyphens."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", text))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
