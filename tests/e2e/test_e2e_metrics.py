"""Metrics of the running system: promtool finds them good, and they say what happened."""

import contextlib
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from session_service.agent_builder import EMULATOR_KEY
from tests.e2e import processes
from tests.e2e.dashboard import EmulatorControl, token_of
from tests.prometheus_support import Scrape, asked, expressions, promtool

SESSION = "/api/chatkit/session"
CREATE = "chatkit.v1.SessionService/CreateSession"
TOKEN = "the-token-of-prometheus-in-these-tests"
CREATES, REFUSED = 7, 3


@dataclass(frozen=True, slots=True)
class Running:
    """Both processes, and who asks them."""

    http: httpx.Client
    gateway: str
    service: str

    def read(self, process: str, **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {TOKEN}", **headers}
        return self.http.get(f"{getattr(self, process)}/metrics", headers=given)

    def scrape(self) -> tuple[str, str]:
        answers = [self.read(process) for process in ("gateway", "service")]
        assert [answer.status_code for answer in answers] == [200, 200]
        return answers[0].text, answers[1].text


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, own_emulator: str) -> Iterator[Running]:
    address = f"127.0.0.1:{processes.free_port()}"
    with (
        processes.pair(
            tmp_path_factory.mktemp("metrics"),
            own_emulator,
            METRICS_TOKEN=TOKEN,
            SESSION_SERVICE_METRICS_LISTEN=address,
            CHATKIT_USAGE_SYNC_SECONDS="0",
            CHATKIT_SESSIONS_PER_MINUTE="0",
        ) as (_, gateway),
        httpx.Client(
            headers={"Authorization": f"Bearer {token_of(7)}"},
            timeout=processes.PATIENCE_SECONDS,
            trust_env=False,
        ) as http,
    ):
        yield Running(http, gateway.url, f"http://{address}")


@pytest.fixture(scope="module")
def scraped(running: Running, own_emulator: str) -> tuple[str, str]:
    """What both tell after some traffic, half of it failures."""
    openai = EmulatorControl(own_emulator)
    http, url = running.http, running.gateway
    issued = [http.post(f"{url}{SESSION}", json={}).json()["data"] for _ in range(CREATES)]
    body = {"existingSecret": issued[0]["client_secret"]}
    assert http.post(f"{url}/api/chatkit/refresh", json=body).status_code == 200
    named = f"{url}{SESSION}/{issued[1]['session_id']}"
    assert http.delete(named).status_code == 200
    assert http.get(f"{url}/api/chatkit/stats").status_code == 200
    openai.fail(status=401, times=REFUSED)
    for _ in range(REFUSED):
        assert http.post(f"{url}{SESSION}", json={}).json()["code"] == "INVALID_API_KEY"
    openai.fail(status=500, times=1)  # and is tried again
    assert http.post(f"{url}{SESSION}", json={}).status_code == 200
    openai.heal()
    openai.close()
    assert http.get(f"{named}-unknown").json()["code"] == "SESSION_NOT_FOUND"
    for path in ("/no/such/path", "/another/one", "/api/chatkit/session/"):
        assert http.get(f"{url}{path}").status_code == 404
    assert http.request("PROPFIND", f"{url}/healthz").status_code == 405
    return running.scrape()


def test_promtool_finds_nothing_to_correct(scraped: tuple[str, str]) -> None:
    for text in scraped:
        assert promtool("check", "metrics", text=text) == ""


def test_every_metric_and_label_that_anybody_asks_for_is_there(scraped: tuple[str, str]) -> None:
    found = Scrape.of(*scraped)
    for expression in expressions():
        metrics, labels = asked(expression)
        assert metrics or "up" in expression
        assert {name for name in metrics if ":" not in name} <= found.names, expression
        assert labels <= found.labels, expression


def test_operators_are_told_of_every_metric(scraped: tuple[str, str]) -> None:
    operations = (processes.REPOSITORY / "docs" / "operations.md").read_text()
    (section,) = re.findall(r"(?s)\n## Monitoring\n(.*?)\n## ", operations)
    documented: dict[str, set[str]] = {"gateway": set(), "service": set()}
    for names, of in re.findall(r"(?m)^\| (`[^|]+`) \| (\w+)[^|]* \|", section):
        for process in documented if of == "both" else (of,):
            documented[process] |= set(re.findall(r"`(\w+)`", names))
    for process, text in zip(documented, scraped, strict=True):
        found = {name for name in Scrape.of(text).metrics if not re.match("process_|python_", name)}
        assert documented[process] == found


def test_the_figures_are_what_has_happened(scraped: tuple[str, str]) -> None:
    gateway, service = (Scrape.of(text) for text in scraped)
    created = {"http_route": SESSION, "http_request_method": "POST"}
    requests, calls = "http_server_request_duration_seconds_count", "rpc_{}_call_duration_seconds"
    assert gateway.value(requests, **created, http_response_status_code="200") == CREATES + 1
    assert gateway.value(requests, **created, http_response_status_code="503") == REFUSED
    for told, side in ((gateway, "client"), (service, "server")):
        name = f"{calls.format(side)}_count"
        assert told.value(name, rpc_method=CREATE, error_type="") == CREATES + 1
        assert told.value(name, rpc_method=CREATE, error_type="INVALID_API_KEY") == REFUSED
        assert told.value("chatkit_errors_total", reason="INVALID_API_KEY") == REFUSED
        assert told.value("chatkit_errors_total", reason="SESSION_NOT_FOUND") == 1
        assert told.value("chatkit_errors_total", reason="INTERNAL") == 0
        assert told.value("chatkit_errors_total", reason="other") == 0
    assert gateway.value("chatkit_errors_total", reason="NOT_FOUND") == 3
    assert gateway.value("chatkit_session_services", state="answers") == 1

    assert service.value("chatkit_sessions_created_total") == CREATES + 1
    assert service.value("chatkit_sessions_active") == CREATES
    assert service.value("chatkit_sessions_refreshed_total") == 1
    assert service.value("chatkit_sessions_deleted_total") == 1
    assert service.value("chatkit_sessions_failed_total") == REFUSED
    assert service.value("chatkit_upstream_retries_total", api="chatkit") == 1
    upstream = {"url_template": "/chatkit/sessions", "http_request_method": "POST"}
    asked_of_openai = "http_client_request_duration_seconds_count"
    assert service.value(asked_of_openai, **upstream) == CREATES + 2 + REFUSED
    assert service.value(asked_of_openai, **upstream, http_response_status_code="401") == REFUSED
    stored = {"db_system_name": "sqlite", "db_operation_name": "add", "error_type": ""}
    assert service.value("db_client_operation_duration_seconds_count", **stored) == CREATES + 1
    assert service.value("chatkit_ready") == 1
    for told in (gateway, service):
        assert told.value("chatkit_event_loop_lag_seconds_count") > 0
        assert told.value("process_resident_memory_bytes") > 10_000_000


def test_hops_contain_each_other(scraped: tuple[str, str]) -> None:
    gateway, service = (Scrape.of(text) for text in scraped)
    took = [
        gateway.value("http_server_request_duration_seconds_sum", http_route=SESSION),
        gateway.value("rpc_client_call_duration_seconds_sum", rpc_method=CREATE),
        service.value("rpc_server_call_duration_seconds_sum", rpc_method=CREATE),
        service.value("http_client_request_duration_seconds_sum", url_template="/chatkit/sessions"),
    ]
    # A refresh asks OpenAI, too, and is of another route.
    assert took[0] > took[1] > took[2] > took[3] / 2 > 0


def test_nobody_can_make_up_values_of_labels(scraped: tuple[str, str]) -> None:
    requests = "http_server_request_duration_seconds_count"
    found = Scrape.of(*scraped)
    routes = found.values(requests, "http_route")
    assert "other" in routes
    assert not {route for route in routes if "unknown" in route or "such" in route}
    assert found.values(requests, "http_request_method") == {"GET", "POST", "DELETE", "_OTHER"}
    assert "/metrics" not in routes
    text = "".join(scraped)
    assert not re.search(r'"(?:7|cksess_\w+|ek_\w+|sk-\w+)"', text)


def test_who_has_no_token_reads_nothing(running: Running) -> None:
    for wrong in ("Bearer of-bad-news-and-not-the-token", f"Bearer {token_of(7)}", ""):
        answer = running.read("gateway", Authorization=wrong)
        assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
        assert "METRICS_TOKEN" in answer.json()["hint"]
        answer = running.read("service", Authorization=wrong)
        assert (answer.status_code, "METRICS_TOKEN" in answer.text) == (403, True)


def test_both_speak_openmetrics_and_answer_head(running: Running) -> None:
    for process in ("gateway", "service"):
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        answer = running.read(process, Accept=accept)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
        url = f"{getattr(running, process)}/metrics"
        head = running.http.head(url, headers={"Authorization": f"Bearer {TOKEN}"})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/plain")
        assert head.headers["cache-control"] == "no-store"


def test_a_scrape_under_load_costs_little(running: Running) -> None:
    """Ten scrapes, of which there are four a minute, cost less than a hundred creates."""

    def cpu() -> float:
        return Scrape.of(*running.scrape()).value("process_cpu_seconds_total")

    def create(_: int) -> int:
        return running.http.post(f"{running.gateway}{SESSION}", json={}).status_code

    with ThreadPoolExecutor(8) as pool:
        began = cpu()
        assert set(pool.map(create, range(100))) == {200}
        creates = cpu() - began
        began = cpu()
        loaded = pool.map(create, range(100))
        for _ in range(10):
            running.scrape()
        assert set(loaded) == {200}
        scrapes = cpu() - began - creates
    assert scrapes < creates


def test_the_default_port_in_use_stops_no_service(directory: Path) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # in use already
            stack.enter_context(socket.create_server(("127.0.0.1", 9464)))
        service = stack.enter_context(
            processes.running(
                *("-m", "session_service"),
                cwd=directory,
                SESSION_SERVICE_LISTEN="127.0.0.1:0",
                SESSION_SERVICE_METRICS_LISTEN="",  # as if it were not set
                OPENAI_API_KEY=EMULATOR_KEY,  # or it would warn of Agent Builder's end, too
            )
        )
        line = service.wait_for(r".*no metrics: port in use.*")[0]
        service.wait_for(processes.LISTENS["session_service"])
        assert '"level":"warning"' in line
        assert "SESSION_SERVICE_METRICS_LISTEN" in line
        assert service.stop() == 0
        assert service.output.count('"level":"warning"') == 1


def test_a_chosen_port_in_use_stops_the_start(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with processes.running(
            *("-m", "session_service"),
            cwd=directory,
            SESSION_SERVICE_LISTEN="127.0.0.1:0",
            SESSION_SERVICE_METRICS_LISTEN=address,
        ) as process:
            assert process.wait() == 1
            (line,) = process.output.splitlines()
    assert f"cannot listen on {address}: Address already in use" in line
    assert "SESSION_SERVICE_METRICS_LISTEN" in line
