"""The console at `/`: one page with its modules and its style, and the texts of all reasons."""

import importlib.resources
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson
from starlette.responses import Response

from gateway.errors import STATUS_CODES, APIError
from gateway.security_headers import PAGE
from gateway.static_file import StaticFile
from gateway.texts import Language, text_of

_OPENAI = "https://cdn.platform.openai.com"
_POLICY = "; ".join(
    (
        "default-src 'none'",
        # OpenAI's component, which is loaded in hosted mode alone, and its frame.
        f"script-src 'self' {_OPENAI}/deployments/chatkit/",
        f"frame-src {_OPENAI}",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",  # previews of attachments
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_LANGUAGES: tuple[Language, ...] = ("es", "en")


@dataclass(frozen=True, slots=True)
class Console:
    """The page, and what it loads, by name."""

    page: StaticFile
    files: Mapping[str, StaticFile]

    def page_response(self, accept: str, if_none_match: str | None) -> Response:
        """Returns the page to browsers alone: to programs `/` is no route. Raises APIError."""
        if "text/html" not in accept.lower():
            raise APIError("NOT_FOUND", headers={"Vary": "Accept, Accept-Language"})
        return self.page.response(if_none_match)

    def file_response(self, name: str, if_none_match: str | None) -> Response:
        """Raises APIError where there is no such file."""
        if name not in self.files:
            raise APIError("NOT_FOUND")
        return self.files[name].response(if_none_match)


def create_console() -> Console:
    """Reads the files from the package, wherever that is installed."""
    folder = importlib.resources.files("gateway") / "console"
    headers = {**PAGE, "Content-Security-Policy": _POLICY, "Vary": "Accept"}
    return Console(
        page=StaticFile((folder / "index.html").read_bytes(), "text/html", headers),
        files={
            **dict(_files()),
            "reasons.json": StaticFile(orjson.dumps(_reasons()), "application/json"),
        },
    )


def _files() -> Iterator[tuple[str, StaticFile]]:
    for file in (importlib.resources.files("gateway") / "console").iterdir():
        for suffix, media_type in _TYPES.items():
            if file.name.endswith(suffix):
                yield file.name, StaticFile(file.read_bytes(), media_type)


def _reasons() -> dict[Language, dict[str, dict[str, str]]]:
    """Returns what is said of each reason, and what to do about it, in each language."""
    return {
        language: {
            reason: {"error": text.error, "hint": text.hint}
            for reason in STATUS_CODES
            for text in (text_of(reason, None, language),)
        }
        for language in _LANGUAGES
    }
