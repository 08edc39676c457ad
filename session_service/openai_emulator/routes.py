"""How the emulator's operations are asked and answered over HTTP, and refused before they begin."""

from collections.abc import Awaitable, Callable

import orjson
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from session_service.openai_emulator.errors import (
    APIError,
    Nothing,
    incorrect_key,
    missing_scope,
    parse,
    typical_error,
    validate,
)
from session_service.openai_emulator.failures import exchange_of


def _check_key(request: Request, area: str) -> None:
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
        raise missing_scope(area)
    if key == "sk-noquota":
        message = "You exceeded your current quota, please check your plan and billing details."
        raise APIError(429, message, type="insufficient_quota", code="insufficient_quota")


def _check_beta(request: Request) -> None:
    if request.headers.get("openai-beta") != "chatkit_beta=v1":
        message = (
            "You must provide the 'OpenAI-Beta' header to access the ChatKit API. "
            "Please try again by setting the header 'OpenAI-Beta: chatkit_beta=v1'."
        )
        raise APIError(400, message, code="invalid_beta")


def _check_media_type(request: Request, expected: str) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != expected:
        message = (
            f"Unsupported content type: '{media_type}'. "
            f"This API method only accepts '{expected}' requests."
        )
        raise APIError(400, message, code="unsupported_content_type")


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def route(
    method: str,
    path: str,
    call: Callable[..., object],
    name: str | None = None,
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    is_beta: bool = False,
) -> Route:
    """Answers with `call(<what is in the path>, body=…, query=…)`, with what of these it takes.

    Operations of OpenAI's have a name, and are for those with a key; the control side's do not.
    """

    async def endpoint(request: Request) -> Response:
        given_query, given_body = dict(request.query_params), await request.body()
        if name:
            _check_key(request, "chatkit" if is_beta else name.partition(".")[0])
            if is_beta:
                _check_beta(request)
            if given_body:
                _check_media_type(request, "application/json")
        arguments = dict(request.path_params)
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


def stream_route(
    method: str,
    path: str,
    call: Callable[[Request], Awaitable[object]],
    name: str,
    *,
    media_type: str,
) -> Route:
    """Answers with `call(request)`, which reads the body or writes the answer bit by bit."""
    area = name.partition(".")[0]

    async def endpoint(request: Request) -> Response:
        try:
            try:
                _check_key(request, area)
                _check_media_type(request, media_type)
                validate(Nothing, dict(request.query_params))
            except APIError:
                async for _ in request.stream():
                    pass  # a client that is still sending would not see the answer
                raise
            answer = await call(request)
        except ClientDisconnect:
            exchange_of(request).seen.left_early = True
            return Response()  # to nobody, or Starlette would log an error
        return answer if isinstance(answer, Response) else _json(answer)

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


ERROR_HANDLERS = {APIError: _api_error, HTTPException: _http_error, Exception: _crash}
