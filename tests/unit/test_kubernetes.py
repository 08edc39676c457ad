"""The manifests for Kubernetes: valid, safe, and in step with the code, as far as files tell."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import Route

import gateway.config
import session_service.config
from gateway.routes import ROUTES
from runtime import VERSION
from runtime.settings import ProcessSettings
from runtime.signals import HARD_STOP_SECONDS
from session_service.server import LIVENESS
from session_service.stores.postgres_database import POOL_SIZE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
MANIFESTS = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "kustomization.yaml"})
SETTINGS: dict[str, type[ProcessSettings]] = {
    "gateway": gateway.config.Settings,
    "session-service": session_service.config.Settings,
}
SUPPORTED = ("1.34", "1.37")
"""The oldest release that has all that is used, and the newest that there is a schema of."""
POSTGRES_CONNECTIONS = 97
"""What PostgreSQL takes by default, but for those that it keeps for its administrator."""


def load() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


RESOURCES = {(found["kind"], found["metadata"]["name"]): found for found in load()}
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
TLS: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy" / "kubernetes-tls" / "kustomization.yaml").read_text()
)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROBES = ("startup", "liveness", "readiness")


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = RESOURCES["Deployment", name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    return dict(found)


def image(name: str) -> str:
    """Returns the part of the Dockerfile that is about one image."""
    (found,) = re.findall(rf"(?s)FROM base AS {name}\n(.*?)(?=\nFROM|$)", DOCKERFILE)
    return str(found)


@pytest.mark.parametrize("version", SUPPORTED)
def test_they_are_as_the_schemas_of_kubernetes_have_it(version: str) -> None:
    checker = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, "--quiet"]
    done = subprocess.run([*checker, *MANIFESTS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_everything_is_applied_but_the_examples() -> None:
    names = {path.name for path in MANIFESTS if ".example." not in path.name}
    assert set(KUSTOMIZATION["resources"]) == names
    assert not [found for found in RESOURCES.values() if "namespace" in found["metadata"]]


@pytest.mark.parametrize("name", SETTINGS)
def test_all_that_is_set_is_a_setting_and_secrets_have_no_value(name: str) -> None:
    known = {field.upper() for field in SETTINGS[name].model_fields}
    given = RESOURCES["ConfigMap", name]["data"]
    secret = RESOURCES["Secret", name]["stringData"]
    patches = [yaml.safe_load(found["patch"]) for found in TLS["patches"] if "target" not in found]
    (over_tls,) = [
        found["data"] for found in patches if found["kind"] == "ConfigMap" and name in str(found)
    ]
    assert given.keys() | secret.keys() | over_tls.keys() <= known
    assert set(secret.values()) == {""}
    assert {"SESSION_SERVICE_TOKEN"} < secret.keys()
    assert container(name)["envFrom"] == [
        {"configMapRef": {"name": name}},
        {"secretRef": {"name": name}},
    ]


@pytest.mark.parametrize("name", SETTINGS)
def test_with_values_in_the_secrets_a_process_takes_its_settings(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {
        "SESSION_SERVICE_TOKEN": "gateway:0123456789abcdef",
        "DATABASE_URL": "postgresql://chatkit:word@database/chatkit",
    }
    in_the_image = dict(re.findall(r"\b([A-Z_]+)=(\S+)", image(name)))
    given = {**in_the_image, **RESOURCES["ConfigMap", name]["data"]}
    secret = RESOURCES["Secret", name]["stringData"]
    given |= {key: values.get(key, "a-value-that-is-long-enough-to-be-one") for key in secret}
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    settings = SETTINGS[name]()
    assert {key.lower() for key in given} <= settings.model_fields_set


def test_names_and_ports_lead_from_one_to_the_next() -> None:
    target = RESOURCES["ConfigMap", "gateway"]["data"]["SESSION_SERVICE_TARGET"]
    host, _, port = target.partition(":")
    service = RESOURCES["Service", host]["spec"]
    assert service["clusterIP"] == "None"
    assert int(port) == service["ports"][0]["port"]
    for name in SETTINGS:
        (exposed,) = re.findall(r"(?m)^EXPOSE (\d+)$", image(name))
        (port_of_container,) = container(name)["ports"]
        assert port_of_container["containerPort"] == int(exposed)
        (port_of_service,) = RESOURCES["Service", name]["spec"]["ports"]
        assert port_of_service["targetPort"] == port_of_container["name"]
    (rule,) = RESOURCES["Ingress", "gateway"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    assert ("Service", backend["name"]) in RESOURCES
    assert backend["port"]["name"] == RESOURCES["Service", "gateway"]["spec"]["ports"][0]["name"]


@pytest.mark.parametrize("name", SETTINGS)
def test_whatever_belongs_to_a_deployment_finds_its_pods(name: str) -> None:
    labels = RESOURCES["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    spreads = pod(name)["topologySpreadConstraints"]
    selectors = [
        RESOURCES["Service", name]["spec"]["selector"],
        RESOURCES["Deployment", name]["spec"]["selector"]["matchLabels"],
        RESOURCES["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"],
        RESOURCES["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in spreads),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    scaled = RESOURCES["HorizontalPodAutoscaler", name]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", name)


def test_only_gateways_reach_the_session_service() -> None:
    policy = RESOURCES["NetworkPolicy", "session-service"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    rule, for_metrics = policy["ingress"]
    (peer,) = rule["from"]
    labels = RESOURCES["Deployment", "gateway"]["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert rule["ports"] == [{"port": "grpc"}]
    listen = RESOURCES["ConfigMap", "session-service"]["data"]["SESSION_SERVICE_METRICS_LISTEN"]
    port = listen.rpartition(":")[2]
    assert for_metrics["ports"] == [{"port": int(port)}]
    pods = RESOURCES["Deployment", "session-service"]["spec"]["template"]["metadata"]
    assert pods["annotations"]["prometheus.io/port"] == port
    assert {port["port"] for out in policy["egress"] for port in out["ports"]} == {53, 443, 5432}


def test_probes_ask_for_what_is_there_and_liveness_not_for_the_database() -> None:
    paths = {route.path for route in ROUTES if isinstance(route, Route)}
    probes = container("gateway")
    asked = {kind: probes[f"{kind}Probe"]["httpGet"]["path"] for kind in PROBES}
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert set(asked.values()) <= paths
    probes = container("session-service")
    names = {kind: probes[f"{kind}Probe"]["grpc"].get("service", "") for kind in PROBES}
    assert names == {"startup": LIVENESS, "liveness": LIVENESS, "readiness": ""}
    port = probes["ports"][0]["containerPort"]
    assert {probes[f"{kind}Probe"]["grpc"]["port"] for kind in PROBES} == {port}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_pod_is_replaced_before_it_goes_and_has_the_time_to_drain(name: str) -> None:
    strategy = RESOURCES["Deployment", name]["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}
    sleep = container(name).get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
    assert pod(name)["terminationGracePeriodSeconds"] > sleep["seconds"] + HARD_STOP_SECONDS
    budget = RESOURCES["PodDisruptionBudget", name]["spec"]["maxUnavailable"]
    assert budget < RESOURCES["HorizontalPodAutoscaler", name]["spec"]["minReplicas"]


@pytest.mark.parametrize("name", SETTINGS)
def test_containers_have_no_rights_that_they_do_not_need(name: str) -> None:
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    context = pod(name)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"USER {context['runAsUser']}" in DOCKERFILE
    assert pod(name)["automountServiceAccountToken"] is False
    assert {"memory"} == container(name)["resources"]["limits"].keys()


def test_images_are_those_of_the_dockerfile_in_this_version() -> None:
    images = {found["name"]: found for found in KUSTOMIZATION["images"]}
    assert images.keys() == {container(name)["image"] for name in SETTINGS}
    for name, found in images.items():
        assert image(name.removeprefix("chatkit-"))
        assert found["newName"].endswith(f"/{name}")
        assert found["newTag"] == VERSION


def test_all_session_services_share_the_attachments_and_fit_onto_one_postgres() -> None:
    claimed, _ = pod("session-service")["volumes"]
    assert claimed["persistentVolumeClaim"] == {"claimName": "attachments"}
    mounted, _ = container("session-service")["volumeMounts"]
    assert mounted["name"] == claimed["name"]
    (directory,) = re.findall(r"CHATKIT_ATTACHMENTS_DIR=(\S+)", image("session-service"))
    assert Path(directory).is_relative_to(mounted["mountPath"])
    assert RESOURCES["PersistentVolumeClaim", "attachments"]["spec"]["accessModes"] == [
        "ReadWriteMany"
    ]
    most = RESOURCES["HorizontalPodAutoscaler", "session-service"]["spec"]["maxReplicas"]
    connections = POOL_SIZE + 1  # the one that listens
    assert (most + 1) * connections <= POSTGRES_CONNECTIONS
