"""Which language a person gets, and that there is a good text in each."""

import re

import pytest

from gateway.errors import STATUS_CODES
from gateway.texts import TEXTS, Language, chat_message, language_of, session_deleted, text_of


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "es"),
        ("", "es"),
        ("es", "es"),
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("es-419", "es"),
        ("es-ES,es;q=0.9,en;q=0.8", "es"),
        ("en-US,en;q=0.9,es;q=0.8", "en"),
        ("es;q=0.5, en;q=0.9", "en"),
        ("en;q=0.5, es;q=0.9", "es"),
        ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "en"),
        ("fr, es;q=0.1", "es"),
        ("fr", "es"),
        ("*", "es"),
        ("fr, *;q=0.1", "es"),
        ("en;q=0", "es"),
        ("en;q=0, es;q=0.1", "es"),
        ("en ; q=0.7 , es;q=0.3", "en"),
        ("en; Q=0.2, es;q=0.3", "es"),
        ("english", "es"),
        ("esperanto", "es"),
        ("en;q=lots", "es"),
        (";;;,,,=", "es"),
        (",en", "en"),
        ("en;q=nan", "es"),
        ("ñ" * 1000, "es"),
        (",".join(["fr"] * 10_000), "es"),
    ],
)
def test_the_language_is_the_one_that_is_preferred(header: str | None, language: str) -> None:
    assert language_of(header) == language


@pytest.mark.parametrize("key", TEXTS)
def test_each_text_says_in_both_languages_what_happened_and_what_to_do(key: str) -> None:
    spanish, english = TEXTS[key].es, TEXTS[key].en
    for text in (spanish.error, spanish.hint, english.error, english.hint):
        assert text == text.strip()
        assert len(text) >= 10
    assert spanish.hint != english.hint


@pytest.mark.parametrize("key", TEXTS)
def test_both_languages_name_the_same_settings_and_fields(key: str) -> None:
    spanish, english = TEXTS[key].es, TEXTS[key].en

    def names(*texts: str) -> set[str]:
        found = re.findall(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b|\b[a-z]+(?:[A-Z][a-z]+)+\b", " ".join(texts))
        return set(found)

    assert names(spanish.error, spanish.hint) == names(english.error, english.hint)


@pytest.mark.parametrize("key", TEXTS)
def test_each_hint_is_a_sentence(key: str) -> None:
    for hint in (TEXTS[key].es.hint, TEXTS[key].en.hint):
        assert hint[0].isupper()
        assert hint[-1] == "."


def test_a_detail_without_a_text_of_its_own_has_that_of_its_reason() -> None:
    assert text_of("INTERNAL", "whatever", "en") == text_of("INTERNAL", None, "en")


@pytest.mark.parametrize("reason", STATUS_CODES)
@pytest.mark.parametrize("language", ["es", "en"])
def test_a_message_in_the_chat_is_for_who_chats(reason: str, language: Language) -> None:
    details = [key.partition(".")[2] or None for key in TEXTS if key.partition(".")[0] == reason]
    for detail in details:
        message = chat_message(reason, detail, language)
        assert message.endswith(".")
        # Settings are for administrators.
        assert not re.search(r"\b(CHATKIT|OPENAI|JWT|SESSION_SERVICE)_", message)


def test_what_who_chats_can_do_is_in_the_message() -> None:
    assert chat_message("SESSION_DELETED", "chat", "en") == (
        "This chat session was closed. Reload the page to open another."
    )
    assert chat_message("UPSTREAM_TIMEOUT", None, "en") == (
        "OpenAI did not finish answering in time."
    )
    assert chat_message("INVALID_API_KEY", "missing", "es") == "Invalid API key."


@pytest.mark.parametrize("cause", [None, "closed"])
@pytest.mark.parametrize(
    ("language", "words", "guide"),
    [
        ("en", ("same OpenAI project", "shell", ".env", "published"), "docs/migration.md"),
        ("es", ("mismo proyecto", "shell", ".env", "publicado"), "docs/migration.es.md"),
    ],
)
def test_what_to_check_for_a_workflow_is_in_the_contracts_order(
    language: Language, words: tuple[str, ...], guide: str, cause: str | None
) -> None:
    hint = text_of("WORKFLOW_NOT_FOUND", cause, language).hint
    words = (*words, "Agent Builder", "2026-11-30", "CHATKIT_MODE=self_hosted", guide)
    order = [hint.index(word) for word in words]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("language", "before", "after"), [("en", "closes", "closed"), ("es", "cierra", "cerró")]
)
def test_once_agent_builder_has_closed_it_is_said_plainly(
    language: Language, before: str, after: str
) -> None:
    hints = [text_of("WORKFLOW_NOT_FOUND", cause, language).hint for cause in (None, "closed")]
    for hint, word in zip(hints, (before, after), strict=True):
        assert re.search(rf"Agent Builder.*\b{word}\b", hint)
    assert after not in hints[0]


def test_a_delete_is_confirmed_in_both_languages() -> None:
    assert session_deleted("es") != session_deleted("en")
    assert all(session_deleted(language) for language in ("es", "en"))


@pytest.mark.parametrize("language", ["es", "en"])
def test_the_form_of_a_workflow_is_told_whole(language: Language) -> None:
    hint = text_of("WORKFLOW_NOT_CONFIGURED", "malformed", language).hint
    # `wf_` alone, or with a space after it, begins as it should.
    words = {"es": ("letras", "dígitos"), "en": ("letters", "digits")}[language]
    assert all(word in hint for word in ("wf_", *words))
