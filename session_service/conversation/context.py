"""Who speaks in a request: what the SDKs pass to every call, and what an agent's tools may read."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from session_service.stores.base import Session, StateVariables


@dataclass(slots=True)
class RequestContext:
    """As `ctx.context.request_context` in a tool of an agent.

    What the dashboard says of its user is here, and in no prompt: users can write anything into
    their own names.
    """

    session: Session
    language: str
    """"es" or "en"."""
    base_url: str
    """Where the user's browser reaches the gateway."""
    request_id: str
    has_room: Callable[[], Awaitable[None]]
    """Waits until whoever reads the answer has room for more of it."""
    new_thread_id: str | None = field(default=None, init=False)
    """Of the thread that is about to be made: any other that is saved has to be there."""
    thread_id: str | None = field(default=None, init=False)
    """Of the thread in which the answer is written, once there is one."""
    deadline: float = field(default=math.inf, init=False)
    """When the answer has to be there, in event loop time."""
    failure: Exception | None = field(default=None, init=False)
    """Why the answer ends early: ChatKit's own error event has no room for a reason."""

    @property
    def user_id(self) -> str:
        return self.session.user_id

    @property
    def user(self) -> StateVariables:
        """What the dashboard says of the user: `username`, `role`, `userContext.permissions.…`."""
        return self.session.state_variables

    def fail(self, failure: Exception) -> None:
        """Notes why the answer is about to end."""
        self.failure = failure
