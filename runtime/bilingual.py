"""A text in both of the languages that people read here."""

from typing import NamedTuple


class Both(NamedTuple):
    """In Spanish and in English; of a checklist, `{…}` is a detail of the check."""

    es: str
    en: str
