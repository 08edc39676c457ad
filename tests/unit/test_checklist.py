"""A checklist as people and machines get it: every text in both languages, states, exit codes."""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import pytest
import structlog

from runtime.checklist import Check, after, failed, passed, skipped, verdict, warning
from runtime.checklist_remedies import EXPLANATIONS
from runtime.checklist_report import as_json, as_text, language_of_locale, main
from runtime.checklist_texts import PHRASES, TITLES, Language, explanation, title
from session_service.stores.inspection import Problem

ROOT = Path(__file__).parents[2]
DOCTORS = ("session_service/doctor.py", "session_service/openai_checks.py", "gateway/doctor.py")
CHECKS = [
    passed("service.settings"),
    failed("openai.key", "missing"),
    after("openai.reachable", "openai.key"),
    warning("agent_builder", "closing", closes="2026-11-30", days=6),
    passed("database.migrated", "new"),
]
ALL = {"session_service": CHECKS}


def made_checks() -> Iterator[tuple[str, str]]:
    """Yields name and cause of each check that the code makes, as far as it says them outright."""
    for path in DOCTORS:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="passed" | "failed" | "warning" | "skipped"),
                    args=[ast.Constant(value=str(name)), *rest],
                ):
                    yield from ((name, cause) for cause in causes(*rest[:1]))


def causes(expression: ast.expr | None = None) -> Iterator[str]:
    match expression:
        case None:
            yield ""
        case ast.Constant(value=str(cause)):
            yield cause
        case ast.IfExp(body=body, orelse=orelse):
            yield from causes(body)
            yield from causes(orelse)


def test_every_check_that_the_code_makes_has_its_texts() -> None:
    made = {*made_checks(), *(("database.usable", problem) for problem in get_args(Problem))}
    assert len(made) > 60
    for name, cause in made:
        assert name in TITLES
        assert not cause or {f"{name}.{cause}", f"*.{cause}"} & EXPLANATIONS.keys(), (name, cause)


def test_every_text_is_of_a_check_and_differs_between_the_languages() -> None:
    for key, text in EXPLANATIONS.items():
        assert key.startswith("*.") or key.rpartition(".")[0] in TITLES
        assert text.es != text.en
        assert sorted(re.findall(r"{\w+}", text.es)) == sorted(re.findall(r"{\w+}", text.en))
    assert all(es and en for es, en in TITLES.values())


def test_there_is_no_emoji() -> None:
    texts = [*EXPLANATIONS.values(), *TITLES.values(), *PHRASES.values()]
    assert not re.search("[\u2600-\u26ff\U0001f000-\U0001ffff]", "".join(map("".join, texts)))


def test_a_check_is_a_line_with_its_remedy_below() -> None:
    assert as_text(ALL, "es", colours=False).splitlines() == [
        "",
        "Servicio de sesiones",
        "  ✓ Variables bien escritas",
        "  ✗ Clave de OpenAI",
        "      Falta OPENAI_API_KEY. Crea una clave en https://platform.openai.com/api-keys, en el",
        "      proyecto del workflow si lo hay, y ponla en .env: OPENAI_API_KEY=sk-…",
        "      Para probar no hace falta: sin clave, make run usa un emulador incluido.",
        "  – OpenAI responde: antes, «Clave de OpenAI»",  # noqa: RUF001
        "  ! Agent Builder sigue abierto",
        "      OpenAI lo cierra el 2026-11-30 (días que quedan: 6), y con él los workflows."
        " Prepara",
        "      CHATKIT_MODE=self_hosted: docs/migration.es.md."
        " Pruébalo ya: make run MODE=self_hosted.",
        "  ✓ Base de datos al día: aún no hay tablas; se crean al arrancar",
        "",
        "1 de 5 por arreglar, 1 aviso, 1 sin comprobar.",
    ]
    assert "1 of 5 to be mended, 1 warning, 1 not checked." in as_text(ALL, "en", colours=False)


def test_with_nothing_to_mend_it_says_so() -> None:
    fine = {"gateway": [passed("gateway.settings"), warning("gateway.cors", "none")]}
    last = as_text(fine, "en", colours=False).splitlines()[-1]
    assert last == "Nothing to be mended: 1 of 2 in order, 1 warning."


def test_colours_are_around_the_signs_alone() -> None:
    plain, coloured = (as_text(ALL, "en", colours=colours) for colours in (False, True))
    assert "\x1b[31m✗\x1b[0m OpenAI key" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_json_is_the_same_in_both_languages_but_for_its_texts() -> None:
    spanish, english = (json.loads(as_json(ALL, language)) for language in ("es", "en"))
    assert (spanish["state"], spanish["language"]) == ("failed", "es")
    assert spanish["checks"][3] == {
        "process": "session_service",
        "name": "agent_builder",
        "state": "warning",
        "cause": "closing",
        "details": {"closes": "2026-11-30", "days": "6"},
        "title": title(CHECKS[3], "es"),
        "explanation": explanation(CHECKS[3], "es"),
    }
    for report in (spanish, english):
        del report["language"]
        for check in report["checks"]:
            del check["title"], check["explanation"]
    assert spanish == english


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ([], "passed"),
        ([passed("disk"), skipped("clock", "unknown")], "passed"),
        ([passed("disk"), warning("disk", "low")], "warning"),
        ([warning("disk", "low"), failed("openai.key", "missing")], "failed"),
    ],
)
def test_the_verdict_is_that_of_the_worst(checks: Sequence[Check], state: str) -> None:
    assert verdict(checks) == state


def test_another_releases_check_is_told_by_its_name() -> None:
    unknown = failed("openai.orbit", "too_high")
    assert title(unknown, "es") == "openai.orbit"
    assert explanation(unknown, "es") == "too_high"
    assert explanation(failed("workflow.found", "not_found"), "en")  # without its details


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "es"),
        ({"LANG": "C.UTF-8"}, "es"),
        ({"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, "en"),
        ({"LC_MESSAGES": "es_AR.UTF-8", "LANG": "en_US.UTF-8"}, "es"),
        ({"LC_ALL": "en", "LC_MESSAGES": "es_ES"}, "en"),
        ({"LC_ALL": "", "LANG": "de_DE.UTF-8"}, "es"),
    ],
)
def test_the_language_is_the_locales(environment: dict[str, str], language: Language) -> None:
    assert language_of_locale(environment) == language


class TestCommand:
    """What the three commands share."""

    @pytest.fixture(autouse=True)
    def log(self) -> Iterator[None]:
        yield
        structlog.reset_defaults()

    @pytest.mark.parametrize(("checks", "code"), [(CHECKS, 1), (CHECKS[3:], 0)])
    def test_the_exit_code_is_whether_something_failed(
        self, checks: list[Check], code: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async def examine() -> dict[str, Sequence[Check]]:
            structlog.get_logger().error("what a part of the process would log")
            return {"session_service": checks}

        assert main(["--json"], "doctor", examine) == code
        assert json.loads(capsys.readouterr().out)["state"] == ("failed" if code else "warning")
        assert main(["--lang", "en"], "doctor", examine) == code
        assert "to be mended" in capsys.readouterr().out

    @pytest.mark.parametrize("arguments", [["--lang", "fr"], ["--yaml"], ["now"]])
    def test_bad_usage_is_2(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        async def examine() -> dict[str, Sequence[Check]]:
            raise AssertionError("not asked for")

        with pytest.raises(SystemExit) as caught:
            main(arguments, "doctor", examine)
        assert caught.value.code == 2
        assert "usage: doctor" in capsys.readouterr().err
