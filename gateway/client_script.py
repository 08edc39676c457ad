"""What a dashboard imports: /chatkit-client.js, told which mode is served, and its types."""

import hashlib
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from starlette.responses import Response

Mode: TypeAlias = Literal["hosted", "self_hosted"]

ANYBODYS = {"Access-Control-Allow-Origin": "*"}
"""A page of another origin cannot import a module without; there is nothing secret in it."""

_MODES: tuple[Mode, ...] = ("hosted", "self_hosted")
_PLACEHOLDER = "const SERVED_MODE = null;"


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is sent. Whoever has kept it asks every time whether it is still the same."""

    content: bytes
    media_type: str

    def response(self, if_none_match: str | None) -> Response:
        tag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'
        headers = {
            **ANYBODYS,
            "Cache-Control": "no-cache",
            "ETag": tag,
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        known = {given.strip().removeprefix("W/") for given in (if_none_match or "").split(",")}
        if not known.isdisjoint((tag, "*")):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


@dataclass(frozen=True, slots=True)
class ClientScript:
    """The script for each mode, and the types that are the same for both."""

    scripts: Mapping[Mode, _File]
    types: _File

    def script_response(self, mode: Mode, if_none_match: str | None) -> Response:
        return self.scripts[mode].response(if_none_match)

    def types_response(self, if_none_match: str | None) -> Response:
        return self.types.response(if_none_match)


def create_client_script() -> ClientScript:
    """Reads the files from the package, wherever that is installed."""
    folder = importlib.resources.files("gateway") / "client"
    script = (folder / "chatkit-client.js").read_text("utf-8")
    types = (folder / "chatkit-client.d.ts").read_bytes()
    if not script.startswith(_PLACEHOLDER):
        raise RuntimeError(f"the first line of chatkit-client.js must begin with {_PLACEHOLDER}")
    rest = script.partition("\n")[2]
    return ClientScript(
        scripts={
            mode: _File(f'const SERVED_MODE = "{mode}";\n{rest}'.encode(), "text/javascript")
            for mode in _MODES
        },
        types=_File(types, "application/typescript"),
    )
