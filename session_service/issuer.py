"""Who makes sessions: OpenAI in hosted mode (`openai_api`), this service else (`own_sessions`)."""

import re
from dataclasses import dataclass, field
from typing import Protocol

from session_service.errors import InvalidAPIKey
from session_service.stores.base import Mode, StateVariables


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """A new session, before it is kept."""

    id: str
    client_secret: str = field(repr=False)
    expires_at: int
    """Unix seconds."""


class Issuer(Protocol):
    """What `Sessions` asks for a session; deadlines are in event loop time."""

    @property
    def mode(self) -> Mode:
        """That of every session that it makes."""

    def workflow_id(self) -> str:
        """Returns what answers, empty where that is no workflow, once all it takes is configured.

        Raises WorkflowNotConfigured and InvalidAPIKey.
        """

    async def create_session(
        self, user: str, state_variables: StateVariables, deadline: float
    ) -> IssuedSession:
        """Makes a session. Raises UpstreamError."""


def usable_key(api_key: str | None) -> str:
    """Returns an OpenAI key that can be tried. Raises InvalidAPIKey for one that cannot."""
    if not api_key:
        raise InvalidAPIKey(metadata={"cause": "missing"})
    if not re.fullmatch(r"[\x21-\x7e]+", api_key):  # no HTTP header can carry it
        raise InvalidAPIKey(metadata={"cause": "rejected"})
    return api_key
