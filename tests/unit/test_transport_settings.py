"""What each process takes of TLS, tokens and plaintext, and what it says of the rest."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

import gateway.config
import session_service.config
from runtime.settings import ProcessSettings
from runtime.transport import is_loopback, split_token
from tests.tls_support import Authority, as_environment, for_gateway, for_service

TOKEN = "a-token-of-these-tests"
CERT, KEY = "SESSION_SERVICE_TLS_CERT", "SESSION_SERVICE_TLS_KEY"
CLIENT_CERT, CLIENT_KEY = "SESSION_SERVICE_TLS_CLIENT_CERT", "SESSION_SERVICE_TLS_CLIENT_KEY"
LISTEN, TARGET = "SESSION_SERVICE_LISTEN", "SESSION_SERVICE_TARGET"

Load: TypeAlias = Callable[..., ProcessSettings]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for settings in (gateway.config.Settings, session_service.config.Settings):
        for name in settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("JWT_SECRET", "the-secret-of-the-dashboard-of-these-tests")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Callable[..., session_service.config.Settings]:
    def load(given: Mapping[str, str]) -> session_service.config.Settings:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        return session_service.config.load_settings()

    return load


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Callable[..., gateway.config.Settings]:
    """Loads the settings of a gateway."""

    def load(given: Mapping[str, str]) -> gateway.config.Settings:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        return gateway.config.load_settings()

    return load


def complaint(load: Load, **given: str) -> str:
    """Returns the only line of what is said about the settings."""
    with pytest.raises(SystemExit) as caught:
        load(given)
    heading, *lines = str(caught.value.code).splitlines()
    assert "cannot start" in heading
    (line,) = lines
    return line.strip()


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("[::]", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("[fe80::1]", False),
        ("session-service", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_what_is_beyond_this_machine_needs_tls_or_that_it_is_meant(
    host: str, near: bool, service: Load, before: Load
) -> None:
    assert is_loopback(host) is near
    for load, setting, remedy in (
        (service, LISTEN, f"{CERT} and {KEY}"),
        (before, TARGET, "SESSION_SERVICE_TLS_CA"),
    ):
        if near:
            load({setting: f"{host}:50051"})
        else:
            said = complaint(load, **{setting: f"{host}:50051"})
            assert said.startswith(f"{setting}: ")
            assert remedy in said
            assert "SESSION_SERVICE_PLAINTEXT=true" in said


def test_one_target_that_is_beyond_is_enough_for_that(before: Load) -> None:
    assert TARGET in complaint(before, **{TARGET: "127.0.0.1:50051,10.0.0.1:50051"})


@pytest.mark.parametrize("value", ["true", "1", "TRUE", "yes"])
def test_whoever_means_it_may_speak_in_the_clear(value: str, service: Load, before: Load) -> None:
    service({LISTEN: "0.0.0.0:50051", "SESSION_SERVICE_PLAINTEXT": value})
    before({TARGET: "session-service:50051", "SESSION_SERVICE_PLAINTEXT": value})


def test_a_token_alone_is_not_enough_as_it_could_be_read(service: Load, before: Load) -> None:
    for load, setting in ((service, LISTEN), (before, TARGET)):
        said = complaint(load, **{setting: "10.0.0.1:50051", "SESSION_SERVICE_TOKEN": TOKEN})
        assert "SESSION_SERVICE_TOKEN alone is not enough" in said
        assert TOKEN not in said


def test_with_certificates_every_address_is_fine(
    service: Load, before: Load, authority: Authority
) -> None:
    identity = authority.service()
    service({LISTEN: "0.0.0.0:50051", **as_environment(for_service(identity, authority))})
    before({TARGET: "10.0.0.1:50051", **as_environment(for_gateway(authority, identity))})


def test_both_processes_can_read_the_same_file(
    service: Load, before: Load, authority: Authority
) -> None:
    ours, theirs = authority.service(), authority.identity("gateway", "gateway")
    lines = {
        **as_environment(for_service(ours, authority)),
        **as_environment(for_gateway(authority, theirs)),
        "SESSION_SERVICE_TOKEN": f"gateway:{TOKEN}, reports:another-{TOKEN}",
        LISTEN: "0.0.0.0:50051",
        TARGET: "session-service:50051",
    }
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    entries = session_service.config.load_settings().session_service_token
    assert [split_token(entry) for entry in entries] == [
        ("gateway", TOKEN),
        ("reports", f"another-{TOKEN}"),
    ]
    found = gateway.config.load_settings()
    assert found.session_service_tls_client_cert == theirs.certificate
    assert found.session_service_token == entries
    assert TOKEN not in f"{found!r} {found.model_dump_json()}"


@pytest.mark.parametrize(
    ("value", "entry"),
    [
        ("short", 1),
        ("a token with spaces in it", 1),
        (f"{TOKEN},short", 2),
        (f":{TOKEN}", 1),
        (f"a name:{TOKEN}", 1),
        (f"{'n' * 65}:{TOKEN}", 1),
        ("ñ" * 16, 1),
        ("t" * 257, 1),
    ],
)
def test_a_bad_token_is_named_by_its_place_and_not_shown(
    value: str, entry: int, service: Load, before: Load
) -> None:
    for load in (service, before):
        said = complaint(load, SESSION_SERVICE_TOKEN=value)
        assert said.startswith(f"SESSION_SERVICE_TOKEN: entry {entry} must be ")
        assert value.partition(",")[0] not in said


def test_a_certificate_and_its_key_come_together(
    service: Load, before: Load, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = authority.service()
    monkeypatch.setenv("SESSION_SERVICE_TLS_CA", str(authority.file))
    for load, cert, key in ((service, CERT, KEY), (before, CLIENT_CERT, CLIENT_KEY)):
        expected = f"{key}: is of use together with {cert} alone: set both"
        assert complaint(load, **{cert: str(identity.certificate)}) == expected
        monkeypatch.delenv(cert)
        assert complaint(load, **{key: str(identity.key)}) == expected
        monkeypatch.delenv(key)


def test_certificates_of_callers_are_of_use_over_tls_alone(
    service: Load, before: Load, authority: Authority
) -> None:
    said = complaint(service, SESSION_SERVICE_TLS_CLIENT_CA=str(authority.file))
    assert said == f"SESSION_SERVICE_TLS_CLIENT_CA: needs {CERT} and {KEY}"
    identity = authority.service()
    given = {CLIENT_CERT: str(identity.certificate), CLIENT_KEY: str(identity.key)}
    with pytest.raises(SystemExit, match=f"{CLIENT_CERT}: needs SESSION_SERVICE_TLS_CA"):
        before(given)


def test_files_that_cannot_be_used_are_named_by_their_setting(
    service: Load, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = authority.service()
    other = authority.identity("other", "other.example.com")
    expired = authority.identity("expired", "session-service", expired=True)
    locked = tmp_path / "locked.key"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED")
    good = {CERT: str(identity.certificate), KEY: str(identity.key)}
    for name, path, problem in (
        (CERT, tmp_path / "nothing.pem", "cannot be read: No such file or directory"),
        (CERT, tmp_path, "cannot be read: Is a directory"),
        (CERT, identity.key, "must hold a certificate in PEM"),
        (CERT, expired.certificate, "the certificate expired on "),
        (KEY, other.key, "the key is not the certificate's"),
        (KEY, identity.certificate, "must hold a private key in PEM, without a passphrase"),
        (KEY, locked, "must hold a private key in PEM, without a passphrase"),
        (KEY, tmp_path / "nothing.key", "cannot be read: No such file or directory"),
        ("SESSION_SERVICE_TLS_CLIENT_CA", identity.key, "must hold certificates of authorities"),
    ):
        said = complaint(service, **{**good, name: str(path)})
        assert said.startswith(f"{name}: {problem}"), said
        assert str(path) not in said
        monkeypatch.delenv(name)


def test_a_key_in_the_place_of_its_file_name_is_not_shown(
    service: Load, authority: Authority
) -> None:
    identity = authority.service()
    key = identity.key.read_text()
    said = complaint(service, **{CERT: str(identity.certificate), KEY: key})
    assert said.startswith(f"{KEY}: cannot be read: ")
    assert key.splitlines()[1] not in said


def test_a_server_name_is_a_name(before: Load) -> None:
    before({"SESSION_SERVICE_TLS_SERVER_NAME": "session-service.example.com"})
    said = complaint(before, SESSION_SERVICE_TLS_SERVER_NAME="https://session-service")
    assert said.startswith("SESSION_SERVICE_TLS_SERVER_NAME: must be a name as in the certificate")
