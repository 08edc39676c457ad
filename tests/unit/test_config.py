"""The settings: the contract's defaults, and one message for all that is wrong with them."""

import contextlib
import os
from pathlib import Path

import pytest

from session_service.config import Settings, load_settings
from session_service.rate_limit import Window

CONTRACT = {
    "openai_api_key": None,
    "openai_chatkit_workflow_id": None,
    "openai_base_url": "https://api.openai.com/v1",
    "chatkit_mode": "hosted",
    "session_service_listen": "127.0.0.1:50051",
    "database_url": "sqlite:///data/chatkit.db",
    "chatkit_timeout_seconds": 30,
    "chatkit_max_messages": 100,
    "chatkit_tools": {"search", "file_upload", "code_interpreter"},
    "chatkit_usage_sync_seconds": 60,
    "chatkit_sessions_per_minute": 30,
    "log_level": "info",
    "log_format": None,
}
"""The defaults of the contract's table; that of `CHATKIT_SYSTEM_MESSAGE` is the workflow's."""

SELF_HOSTED = {
    "chatkit_model": "gpt-5-mini",
    "chatkit_agent": None,
    "openai_vector_store_ids": (),
    "chatkit_requests_per_minute": 10,
    "chatkit_retention_days": 0,
    "chatkit_attachments_dir": Path("data/attachments"),
    "chatkit_attachment_max_mb": 512,
}
"""The defaults of what the self-hosted mode adds to it."""

METRICS = {"session_service_metrics_listen": "127.0.0.1:9464", "metrics_token": None}
TRANSPORT = {
    "session_service_token": (),
    "session_service_plaintext": False,
    "session_service_tls_cert": None,
    "session_service_tls_key": None,
    "session_service_tls_client_ca": None,
}
"""The defaults of how callers reach it, which test_transport_settings.py is about."""


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory, and none of this machine's settings."""
    monkeypatch.chdir(tmp_path)
    known = {name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.upper() in known:
            monkeypatch.delenv(name)


def complaint(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        load_settings()
    assert isinstance(caught.value.code, str)
    return caught.value.code


def test_the_defaults_are_the_contracts() -> None:
    settings = load_settings().model_dump()
    assert {name: settings[name] for name in CONTRACT} == CONTRACT
    assert {name: settings[name] for name in SELF_HOSTED} == SELF_HOSTED
    assert {name: settings[name] for name in TRANSPORT} == TRANSPORT
    assert {name: settings[name] for name in METRICS} == METRICS
    known = CONTRACT.keys() | SELF_HOSTED.keys() | TRANSPORT.keys() | METRICS.keys()
    assert settings["otel_exporter_otlp_endpoint"] is None
    assert settings.keys() - known == {"chatkit_system_message", "otel_exporter_otlp_endpoint"}


def test_every_setting_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_CHATKIT_WORKFLOW_ID": "wf_1",
        "OPENAI_BASE_URL": "http://127.0.0.1:8090/v1/",
        "CHATKIT_MODE": "self_hosted",
        "SESSION_SERVICE_LISTEN": "[::1]:0",
        "SESSION_SERVICE_METRICS_LISTEN": "off",
        "METRICS_TOKEN": "0123456789abcdef",
        "DATABASE_URL": "sqlite:////var/lib/chatkit.db",
        "CHATKIT_TIMEOUT_SECONDS": "2.5",
        "CHATKIT_MAX_MESSAGES": "7",
        "CHATKIT_TOOLS": " search , file_upload,",
        "CHATKIT_SYSTEM_MESSAGE": "Be kind",
        "CHATKIT_USAGE_SYNC_SECONDS": "0",
        "CHATKIT_SESSIONS_PER_MINUTE": "0",
        "CHATKIT_MODEL": "gpt-5",
        "CHATKIT_AGENT": "mine.agents:agent",
        "OPENAI_VECTOR_STORE_IDS": "vs_1, vs_2",
        "CHATKIT_REQUESTS_PER_MINUTE": "0",
        "CHATKIT_RETENTION_DAYS": "0.5",
        "CHATKIT_ATTACHMENTS_DIR": "/var/lib/attachments",
        "CHATKIT_ATTACHMENT_MAX_MB": "0.25",
        "LOG_LEVEL": "WARNING",
        "LOG_FORMAT": "Console",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-1"
    assert settings.model_dump(exclude={"openai_api_key", "metrics_token", *TRANSPORT}) == {
        "openai_chatkit_workflow_id": "wf_1",
        "openai_base_url": "http://127.0.0.1:8090/v1",
        "chatkit_mode": "self_hosted",
        "session_service_listen": "[::1]:0",
        "session_service_metrics_listen": None,
        "database_url": "sqlite:////var/lib/chatkit.db",
        "chatkit_timeout_seconds": 2.5,
        "chatkit_max_messages": 7,
        "chatkit_tools": {"search", "file_upload"},
        "chatkit_system_message": "Be kind",
        "chatkit_usage_sync_seconds": 0,
        "chatkit_sessions_per_minute": 0,
        "chatkit_model": "gpt-5",
        "chatkit_agent": "mine.agents:agent",
        "openai_vector_store_ids": ("vs_1", "vs_2"),
        "chatkit_requests_per_minute": 0,
        "chatkit_retention_days": 0.5,
        "chatkit_attachments_dir": Path("/var/lib/attachments"),
        "chatkit_attachment_max_mb": 0.25,
        "log_level": "warning",
        "log_format": "console",
        "otel_exporter_otlp_endpoint": "http://collector:4318",
    }


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("OPENAI_CHATKIT_WORKFLOW_ID=wf_file\nLOG_LEVEL=error\nOTHER=1\n")
    monkeypatch.setenv("OPENAI_CHATKIT_WORKFLOW_ID", "wf_environment")
    settings = load_settings()
    assert settings.openai_chatkit_workflow_id == "wf_environment"
    assert settings.log_level == "error"


def test_what_is_empty_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    assert load_settings() == Settings.model_construct()


BAD = {
    "OPENAI_BASE_URL": [
        "api.openai.com",
        "ftp://x/",
        "https://",
        "http://h:80x/v1",
        "http://a b/",
        "http://h:99999",
        "https://me:pass@api.openai.com/v1",
        "https://me@api.openai.com/v1",
        "https://api.openai.com/v1?key=1",
        "https://api.openai.com/v1?",
        "https://api.openai.com/v1#a",
    ],
    "CHATKIT_MODE": ["x", "Hosted", "self-hosted"],
    "SESSION_SERVICE_LISTEN": [
        "50051",
        "localhost",
        "127.0.0.1:",
        "127.0.0.1:70000",
        ":1",
        "a b:1",
    ],
    "SESSION_SERVICE_METRICS_LISTEN": ["9464", "127.0.0.1:70000", "Off", "none"],
    "METRICS_TOKEN": ["short", "with spaces in between", "gateway:0123456789abcdef"],
    "SESSION_SERVICE_PLAINTEXT": ["maybe", "2"],
    "SESSION_SERVICE_TOKEN": ["short"],
    "DATABASE_URL": [
        "data/chatkit.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "mysql://x/y",
        "postgresql+asyncpg://h/d",
        "postgresql:/h/d",
        "postgresql://h",
        "postgresql://h/",
        "postgresql://h:5x/d",
        "postgresql://h,/d",
        "postgresql://h/d#a",
        "postgresql://u:pass@word@h/d",
        "postgresql://u:12/34@h/d",
        'postgresql://u:p"@h/d',
        "postgresql://u:p w@h/d",
        "postgresql://h/d?password=p@w",
    ],
    "CHATKIT_TIMEOUT_SECONDS": ["0", "-1", "nan", "inf", "601", "soon"],
    "CHATKIT_MAX_MESSAGES": ["0", "-1", "1.5", "many"],
    "CHATKIT_TOOLS": ["search,magic", "SEARCH"],
    "CHATKIT_USAGE_SYNC_SECONDS": ["-1", "nan", "often"],
    "CHATKIT_SESSIONS_PER_MINUTE": ["-1", "0.5", "x"],
    "CHATKIT_REQUESTS_PER_MINUTE": ["-1", "0.5", "x"],
    "CHATKIT_RETENTION_DAYS": ["-1", "nan", "inf", "never"],
    "CHATKIT_ATTACHMENT_MAX_MB": ["0", "513", "nan", "big"],
    "LOG_LEVEL": ["loud", "5"],
    "LOG_FORMAT": ["xml"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": ["collector:4318", "http://user:password@collector:4318"],
}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss@db.example:5432/chatkit",
        "postgres://db/chatkit?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql:///chatkit?host=/run/postgresql",
        "postgresql://user@%2Frun%2Fpostgresql/chatkit",
        "postgresql://user:pass@[::1]:5432/chatkit",
        "postgresql://user:pass@db-1:5432,db-2/chatkit?target_session_attrs=primary",
    ],
)
def test_a_database_may_be_postgresql(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert load_settings().database_url == url


@pytest.mark.parametrize(("name", "value"), [(n, value) for n in BAD for value in BAD[n]])
def test_a_bad_setting_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = complaint(monkeypatch, **{name: value})
    assert said.count("\n") == 1
    assert f"{name}: " in said


def test_all_bad_settings_are_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    said = complaint(monkeypatch, **{name: values[0] for name, values in BAD.items()})
    assert all(f"\n  {name}: " in said for name in BAD)
    assert said.count("\n") == len(BAD)
    assert "session_service cannot start" in said


def test_what_a_setting_held_is_not_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a password, or a key in the wrong line."""
    said = complaint(
        monkeypatch, **dict.fromkeys(BAD, "sk-proj-very-secret"), OPENAI_API_KEY="sk-proj-secret"
    )
    assert "secret" not in said


def test_a_key_in_the_place_of_a_port_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (
        "https://api.openai.com:sk-proj-secret/v1",
        "https://me:sk-secret@/v1",
        "https://me:sk-secret@api.openai.com/v1",
        "https://api.openai.com/v1?key=sk-secret",
    ):
        assert "secret" not in complaint(monkeypatch, OPENAI_BASE_URL=value)


SENTENCES = {
    ("CHATKIT_TIMEOUT_SECONDS", "soon"): "must be a number",
    ("CHATKIT_TIMEOUT_SECONDS", "nan"): "must be a number, 600 or less",
    ("CHATKIT_TIMEOUT_SECONDS", "0"): "must be a number above 0",
    ("CHATKIT_TIMEOUT_SECONDS", "601"): "must be a number, 600 or less",
    ("CHATKIT_USAGE_SYNC_SECONDS", "-1"): "must be a number, 0 or more",
    ("CHATKIT_MAX_MESSAGES", "1.5"): "must be a whole number",
    ("CHATKIT_MODE", "x"): "must be hosted or self_hosted",
    ("CHATKIT_TOOLS", "search,magic"): ("entry 2 must be search, file_upload or code_interpreter"),
    ("DATABASE_URL", "mysql://u:p@h/d"): (
        "must be sqlite:///path/to/file.db (sqlite://// begins an absolute path)"
        " or postgresql://user:password@host/database"
    ),
    ("DATABASE_URL", "postgresql://u:p@ss@h/d"): (
        "must be postgresql://user:password@host:port/database, with characters of the"
        " password that have a meaning in addresses as %40, %2F, …"
    ),
}


@pytest.mark.parametrize(("name", "value"), SENTENCES)
def test_what_is_wrong_is_said_in_plain_words(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = complaint(monkeypatch, **{name: value})
    assert said.splitlines()[1:] == [f"  {name}: {SENTENCES[name, value]}"]


def test_each_bad_entry_of_a_list_is_named_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    said = complaint(monkeypatch, CHATKIT_TOOLS="magic,search,spells")
    assert [line.split(" must")[0].strip() for line in said.splitlines()[1:]] == [
        "CHATKIT_TOOLS: entry 1",
        "CHATKIT_TOOLS: entry 3",
    ]


def test_no_bad_setting_is_answered_in_the_words_of_a_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, values in BAD.items():
        for value in values:
            assert "Input should" not in complaint(monkeypatch, **{name: value})
        monkeypatch.delenv(name)


def test_a_key_is_not_shown_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-secret")
    assert "secret" not in f"{load_settings()!r} {load_settings()}"
    assert "secret" not in load_settings().model_dump_json()


@pytest.mark.parametrize("number", [10**6, 2**63, 10**30])
def test_a_rate_limit_is_refused_or_works(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATKIT_SESSIONS_PER_MINUTE", f"{number}")
    with contextlib.suppress(SystemExit):
        Window(load_settings().chatkit_sessions_per_minute).add("7", 0)


def test_a_file_that_is_no_text_is_told_without_a_traceback() -> None:
    Path(".env").write_bytes(b"OPENAI_API_KEY=\xff\xfe\n")
    with pytest.raises(SystemExit) as caught:
        load_settings()
    assert ".env" in str(caught.value.code)
