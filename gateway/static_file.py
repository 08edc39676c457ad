"""A file from the package as it is sent: whoever has kept it asks whether it is still the same."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class StaticFile:
    """Its bytes, their type, and the headers of its own."""

    content: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    tag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tag", f'"{hashlib.sha256(self.content).hexdigest()[:32]}"')

    def response(self, if_none_match: str | None) -> Response:
        """Returns it, or 304 to whoever has it already."""
        headers = {"Cache-Control": "no-cache", "ETag": self.tag, **self.headers}
        known = {given.strip().removeprefix("W/") for given in (if_none_match or "").split(",")}
        if not known.isdisjoint((self.tag, "*")):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)
