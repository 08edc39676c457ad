"""Which settings a gateway takes, and what it says of the others."""

from pathlib import Path

import pytest

from gateway.config import Settings, load_settings

NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine's, and no `.env`."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    needed = {"JWT_SECRET": "secret", "SESSION_SERVICE_PLAINTEXT": "true"}
    for name, value in {**needed, **given}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **given: str) -> str:
    with pytest.raises(SystemExit) as caught:
        settings(monkeypatch, **given)
    assert isinstance(caught.value.code, str)
    return caught.value.code


def test_the_defaults_are_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch)
    assert found.gateway_listen == "127.0.0.1:8080"
    assert found.session_service_target == ("127.0.0.1:50051",)
    assert found.chatkit_timeout_seconds == 30
    assert found.cors_allow_origins == ()
    assert found.admin_user_ids == frozenset()
    assert (found.jwt_jwks_url, found.jwt_issuer, found.jwt_audience) == (None, None, None)
    assert found.jwt_user_claim is None
    assert found.gateway_public_url is None
    assert found.metrics_token is None
    assert (found.log_level, found.log_format) == ("info", None)


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(
        monkeypatch,
        ADMIN_USER_IDS=" 1, boss ,,2 ",
        CORS_ALLOW_ORIGINS="https://a.example, http://localhost:3000",
        SESSION_SERVICE_TARGET="10.0.0.1:50051,10.0.0.2:50051",
    )
    assert found.admin_user_ids == {"1", "boss", "2"}
    assert found.cors_allow_origins == ("https://a.example", "http://localhost:3000")
    assert found.session_service_target == ("10.0.0.1:50051", "10.0.0.2:50051")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://Dashboard.Example.com", "https://dashboard.example.com"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("*", "*"),
    ],
)
def test_an_origin_is_as_browsers_send_it(
    monkeypatch: pytest.MonkeyPatch, given: str, sent: str
) -> None:
    assert settings(monkeypatch, CORS_ALLOW_ORIGINS=given).cors_allow_origins == (sent,)


@pytest.mark.parametrize(
    "value",
    [
        "null",
        "https://a.example/",
        "https://a.example?b",
        "https://a.example#b",
        "https://user@a.example",
        "https://*.example",
        "https://a.example:x",
        "https://ñ.example",
    ],
)
def test_what_no_browser_sends_is_no_origin(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert "CORS_ALLOW_ORIGINS" in refusal(monkeypatch, CORS_ALLOW_ORIGINS=value)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("JWT_ISSUER=file\nJWT_AUDIENCE=file\nJWT_SECRET=file\nOTHER=1\n")
    found = settings(monkeypatch, JWT_ISSUER="environment")
    assert (found.jwt_issuer, found.jwt_audience) == ("environment", "file")


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_an_absent_one(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert settings(monkeypatch, JWT_ISSUER=value).jwt_issuer in (None, "")
    assert "JWT_SECRET" in refusal(monkeypatch, JWT_SECRET="")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("GATEWAY_LISTEN", "SESSION_SERVICE_TARGET")
            for value in ("8080", ":8080", "host", "host:", "host:port", "host:65536", "a b:1")
        ),
        ("SESSION_SERVICE_TARGET", ","),
        ("SESSION_SERVICE_TARGET", "one.example:50051,two.example:50051"),
        ("SESSION_SERVICE_TARGET", "10.0.0.1:50051,two.example:50051"),
        ("JWT_JWKS_URL", "keys"),
        ("JWT_JWKS_URL", "ftp://issuer.example/keys"),
        ("JWT_JWKS_URL", "http://issuer.example/keys"),
        ("JWT_JWKS_URL", "http://127.0.0.1.example/keys"),
        ("JWT_JWKS_URL", "file:///etc/passwd"),
        ("JWT_JWKS_URL", "https://"),
        ("JWT_JWKS_URL", "https:///keys"),
        ("JWT_JWKS_URL", "https://[issuer"),
        ("JWT_JWKS_URL", "https://issuer.example:port/keys"),
        ("JWT_JWKS_URL", "https://issuer.example/a b"),
        ("JWT_JWKS_URL", "https://issuer.example/keys#one"),
        ("JWT_JWKS_URL", "http://localhost@issuer.example/keys"),
        ("JWT_JWKS_URL", "http://issuer.example\\@localhost/keys"),
        ("JWT_JWKS_URL", "http://2130706433/keys"),
        ("CORS_ALLOW_ORIGINS", "dashboard.example"),
        ("CORS_ALLOW_ORIGINS", "https://dashboard.example/"),
        ("CORS_ALLOW_ORIGINS", "https://dashboard.example/path"),
        ("CORS_ALLOW_ORIGINS", "https://a.example,b.example"),
        ("GATEWAY_PUBLIC_URL", "chat.example"),
        ("GATEWAY_PUBLIC_URL", "ftp://chat.example"),
        ("GATEWAY_PUBLIC_URL", "https://"),
        ("GATEWAY_PUBLIC_URL", "https://chat.example/?a=b"),
        ("GATEWAY_PUBLIC_URL", "https://chat.example/#a"),
        ("GATEWAY_PUBLIC_URL", "https://chat.example/a b"),
        ("GATEWAY_PUBLIC_URL", "https://[chat"),
        ("GATEWAY_PUBLIC_URL", "https://chat.example:port"),
        ("CHATKIT_TIMEOUT_SECONDS", "0"),
        ("CHATKIT_TIMEOUT_SECONDS", "-1"),
        ("CHATKIT_TIMEOUT_SECONDS", "601"),
        ("CHATKIT_TIMEOUT_SECONDS", "nan"),
        ("CHATKIT_TIMEOUT_SECONDS", "soon"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_setting_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    said = refusal(monkeypatch, **{name: value})
    assert said.startswith("gateway cannot start")
    assert said.count(f"\n  {name}: ") == 1
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_LISTEN", "[::1]:8080"),
        ("GATEWAY_LISTEN", "localhost:0"),
        ("SESSION_SERVICE_TARGET", "session-service:50051"),
        ("SESSION_SERVICE_TARGET", "[::1]:1,[::2]:1"),
        ("JWT_JWKS_URL", "https://issuer.example/keys"),
        ("JWT_JWKS_URL", "http://localhost:9000/keys"),
        ("JWT_JWKS_URL", "http://127.0.0.1/keys"),
        ("JWT_JWKS_URL", "http://[::1]:9000/keys"),
        ("CORS_ALLOW_ORIGINS", "*"),
        ("LOG_LEVEL", "DEBUG"),
    ],
)
def test_a_good_setting_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    settings(monkeypatch, **{name: value})


@pytest.mark.parametrize(
    "value", ["https://chat.example", "https://chat.example/", "http://localhost:8080/chat/"]
)
def test_the_public_url_has_no_slash_at_its_end(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    assert settings(monkeypatch, GATEWAY_PUBLIC_URL=value).gateway_public_url == value.rstrip("/")


def test_targets_of_two_families_cannot_be_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, SESSION_SERVICE_TARGET="127.0.0.1:50051,[::1]:50051")
    assert "SESSION_SERVICE_TARGET: " in said


def test_published_keys_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch, JWT_SECRET="", JWT_JWKS_URL="https://issuer.example/keys")
    assert found.jwt_secret is None


def test_the_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch, JWT_SECRET="nobody-may-see-this")
    assert "nobody-may-see-this" not in f"{found!r}{found}"
    said = refusal(monkeypatch, JWT_SECRET="nobody-may-see-this", LOG_LEVEL="loud")
    assert "nobody-may-see-this" not in said
