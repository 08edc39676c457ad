"""docs/errors.md and docs/errors.es.md, from the tables of reasons and texts that answer."""

import json
from collections.abc import Iterator, Mapping

from docs.generator.comments import comment_of, load_protos, prose
from gateway.errors import HTTP_STATUS_CODES, RETRYABLE, STATUS_CODES
from gateway.texts import TEXTS, Language, Text
from protos.chatkit.v1 import error_reason_pb2
from session_service.interceptors import STATUS_CODES as GRPC_CODES

_PREFIX = "ERROR_REASON_"
_REQUEST_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

_WORDS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "title": "Errors",
        "other": "[En español](errors.es.md)",
        "introduction": (
            "Every error of the HTTP API has the same form. Programs decide by `code`. `error`\n"
            "says what has happened and `hint` what to do about it, in Spanish or English, by\n"
            "`Accept-Language` (Spanish without it). `requestId` finds the request in the logs\n"
            "of both processes. Over gRPC, `code` is the `reason` of a `google.rpc.ErrorInfo`."
        ),
        "by_symptom": (
            "Looking for what to do about something that you see?\n"
            "[Troubleshooting](troubleshooting.md) goes by symptoms."
        ),
        "about": "about",
        "text": "`error`",
        "remedy": "`hint`: what to do",
        "again": "worth trying again",
        "yes": "yes, after `Retry-After` where it is sent",
        "no": "no",
        "none": "none",
    },
    "es": {
        "title": "Errores",
        "other": "[In English](errors.md)",
        "introduction": (
            "Todos los errores de la API HTTP tienen la misma forma. Los programas deciden por\n"
            "`code`. `error` dice qué ha ocurrido y `hint` qué hacer, en español o en inglés,\n"
            "según `Accept-Language` (sin ella, en español). `requestId` encuentra la petición\n"
            "en los registros de ambos procesos. En gRPC, `code` es el `reason` de un\n"
            "`google.rpc.ErrorInfo`."
        ),
        "by_symptom": (
            "¿Buscas qué hacer con algo que ves? En\n"
            "[Solución de problemas](troubleshooting.es.md) está por síntomas."
        ),
        "about": "sobre",
        "text": "`error`",
        "remedy": "`hint`: qué hacer",
        "again": "merece la pena repetir",
        "yes": "sí, después de `Retry-After` si se envía",
        "no": "no",
        "none": "ninguno",
    },
}


def errors_page(language: Language) -> str:
    """Returns every reason with its statuses, texts, remedies and an example."""
    words = _WORDS[language]
    codes = {**STATUS_CODES, **HTTP_STATUS_CODES}
    head = [
        f"# {words['title']}",
        "",
        "<!-- Made by `make docs` from gateway/texts.py, gateway/errors.py and the protos. -->",
        "",
        words["introduction"],
        words["other"],
        "",
        words["by_symptom"],
        "",
        f"| `code` | HTTP | gRPC | {words['text']} |",
        "|---|---|---|---|",
    ]
    for reason, status in codes.items():
        error = _text(reason, language).error
        head.append(f"| [`{reason}`](#{reason.lower()}) | {status} | {_grpc(reason)} | {error} |")
    causes = _causes() if language == "en" else {}
    sections = (
        "\n".join(_section(reason, status, causes.get(reason), language))
        for reason, status in codes.items()
    )
    return "\n".join([*head, "", *sections])


def _section(reason: str, status: int, cause: str | None, language: Language) -> Iterator[str]:
    words = _WORDS[language]
    yield f"## `{reason}`\n"
    if cause:
        yield f"{cause}\n"
    again = words["yes"] if RETRYABLE.get(reason) else words["no"]
    yield f"HTTP {status} · gRPC {_grpc(reason) or words['none']} · {words['again']}: {again}\n"
    yield f"| {words['about']} | {words['text']} | {words['remedy']} |"
    yield "|---|---|---|"
    for name, texts in TEXTS.items():
        base, _, detail = name.partition(".")
        if base == reason:
            text = texts.es if language == "es" else texts.en
            yield f"| {f'`{detail}`' if detail else ''} | {text.error} | {text.hint} |"
    yield ""
    yield "```json"
    yield json.dumps(_envelope(reason, language), ensure_ascii=False, indent=2)
    yield "```\n"


def _envelope(reason: str, language: Language) -> dict[str, object]:
    text = _text(reason, language)
    return {
        "success": False,
        "error": text.error,
        "code": reason,
        "hint": text.hint,
        "requestId": _REQUEST_ID,
    }


def _text(reason: str, language: Language) -> Text:
    texts = TEXTS[reason]
    return texts.es if language == "es" else texts.en


def _grpc(reason: str) -> str:
    return f"`{GRPC_CODES[reason].name}`" if reason in GRPC_CODES else ""


def _causes() -> dict[str, str]:
    """Returns what the contract says of each reason."""
    (file,) = (file for file in load_protos() if file.name.endswith("error_reason.proto"))
    names = error_reason_pb2.ErrorReason.keys()
    return {
        name.removeprefix(_PREFIX): prose(comment_of(file, (5, 0, 2, number)))
        for number, name in enumerate(names)
    }
