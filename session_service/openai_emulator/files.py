"""OpenAI's file operations: what is uploaded is counted and hashed as it comes, and not kept."""

import secrets
import string
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from session_service.openai_emulator.errors import (
    JSON,
    APIError,
    missing_parameter,
    unsupported_value,
)
from session_service.openai_emulator.failures import exchange_of
from session_service.openai_emulator.upload import read_upload

MAX_BYTES = 512 * 1024 * 1024
# Those of https://platform.openai.com/docs/api-reference/files/create
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_FIELDS = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")
_LETTERS = string.ascii_letters + string.digits


class FileListQuery(BaseModel):
    # Not strict: everything in a query string is text.
    model_config = ConfigDict(extra="forbid")

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = None


class Files:
    """One method for each operation. `now` is Unix seconds."""

    def __init__(self, now: Callable[[], float], max_bytes: int) -> None:
        self.now = now
        self.max_bytes = max_bytes
        self.known: dict[str, JSON] = {}

    async def create(self, request: Request) -> JSON:
        """Logs the size and SHA-256 of what it got, for tests to compare with what was sent."""
        upload = await read_upload(request)
        exchange_of(request).seen.body = upload.summary()
        if upload.size > self.max_bytes:
            message = (
                f"Maximum content size limit ({self.max_bytes}) exceeded ({upload.size} bytes read)"
            )
            raise APIError(413, message)
        for name in upload.fields:
            if name not in _FIELDS:
                message = f"Unknown parameter: '{name}'."
                raise APIError(400, message, param=name, code="unknown_parameter")
        if upload.filename is None:
            raise missing_parameter("file")
        purpose = upload.fields.get("purpose")
        if purpose is None:
            raise missing_parameter("purpose")
        if purpose not in _PURPOSES:
            raise unsupported_value("purpose", purpose, _PURPOSES)
        if not upload.size:
            raise APIError(400, "File is empty.", param="file")
        created_at = int(self.now())
        file: JSON = {
            "id": f"file-{''.join(secrets.choice(_LETTERS) for _ in range(22))}",
            "object": "file",
            "bytes": upload.size,
            "created_at": created_at,
            "expires_at": _expires_at(upload.fields, created_at),
            "filename": upload.filename,
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
        }
        self.known[file["id"]] = file
        return file

    def list(self, query: FileListQuery) -> JSON:
        files = [f for f in self.known.values() if query.purpose in (None, f["purpose"])]
        if query.order == "desc":
            files.reverse()
        if query.after is not None:
            ids = [file["id"] for file in files]
            if query.after not in ids:
                raise _not_found(query.after, "after")
            files = files[ids.index(query.after) + 1 :]
        page = files[: query.limit]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(page) < len(files),
        }

    def retrieve(self, id: str) -> JSON:
        if id not in self.known:
            raise _not_found(id, "id")
        return self.known[id]

    def delete(self, id: str) -> JSON:
        self.retrieve(id)
        del self.known[id]
        return {"id": id, "object": "file", "deleted": True}


def _not_found(id: str, param: str) -> APIError:
    return APIError(404, f"No such File object: {id}", param=param)


def _expires_at(fields: dict[str, str], created_at: int) -> int | None:
    anchor = fields.get("expires_after[anchor]")
    seconds = fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise unsupported_value("expires_after[anchor]", anchor, ("created_at",))
    if not (seconds or "").isdecimal() or not 3600 <= int(seconds or 0) <= 2_592_000:
        message = (
            "Invalid 'expires_after[seconds]': expected an integer from 3600 to 2592000, "
            f"but got {seconds!r} instead."
        )
        raise APIError(400, message, param="expires_after[seconds]", code="invalid_value")
    return created_at + int(seconds or 0)
