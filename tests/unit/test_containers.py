"""The container files, as far as a machine without Docker can tell."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import gateway.config
import session_service.config
from gateway.texts import TEXTS
from runtime.settings import ProcessSettings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
MONITORING = ROOT / "deploy" / "monitoring"
METRICS_LISTEN = "SESSION_SERVICE_METRICS_LISTEN"
GATEWAYS, SERVERS = ("gateway", "gateways"), ("session-service", "session-services")


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


def test_only_one_way_in_is_published_and_only_to_this_machine() -> None:
    published = [name for name, service in SERVICES.items() if service.get("ports")]
    # Of the first two only one runs: `scale` starts the balancer and what that depends on.
    assert published == ["gateway", "balancer", "prometheus", "grafana"]
    ports = [port for name in published for port in SERVICES[name]["ports"]]
    assert set(ports) == {f"127.0.0.1:{port}:{port}" for port in (8080, 9090, 3000)}


def test_the_base_image_is_named_once_and_pinned() -> None:
    assert re.findall(r"(?m)^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE) == re.findall(
        r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", DOCKERFILE
    )
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    assert set(bases) - stages().keys() == {"$PYTHON_IMAGE"}


def test_only_gateways_reach_session_services_and_only_those_reach_the_database() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert {n for n, found in networks.items() if "inside" in found} == {*GATEWAYS, *SERVERS}
    assert {n for n, found in networks.items() if "database" in found} == {
        "session-services",
        "postgres",
    }
    for caller, server in itertools.product(GATEWAYS, SERVERS):
        assert networks[caller] & networks[server] == {"inside"}
    assert COMPOSE["networks"]["inside"] == COMPOSE["networks"]["database"] == {"internal": True}
    # Nobody else is on it, so that what both need without TLS may be said there.
    for name in (*GATEWAYS, *SERVERS):
        assert SERVICES[name]["environment"]["SESSION_SERVICE_PLAINTEXT"] == "true"


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_no_rights_that_they_do_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 512
    assert "mem_limit" in service
    if "build" in service:
        assert service["build"]["target"] in stages()
        assert "user" not in service  # the image says it
    else:
        assert service["user"] in ("postgres", "nginx", "nobody", "grafana")
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", service["image"])
    assert not {"privileged", "cap_add", "network_mode", "devices"} & service.keys()


def test_make_up_runs_one_of_each() -> None:
    assert "docker compose up" in (ROOT / "Makefile").read_text()
    assert SERVICES["openai-emulator"]["profiles"] == ["emulator"]
    unasked = [name for name, service in SERVICES.items() if "profiles" not in service]
    assert unasked == ["gateway", "session-service"]


def test_scale_runs_several_of_each_on_one_database_and_nothing_that_runs_alone() -> None:
    started, found = ["balancer"], set[str]()
    while started:
        found.add(name := started.pop())
        assert SERVICES[name]["profiles"] == ["scale"]
        started += SERVICES[name].get("depends_on", {})
    assert found == {name for name, s in SERVICES.items() if s.get("profiles") == ["scale"]}
    assert SERVICES["gateways"]["deploy"]["replicas"] == 2
    assert SERVICES["session-services"]["deploy"]["replicas"] == 3
    target = SERVICES["gateways"]["environment"]["SESSION_SERVICE_TARGET"]
    assert target == "session-services:50051"
    database = SERVICES["postgres"]["environment"]
    user, password = database["POSTGRES_USER"], database["POSTGRES_PASSWORD"]
    url = SERVICES["session-services"]["environment"]["DATABASE_URL"]
    assert url == f"postgresql://{user}:{password}@postgres:5432/{user}"


def test_prometheus_reaches_both_and_nothing_else_that_is_inside() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert {name for name, found in networks.items() if "metrics" in found} == {
        *SERVERS,
        "prometheus",
    }
    assert networks["prometheus"] == {"metrics", "published"}
    assert all("published" in networks[name] for name in GATEWAYS)
    assert COMPOSE["networks"]["metrics"] == {"internal": True}
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    found = {
        (job["job_name"], *lookup["names"], lookup["port"])
        for job in jobs
        for lookup in job["dns_sd_configs"]
    }
    port = int(SERVICES["session-service"]["environment"][METRICS_LISTEN].rpartition(":")[2])
    assert found == {
        ("chatkit-gateway", *GATEWAYS, 8080),
        ("chatkit-session-service", *SERVERS, port),
    }
    for job in jobs:
        assert job["authorization"]["credentials_file"] == "/run/secrets/metrics-token"
        assert job["authorization"]["credentials_file"] in SERVICES["prometheus"]["entrypoint"][2]
    assert {SERVICES[name]["profiles"][0] for name in ("prometheus", "grafana")} == {"monitoring"}


def test_the_balancer_passes_no_metrics_on() -> None:
    config = (ROOT / "deploy" / "balancer.conf").read_text()
    (body,) = re.findall(r"location = /metrics \{[^}]*return 404 '(.*)';", config)
    text = TEXTS["NOT_FOUND"].es
    assert json.loads(body)["error"] == text.error
    assert json.loads(body) | {"success": False, "code": "NOT_FOUND"} == json.loads(body)


def test_the_balancer_says_as_gateways_do_that_none_of_them_is_there() -> None:
    config = (ROOT / "deploy" / "balancer.conf").read_text()
    assert re.search(r"(?m)^ +set \$gateways gateways;", config)
    assert SERVICES["balancer"]["volumes"] == ["./deploy/balancer.conf:/etc/nginx/nginx.conf:ro"]
    (body,) = re.findall(r"return 503 '(.*)';", config)
    text = TEXTS["UNAVAILABLE"].es
    assert json.loads(body) == {
        "success": False,
        "error": text.error,
        "code": "UNAVAILABLE",
        "hint": text.hint,
        "requestId": "$request_id",
    }


def test_the_file_is_as_the_compose_specification_has_it() -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*checker, ROOT / "docker-compose.yml"], check=True, stdout=subprocess.DEVNULL)


def test_what_is_kept_is_on_the_volume() -> None:
    assert all(SERVICES[name]["volumes"] == ["data:/data"] for name in SERVERS)
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    kept = re.findall(r"(?:DATABASE_URL=sqlite:///|CHATKIT_ATTACHMENTS_DIR=)(\S+)", DOCKERFILE)
    assert kept == ["/data/chatkit.db", "/data/attachments"]


@pytest.mark.parametrize(
    ("names", "settings"),
    [(GATEWAYS, gateway.config.Settings), (SERVERS, session_service.config.Settings)],
)
def test_every_setting_reaches_its_containers(
    names: tuple[str, ...], settings: type[ProcessSettings]
) -> None:
    for name in names:
        given = set(SERVICES[name]["environment"])
        image = stages()[SERVICES[name]["build"]["target"]]
        in_the_image = set(re.findall(r"\b([A-Z_]+)=\S", image))
        known = {field.upper() for field in settings.model_fields}
        assert given <= known <= given | in_the_image


def test_the_session_service_alone_has_the_key() -> None:
    holders = [n for n, s in SERVICES.items() if "OPENAI_API_KEY" in s.get("environment", {})]
    assert holders == list(SERVERS)
