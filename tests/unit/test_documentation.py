"""What the documents promise is there: settings, codes, events, modules, in both languages."""

import datetime
import re

import pytest

from docs.generator.__main__ import generate
from gateway.security_headers import DEFAULTS
from gateway.texts import TEXTS
from protos.chatkit.v1.errors import REASONS
from run import introduction, make_plan
from runtime import VERSION
from runtime.signals import HARD_STOP_SECONDS
from session_service.server import GRACE_SECONDS
from tests.documents import DOCUMENTS, ROOT, SETTINGS, anchors, blocks, read, translations

READMES = ["README.md", "README.es.md"]
TROUBLESHOOTING = ["docs/troubleshooting.md", "docs/troubleshooting.es.md"]
CONFIGURATION = ["docs/configuration.md", "docs/configuration.es.md"]
GUIDES = ["docs/migration.md", "docs/migration.es.md"]
OPERATIONS = "docs/operations.md"
GENERATED = generate()
SCREENS = 110
"""Lines of two screens."""


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_made_from_the_code_is_fresh(name: str) -> None:
    assert read(name) == GENERATED[name], "run make docs"


@pytest.mark.parametrize("name", CONFIGURATION)
def test_the_reference_of_settings_has_every_one(name: str) -> None:
    rows = re.findall(r"(?m)^\| (`[A-Z_`, ]+`) \|", read(name))
    assert {setting for row in rows for setting in re.findall(r"`([A-Z_]+)`", row)} == SETTINGS


def test_the_example_file_has_every_setting() -> None:
    assert set(re.findall(r"(?m)^#?([A-Z_]+)=", read(".env.example"))) == SETTINGS


def test_every_reason_has_a_section_in_both_languages() -> None:
    for name in ("docs/errors.md", "docs/errors.es.md"):
        assert {reason.lower() for reason in REASONS} <= anchors(read(name))


def test_a_spanish_reader_is_told_of_every_setting_in_spanish() -> None:
    english, spanish = (read(name).count("\n| `") for name in CONFIGURATION)
    assert english >= spanish > len(SETTINGS) / 2


@pytest.mark.parametrize("name", READMES)
def test_the_readme_is_read_within_two_screens(name: str) -> None:
    assert len(read(name).splitlines()) <= SCREENS


def test_the_index_has_every_document() -> None:
    listed = set(re.findall(r"\]\(([\w.-]+\.md)\)", read("docs/README.md")))
    assert listed == {name.removeprefix("docs/") for name in DOCUMENTS if "docs/" in name} - {
        "README.md"
    }


@pytest.mark.parametrize("name", GUIDES)
def test_the_guide_speaks_of_what_has_to_be_set(name: str) -> None:
    for setting in ("CHATKIT_MODE", "CHATKIT_AGENT", "CHATKIT_MODEL", "OPENAI_VECTOR_STORE_IDS"):
        assert setting in read(name)


@pytest.mark.parametrize("name", [*READMES, *TROUBLESHOOTING])
def test_the_documented_errors_come_with_their_codes(name: str) -> None:
    codes = set(re.findall(r"\| `([A-Z_]+)` \|", read(name)))
    assert {"WORKFLOW_NOT_CONFIGURED", "INVALID_API_KEY", "WORKFLOW_NOT_FOUND"} <= codes
    assert codes <= REASONS


@pytest.mark.parametrize(
    "reason", ["WORKFLOW_NOT_CONFIGURED", "INVALID_API_KEY", "WORKFLOW_NOT_FOUND"]
)
@pytest.mark.parametrize("name", [*READMES, *TROUBLESHOOTING])
def test_the_documented_errors_are_found_by_their_text(name: str, reason: str) -> None:
    assert f"`{TEXTS[reason].en.error}`" in read(name)


@pytest.mark.parametrize("name", GUIDES)
def test_the_guide_is_found_by_what_people_see(name: str) -> None:
    text = " ".join(re.sub(r"(?m)^> ?", "", read(name)).split())
    closed = TEXTS["WORKFLOW_NOT_FOUND.closed"]
    shown = closed.es if name.endswith(".es.md") else closed.en
    assert f"`{shown.error}`" in text
    assert shown.hint in text


@pytest.mark.parametrize("name", [*READMES, "docs/start.md", "docs/start.es.md"])
def test_what_make_run_prints_is_what_it_is_said_to_print(name: str) -> None:
    shown = next(code for _, code in blocks(read(name)) if code.startswith("$ make run\n"))
    printed = introduction(make_plan({}), datetime.date(2026, 11, 24))
    lines = shown.partition("The ChatKit back end is ready.")[2].splitlines()
    assert len(lines) > 5
    for line in lines:
        for part in line.split("eyJhbGciOiJIUzI1NiIs…"):
            assert part in printed


def test_images_are_built_under_the_version_that_there_is() -> None:
    tags = re.findall(r"(?m)--tag \S+:(\S+)", read(OPERATIONS))
    assert set(tags) == {VERSION}


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
    promises = read("docs/security.md").partition("\n## Promises\n")[2]
    rows = re.findall(r"(?m)^\| [^|]+ \| [^|]+ \| (.*`.*) \|$", promises)
    assert len(rows) > 10
    for row in rows:
        folder = ROOT / "tests"
        for name in re.findall(r"`([\w./]+)`", row):
            path = (folder if "/" not in name else ROOT / "tests") / name.removeprefix("tests/")
            path = path if path.suffix or path.is_dir() else path.with_suffix(".py")
            assert path.exists(), name
            folder = path.parent


def test_the_headers_that_every_answer_has_are_those_that_are_documented() -> None:
    (example,) = [code for language, code in blocks(read("docs/security.md")) if language == "http"]
    documented = dict(line.split(": ", 1) for line in example.splitlines())
    assert documented == DEFAULTS


@pytest.mark.parametrize(("in_english", "in_spanish"), translations())
def test_both_languages_have_the_same_shape_and_the_same_code(
    in_english: str, in_spanish: str
) -> None:
    english, spanish = read(in_english), read(in_spanish)
    for mark in ("\n## ", "\n### ", "\n| ", "\n- "):
        assert english.count(mark) == spanish.count(mark), mark
    assert re.findall(r"(?m)^\| `[^|]*", english) == re.findall(r"(?m)^\| `[^|]*", spanish)
    comment = re.compile(r"(?m)^# .*\n")
    assert [(language, comment.sub("", code)) for language, code in blocks(english)] == [
        (language, comment.sub("", code)) for language, code in blocks(spanish)
    ]
