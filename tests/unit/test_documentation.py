"""What the documents promise is there: settings, make targets, codes, links, in both languages."""

import re
from pathlib import Path

import pytest

import gateway.config
import session_service.config
from gateway.texts import TEXTS
from protos.chatkit.v1.errors import REASONS

ROOT = Path(__file__).parents[2]
READMES = ["README.md", "README.es.md"]
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


@pytest.mark.parametrize("name", READMES)
def test_every_make_target_that_is_mentioned_exists(name: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):.*##", read("Makefile")))
    mentioned = set(re.findall(r"`make ([a-z-]+)`", read(name)))
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


@pytest.mark.parametrize("name", [*READMES, "ARCHITECTURE.md"])
def test_links_lead_to_files_that_exist(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", read(name)):
        assert (ROOT / target).exists(), target


def test_both_readmes_have_the_same_shape_and_the_same_code() -> None:
    english, spanish = map(read, READMES)
    assert english.count("\n## ") == spanish.count("\n## ")
    assert english.count("\n| `") == spanish.count("\n| `")

    def code(text: str, language: str) -> list[str]:
        blocks = re.findall(rf"(?s)```{language}\n(.*?)```", text)
        return [re.sub(r"(?m)^# .*\n", "", block) for block in blocks]

    assert code(english, "python") == code(spanish, "python")
    assert code(english, "bash") == code(spanish, "bash")
    assert code(english, "diff") == code(spanish, "diff")
