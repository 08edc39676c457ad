"""The peer, what else one would write: FastAPI that checks the token, asks OpenAI, keeps nothing.

It does less than our chain does: no limits, no store, no statistics, no logs, no retries. Run by
`uvicorn --factory tests.bench.peer_fastapi:create_app`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

import httpx
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer


class State(TypedDict):
    """What all requests share."""

    client: httpx.AsyncClient
    jwt_secret: str
    workflow_id: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    async with httpx.AsyncClient(
        base_url=os.environ["OPENAI_BASE_URL"],
        headers={
            "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
            "OpenAI-Beta": "chatkit_beta=v1",
        },
        timeout=30,
        # Its limits are left as they are: each further connection in its pool costs every call.
    ) as client:
        yield State(
            client=client,
            jwt_secret=os.environ["JWT_SECRET"],
            workflow_id=os.environ["OPENAI_CHATKIT_WORKFLOW_ID"],
        )


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
    answer = await request.state.client.post(
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
    app = FastAPI(lifespan=lifespan)
    app.post("/api/chatkit/session")(create_session)
    return app
