"""The sessions of the self-hosted mode: ids and client secrets made here, OpenAI not asked."""

import secrets
import time

from session_service.issuer import IssuedSession, usable_key
from session_service.stores.base import Mode, StateVariables

SECRET_PREFIX = "cksec_"
"""Tells our secrets from OpenAI's `ek_…`, for people and for scanners of leaked secrets."""
LIFETIME_SECONDS = 600
"""As long as OpenAI's."""

_SECRET_BYTES = 32
_ID_BYTES = 16


class OwnSessions:
    """See `issuer.Issuer`. The key is what answers are made with, so there is no chat without."""

    mode: Mode = "self_hosted"

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key

    def workflow_id(self) -> str:
        """Returns an empty text: what answers is no workflow. Raises InvalidAPIKey."""
        usable_key(self._api_key)
        return ""

    async def create_session(
        self, user: str, state_variables: StateVariables, deadline: float
    ) -> IssuedSession:
        """Makes a session. It is random, and whose it is is for the store to keep."""
        return IssuedSession(
            id=f"cksess_{secrets.token_hex(_ID_BYTES)}",
            client_secret=f"{SECRET_PREFIX}{secrets.token_urlsafe(_SECRET_BYTES)}",
            expires_at=int(time.time()) + LIFETIME_SECONDS,
        )
