"""What else one would write: FastAPI that checks the token, asks OpenAI, keeps nothing.

It does less than our chain does: no limits, no store, no statistics, no logs, no retries. Run by
`uvicorn --factory tests.bench.peer_fastapi:create_app`; by `…:create_official_app` it has OpenAI's
starter back end's way of asking, a client for each request.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Annotated, Any, TypeAlias, TypedDict

import httpx
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

Clients: TypeAlias = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]
"""Called for each request."""


class State(TypedDict):
    """What all requests share."""

    clients: Clients
    jwt_secret: str
    workflow_id: str


def _new_client() -> httpx.AsyncClient:
    """https://github.com/openai/openai-chatkit-starter-app, managed-chatkit/backend/app/main.py."""
    return httpx.AsyncClient(
        base_url=os.environ["OPENAI_BASE_URL"],
        headers={
            "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
            "OpenAI-Beta": "chatkit_beta=v1",
        },
        timeout=10.0,
        # Its limits are left as they are: each further connection in its pool costs every call.
    )


def _state(clients: Clients) -> State:
    return State(
        clients=clients,
        jwt_secret=os.environ["JWT_SECRET"],
        workflow_id=os.environ["OPENAI_CHATKIT_WORKFLOW_ID"],
    )


@asynccontextmanager
async def _one_client_for_all(_: FastAPI) -> AsyncIterator[State]:
    async with _new_client() as client:
        yield _state(lambda: nullcontext(client))


@asynccontextmanager
async def _one_client_for_each(_: FastAPI) -> AsyncIterator[State]:
    yield _state(_new_client)


async def current_user(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]
) -> str:
    try:
        claims = jwt.decode(bearer.credentials, request.state.jwt_secret, algorithms=["HS256"])
    except jwt.PyJWTError:
        raise HTTPException(401, "Invalid token") from None
    return str(claims["userId"])


async def create_session(
    body: dict[str, Any], request: Request, user: Annotated[str, Depends(current_user)]
) -> dict[str, Any]:
    if str(body.get("userId", user)) != user:
        raise HTTPException(403, "Not your session")
    async with request.state.clients() as client:
        answer = await client.post(
            "/chatkit/sessions",
            json={"user": user, "workflow": {"id": request.state.workflow_id}},
        )
    if answer.status_code != 200:
        raise HTTPException(502, "OpenAI refused")
    session = answer.json()
    return {
        "success": True,
        "data": {
            "session_id": session["id"],
            "client_secret": session["client_secret"],
            "expires_at": session["expires_at"],
        },
    }


def create_app() -> FastAPI:
    return _app(_one_client_for_all)


def create_official_app() -> FastAPI:
    return _app(_one_client_for_each)


def _app(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[State]]) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.post("/api/chatkit/session")(create_session)
    return app
