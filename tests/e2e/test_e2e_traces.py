"""Traces end to end: one connected trace per request and per answer, and none where nobody asks."""

import re
import secrets
from collections.abc import Iterator

import httpx
import orjson
import pytest

from tests.e2e import processes
from tests.e2e.collector import Collector, Span, collecting
from tests.e2e.conftest import ORIGIN
from tests.e2e.dashboard import EmulatorControl, open_dashboard
from tests.e2e.processes import PATIENCE_SECONDS, Part
from tests.integration.conversation.chat import message
from tests.leaks import secrets_in

SESSION, REFRESH = "/api/chatkit/session", "/api/chatkit/refresh"
SERVICE = "chatkit.v1.SessionService"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def _exporting_to(url: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "CORS_ALLOW_ORIGINS": ORIGIN,
        "CHATKIT_SESSIONS_PER_MINUTE": "0",
    }


@pytest.fixture(scope="module")
def hosted(
    collector: Collector, own_emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Part, Part]]:
    directory = tmp_path_factory.mktemp("hosted")
    with processes.pair(directory, own_emulator, **_exporting_to(collector.url)) as parts:
        yield parts


@pytest.fixture(scope="module")
def self_hosted(
    collector: Collector, own_emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Part, Part]]:
    settings = _exporting_to(collector.url) | {"CHATKIT_MODE": "self_hosted"}
    directory = tmp_path_factory.mktemp("self-hosted")
    with processes.pair(directory, own_emulator, **settings) as parts:
        yield parts


def _traceparent() -> tuple[str, str, dict[str, str]]:
    """Returns the trace and the span of a browser, and what it sends of them."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, {"traceparent": f"00-{trace_id}-{span_id}-01"}


def _is_whole(spans: list[Span]) -> bool:
    """Tells whether the gateway's span has come, and the service's of each of its calls: what is
    below a span comes before it."""
    servers = {span.parent_id for span in spans if span.kind == "SERVER"}
    calls = [s for s in spans if (s.service, s.kind) == ("chatkit-gateway", "CLIENT")]
    is_there = any((s.service, s.kind) == ("chatkit-gateway", "SERVER") for s in spans)
    return is_there and all(call.span_id in servers for call in calls)


def _tree(spans: list[Span], parent_id: str) -> list[object]:
    """Returns the names of spans below one, each with what is below it, in their order."""
    return [
        (span.name, _tree(spans, span.span_id)) for span in spans if span.parent_id == parent_id
    ]


async def test_a_create_is_one_trace_from_the_browser_to_openai_and_the_store(
    hosted: tuple[Part, Part], collector: Collector
) -> None:
    trace_id, browser, headers = _traceparent()
    async with open_dashboard(hosted[1].url) as dashboard:
        answer = await dashboard.http.post(SESSION, headers=headers)
    dashboard.data(answer)

    spans = collector.trace(trace_id, _is_whole)
    assert _tree(spans, browser) == [
        (
            f"POST {SESSION}",
            [
                (
                    f"{SERVICE}/CreateSession",
                    [
                        (
                            f"{SERVICE}/CreateSession",
                            [("POST /chatkit/sessions", []), ("add", [])],
                        )
                    ],
                )
            ],
        )
    ]
    by_kind = {(span.service, span.kind, span.name): span.attributes for span in spans}
    assert by_kind == {
        ("chatkit-gateway", "SERVER", f"POST {SESSION}"): {
            "http.request.method": "POST",
            "http.route": SESSION,
            "http.response.status_code": 200,
            "url.path": SESSION,
            "url.scheme": "http",
        },
        ("chatkit-gateway", "CLIENT", f"{SERVICE}/CreateSession"): {
            "rpc.system.name": "grpc",
            "rpc.method": f"{SERVICE}/CreateSession",
        },
        ("chatkit-session-service", "SERVER", f"{SERVICE}/CreateSession"): {
            "rpc.system.name": "grpc",
            "rpc.method": f"{SERVICE}/CreateSession",
        },
        ("chatkit-session-service", "CLIENT", "POST /chatkit/sessions"): {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "url.template": "/chatkit/sessions",
        },
        ("chatkit-session-service", "CLIENT", "add"): {
            "db.operation.name": "add",
            "db.system.name": "sqlite",
        },
    }
    assert not any(span.failed for span in spans)
    # And in the lines that both processes have written for it.
    for part, event in ((hosted[0], "openai answered"), (hosted[0], "rpc"), (hosted[1], "request")):
        part.process.wait_for(rf'"event":"{event}".*"trace_id":"{trace_id}","span_id"')


async def test_what_is_tried_again_and_fails_says_why_on_its_way(
    hosted: tuple[Part, Part], collector: Collector, own_openai: EmulatorControl
) -> None:
    own_openai.fail(status=500, times=None)
    trace_id, _, headers = _traceparent()
    async with open_dashboard(hosted[1].url, 8) as dashboard:
        answer = await dashboard.http.post(SESSION, headers=headers)
    assert answer.status_code == 502

    spans = collector.trace(trace_id, _is_whole)
    errors = {span.name: span.attributes.get("error.type") for span in spans if span.failed}
    reason = "UPSTREAM_UNAVAILABLE"
    assert errors == {
        f"POST {SESSION}": reason,
        f"{SERVICE}/CreateSession": reason,
        "POST /chatkit/sessions": reason,
    }
    (asked,) = (span for span in spans if span.name == "POST /chatkit/sessions")
    assert asked.attributes["http.response.status_code"] == 500
    assert [name for name, _ in asked.events] == ["retry"] * 2


async def test_what_is_refused_is_an_error_of_the_call_and_not_of_the_gateway(
    hosted: tuple[Part, Part], collector: Collector
) -> None:
    trace_id, _, headers = _traceparent()
    # A secret in the wrong place, which spans have no more than lines of the log.
    secret = "ek_" + secrets.token_hex(16) + "_" + secrets.token_urlsafe(32)
    async with open_dashboard(hosted[1].url, 9) as dashboard:
        answer = await dashboard.http.get(f"{SESSION}/{secret}", headers=headers)
    assert answer.status_code == 404

    spans = collector.trace(trace_id, _is_whole)
    gateway, rpc = (
        next(span for span in spans if span.service == "chatkit-gateway" and span.kind == kind)
        for kind in ("SERVER", "CLIENT")
    )
    assert (gateway.failed, rpc.failed) == (False, True)
    assert gateway.attributes["error.type"] == rpc.attributes["error.type"] == "SESSION_NOT_FOUND"
    assert gateway.attributes["url.path"] == f"{SESSION}/[redacted]"
    assert gateway.name == "GET /api/chatkit/session/{session_id}"


async def test_a_streamed_answer_is_one_trace_with_all_that_it_reads_asks_and_writes(
    self_hosted: tuple[Part, Part], collector: Collector, own_openai: EmulatorControl
) -> None:
    own_openai.answers(pause_seconds=0)
    trace_id, browser, headers = _traceparent()
    async with open_dashboard(self_hosted[1].url) as dashboard:
        created = await dashboard.create()
        headers["Authorization"] = f"Bearer {created['client_secret']}"
        body = {"type": "threads.create", "params": {"input": message("a text of a user")}}
        answer = await dashboard.http.post("/api/chatkit", json=body, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")

    spans = collector.trace(trace_id, _is_whole)
    (gateway,) = (span for span in spans if span.parent_id == browser)
    (rpc,) = (span for span in spans if span.parent_id == gateway.span_id)
    (service,) = (span for span in spans if span.parent_id == rpc.span_id)
    assert gateway.name == "POST /api/chatkit"
    assert rpc.name == service.name == "chatkit.v1.ConversationService/Process"
    assert [name for name, _ in rpc.events] == ["head"]
    (model,) = (span for span in spans if span.name.startswith("chat "))
    assert [name for name, _ in model.events] == ["first event"]
    assert model.attributes["gen_ai.request.model"] == "gpt-5-mini"
    assert isinstance(model.attributes["gen_ai.usage.output_tokens"], int)
    store = [span.name for span in spans if "db.system.name" in span.attributes]
    assert store[0] == "get_by_secret"
    assert {"save_thread", "add_item", "count_turn"} <= set(store)
    ids = {span.span_id for span in spans} | {browser}
    assert all(span.parent_id in ids for span in spans)
    assert max(span.seconds for span in spans) == gateway.seconds


async def test_a_page_that_traces_may_say_so_and_health_is_nobodys_trace(
    hosted: tuple[Part, Part], collector: Collector
) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, traceparent, tracestate",
    }
    trace_id, _, headers = _traceparent()
    async with httpx.AsyncClient(base_url=hosted[1].url, trust_env=False) as http:
        assert (await http.get("/readyz", headers=headers)).status_code == 200
        preflight = await http.options(SESSION, headers=asked | headers)
    assert preflight.status_code == 204
    spans = collector.trace(trace_id, bool)
    assert [span.name for span in spans] == ["OPTIONS"]


async def test_no_span_has_a_secret_or_what_a_user_has_written(
    hosted: tuple[Part, Part], self_hosted: tuple[Part, Part], collector: Collector
) -> None:
    trace_id, _, headers = _traceparent()
    async with open_dashboard(hosted[1].url, 10) as dashboard:
        created = await dashboard.create(username="a name", email="somebody@example.com")
        refreshed = await dashboard.http.post(
            REFRESH, json={"existingSecret": created["client_secret"]}, headers=headers
        )
        dashboard.data(refreshed)
    collector.trace(trace_id, _is_whole)

    assert secrets_in(collector.received) == []
    for said in (b"a name", b"somebody@", b"a text of a user", b"Bearer"):
        assert said not in collector.received


async def test_a_collector_that_is_not_there_costs_one_line(
    own_emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("nobody")
    settings = _exporting_to(f"http://127.0.0.1:{processes.free_port()}")
    settings |= {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "LOG_LEVEL": "debug"}
    with processes.pair(directory, own_emulator, **settings) as (service, gateway):
        for _ in range(2):
            async with open_dashboard(gateway.url, 11) as dashboard:
                await dashboard.create()
            for part in (gateway, service):
                part.process.wait_for("traces not taken")
        for part in (gateway, service):
            assert part.process.stop() == 0
            lines = [orjson.loads(line) for line in part.process.output.splitlines()]
            loud = [line["event"] for line in lines if line["level"] not in ("debug", "info")]
            ours = [event for event in loud if not event.startswith("AGENT BUILDER")]
            assert ours == ["traces not taken; they are dropped until they are"]


_LOADED = """
import atexit, sys
from gateway.__main__ import main
atexit.register(lambda: print("loaded:", *(n for n in sys.modules if "opentelemetry" in n)))
main()
"""


@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}],
)
def test_nothing_of_opentelemetry_is_loaded_where_traces_are_off(
    variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = {"GATEWAY_LISTEN": "127.0.0.1:0", "JWT_SECRET": processes.SECRET, **variables}
    directory = tmp_path_factory.mktemp("off")
    with processes.running("-c", _LOADED, cwd=directory, **settings) as process:
        address = process.wait_for(processes.LISTENS["gateway"])[1]
        headers = _traceparent()[2]
        httpx.get(f"http://{address}/nowhere", headers=headers, timeout=PATIENCE_SECONDS)
        assert process.stop() == 0
        assert re.search(r"(?m)^loaded:\s*$", process.output)
        assert "trace_id" not in process.output


@pytest.mark.parametrize(
    "mistake", [{"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}]
)
def test_a_mistake_in_its_variables_is_told_and_costs_the_traces_alone(
    mistake: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("mistake")
    settings = _exporting_to("http://127.0.0.1:1") | mistake
    with processes.gateway(directory, "127.0.0.1:1", grace_seconds=None, **settings) as gateway:
        assert httpx.get(f"{gateway.url}/healthz", timeout=PATIENCE_SECONDS).status_code == 200
        assert gateway.process.output.count('"event":"traces off"') == 1
