"""The operations of the self-hosted mode: the ChatKit protocol itself, and attachments."""

from collections.abc import Sequence

from gateway.documentation import examples
from gateway.documentation.examples import JSON
from gateway.documentation.operations import common_parameters, ok
from gateway.documentation.schemas import Say, ref

_SECRET: list[JSON] = [{"clientSecret": []}]

_CALL_ERRORS = ("INTERNAL", "UPSTREAM_TIMEOUT", "UNAVAILABLE", "NOT_FOUND.chatkit")
_SESSION_ERRORS = (*_CALL_ERRORS, "UNAUTHENTICATED.secret", "SESSION_DELETED.chat")
_CHAT_ERRORS = (
    *_SESSION_ERRORS,
    "INVALID_ARGUMENT.request",
    "THREAD_NOT_FOUND",
    "ATTACHMENT_NOT_FOUND",
    "ATTACHMENT_TOO_LARGE",
    "ATTACHMENT_TYPE_NOT_ALLOWED.*",
    "PAYLOAD_TOO_LARGE.chat",
    "UNSUPPORTED_MEDIA_TYPE",
    "RATE_LIMITED.requests",
    "INVALID_API_KEY.*",
    "UPSTREAM_RATE_LIMITED",
    "UPSTREAM_QUOTA_EXHAUSTED",
    "UPSTREAM_REJECTED",
    "UPSTREAM_UNAVAILABLE.*",
)
_FILE_ERRORS = ("ATTACHMENT_TOO_LARGE", "ATTACHMENT_TYPE_NOT_ALLOWED.*")
_UPLOAD_ERRORS = (
    *_SESSION_ERRORS,
    *_FILE_ERRORS,
    "INVALID_ARGUMENT.file",
    "UNSUPPORTED_MEDIA_TYPE.file",
    "RATE_LIMITED.requests",
)
_LINK_ERRORS = (
    *_CALL_ERRORS,
    "ATTACHMENT_NOT_FOUND",
    "NOT_FOUND",  # an id with a slash in it names another path
)


def chat_paths(say: Say) -> dict[str, dict[str, tuple[JSON, Sequence[str]]]]:
    """Returns every operation with its errors, as `operations.paths` does."""
    return {
        "/api/chatkit": {"post": (_chat(say), _CHAT_ERRORS)},
        "/api/chatkit/attachments": {"post": (_upload(say), _UPLOAD_ERRORS)},
        "/api/chatkit/attachments/{attachmentId}": {
            "get": (_read(say), _LINK_ERRORS),
            "post": (_upload_to_link(say), (*_LINK_ERRORS, *_FILE_ERRORS, "INVALID_ARGUMENT.file")),
        },
    }


def _chat(say: Say) -> JSON:
    content = {
        "text/event-stream": {
            # Any: whether a schema is of the stream or of each event OpenAPI says from 3.2 on.
            "schema": {},
            "examples": {"stream": {"value": examples.CHAT_EVENTS}},
        },
        "application/json": {
            "schema": {"type": "object"},
            "examples": {"threads": {"value": examples.THREADS}},
        },
    }
    answered = ok(
        say(
            "What the request's `type` says: a stream of events, or JSON.",
            "Lo que indique el `type` de la petición: un flujo de eventos o JSON.",
        ),
        {},
    )
    answered["200"]["content"] = content
    return {
        "operationId": "chat",
        "tags": ["chat"],
        "summary": say("The chat itself", "El chat"),
        "description": say(
            "The ChatKit protocol, which the component speaks by itself: it is the `url` of its"
            " `api` option. Only in self-hosted mode. Requests have at most 512 KiB.\n\n"
            "Answers are ChatKit's own, without our envelope. Until an answer begins an error is a"
            " status like everywhere; in mid-stream it is an event of the type `error`, whose"
            " `allow_retry` says whether to offer to try again. Closing the connection stops the"
            " answer, and what has been said of it is kept.",
            "El protocolo de ChatKit, que el componente habla por sí mismo: es la `url` de su"
            " opción `api`. Solo en modo self_hosted. Las peticiones tienen hasta 512 KiB.\n\n"
            "Las respuestas son las de ChatKit, sin nuestro sobre. Hasta que empieza una respuesta,"
            " un error es un estado como en todas partes; a mitad del flujo es un evento de tipo"
            " `error`, cuyo `allow_retry` dice si conviene ofrecer un reintento. Cerrar la conexión"
            " detiene la respuesta, y se conserva lo que ya se había dicho.",
        ),
        "security": _SECRET,
        "parameters": common_parameters(),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref("ChatRequest"),
                    "examples": {
                        "message": {
                            "summary": say("A first message", "Un primer mensaje"),
                            "value": examples.CHAT_REQUEST,
                        },
                        "threads": {
                            "summary": say("The history", "El historial"),
                            "value": examples.LIST_THREADS_REQUEST,
                        },
                    },
                }
            },
        },
        "responses": answered,
    }


def _upload(say: Say) -> JSON:
    return {
        "operationId": "uploadAttachment",
        "tags": ["chat"],
        "summary": say("Upload a file", "Subir un archivo"),
        "description": say(
            "ChatKit's direct upload: it is the `uploadUrl` of its `uploadStrategy`. Only in"
            " self-hosted mode.",
            "La subida directa de ChatKit: es la `uploadUrl` de su `uploadStrategy`. Solo en modo"
            " self_hosted.",
        ),
        "security": _SECRET,
        "parameters": common_parameters(),
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {
                                "type": "string",
                                "format": "binary",
                                "description": say(
                                    "The one file, with its name and its type. Other fields are"
                                    " ignored.",
                                    "El único archivo, con su nombre y su tipo. Los demás campos se"
                                    " ignoran.",
                                ),
                            }
                        },
                    }
                }
            },
        },
        "responses": _attachment(say),
    }


def _upload_to_link(say: Say) -> JSON:
    return {
        "operationId": "uploadAttachmentToLink",
        "tags": ["chat"],
        "summary": say("Upload a file to its link", "Subir un archivo a su enlace"),
        "description": say(
            "The second phase of ChatKit's `two_phase` upload. The whole link comes from the"
            " `upload_descriptor` that `attachments.create` has answered, and is all that is"
            " needed. The body is the file itself.",
            "La segunda fase de la subida `two_phase` de ChatKit. El enlace completo viene del"
            " `upload_descriptor` que ha respondido `attachments.create`, y no hace falta nada más."
            " El cuerpo es el propio archivo.",
        ),
        "security": [],
        "parameters": _link_parameters(),
        "requestBody": {"required": True, "content": {"*/*": {"schema": {}}}},
        "responses": _attachment(say),
    }


def _read(say: Say) -> JSON:
    headers = ("X-Request-Id", "Content-Disposition", "Server-Timing")
    return {
        "operationId": "readAttachment",
        "tags": ["chat"],
        "summary": say("Read a file", "Leer un archivo"),
        "description": say(
            "Returns the bytes of an attachment to whoever holds a link to it, such as its"
            " `preview_url`. Links expire after a few minutes. Images are shown, anything else is"
            " saved.",
            "Devuelve los bytes de un archivo adjunto a quien tenga un enlace, como su"
            " `preview_url`. Los enlaces caducan a los pocos minutos. Las imágenes se muestran; lo"
            " demás se guarda.",
        ),
        "security": [],
        "parameters": _link_parameters(),
        "responses": {
            "200": {
                "description": say("The file.", "El archivo."),
                "headers": {name: ref(name, "headers") for name in headers},
                "content": {"*/*": {"schema": {}}},
            }
        },
    }


def _link_parameters() -> list[JSON]:
    names = ("AttachmentId", "Expires", "Signature")
    return [*(ref(name, "parameters") for name in names), *common_parameters()]


def _attachment(say: Say) -> JSON:
    return ok(
        say("The attachment, as ChatKit knows it.", "El archivo adjunto, como lo conoce ChatKit."),
        ref("Attachment"),
        attachment=examples.ATTACHMENT,
    )
