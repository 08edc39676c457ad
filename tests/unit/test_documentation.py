"""What the documents promise is there: settings, make targets, codes, links, in both languages."""

import re
from pathlib import Path

import pytest

import gateway.config
import session_service.config
from gateway.texts import TEXTS
from protos.chatkit.v1.errors import REASONS
from runtime.signals import HARD_STOP_SECONDS
from session_service.server import GRACE_SECONDS

ROOT = Path(__file__).parents[2]
READMES = ["README.md", "README.es.md"]
GUIDES = ["MIGRATION.md", "MIGRATION.es.md"]
OPERATIONS = "OPERATIONS.md"
SETTINGS = {
    name.upper()
    for settings in (gateway.config.Settings, session_service.config.Settings)
    for name in settings.model_fields
}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def configuration(readme: str) -> set[str]:
    rows = re.findall(r"(?m)^\| (`[A-Z_`, ]+`) \|", readme)
    return {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row) if name in SETTINGS}


@pytest.mark.parametrize("name", READMES)
def test_the_readme_documents_every_setting(name: str) -> None:
    assert configuration(read(name)) == SETTINGS


def test_the_example_file_has_every_setting() -> None:
    assert set(re.findall(r"(?m)^#?([A-Z_]+)=", read(".env.example"))) == SETTINGS


@pytest.mark.parametrize("name", GUIDES)
def test_the_guide_speaks_of_settings_that_exist(name: str) -> None:
    mentioned = set(re.findall(r"\b(?:CHATKIT|GATEWAY|JWT|OPENAI)_[A-Z_]+\b", read(name)))
    assert {
        "CHATKIT_MODE",
        "CHATKIT_AGENT",
        "CHATKIT_MODEL",
        "OPENAI_VECTOR_STORE_IDS",
    } <= mentioned
    assert mentioned <= SETTINGS


@pytest.mark.parametrize("name", [*READMES, *GUIDES, OPERATIONS])
def test_every_make_target_that_is_mentioned_exists(name: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):.*##", read("Makefile")))
    mentioned = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", read(name)))
    assert mentioned
    assert mentioned <= targets


@pytest.mark.parametrize("name", READMES)
def test_the_codes_in_the_troubleshooting_exist(name: str) -> None:
    headings = ("Troubleshooting", "Solución de problemas")
    (section,) = (p for p in re.split(r"(?m)^## ", read(name)) if p.startswith(headings))
    codes = set(re.findall(r"\| `([A-Z_]+)` \|", section))
    assert {"WORKFLOW_NOT_CONFIGURED", "INVALID_API_KEY", "WORKFLOW_NOT_FOUND"} <= codes
    assert codes <= REASONS


@pytest.mark.parametrize("reason", ["WORKFLOW_NOT_CONFIGURED", "INVALID_API_KEY"])
@pytest.mark.parametrize("name", READMES)
def test_the_documented_errors_are_found_by_their_text(name: str, reason: str) -> None:
    assert f"`{TEXTS[reason].en.error}`" in read(name)


@pytest.mark.parametrize("name", GUIDES)
def test_the_guide_is_found_by_what_people_see(name: str) -> None:
    text = " ".join(re.sub(r"(?m)^> ?", "", read(name)).split())
    closed = TEXTS["WORKFLOW_NOT_FOUND.closed"]
    shown = closed.es if name.endswith(".es.md") else closed.en
    assert f"`{shown.error}`" in text
    assert shown.hint in text


@pytest.mark.parametrize("name", [*READMES, *GUIDES, OPERATIONS])
def test_links_lead_to_files_and_headings_that_exist(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", read(name))
    assert links
    for target, heading in links:
        assert (ROOT / target).exists(), target
        assert not heading or heading in anchors(read(target or name)), heading


def test_operators_are_told_of_settings_and_reasons_that_exist() -> None:
    mentioned = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", read(OPERATIONS)))
    assert {"DATABASE_URL", "OPENAI_API_KEY", "UNAVAILABLE"} <= mentioned | REASONS
    assert mentioned <= SETTINGS | REASONS | {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}


def test_every_event_that_operators_are_to_watch_is_logged() -> None:
    packages = [ROOT / name for name in ("gateway", "session_service", "runtime")]
    code = "".join(path.read_text() for package in packages for path in package.rglob("*.py"))
    (section,) = re.findall(r"(?s)\n## What to watch\n(.*?)\n## ", read(OPERATIONS))
    rows = re.findall(r"(?m)^\| (`.*?`) \| .* \|$", section.partition("|---|")[2])
    events = [event for row in rows for event in re.findall(r"`([^`]+)`", row)]
    assert len(events) > 10
    for event in (*events, *re.findall(r"`([^`]+; trying again)`", section)):
        assert f'"{event}"' in code, event


def test_operators_are_told_how_long_a_process_takes_to_end() -> None:
    text = read(OPERATIONS)
    assert f"After {HARD_STOP_SECONDS:g} s the process ends" in text
    assert f"what has begun has {GRACE_SECONDS:g} s" in text


def test_the_architecture_names_modules_that_exist_and_is_one_page() -> None:
    text = read("ARCHITECTURE.md")
    for module in re.findall(r"`([\w/]+\.py)`", text):
        assert any((ROOT / folder / module).exists() for folder in (".", "session_service")), module
    for package in ("gateway", "session_service/conversation"):
        (row,) = re.findall(rf"(?m)^\| `{package}/` \|.*", text)
        names = set(re.findall(r"`(\w+)`", row))
        assert names
        assert names <= {path.stem for path in (ROOT / package).glob("*.py")}
    assert len(text.splitlines()) < 130


def test_every_promise_of_security_names_tests_that_exist() -> None:
    rows = re.findall(r"(?m)^\| [^|]+ \| [^|]+ \| (.*`.*) \|$", read("SECURITY.md"))
    assert len(rows) > 10
    for row in rows:
        folder = ROOT / "tests"
        for name in re.findall(r"`([\w./]+)`", row):
            path = (folder if "/" not in name else ROOT / "tests") / name.removeprefix("tests/")
            path = path if path.suffix or path.is_dir() else path.with_suffix(".py")
            assert path.exists(), name
            folder = path.parent


@pytest.mark.parametrize(("in_english", "in_spanish"), [READMES, GUIDES])
def test_both_languages_have_the_same_shape_and_the_same_code(
    in_english: str, in_spanish: str
) -> None:
    english, spanish = read(in_english), read(in_spanish)
    for mark in ("\n## ", "\n### ", "\n| ", "\n- "):
        assert english.count(mark) == spanish.count(mark), mark
    assert re.findall(r"(?m)^\| `[^|]*", english) == re.findall(r"(?m)^\| `[^|]*", spanish)
    assert blocks(english) == blocks(spanish)


def blocks(text: str) -> list[tuple[str, str]]:
    """Returns the language and the content of each block of code, without comments."""
    found = re.findall(r"(?s)```(\w+)\n(.*?)```", text)
    assert found
    return [(language, re.sub(r"(?m)^# .*\n", "", code)) for language, code in found]


def anchors(text: str) -> set[str]:
    """Returns what GitHub lets one link to: the headings, in small letters, with hyphens."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?s)```.*?```", "", text))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
