"""The copies of attachments at OpenAI, by which the model reads them.

Reference: https://platform.openai.com/docs/api-reference/files
"""

import asyncio
import uuid
from pathlib import Path

import openai
import structlog

from runtime import log as logs
from runtime.hops import Attribute
from session_service.circuit import Circuit
from session_service.conversation.openai_failures import (
    asking,
    attempt_failures,
    failure_of,
    problem_of,
)
from session_service.errors import AttachmentNotFound, UpstreamUnavailable
from session_service.retries import AttemptFailed, ask

_MAX_DELETE_SECONDS = 10.0

log = structlog.get_logger()


class OpenAIFiles:
    """Takes a client that was opened with the key; how long an attempt may take is the client's."""

    def __init__(
        self, client: openai.AsyncOpenAI, circuit: Circuit, timeout_seconds: float
    ) -> None:
        """`timeout_seconds` is how long somebody waits for a copy, or for deletes."""
        self._client = client
        self._circuit = circuit
        self._timeout_seconds = timeout_seconds
        self._delete_seconds = min(_MAX_DELETE_SECONDS, timeout_seconds / 2)

    async def upload(self, path: Path, name: str, mime_type: str) -> str:
        """Returns the id of a new copy. Raises UpstreamError, AttachmentNotFound without bytes."""
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError:
            raise AttachmentNotFound from None

        async def send() -> str:
            # The SDK reads it piece by piece while it sends, in this thread; what was just written
            # is in the kernel's cache.
            file.seek(0)
            with attempt_failures():
                copy = await self._client.files.create(
                    file=(name, file, mime_type),
                    purpose="user_data",
                    extra_headers=_headers(),
                )
            if not copy.id:
                log.error("openai answered a file that cannot be used", attachment_id=path.name)
                raise AttemptFailed(UpstreamUnavailable())
            return copy.id

        with file:
            try:
                # Nothing is heard until the file is sent, which may take a while.
                with asking("POST /files", self._attributes("POST", "/files")):
                    return await ask(
                        self._circuit, send, _within(self._timeout_seconds), may_be_slow=True
                    )
            except openai.OpenAIError as error:
                failure = failure_of(error)
                assert failure is not None  # which it is for none of the SDK's own
                log.warning(
                    "openai did not take an attachment",
                    attachment_id=path.name,
                    reason=failure.reason,
                    **problem_of(error),
                )
                raise failure from None

    async def delete(self, file_id: str) -> None:
        """Deletes a copy if that can be done; what fails is logged."""
        client = self._client.with_options(timeout=self._delete_seconds)

        async def send() -> None:
            with attempt_failures():
                await client.files.delete(file_id, extra_headers=_headers())

        try:
            with asking("DELETE /files/{file_id}", self._attributes("DELETE", "/files/{file_id}")):
                await ask(self._circuit, send, _within(self._delete_seconds), is_background=True)
        except openai.NotFoundError:
            pass  # OpenAI has forgotten it
        except (openai.OpenAIError, UpstreamUnavailable, ValueError) as error:
            # The first are OpenAI's, the second is the circuit's, the last: not an id at all.
            log.warning("a file stays at openai", file_id=file_id, **problem_of(error))

    def _attributes(self, method: str, template: str) -> dict[str, Attribute]:
        host = self._client.base_url.host
        return {"http.request.method": method, "url.template": template, "server.address": host}


def _within(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _headers() -> dict[str, str]:
    return {"X-Client-Request-Id": logs.request_id.get(None) or uuid.uuid4().hex}
