"""chatkit-client.js in a browser, before a stand-in for the gateway."""

import asyncio
import json
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from gateway.errors import APIError
from tests.browser.conftest import Tab
from tests.browser.stand_in import ATTACHMENTS, CHAT, REFRESH, SESSION, TOKEN, StandIn, redirect_to

ASK_TWENTY = (
    "async () => (await Promise.all(Array.from({length: 20}, () => ask()))).map(a => a.status)"
)
ASK = "async () => (await ask()).status"
GET_SECRET = "secret => api.getClientSecret(secret)"
ERROR_OF_ASK = """async () => {
    const error = await ask().catch((error) => error);
    const { name, message, code, hint, requestId, status } = error;
    return { isError: error instanceof Error, name, message, code, hint, requestId, status };
}"""
PASS_TIME = "ms => { const now = Date.now; Date.now = () => now() + ms; }"


async def test_api_is_what_the_component_takes(tab: Tab, gateway: str) -> None:
    await tab.import_client(f"{gateway}", domainKey="domain_pk_1")
    api = await tab.run("() => ({ ...api, fetch: typeof api.fetch })")
    assert api == {
        "url": f"{gateway}/api/chatkit",
        "domainKey": "domain_pk_1",
        "fetch": "function",
        "uploadStrategy": {"type": "direct", "uploadUrl": f"{gateway}/api/chatkit/attachments"},
    }


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://chat.example.com/", "https://chat.example.com/api/chatkit"),
        ("https://CHAT.example.com:443/v2//", "https://chat.example.com/v2/api/chatkit"),
        ("/gateway", "{site}/gateway/api/chatkit"),
        ("", "{site}/api/chatkit"),
    ],
)
async def test_the_base_url_may_be(tab: Tab, gateway: str, base: str, url: str) -> None:
    await tab.import_client(gateway)
    made = await tab.run("baseUrl => chatkitApi({ baseUrl, getToken: 't' }).url", base)
    assert made == url.format(site=tab.site)


async def test_the_mode_in_the_options_is_stronger_than_the_served_one(
    tab: Tab, gateway: str
) -> None:
    await tab.import_client(gateway, mode="hosted")
    assert await tab.run("() => Object.keys(api)") == ["getClientSecret"]


async def test_a_copy_of_the_file_has_to_be_told_the_mode(tab: Tab, gateway: str) -> None:
    await tab.import_client(gateway)
    text = await tab.run(
        """async (gateway) => {
            const served = await (await fetch(`${gateway}/chatkit-client.js`)).text();
            const file = served.replace('"self_hosted"', "null");
            const url = URL.createObjectURL(new Blob([file], { type: "text/javascript" }));
            const copy = await import(url);
            try { copy.chatkitApi({ baseUrl: gateway, getToken: "t" }); }
            catch (error) { return error.message; }
        }""",
        gateway,
    )
    assert 'needs mode "hosted" or "self_hosted"' in text


async def test_twenty_requests_at_once_create_one_session(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    stand_in.hold[SESSION] = asyncio.Event()
    asked = asyncio.create_task(tab.run(ASK_TWENTY))
    await stand_in.wait_for(SESSION)
    stand_in.hold[SESSION].set()
    assert await asked == [200] * 20
    assert [seen.authorization for seen in stand_in.requests(SESSION)] == [f"Bearer {TOKEN}"]
    assert {seen.authorization for seen in stand_in.requests(CHAT)} == {"Bearer ck_1"}


async def test_a_secret_is_refreshed_once_thirty_seconds_before_it_expires(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    assert await tab.run(ASK) == 200
    await tab.run(PASS_TIME, 560_000)
    assert await tab.run(ASK_TWENTY) == [200] * 20
    assert stand_in.requests(REFRESH) == []
    await tab.run(PASS_TIME, 15_000)
    assert await tab.run(ASK_TWENTY) == [200] * 20
    (refresh,) = stand_in.requests(REFRESH)
    assert refresh.json == {"existingSecret": "ck_1"}
    assert refresh.authorization == f"Bearer {TOKEN}"
    assert [seen.authorization for seen in stand_in.requests(CHAT)][-20:] == ["Bearer ck_2"] * 20
    assert len(stand_in.requests(SESSION)) == 1


async def test_a_secret_that_lives_shorter_than_that_is_used_for_half_its_life(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    stand_in.lifetime_seconds = 20
    await tab.import_client(gateway)
    assert await tab.run(ASK_TWENTY) == [200] * 20
    assert await tab.run(ASK) == 200
    assert stand_in.requests(REFRESH) == []


async def test_a_clock_that_is_a_day_ahead_does_not_cost_a_refresh_each_time(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    await tab.run(PASS_TIME, 24 * 60 * 60 * 1000)
    assert [await tab.run(ASK) for _ in range(3)] == [200] * 3
    assert (len(stand_in.requests(SESSION)), len(stand_in.requests(REFRESH))) == (1, 0)


async def test_after_a_401_requests_are_repeated_once_with_a_refreshed_secret(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    await tab.run(ASK)
    stand_in.expire()
    tab.expected.append("401")
    assert await tab.run(ASK_TWENTY) == [200] * 20
    assert len(stand_in.requests(REFRESH)) == 1
    assert len(stand_in.requests(CHAT)) == 1 + 20 + 20
    assert len({seen.body for seen in stand_in.requests(CHAT)}) == 1


async def test_a_second_401_is_the_answer(tab: Tab, gateway: str, stand_in: StandIn) -> None:
    await tab.import_client(gateway)
    stand_in.fail[CHAT] = [APIError("UNAUTHENTICATED") for _ in range(2)]
    tab.expected.append("401")
    assert await tab.run(ASK) == 401
    assert len(stand_in.requests(CHAT)) == 2
    assert await tab.run(ASK) == 200


async def test_a_session_that_was_deleted_is_followed_by_a_new_one(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway, user={"username": "user7"})
    await tab.run(ASK)
    stand_in.fail = {CHAT: [APIError("SESSION_DELETED")], REFRESH: [APIError("SESSION_DELETED")]}
    tab.expected.append("410")
    assert await tab.run(ASK) == 200
    assert [seen.path for seen in stand_in.seen] == [SESSION, CHAT, CHAT, REFRESH, SESSION, CHAT]
    assert [seen.json for seen in stand_in.requests(SESSION)] == [{"username": "user7"}] * 2


async def test_a_secret_that_is_too_old_to_be_refreshed_is_followed_by_a_new_session(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    await tab.run(ASK)
    await tab.run(PASS_TIME, 2 * 24 * 60 * 60 * 1000)
    stand_in.fail[REFRESH] = [APIError("SESSION_NOT_FOUND")]
    tab.expected.append("404")
    assert await tab.run(ASK) == 200
    assert stand_in.requests(CHAT)[-1].authorization == "Bearer ck_2"


@pytest.mark.parametrize(
    ("init", "sent"),
    [
        ("{ body: 'text' }", b"text"),
        ("{ body: new Blob(['blob']) }", b"blob"),
        ("{ body: new TextEncoder().encode('bytes') }", b"bytes"),
    ],
)
async def test_what_can_be_sent_again_is(
    tab: Tab, gateway: str, stand_in: StandIn, init: str, sent: bytes
) -> None:
    await tab.import_client(gateway)
    stand_in.fail[CHAT] = [APIError("UNAUTHENTICATED"), PlainTextResponse("fine")]
    tab.expected.append("401")
    assert await tab.run(f"async () => (await ask({init})).text()") == "fine"
    assert [seen.body for seen in stand_in.requests(CHAT)] == [sent, sent]


async def test_an_upload_is_sent_again(tab: Tab, gateway: str, stand_in: StandIn) -> None:
    await tab.import_client(gateway)
    stand_in.fail[ATTACHMENTS] = [APIError("UNAUTHENTICATED")]
    tab.expected.append("401")
    uploaded = await tab.run(
        """async () => {
            const body = new FormData();
            body.append("file", new File(["uno,dos"], "datos.csv", { type: "text/csv" }));
            const answer = await api.fetch(api.uploadStrategy.uploadUrl, { method: "POST", body });
            return answer.json();
        }"""
    )
    assert (uploaded["name"], uploaded["mime_type"]) == ("datos.csv", "text/csv")
    assert [b"uno,dos" in seen.body for seen in stand_in.requests(ATTACHMENTS)] == [True, True]


async def test_a_request_object_is_sent_again(tab: Tab, gateway: str, stand_in: StandIn) -> None:
    await tab.import_client(gateway)
    stand_in.fail[CHAT] = [APIError("UNAUTHENTICATED"), PlainTextResponse("fine")]
    tab.expected.append("401")
    script = """async () => {
        const headers = { "X-Request-Id": "mine" };
        const request = new Request(api.url, { method: "POST", body: "text", headers });
        return (await api.fetch(request)).text();
    }"""
    assert await tab.run(script) == "fine"
    assert [seen.body for seen in stand_in.requests(CHAT)] == [b"text", b"text"]


async def test_a_stream_cannot_be_sent_again_so_its_401_is_the_answer(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    # Browsers stream over HTTP/2 alone, which nothing here speaks: so a fetch that takes it all.
    status_and_calls = await tab.run(
        """async ([baseUrl, getToken]) => {
            let calls = 0;
            const fake = async (url, init) => {
                calls += 1;
                if (init.body instanceof ReadableStream) return new Response("", { status: 401 });
                return fetch(url, init);
            };
            const api = chatkitApi({ baseUrl, getToken, fetch: fake });
            const body = new Blob(["text"]).stream();
            return [(await api.fetch(api.url, { method: "POST", body })).status, calls];
        }""",
        [gateway, TOKEN],
    )
    assert status_and_calls == [401, 2]  # the session, and the stream


@pytest.mark.parametrize("path", [SESSION, REFRESH])
@pytest.mark.parametrize(
    ("reason", "status"), [("RATE_LIMITED", 429), ("UNAVAILABLE", 503), ("UNAUTHENTICATED", 401)]
)
async def test_the_envelope_becomes_an_error(
    tab: Tab, gateway: str, stand_in: StandIn, path: str, reason: str, status: int
) -> None:
    await tab.import_client(gateway)
    if path == REFRESH:
        await tab.run(ASK)
        await tab.run(PASS_TIME, 600_000)
    stand_in.fail[path] = [APIError(reason)]
    tab.expected.append(str(status))
    error = await tab.run(ERROR_OF_ASK)
    hint, message = error.pop("hint"), error.pop("message")
    assert error == {
        "isError": True,
        "name": "ChatKitApiError",
        "code": reason,
        "requestId": "req_1",
        "status": status,
    }
    assert message
    assert hint
    assert await tab.run(ASK) == 200  # the failure is not remembered


async def test_what_is_no_envelope_becomes_an_error_too(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    tab.expected.append("502")
    for answer in (PlainTextResponse("Bad Gateway", 502), PlainTextResponse("null", 200)):
        stand_in.fail[SESSION] = [answer]
        error = await tab.run(ERROR_OF_ASK)
        assert error["isError"] is True
        assert error["message"] == f"HTTP {answer.status_code}"
        assert error["status"] == answer.status_code


async def test_errors_of_the_chat_itself_stay_answers(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    """The component tells its user what it makes of a status: it expects what `fetch` does."""
    await tab.import_client(gateway)
    stand_in.fail[CHAT] = [APIError("RATE_LIMITED", retry_after_seconds=7)]
    tab.expected.append("429")
    script = """async () => {
        const answer = await ask();
        return [answer.status, answer.headers.get("Retry-After"), (await answer.json()).code];
    }"""
    assert await tab.run(script) == [429, "7", "RATE_LIMITED"]


async def test_no_other_address_ever_gets_the_secret(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    await tab.run(ASK)
    headers = await tab.run("async () => (await api.fetch('/echo')).json()")
    assert "authorization" not in headers
    headers = await tab.run(
        "async site => (await api.fetch(new URL(site + '/echo'), {method: 'POST'})).json()",
        tab.site,
    )
    assert "authorization" not in headers
    for way in ("/elsewhere", "/api/chatkit/../../elsewhere", "/api/chatkit/%2e%2e/../elsewhere"):
        await tab.run("url => api.fetch(url, { method: 'POST' })", f"{gateway}{way}")
    assert [seen.authorization for seen in stand_in.requests("/elsewhere")] == [None] * 3


@pytest.mark.parametrize("path", [SESSION, CHAT])
async def test_a_redirect_takes_neither_token_nor_secret_along(
    tab: Tab, gateway: str, stand_in: StandIn, path: str
) -> None:
    await tab.import_client(gateway)
    stand_in.fail[path] = [redirect_to(f"{gateway}/elsewhere")]
    tab.expected.append("net::ERR_FAILED")
    assert (await tab.run(ERROR_OF_ASK))["name"] == "TypeError"
    assert stand_in.requests("/elsewhere") == []


@pytest.mark.parametrize(
    "get_token",
    ["'{}'", "() => '{}'", "async () => '{}'", "() => sessionStorage.getItem('token')"],
)
async def test_the_token_may_be_a_text_or_a_function(
    tab: Tab, gateway: str, stand_in: StandIn, get_token: str
) -> None:
    await tab.import_client(gateway)
    await tab.run("token => sessionStorage.setItem('token', token)", TOKEN)
    made = f"gateway => {{ api = chatkitApi({{ baseUrl: gateway, getToken: {get_token} }}) }}"
    await tab.run(made.replace("'{}'", f"'{TOKEN}'"), gateway)
    assert await tab.run(ASK) == 200
    assert stand_in.requests(SESSION)[0].authorization == f"Bearer {TOKEN}"


async def test_without_a_token_the_gateway_says_that_there_is_none(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway, getToken=None)
    tab.expected.append("401")
    assert (await tab.run(ERROR_OF_ASK))["code"] == "UNAUTHENTICATED"
    assert stand_in.requests(SESSION)[0].authorization is None


async def test_who_gives_up_waiting_leaves_the_session_to_the_others(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    stand_in.hold[SESSION] = asyncio.Event()
    await tab.run(
        """() => {
            window.controller = new AbortController();
            window.given = ask({ signal: controller.signal }).catch((error) => error.name);
            window.waiting = ask().then((answer) => answer.status);
        }"""
    )
    await stand_in.wait_for(SESSION)
    assert await tab.run("() => (controller.abort(), given)") == "AbortError"
    stand_in.hold[SESSION].set()
    assert await tab.run("() => waiting") == 200
    assert await tab.run("() => ask({ signal: controller.signal }).catch(e => e.name)") == (
        "AbortError"
    )
    assert (len(stand_in.requests(SESSION)), len(stand_in.requests(CHAT))) == (1, 1)


async def test_an_answer_that_is_no_longer_wanted_ends_at_the_gateway(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway)
    never = asyncio.Event()
    stand_in.stream = [{"type": "progress_update", "text": "…"}, {"type": "hold", "until": never}]
    message: dict[str, Any] = {"content": [], "attachments": []}
    body = json.dumps({"type": "threads.create", "params": {"input": message}})
    name = await tab.run(
        """async (body) => {
            const controller = new AbortController();
            const answer = await ask({ body, signal: controller.signal });
            const reader = answer.body.getReader();
            await reader.read();
            controller.abort();
            return reader.read().catch((error) => error.name);
        }""",
        body,
    )
    assert name == "AbortError"
    async with asyncio.timeout(5):
        await stand_in.left.wait()


async def test_in_hosted_mode_a_secret_is_created_and_then_refreshed(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway, mode="hosted", user={"username": "user7", "role": "admin"})
    assert await tab.run(GET_SECRET) == "ck_1"
    assert await tab.run(GET_SECRET, "ck_1") == "ck_2"
    create, refresh = stand_in.seen
    assert (create.path, create.json) == (SESSION, {"username": "user7", "role": "admin"})
    assert (refresh.path, refresh.json) == (REFRESH, {"existingSecret": "ck_1"})
    assert {create.authorization, refresh.authorization} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("reason", ["SESSION_NOT_FOUND", "SESSION_DELETED"])
async def test_in_hosted_mode_a_secret_that_cannot_be_refreshed_is_followed_by_a_new_session(
    tab: Tab, gateway: str, stand_in: StandIn, reason: str
) -> None:
    await tab.import_client(gateway, mode="hosted")
    stand_in.fail[REFRESH] = [APIError(reason)]
    tab.expected += ["404", "410"]
    assert await tab.run(GET_SECRET, "ck_old") == "ck_1"
    assert [seen.path for seen in stand_in.seen] == [REFRESH, SESSION]


async def test_in_hosted_mode_widgets_that_ask_at_once_share_the_answer(
    tab: Tab, gateway: str, stand_in: StandIn
) -> None:
    await tab.import_client(gateway, mode="hosted")
    script = "() => Promise.all([null, null, 'a', 'a', 'b'].map(s => api.getClientSecret(s)))"
    secrets = await tab.run(script)
    assert secrets[0] == secrets[1]
    assert secrets[2] == secrets[3]
    assert len(set(secrets)) == 3
    assert len(stand_in.seen) == 3
