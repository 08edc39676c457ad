"""The emulator as one application: OpenAI's operations, and the control over them."""

import time
from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route

from session_service.openai_emulator.answers import AnswerShape
from session_service.openai_emulator.chatkit import ChatKit, NewItems, NewThread
from session_service.openai_emulator.chatkit_schema import (
    ListQuery,
    SessionRequest,
    ThreadListQuery,
)
from session_service.openai_emulator.failures import (
    CONTROL,
    Control,
    Failure,
    FailureInjection,
    RequestsQuery,
)
from session_service.openai_emulator.files import MAX_BYTES as MAX_FILE_BYTES
from session_service.openai_emulator.files import FileListQuery, Files
from session_service.openai_emulator.models import retrieve_model
from session_service.openai_emulator.responses import Responses
from session_service.openai_emulator.routes import ERROR_HANDLERS, route, stream_route


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
        route("GET", "/v1/models/{id}", retrieve_model, "models.retrieve"),
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
