"""Stands in for OpenAI, for development and tests: set `OPENAI_BASE_URL` to it.

    python -m session_service.openai_emulator [--listen 127.0.0.1:8090]
    OPENAI_BASE_URL=http://127.0.0.1:8090/v1

It emulates, strictly, what a server asks of https://api.openai.com/v1: `chatkit/sessions` (create,
cancel), `chatkit/threads` (list, retrieve, delete, list items), `responses` (create) and `files`
(create, list, retrieve, delete). Whatever the API does not document is refused: unknown paths,
fields and query parameters, wrong types, a missing beta header, files that were never uploaded.

It does not emulate the browser's side: no workflow runs, client secrets open nothing. There is no
model either: `responses` says what it is told, in Spanish, one word a delta. Nothing is billed, no
rate limit is enforced, all keys share one project, and the state is in memory only; of files, only
what is known about them. Conversations, prompts and items to refer to do not exist.

Every key `sk-…`, every workflow `wf_…`, every vector store `vs_…` and every model exists, but for
these, which show the documented errors:

    key sk-wrong              401 invalid_api_key
    key sk-noscope            403 missing scopes
    key sk-noquota            429 insufficient_quota
    workflow wf_missing…      404, as for a workflow of another project
    vector store vs_missing…  404
    model gpt-missing…        404 model_not_found

The model goes by the text of the last message of the user's. It quotes it, names what is attached,
and before that uses the tools that are offered and asked for:

    web_search        busca, search            cites a page
    code_interpreter  calcula, calculate       cites a file of the container
    file_search       documento, document      cites the file that was uploaded last
    function <name>   call <name> [{…}]        calls it with that JSON object or {}, says nothing,
                                               and in the next response quotes the output

    `tool_choice` is obeyed, "required" by the first tool. `max_output_tokens` is how many words.

The control API is JSON without authentication, under `/_emulator`:

    POST   /failures            {"operation", "kind", "times", …}: let requests fail. Failures of an
                                operation happen in the order they were added.
             operation          sessions.create, sessions.cancel, threads.list, threads.retrieve,
                                threads.delete, threads.items, responses.create, files.create,
                                files.list, files.retrieve, files.delete, or * (default)
             times              how many requests; default 1, null until cleared
             delay_seconds      wait so long first, with any kind but drip
             kind  status       (default) answer `status` (default 500) with `headers` and `body`,
                                or `raw_body`, else with what OpenAI would say
                   delay        answer as usual, after delay_seconds
                   hang         never answer
                   reset        close the connection with RST
                   truncate     close it in the middle of the answer
                   malformed    answer 200 with broken JSON
                   huge         answer 200 with 2 MiB of JSON
             and in responses.create, after `after_deltas` (default 3), at the end at the latest
                   error_event    the event error with `code`, or with the data in `body`
                   failed_event   response.failed with `code`: server_error (default),
                                  rate_limit_exceeded, invalid_prompt
                   incomplete     response.incomplete with `reason`: max_output_tokens (default),
                                  content_filter
                   broken_stream  close the connection
             or from the beginning
                   silence        nothing after response.created
                   stuck_tool     nothing after a web search has begun
                   drip           a delta each delay_seconds
    DELETE /failures            forget them
    POST   /answers             {"text"?, "deltas"?, "pause_seconds"?, "times"?}: what the messages
                                of the next responses say, in how many deltas (the words over again)
                                and how long between them (default 0.02); times as for failures
    DELETE /answers             forget them
    GET    /requests            the latest 10,000 requests, oldest first; ?operation= selects.
                                `left_early` is whether the client left before the end,
                                `sent_deltas` how much of a response it was sent; the body of
                                files.create is {"filename", "content_type", "bytes", "sha256",
                                "purpose", …}
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
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from session_service.openai_emulator_answers import AnswerShape
from session_service.openai_emulator_chatkit import ChatKit, NewItems, NewThread
from session_service.openai_emulator_chatkit_schema import (
    ListQuery,
    SessionRequest,
    ThreadListQuery,
)
from session_service.openai_emulator_failures import (
    CONTROL,
    Control,
    Failure,
    FailureInjection,
    RequestsQuery,
)
from session_service.openai_emulator_files import MAX_BYTES as MAX_FILE_BYTES
from session_service.openai_emulator_files import FileListQuery, Files
from session_service.openai_emulator_responses import Responses
from session_service.openai_emulator_routes import ERROR_HANDLERS, route, stream_route


def create_emulator(
    now: Callable[[], float] = time.time, *, max_file_bytes: int = MAX_FILE_BYTES
) -> Starlette:
    chatkit, control, files = ChatKit(now), Control(), Files(now, max_file_bytes)
    responses = Responses(now, files.known)
    app = Starlette(
        routes=[
            *(operations := _operations(chatkit, files, responses)),
            *_controls(chatkit, responses, control),
        ],
        exception_handlers=ERROR_HANDLERS,
    )
    app.router.redirect_slashes = False
    # Not `middleware=`, which goes inside Starlette's own and would not get uvicorn's `send`.
    app.middleware_stack = FailureInjection(app.build_middleware_stack(), operations, control)
    return app


def _operations(chatkit: ChatKit, files: Files, responses: Responses) -> list[Route]:
    beta = partial(route, is_beta=True)
    sessions, threads = "/v1/chatkit/sessions", "/v1/chatkit/threads"
    thread = f"{threads}/{{id}}"
    return [
        beta("POST", sessions, chatkit.create_session, "sessions.create", body=SessionRequest),
        beta("POST", f"{sessions}/{{id}}/cancel", chatkit.cancel_session, "sessions.cancel"),
        beta("GET", threads, chatkit.list_threads, "threads.list", query=ThreadListQuery),
        beta("GET", thread, chatkit.retrieve_thread, "threads.retrieve"),
        beta("DELETE", thread, chatkit.delete_thread, "threads.delete"),
        beta("GET", f"{thread}/items", chatkit.list_items, "threads.items", query=ListQuery),
        stream_route(
            *("POST", "/v1/responses", responses.create, "responses.create"),
            media_type="application/json",
        ),
        stream_route(
            *("POST", "/v1/files", files.create, "files.create"),
            media_type="multipart/form-data",
        ),
        route("GET", "/v1/files", files.list, "files.list", query=FileListQuery),
        route("GET", "/v1/files/{id}", files.retrieve, "files.retrieve"),
        route("DELETE", "/v1/files/{id}", files.delete, "files.delete"),
    ]


def _controls(chatkit: ChatKit, responses: Responses, control: Control) -> list[Route]:
    return [
        route("POST", f"{CONTROL}/failures", control.add_failure, body=Failure),
        route("DELETE", f"{CONTROL}/failures", control.clear_failures),
        route("POST", f"{CONTROL}/answers", responses.add_shape, body=AnswerShape),
        route("DELETE", f"{CONTROL}/answers", responses.clear_shapes),
        route("GET", f"{CONTROL}/requests", control.list_requests, query=RequestsQuery),
        route("DELETE", f"{CONTROL}/requests", control.clear_requests),
        route("POST", f"{CONTROL}/threads", chatkit.add_thread, body=NewThread),
        route("POST", f"{CONTROL}/threads/{{id}}/items", chatkit.add_items, body=NewItems),
    ]


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        line = f"OpenAI emulator at http://{where}/v1: ChatKit, responses and files in memory; "
        print(line + "no model, no browser side, no billing", flush=True)

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
    parser = argparse.ArgumentParser(description="Stands in for OpenAI.")
    parser.add_argument("--listen", type=address, default="127.0.0.1:8090", metavar="HOST:PORT")
    asyncio.run(serve(*parser.parse_args().listen))


if __name__ == "__main__":
    main()
