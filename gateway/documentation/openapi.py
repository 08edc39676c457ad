"""The API as an OpenAPI 3.1 document; errors come from the tables that answer them."""

from collections.abc import Iterable, Iterator, Sequence

from gateway.documentation.chat import chat_paths
from gateway.documentation.console import console_paths
from gateway.documentation.examples import (
    ATTACHMENT_ID,
    JSON,
    LINK_EXPIRES_AT,
    LINK_SIGNATURE,
    REQUEST_ID,
    SESSION_ID,
)
from gateway.documentation.operations import paths
from gateway.documentation.schemas import Say, ref, schemas
from gateway.errors import HTTP_STATUS_CODES, STATUS_CODES
from gateway.texts import TEXTS, Language, text_of

API_VERSION = "1.0.0"

ALL_STATUS_CODES = STATUS_CODES | HTTP_STATUS_CODES

_RETRY_CODES = frozenset(
    ("RATE_LIMITED", "UPSTREAM_RATE_LIMITED", "UPSTREAM_UNAVAILABLE", "UNAVAILABLE")
)
"""Their answers may carry Retry-After."""

_GENERAL_ERRORS = {
    "NotHTTP": "INVALID_ARGUMENT.http",
    "BodyTooLate": "INVALID_ARGUMENT.late",
    "OriginNotAllowed": "PERMISSION_DENIED.origin",
    "PreflightRefused": "PERMISSION_DENIED.preflight",
    "NotFound": "NOT_FOUND",
    "MethodNotAllowed": "METHOD_NOT_ALLOWED",
    "PayloadTooLarge": "PAYLOAD_TOO_LARGE",
    "Internal": "INTERNAL",
}
"""What answers before, beside or instead of a route: `components.responses`."""


def openapi_document(descriptions: Language = "en", errors: Language = "es") -> JSON:
    """Returns the document, with the languages of what describes it and of the example errors."""

    def say(en: str, es: str) -> str:
        return en if descriptions == "en" else es

    def response(*keys: str) -> JSON:
        return _error_response(keys, descriptions, errors)

    def operation(specific: JSON, error_keys: Iterable[str]) -> JSON:
        failures = {str(status): response(*keys) for status, keys in _by_status(error_keys).items()}
        return specific | {"responses": specific["responses"] | failures}

    every_path = paths(say, errors) | chat_paths(say) | console_paths(say)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ChatKit API",
            "version": API_VERSION,
            "summary": say(
                "ChatKit sessions for your dashboard, and how they are used.",
                "Sesiones de ChatKit para tu dashboard, y cómo se usan.",
            ),
            "description": _introduction(say),
        },
        "servers": [{"url": "/", "description": say("This gateway.", "Este gateway.")}],
        "tags": [
            {"name": "sessions", "description": say("Sessions", "Sesiones")},
            {"name": "chat", "description": say("Self-hosted chat", "Chat self_hosted")},
            {"name": "statistics", "description": say("Statistics", "Estadísticas")},
            {"name": "operations", "description": say("Operations", "Operación")},
        ],
        "security": [{"bearer": []}],
        "paths": {
            path: {
                method: operation(specific, keys) for method, (specific, keys) in operations.items()
            }
            for path, operations in every_path.items()
        },
        "components": {
            "schemas": schemas(say),
            "parameters": _parameters(say),
            "headers": _headers(say),
            "responses": {name: response(key) for name, key in _GENERAL_ERRORS.items()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": say(
                        "The dashboard's own JSON Web Token (HS256, or RS256 and ES256 by JWKS)."
                        " It must have `exp` and name the user in `userId`, else in `sub`.",
                        "El JSON Web Token del propio dashboard (HS256, o RS256 y ES256 por JWKS)."
                        " Debe llevar `exp` y el usuario en `userId` o, si falta, en `sub`.",
                    ),
                },
                "metricsToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": say(
                        "What the setting `METRICS_TOKEN` says.",
                        "Lo que dice el ajuste `METRICS_TOKEN`.",
                    ),
                },
                "clientSecret": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": say(
                        "In self-hosted mode the chat takes the `client_secret` of a session"
                        " instead, not the dashboard's token.",
                        "En modo self_hosted, el chat recibe en su lugar el `client_secret` de una"
                        " sesión, no el token del dashboard.",
                    ),
                },
            },
        },
    }


def _introduction(say: Say) -> str:
    return say(
        "Your dashboard asks this gateway for a session, gives its client secret to ChatKit, and"
        " refreshes it before it expires. In self-hosted mode ChatKit then talks to this gateway,"
        " in hosted mode to OpenAI.\n\n"
        "- Every answer but the chat's is JSON: `success` with `data`, or an `error` for a person"
        " with a `code` for a program and a `hint` that says what to do.\n"
        "- Who the user is comes from the token alone. Only an administrator acts for others.\n"
        "- Texts are Spanish or English, as `Accept-Language` says; the three errors documented by"
        " name keep it.\n"
        "- Days are UTC. Bodies have at most 64 KiB, the chat's more. Routes with GET answer HEAD"
        " too, and all of them OPTIONS.",
        "Tu dashboard pide una sesión a este gateway, entrega su client secret a ChatKit y lo"
        " renueva antes de que caduque. En modo self_hosted ChatKit habla después con este gateway;"
        " en modo hosted, con OpenAI.\n\n"
        "- Toda respuesta, salvo las del chat, es JSON: `success` con `data`, o un `error` para una"
        " persona con un `code` para un programa y un `hint` que dice qué hacer.\n"
        "- Quién es el usuario lo dice solo el token. Solo un administrador actúa por otros.\n"
        "- Los textos están en español o en inglés, según `Accept-Language`; los tres errores"
        " documentados por su nombre lo conservan.\n"
        "- Los días son UTC. Los cuerpos tienen como máximo 64 KiB, los del chat más. Las rutas con"
        " GET responden también a HEAD, y todas a OPTIONS.",
    )


def _variants(key: str) -> Iterator[str]:
    """Returns the keys of TEXTS that are meant, with `REASON.*` for all of a reason."""
    if not key.endswith(".*"):
        yield key
        return
    reason = key.removesuffix(".*")
    yield from (known for known in TEXTS if known.partition(".")[0] == reason)


def _by_status(error_keys: Iterable[str]) -> dict[int, list[str]]:
    """Sorts keys of TEXTS by the HTTP status that their reason is answered with."""
    found: dict[int, list[str]] = {}
    for error_key in error_keys:
        for key in _variants(error_key):
            found.setdefault(ALL_STATUS_CODES[key.partition(".")[0]], []).append(key)
    return dict(sorted(found.items()))


def _error_response(keys: Sequence[str], descriptions: Language, errors: Language) -> JSON:
    """Returns the one response for keys of TEXTS that share a status."""
    codes = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    texts = {code: text_of(code, None, descriptions) for code in codes}
    return {
        "description": " ".join(f"`{code}`: {_sentence(texts[code].error)}" for code in codes),
        "headers": {name: ref(name, "headers") for name in _error_headers(codes)},
        "content": {
            "application/json": {
                "schema": {
                    "allOf": [ref("Error"), {"properties": {"code": {"enum": codes}}}],
                },
                "examples": {key: {"value": _error_body(key, errors)} for key in keys},
            }
        },
    }


def _error_headers(codes: Sequence[str]) -> Iterator[str]:
    yield "X-Request-Id"
    yield "Content-Language"
    if ALL_STATUS_CODES[codes[0]] != 404:  # they share a status; see `middleware`
        yield "Server-Timing"
    if "UNAUTHENTICATED" in codes:
        yield "WWW-Authenticate"
    if "METHOD_NOT_ALLOWED" in codes:
        yield "Allow"
    if not _RETRY_CODES.isdisjoint(codes):
        yield "Retry-After"


def _error_body(key: str, language: Language) -> JSON:
    reason, _, detail = key.partition(".")
    text = text_of(reason, detail, language)
    return {
        "success": False,
        "error": text.error,
        "code": reason,
        "hint": text.hint,
        "requestId": REQUEST_ID,
    }


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _parameters(say: Say) -> JSON:
    return {
        "SessionId": {
            "name": "sessionId",
            "in": "path",
            "required": True,
            "description": say(
                "The `session_id` that creating the session returned.",
                "El `session_id` que devolvió la creación de la sesión.",
            ),
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": 256,
                "pattern": "^[A-Za-z0-9_-]+$",
            },
            "example": SESSION_ID,
        },
        "AttachmentId": {
            "name": "attachmentId",
            "in": "path",
            "required": True,
            "description": say("The `id` of the attachment.", "El `id` del archivo adjunto."),
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"},
            "example": ATTACHMENT_ID,
        },
        "Expires": {
            "name": "expires",
            "in": "query",
            "required": True,
            "description": say(
                "When the link expires, in Unix seconds.",
                "Cuándo caduca el enlace, en segundos Unix.",
            ),
            "schema": {"type": "integer", "minimum": 0},
            "example": LINK_EXPIRES_AT,
        },
        "Signature": {
            "name": "signature",
            "in": "query",
            "required": True,
            "description": say(
                "Makes the link what it is: nobody else can make one.",
                "Hace del enlace lo que es: nadie más puede crear uno.",
            ),
            "schema": {"type": "string", "pattern": "^[!-~]{1,512}$"},
            "example": LINK_SIGNATURE,
        },
        "X-Request-Id": {
            "name": "X-Request-Id",
            "in": "header",
            "description": say(
                "Names the request, in at most 128 printable ASCII characters; anything else is"
                " replaced.",
                "Da nombre a la petición, con hasta 128 caracteres ASCII imprimibles; cualquier"
                " otra cosa se sustituye.",
            ),
            "schema": {"type": "string"},
            "example": REQUEST_ID,
        },
        "Accept-Language": {
            "name": "Accept-Language",
            "in": "header",
            "description": say(
                "The language of texts for people: `es` (by default) or `en`.",
                "El idioma de los textos para personas: `es` (por defecto) o `en`.",
            ),
            "schema": {"type": "string"},
            "example": "es",
        },
    }


def _headers(say: Say) -> JSON:
    return {
        "X-Request-Id": {
            "description": say(
                "Names the request in every log line, and towards OpenAI.",
                "Da nombre a la petición en todos los registros y ante OpenAI.",
            ),
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
            "example": REQUEST_ID,
        },
        "Retry-After": {
            "description": say(
                "Seconds to wait before trying again, where that is known.",
                "Segundos de espera antes de reintentar, si se conocen.",
            ),
            "schema": {"type": "integer", "minimum": 1},
            "example": 20,
        },
        "Content-Language": {
            "description": say("The language of the texts.", "El idioma de los textos."),
            "required": True,
            "schema": {"enum": ["es", "en"]},
            "example": "es",
        },
        "Server-Timing": {
            "description": say(
                "What the answer's head has waited for, in milliseconds, where a call was made:"
                " `gateway` all in all, `rpc` the session service, and within it `upstream` OpenAI"
                " and `store` the database. Browsers show it beside the request.",
                "Qué ha esperado la cabecera de la respuesta, en milisegundos, si hubo una llamada:"
                " `gateway` en total, `rpc` el servicio de sesiones y, dentro de él, `upstream`"
                " OpenAI y `store` la base de datos. Los navegadores lo muestran con la petición.",
            ),
            "schema": {"type": "string"},
            "example": "gateway;dur=12.5, rpc;dur=11.0, upstream;dur=5.7, store;dur=1.8",
        },
        "Content-Disposition": {
            "description": say("The name of a file.", "El nombre de un archivo."),
            "required": True,
            "schema": {"type": "string"},
            "example": "inline; filename=\"plano.png\"; filename*=UTF-8''plano.png",
        },
        "ETag": {
            "description": say(
                "Names this version of the file.", "Identifica esta versión del archivo."
            ),
            "required": True,
            "schema": {"type": "string"},
            "example": '"9b74c9897bac770ffc029102a200c5de"',
        },
        "WWW-Authenticate": {
            "description": say("The scheme to use.", "El esquema que hay que usar."),
            "required": True,
            "schema": {"const": "Bearer"},
            "example": "Bearer",
        },
        "Allow": {
            "description": say("The methods of this path.", "Los métodos de esta ruta."),
            "required": True,
            "schema": {"type": "string"},
            "example": "GET, HEAD, OPTIONS",
        },
    }
