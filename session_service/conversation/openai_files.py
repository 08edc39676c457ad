"""The copies of attachments at OpenAI, by which the model reads them.

Reference: https://platform.openai.com/docs/api-reference/files
"""

import asyncio
import uuid
from pathlib import Path

import openai
import structlog

from runtime import log as logs
from session_service.conversation.openai_failures import failure_of, problem_of
from session_service.errors import AttachmentNotFound, UpstreamUnavailable

_DELETE_SECONDS = 10.0

log = structlog.get_logger()


class OpenAIFiles:
    """Takes a client that was opened with the key; retries and time-outs are the client's."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def upload(self, path: Path, name: str, mime_type: str) -> str:
        """Returns the id of a new copy. Raises UpstreamError, AttachmentNotFound without bytes."""
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError:
            raise AttachmentNotFound from None
        with file:
            try:
                # The SDK reads it piece by piece while it sends, in this thread; what was just
                # written is in the kernel's cache. It rewinds the file where it tries again.
                copy = await self._client.files.create(
                    file=(name, file, mime_type),
                    purpose="user_data",
                    extra_headers=_headers(),
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
        if not copy.id:
            log.error("openai answered a file that cannot be used", attachment_id=path.name)
            raise UpstreamUnavailable
        return copy.id

    async def delete(self, file_id: str) -> None:
        """Deletes a copy if that can be done; what fails is logged."""
        client = self._client.with_options(timeout=_DELETE_SECONDS)
        try:
            await client.files.delete(file_id, extra_headers=_headers())
        except openai.NotFoundError:
            pass  # OpenAI has forgotten it
        except (openai.OpenAIError, ValueError) as error:  # the latter: not an id at all
            log.warning("a file stays at openai", file_id=file_id, **problem_of(error))


def _headers() -> dict[str, str]:
    return {"X-Client-Request-Id": logs.request_id.get(None) or uuid.uuid4().hex}
