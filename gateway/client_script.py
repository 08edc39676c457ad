"""What a dashboard imports: /chatkit-client.js, told which mode is served, and its types."""

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from starlette.responses import Response

from gateway.static_file import StaticFile

Mode: TypeAlias = Literal["hosted", "self_hosted"]

ANYBODYS = {"Access-Control-Allow-Origin": "*"}
"""A page of another origin cannot import a module without; there is nothing secret in it."""

_MODES: tuple[Mode, ...] = ("hosted", "self_hosted")
_PLACEHOLDER = "const SERVED_MODE = null;"
_HEADERS = {**ANYBODYS, "Cross-Origin-Resource-Policy": "cross-origin"}


@dataclass(frozen=True, slots=True)
class ClientScript:
    """The script for each mode, and the types that are the same for both."""

    scripts: Mapping[Mode, StaticFile]
    types: StaticFile

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
            mode: StaticFile(
                f'const SERVED_MODE = "{mode}";\n{rest}'.encode(), "text/javascript", _HEADERS
            )
            for mode in _MODES
        },
        types=StaticFile(types, "application/typescript", _HEADERS),
    )
