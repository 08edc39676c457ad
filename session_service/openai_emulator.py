"""Stands in for OpenAI's ChatKit API, for development and tests: set `OPENAI_BASE_URL` to it.

    python -m session_service.openai_emulator [--listen 127.0.0.1:8090]
    OPENAI_BASE_URL=http://127.0.0.1:8090/v1

It emulates, strictly, what a server asks of https://api.openai.com/v1/chatkit: `sessions` (create,
cancel) and `threads` (list, retrieve, delete, list items). Whatever the API does not document is
refused: unknown paths, fields and query parameters, wrong types, a missing beta header.

It does not emulate the browser's side: there is no chat, no workflow runs, client secrets open
nothing. Nothing is billed, no rate limit is enforced, all keys share one project, and the state is
in memory only.

Every key `sk-…` and every workflow `wf_…` exists, but for these, which show the documented errors:

    key sk-wrong              401 invalid_api_key
    key sk-noscope            403 missing scopes
    key sk-noquota            429 insufficient_quota
    workflow wf_missing…      404, as for a workflow of another project

The control API is JSON without authentication, under `/_emulator`:

    POST   /failures            {"operation", "kind", "times", …}: let requests fail. Failures of an
                                operation happen in the order they were added.
             operation          sessions.create, sessions.cancel, threads.list, threads.retrieve,
                                threads.delete, threads.items, or * (default)
             times              how many requests; default 1, null until cleared
             delay_seconds      wait so long first, with any kind
             kind  status       (default) answer `status` (default 500) with `headers` and `body`,
                                or `raw_body`, else with what OpenAI would say
                   delay        answer as usual, after delay_seconds
                   hang         never answer
                   reset        close the connection with RST
                   truncate     close it in the middle of the answer
                   malformed    answer 200 with broken JSON
                   huge         answer 200 with 2 MiB of JSON
    DELETE /failures            forget them
    GET    /requests            the latest 10,000 requests, oldest first; ?operation= selects
    DELETE /requests            forget them
    POST   /threads             {"user", "title"?, "created_at"?}: what a first message causes
    POST   /threads/{id}/items  {"type", "text"?, "created_at"?, "count"?}: and the further ones;
                                `type` is one of OpenAI's, such as chatkit.user_message
"""

import argparse
import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator

import orjson
import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from session_service.openai_emulator_chatkit import ChatKit, NewItems, NewThread
from session_service.openai_emulator_chatkit_schema import (
    ListQuery,
    SessionRequest,
    ThreadListQuery,
)
from session_service.openai_emulator_errors import (
    APIError,
    Nothing,
    incorrect_key,
    missing_scope,
    parse,
    typical_error,
    validate,
)
from session_service.openai_emulator_failures import (
    CONTROL,
    Control,
    Failure,
    FailureInjection,
    RequestsQuery,
)


async def _check_request(request: Request) -> None:
    """What OpenAI checks before the operation: the key, the beta header, the kind of body."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise APIError(401, message)
    if key == "sk-wrong" or not key.startswith("sk-"):
        raise incorrect_key(key)
    if key == "sk-noscope":
        raise missing_scope()
    if key == "sk-noquota":
        message = "You exceeded your current quota, please check your plan and billing details."
        raise APIError(429, message, type="insufficient_quota", code="insufficient_quota")
    if request.headers.get("openai-beta") != "chatkit_beta=v1":
        message = (
            "You must provide the 'OpenAI-Beta' header to access the ChatKit API. "
            "Please try again by setting the header 'OpenAI-Beta: chatkit_beta=v1'."
        )
        raise APIError(400, message, code="invalid_beta")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if await request.body() and media_type != "application/json":
        message = (
            f"Unsupported content type: '{media_type}'. "
            "This API method only accepts 'application/json' requests."
        )
        raise APIError(400, message, code="unsupported_content_type")


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _route(
    method: str,
    path: str,
    call: Callable[..., object],
    name: str | None = None,
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
) -> Route:
    """Answers with `call(<what is in the path>, body=…, query=…)`, with what of these it takes.

    Operations of OpenAI's have a name, and are for those with a key; the control side's do not.
    """

    async def endpoint(request: Request) -> Response:
        if name:
            await _check_request(request)
        arguments = dict(request.path_params)
        given_query, given_body = dict(request.query_params), await request.body()
        if query:
            arguments["query"] = validate(query, given_query)
        else:
            validate(Nothing, given_query)
        if body:
            arguments["body"] = parse(body, given_body)
        elif given_body:
            parse(Nothing, given_body)
        return _json(call(**arguments))

    return Route(path, endpoint, methods=[method], name=name)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)
    return _json(error.body, error.status)


async def _http_error(request: Request, error: Exception) -> Response:
    """What Starlette's router refuses."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    refusal = (
        APIError(404, f"Invalid URL ({where})", code="unknown_url")
        if error.status_code == 404
        else APIError(error.status_code, f"Not allowed: {where}", code="method_not_supported")
    )
    response = _json(refusal.body, refusal.status)
    response.headers.update(error.headers or {})
    return response


async def _crash(request: Request, error: Exception) -> Response:
    return _json(typical_error(500).body, 500)


def create_emulator(now: Callable[[], float] = time.time) -> Starlette:
    api, control = ChatKit(now), Control()
    sessions, threads = "/v1/chatkit/sessions", "/v1/chatkit/threads"
    thread = f"{threads}/{{id}}"
    operations = [
        _route("POST", sessions, api.create_session, "sessions.create", body=SessionRequest),
        _route("POST", f"{sessions}/{{id}}/cancel", api.cancel_session, "sessions.cancel"),
        _route("GET", threads, api.list_threads, "threads.list", query=ThreadListQuery),
        _route("GET", thread, api.retrieve_thread, "threads.retrieve"),
        _route("DELETE", thread, api.delete_thread, "threads.delete"),
        _route("GET", f"{thread}/items", api.list_items, "threads.items", query=ListQuery),
    ]
    controls = [
        _route("POST", f"{CONTROL}/failures", control.add_failure, body=Failure),
        _route("DELETE", f"{CONTROL}/failures", control.clear_failures),
        _route("GET", f"{CONTROL}/requests", control.list_requests, query=RequestsQuery),
        _route("DELETE", f"{CONTROL}/requests", control.clear_requests),
        _route("POST", f"{CONTROL}/threads", api.add_thread, body=NewThread),
        _route("POST", f"{CONTROL}/threads/{{id}}/items", api.add_items, body=NewItems),
    ]
    handlers = {APIError: _api_error, HTTPException: _http_error, Exception: _crash}
    app = Starlette(routes=operations + controls, exception_handlers=handlers)
    app.router.redirect_slashes = False
    # Not `middleware=`, which goes inside Starlette's own and would not get uvicorn's `send`.
    app.middleware_stack = FailureInjection(app.build_middleware_stack(), operations, control)
    return app


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        line = f"OpenAI emulator at http://{where}/v1: ChatKit sessions and threads in memory; "
        print(line + "no chat, no browser side, no billing", flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to us: uvicorn raises them again at its end, and exits with -15."""
        yield


async def serve(host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    config = uvicorn.Config(create_emulator(), host, port, log_level="warning", access_log=False)
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True
        # uvicorn would wait for the requests that are never to be answered.
        for connection in server.server_state.connections:
            connection.transport.close()

    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop)
    await server.serve()


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main() -> None:
    parser = argparse.ArgumentParser(description="Stands in for OpenAI's ChatKit API.")
    parser.add_argument("--listen", type=address, default="127.0.0.1:8090", metavar="HOST:PORT")
    asyncio.run(serve(*parser.parse_args().listen))


if __name__ == "__main__":
    main()
