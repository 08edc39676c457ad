"""What routes read of a request: its header of who asks, its query, its body."""

import re
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request

from gateway import texts
from gateway.auth import Caller, effective_user
from gateway.errors import APIError


def authorization_of(request: Request[Any]) -> str | None:
    """Returns the header; None also where there are two: a proxy may have checked the other."""
    given = request.headers.getlist("authorization")
    return given[0] if len(given) == 1 else None


def language_for(request: Request[Any]) -> texts.Language:
    return texts.language_of(request.headers.get("accept-language"))


def number(request: Request[Any], name: str) -> int | None:
    """Returns a parameter of the query, which the service judges. Raises APIError."""
    given = request.query_params.get(name)
    if given is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,9}", given):
        raise APIError("INVALID_ARGUMENT", name)
    return int(given)


def whose(request: Request[Any], caller: Caller) -> dict[str, Any]:
    """Returns the fields that say whose a query is: an administrator's is everybody's.

    Raises APIError.
    """
    if named := request.query_params.get("userId"):
        return {"user_id": effective_user(caller, named)}
    return {"all_users": True} if caller.is_admin else {"user_id": caller.user_id}


def user_named_in(caller: Caller, body: Mapping[str, Any]) -> str:
    """Returns the user whom a body names; who is null is not named. Raises APIError."""
    named = body.get("userId")
    return caller.user_id if named is None else effective_user(caller, named)


async def json_bytes(request: Request[Any]) -> bytes:
    """Returns the body as it is, which may be empty. Raises APIError."""
    raw = await request.body()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and media_type != "application/json":
        raise APIError("UNSUPPORTED_MEDIA_TYPE")
    return raw


async def json_object(request: Request[Any]) -> dict[str, Any]:
    """Returns the body, {} where there is none. Raises APIError."""
    raw = await json_bytes(request)
    if not raw:
        return {}
    try:
        body = orjson.loads(raw)  # refuses lone surrogates and nesting beyond 1,024 levels
    except orjson.JSONDecodeError:
        raise APIError("INVALID_ARGUMENT", "body") from None
    if not isinstance(body, dict):
        raise APIError("INVALID_ARGUMENT", "body")
    return body
