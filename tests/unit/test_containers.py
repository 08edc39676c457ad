"""The container files, as far as a machine without Docker can tell."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import gateway.config
import session_service.config
from runtime.settings import ProcessSettings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def stages() -> dict[str, str]:
    """Returns the text of each stage by its name, with that of the stages it builds on."""
    found: dict[str, str] = {}
    for stage in re.split(r"(?m)^(?=FROM )", DOCKERFILE)[1:]:  # before them is the base image
        match = re.match(r"FROM (\S+) AS (\S+)", stage)
        assert match is not None
        found[match[2]] = found.get(match[1], "") + stage
    return found


@pytest.mark.parametrize("target", ["gateway", "session-service"])
def test_images_are_not_root_and_check_their_health(target: str) -> None:
    text = stages()[target]
    assert re.search(r"(?m)^USER 10001$", text)
    assert "HEALTHCHECK" in text


@pytest.mark.parametrize("target", ["gateway", "session-service"])
def test_images_contain_every_package_that_their_process_imports(target: str) -> None:
    package = target.replace("-", "_")
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    imported = {package} | {
        name
        for file in (ROOT / package).rglob("*.py")
        for name in re.findall(r"(?m)^(?:from|import) (\w+)", file.read_text())
    }
    copied = set(re.findall(r"(?m)^COPY (\w+) \w+$", stages()[target]))
    assert imported & ours == copied


def test_the_build_context_has_all_that_is_copied() -> None:
    allowed = set(re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text()))
    assert set(re.findall(r"(?m)^COPY ([\w.]+) \S+$", DOCKERFILE)) == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_only_the_gateway_is_published_and_only_to_this_machine() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["gateway"]
    assert SERVICES["gateway"]["ports"] == ["127.0.0.1:8080:8080"]


def test_the_base_image_is_named_once_and_pinned() -> None:
    assert re.findall(r"(?m)^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE) == re.findall(
        r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", DOCKERFILE
    )
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    assert set(bases) - stages().keys() == {"$PYTHON_IMAGE"}


def test_only_the_gateway_reaches_the_session_service() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert {n for n, found in networks.items() if "inside" in found} == {
        "gateway",
        "session-service",
    }
    assert networks["gateway"] & networks["session-service"] == {"inside"}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    # Nobody else is on it, so that what both need without TLS may be said there.
    for name in ("gateway", "session-service"):
        assert SERVICES[name]["environment"]["SESSION_SERVICE_PLAINTEXT"] == "true"


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_no_rights_that_they_do_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 512
    assert "mem_limit" in service
    assert service["build"]["target"] in stages()
    assert not {"privileged", "user", "cap_add", "network_mode", "devices"} & service.keys()


def test_the_emulator_runs_on_request_alone() -> None:
    assert SERVICES["openai-emulator"]["profiles"] == ["emulator"]
    assert "profiles" not in SERVICES["gateway"]
    assert "profiles" not in SERVICES["session-service"]


def test_what_is_kept_is_on_the_volume() -> None:
    assert SERVICES["session-service"]["volumes"] == ["data:/data"]
    kept = re.findall(r"(?:DATABASE_URL=sqlite:///|CHATKIT_ATTACHMENTS_DIR=)(\S+)", DOCKERFILE)
    assert kept == ["/data/chatkit.db", "/data/attachments"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gateway", gateway.config.Settings),
        ("session-service", session_service.config.Settings),
    ],
)
def test_every_setting_reaches_its_container(name: str, settings: type[ProcessSettings]) -> None:
    given = set(SERVICES[name]["environment"])
    in_the_image = set(re.findall(r"\b([A-Z_]+)=\S", stages()[name]))
    assert {field.upper() for field in settings.model_fields} <= given | in_the_image


def test_the_session_service_alone_has_the_key() -> None:
    holders = [n for n, s in SERVICES.items() if "OPENAI_API_KEY" in s.get("environment", {})]
    assert holders == ["session-service"]
