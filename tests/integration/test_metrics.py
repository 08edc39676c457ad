"""What both processes tell Prometheus when things are not as usual; tests/e2e has the usual."""

import asyncio
import threading
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.metrics import GatewayMetrics
from protos.chatkit.v1 import session_service_pb2 as pb
from runtime.admission import Admission
from runtime.hops import Hop, observing
from runtime.metrics import Exposition
from session_service import metrics
from session_service.config import Settings
from session_service.metrics import ServiceMetrics, StoredCounts
from session_service.stores.sqlite import open_sqlite_store
from tests.gateway_support import FakeService, error_of, gateway_before
from tests.integration.conversation.chat import open_chat
from tests.integration.store_values import add
from tests.postgres_support import PostgresServer
from tests.prometheus_support import Scrape
from tests.support import Emulator, eventually, open_session_service, settings_for

STATS = "/api/chatkit/stats"


def told(registry: CollectorRegistry) -> Scrape:
    return Scrape.of(generate_latest(registry).decode())


async def scrape(http: httpx.AsyncClient) -> Scrape:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    return Scrape.of(answer.text)


async def test_while_all_is_refused_metrics_are_not_and_say_so() -> None:
    full = Admission(few=0, most=0)
    async with FakeService().serve() as fake, gateway_before(fake, admission=full) as http:
        for _ in range(3):
            error_of(await http.get(STATS), "UNAVAILABLE", 503)
        found = await scrape(http)
    assert found.value("chatkit_overload_refusals_total") == 3
    # What cost nothing is not among what was served.
    assert found.value("http_server_request_duration_seconds_count") == 0
    assert found.value("chatkit_errors_total") == 0


async def test_a_scrape_leaves_no_trace_in_the_log_or_the_figures() -> None:
    async with FakeService().serve() as fake, gateway_before(fake) as http:
        await http.get(STATS)
        before = await scrape(http)
        with capture_logs() as logged:
            found = await scrape(http)
    assert {line["log_level"] for line in logged} == {"debug"}
    count = "http_server_request_duration_seconds_count"
    assert found.value(count) == before.value(count) == 1
    assert found.value("http_server_active_requests") == 1  # itself


async def test_who_comes_through_a_proxy_on_this_machine_is_not_from_here() -> None:
    async with FakeService().serve() as fake, gateway_before(fake) as http:
        for header in ("X-Forwarded-For", "Forwarded"):
            answer = await http.get("/metrics", headers={header: "203.0.113.7"})
            body = error_of(answer, "PERMISSION_DENIED", 403)
            assert "METRICS_TOKEN" in body["hint"]
        del http.headers["Authorization"]
        assert (await http.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    ("host", "sent", "with_token", "without"),
    [
        ("127.0.0.1", None, False, True),
        ("::1", None, False, True),
        ("10.0.0.7", None, False, False),
        ("", None, False, False),
        ("10.0.0.7", "Bearer 0123456789abcdef", True, False),
        ("127.0.0.1", "Bearer 0123456789abcdeF", False, True),
        ("127.0.0.1", "0123456789abcdef", False, True),
        ("127.0.0.1", "Bearer ñ", False, True),
        ("127.0.0.1", "Bearer \udcff", False, True),  # a byte that is no UTF-8, as aiohttp has it
    ],
)
def test_metrics_are_for_who_has_the_token_or_else_for_this_machine(
    host: str, sent: str | None, with_token: bool, without: bool
) -> None:
    for secret, expected in ((SecretStr("0123456789abcdef"), with_token), (None, without)):
        exposition = Exposition(CollectorRegistry(), secret)
        assert exposition.may_read(host, sent, headers={}) is expected


@pytest.mark.parametrize("version", ["one", "1.x", "1.0.0-rc1", ""])
async def test_a_reader_that_asks_for_no_version_there_is_gets_the_usual_format(
    version: str,
) -> None:
    exposition = Exposition(CollectorRegistry(), None)
    for media_type in ("text/plain", "application/openmetrics-text"):
        _, content_type = await exposition.render(f"{media_type};version={version}")
        assert content_type.startswith(("text/plain; version=0.0.4", "application/openmetrics"))


async def test_a_late_event_loop_shows() -> None:
    async with FakeService().serve() as fake, gateway_before(fake) as http:
        threading.Event().wait(0.3)  # as whatever holds a loop up

        async def shows() -> bool:
            found = await scrape(http)
            lag = "chatkit_event_loop_lag_seconds"
            late = found.value(f"{lag}_count") - found.value(f"{lag}_bucket", le="0.25")
            return late >= 1

        await eventually(shows)


async def test_a_client_that_leaves_is_no_error() -> None:
    async def late(_: object) -> pb.GetStatsResponse:
        await asyncio.sleep(60)
        return pb.GetStatsResponse()

    never = FakeService(answers={"GetStats": late})
    async with never.serve() as fake, gateway_before(fake) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.get(STATS, timeout=0.3)

        async def is_counted() -> bool:
            count = "http_server_request_duration_seconds_count"
            left = {"http_response_status_code": "499", "error_type": "CANCELLED"}
            return (await scrape(http)).value(count, **left) == 1

        await eventually(is_counted)
        found = await scrape(http)
    assert found.value("chatkit_errors_total") == 0


def test_what_no_table_of_ours_has_is_other() -> None:
    gateway = GatewayMetrics(Admission())
    with observing(gateway.observe), pytest.raises(ZeroDivisionError), Hop("gateway", "GET"):
        raise ZeroDivisionError
    found = told(gateway.registry)
    labels = {"http_route": "other", "error_type": "other"}
    assert found.value("http_server_request_duration_seconds_count", **labels) == 1
    assert found.value("chatkit_errors_total", reason="other") == 1


def test_every_reason_is_there_before_it_is_met() -> None:
    """Else the first failure would be no increase, and nobody alerted."""
    service = ServiceMetrics(Admission(), "hosted")
    found = told(service.registry)
    assert {"INVALID_API_KEY", "UPSTREAM_TIMEOUT"} < found.values("chatkit_errors_total", "reason")
    assert found.value("chatkit_errors_total") == 0


async def test_what_the_store_cannot_tell_is_absent_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_PATIENCE_SECONDS", 0.1)
    now = 1000.0
    registry = CollectorRegistry()
    created = "chatkit_sessions_created_total"
    async with open_sqlite_store(str(tmp_path / "chatkit.db")) as store:
        counts = StoredCounts(store, lambda: now)
        registry.register(counts)
        assert created not in told(registry).names
        await add(store, "cksess_1")
        await counts.refresh()
        assert told(registry).value(created) == 1
        await add(store, "cksess_2")
        await counts.refresh()
        assert told(registry).value(created) == 1  # as of a moment ago
        now += 6
        goes_on = threading.Event()
        hanging = [
            asyncio.create_task(store._database.read(lambda _: goes_on.wait(30))) for _ in range(2)
        ]
        await asyncio.sleep(0)
        await counts.refresh()
        assert created not in told(registry).names
        goes_on.set()
        await asyncio.gather(*hanging)
        now += 6
        await counts.refresh()
        assert told(registry).value(created) == 2


async def test_an_answer_of_the_self_hosted_mode_is_counted(
    emulator: Emulator, tmp_path: Path
) -> None:
    settings = settings_for(
        tmp_path,
        emulator.url,
        chatkit_mode="self_hosted",
        chatkit_attachments_dir=tmp_path / "attachments",
        session_service_metrics_listen="127.0.0.1:0",
    )
    await emulator.answers(text="¡Hola! ¿Qué tal?", pause_seconds=0.2)
    async with open_chat(settings) as chat, httpx.AsyncClient(trust_env=False) as http:
        http.base_url = httpx.URL(f"http://127.0.0.1:{chat.service.server.metrics_port}")
        answer = chat.begin("Hola")
        await answer.until("created")
        assert (await scrape(http)).value("chatkit_answers_in_flight") == 1
        await answer.events()
        await chat.say("Y otra vez")

        async def is_counted() -> bool:
            return (await scrape(http)).value("chatkit_turns_total") == 2

        await eventually(is_counted, 15)
        found = await scrape(http)
    assert found.value("chatkit_answers_in_flight") == 0
    assert found.value("chatkit_messages_total") == 4
    for kind in ("input", "output"):
        assert found.value("chatkit_tokens_total", gen_ai_token_type=kind) > 0
    assert found.values("chatkit_upstream_retries_total", "api") == {
        "chatkit",
        "files",
        "responses",
    }
    model = {"gen_ai_operation_name": "chat", "error_type": ""}
    assert found.value("gen_ai_client_operation_duration_seconds_count", **model) >= 2
    assert found.value("http_client_request_duration_seconds_count") == 0
    process = {"rpc_method": "chatkit.v1.ConversationService/Process", "error_type": ""}
    assert found.value("rpc_server_call_duration_seconds_count", **process) == 2
    assert "chatkit_agent_builder_closing_timestamp_seconds" not in found.names


async def test_postgresql_tells_the_same(
    emulator: Emulator, tmp_path: Path, postgres: PostgresServer
) -> None:
    settings = settings_for(
        tmp_path,
        emulator.url,
        session_service_metrics_listen="127.0.0.1:0",
        database_url=await postgres.new_database(),
    )
    async with open_session_service(settings) as service, httpx.AsyncClient() as http:
        http.base_url = httpx.URL(f"http://127.0.0.1:{service.server.metrics_port}")
        await service.create()
        found = await scrape(http)
    assert found.value("chatkit_sessions_created_total") == 1
    stored = {"db_system_name": "postgresql", "db_operation_name": "add", "error_type": ""}
    assert found.value("db_client_operation_duration_seconds_count", **stored) == 1
    assert "chatkit_store_queue_length" in found.names


async def test_metrics_are_read_on_their_own_port_alone(emulator: Emulator, tmp_path: Path) -> None:
    settings: Settings = settings_for(
        tmp_path, emulator.url, session_service_metrics_listen="127.0.0.1:0"
    )
    async with open_session_service(settings) as service, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{service.server.metrics_port}"
        assert (await http.get(f"{url}/metrics")).status_code == 200
        assert (await http.get(f"{url}/")).status_code == 404
        assert (await http.post(f"{url}/metrics")).status_code == 405
        proxied = {"X-Forwarded-For": "203.0.113.7"}
        assert (await http.get(f"{url}/metrics", headers=proxied)).status_code == 403
