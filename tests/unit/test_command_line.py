"""What `--help` tells of a process and its settings."""

from collections.abc import Callable

import pytest

import gateway.__main__
import gateway.config
import session_service.__main__
import session_service.config
from runtime.command_line import parser
from runtime.setting_descriptions import Setting, describe
from runtime.settings import ProcessSettings

PROCESSES: dict[str, tuple[type[ProcessSettings], Callable[[], None]]] = {
    "gateway": (gateway.config.Settings, gateway.__main__.main),
    "session_service": (session_service.config.Settings, session_service.__main__.main),
}


def described(settings: type[ProcessSettings]) -> dict[str, Setting]:
    return {setting.name: setting for setting in describe(settings)}


@pytest.mark.parametrize("name", PROCESSES)
def test_help_has_every_setting_with_its_default_and_its_meaning(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, main = PROCESSES[name]
    monkeypatch.setattr("sys.argv", [f"/somewhere/{name}/__main__.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(f"usage: python -m {name} ")
    for setting in describe(settings):
        default = f"={setting.default}" if setting.default else ""
        assert f" {setting.name}{default} {setting.meaning.replace('`', '')}" in said


def test_what_a_setting_takes_is_read_from_its_type() -> None:
    service = described(session_service.config.Settings)
    assert service["CHATKIT_MODE"].values == "`hosted` or `self_hosted`"
    assert service["CHATKIT_TOOLS"].values == (
        "any of `search`, `file_upload` or `code_interpreter`, comma-separated"
    )
    assert service["CHATKIT_TIMEOUT_SECONDS"].values == "a number, above 0, 600 or less"
    assert service["CHATKIT_MAX_MESSAGES"].values == "a whole number, 1 or more"
    assert service["SESSION_SERVICE_PLAINTEXT"].values == "`true` or `false`"
    assert service["OPENAI_API_KEY"].values == ""


def test_a_default_is_written_as_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    service = described(session_service.config.Settings)
    assert service["CHATKIT_TOOLS"].default == "search,file_upload,code_interpreter"
    assert service["SESSION_SERVICE_PLAINTEXT"].default == "false"
    assert service["LOG_FORMAT"].default == ""
    for name, setting in service.items():
        monkeypatch.setenv(name, setting.default)
    assert session_service.config.Settings() == session_service.config.Settings.model_construct()


def test_a_setting_that_nobody_has_described_is_found() -> None:
    class Careless(ProcessSettings):
        colour: str = "red"

    with pytest.raises(ValueError, match="colour needs a docstring"):
        list(describe(Careless))


def test_both_processes_say_the_same_of_the_settings_that_both_have() -> None:
    one, other = (described(settings) for settings, _ in PROCESSES.values())
    shared = one.keys() & other.keys()
    assert "SESSION_SERVICE_TOKEN" in shared
    assert {name: one[name] for name in shared} == {name: other[name] for name in shared}


def test_a_parser_takes_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    made = parser("session_service", session_service.config.Settings, "It serves.")
    made.add_subparsers(dest="command").add_parser("doctor")
    assert made.parse_args(["doctor"]).command == "doctor"
    assert made.parse_args([]).command is None
    with pytest.raises(SystemExit) as ended:
        made.parse_args(["nurse"])
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err
