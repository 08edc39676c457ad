"""The bodies of the API as JSON Schema, described in both languages."""

from collections.abc import Callable
from typing import TypeAlias

from gateway.documentation.examples import DASHBOARD_REQUEST, JSON
from gateway.errors import HTTP_STATUS_CODES, STATUS_CODES

Say: TypeAlias = Callable[[str, str], str]
"""Chooses between an English and a Spanish text."""


def schemas(say: Say) -> JSON:
    """Returns `components.schemas`. Requests stay open: other fields are tolerated."""
    return {
        "UserId": _user_id(say),
        "CreateSessionRequest": _create_session_request(say),
        "RefreshSessionRequest": _refresh_session_request(say),
        "IssuedSession": _issued_session(say),
        "Session": _session(say),
        "DeletedSession": _object(
            {
                "id": {"type": "string", "description": _session_id(say)},
                "status": {
                    "const": "deleted",
                    "description": say("Always `deleted`.", "Siempre `deleted`."),
                },
            }
        ),
        "Sessions": _object(
            {
                "sessions": {
                    "type": "array",
                    "description": say("Newest first.", "Primero la más nueva."),
                    "items": ref("Session"),
                },
                "nextPageToken": {
                    "type": ["string", "null"],
                    "description": say(
                        "What to send as `pageToken` for the next page; null on the last.",
                        "Lo que se envía como `pageToken` para la página siguiente; null en la"
                        " última.",
                    ),
                },
            }
        ),
        "Me": _object(
            {
                "userId": {
                    "type": "string",
                    "description": say("The user.", "El usuario."),
                },
                "administrator": {
                    "type": "boolean",
                    "description": say(
                        "Whether they may act for others.", "Si puede actuar por otros."
                    ),
                },
                "expiresAt": _unix_seconds(
                    say("When the token expires", "Cuándo caduca el token"), say
                ),
            }
        ),
        "Stats": _stats(say),
        "DailyStats": _daily(say),
        "Checks": _checks(say),
        "ChatRequest": _chat_request(say),
        "Attachment": _attachment(say),
        "Error": _error(say),
        "ErrorCode": {
            "description": say("Every reason that there is.", "Todos los motivos que hay."),
            "enum": [*STATUS_CODES, *HTTP_STATUS_CODES],
        },
    }


def success(data: JSON, **more: JSON) -> JSON:
    """Returns the schema of a 200: the envelope around `data`."""
    return _object({"success": {"const": True}, **more, "data": data})


def ref(name: str, kind: str = "schemas") -> JSON:
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(properties: JSON, optional: frozenset[str] = frozenset()) -> JSON:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def _user_id(say: Say) -> JSON:
    return {
        "description": say(
            'A user: an integer or a text; `7` and `"7"` are the same user. Null names none.',
            'Un usuario: un entero o un texto; `7` y `"7"` son el mismo usuario. Null no indica'
            " ninguno.",
        ),
        "anyOf": [
            # The integers that a JSON parser keeps exact.
            {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
            {
                "type": "string",
                "minLength": 1,
                "maxLength": 256,
                # Printable characters; of other scripts too, but a pattern cannot say which.
                "pattern": "^[ -~\u00a1-\u00ac\u00ae-\u0377]+$",
            },
            {"type": "null"},
        ],
        "examples": [7, "auth0|5f7c8ec7c33c6c004bbafe82"],
    }


def _create_session_request(say: Say) -> JSON:
    # What is only handed on has no type here, as nothing is refused for having another one.
    def handed_on(example: object, en: str, es: str) -> JSON:
        return {"description": say(en, es), "examples": [example]}

    context = DASHBOARD_REQUEST["userContext"]
    return {
        "type": "object",
        "description": say(
            "Every field may be absent, and the whole body too; other fields are ignored. Context"
            " reaches the workflow as at most 64 flat state variables with names of at most 64"
            " characters; null, lists and what exceeds that are left out.",
            "Cualquier campo puede faltar, e incluso el cuerpo entero; los demás campos se ignoran."
            " El contexto llega al workflow como variables de estado planas: 64 como máximo, con"
            " nombres de hasta 64 caracteres; null, las listas y lo que sobra se descartan.",
        ),
        "properties": {
            "userId": {
                **ref("UserId"),
                "description": say(
                    "Whom the session is for. Yours by default; only an administrator may name"
                    " another user.",
                    "Para quién es la sesión. Por defecto, para ti; solo un administrador puede"
                    " indicar otro usuario.",
                ),
            },
            "username": handed_on(
                "user7",
                "State variable `username`.",
                "Variable de estado `username`.",
            ),
            "email": handed_on(
                "user7@example.com", "Is not handed on to OpenAI.", "No se envía a OpenAI."
            ),
            "role": handed_on(
                "admin",
                "State variable `role`. Grants nothing: the token alone does.",
                "Variable de estado `role`. No da permisos: eso solo lo hace el token.",
            ),
            "userContext": {
                **handed_on(
                    context,
                    "State variables with dotted names, such as"
                    " `userContext.permissions.ticketControl`.",
                    "Variables de estado con nombres unidos por puntos, como"
                    " `userContext.permissions.ticketControl`.",
                ),
                "properties": {
                    "permissions": handed_on(
                        context["permissions"],
                        "What the user may do in the dashboard, as booleans.",
                        "Lo que el usuario puede hacer en el dashboard, en booleanos.",
                    ),
                    "lastLogin": handed_on(
                        context["lastLogin"], "The last login.", "El último inicio de sesión."
                    ),
                    "isInitialSetupComplete": handed_on(
                        True,
                        "Whether the initial setup is done.",
                        "Si la configuración inicial está completa.",
                    ),
                },
            },
        },
    }


def _refresh_session_request(say: Say) -> JSON:
    secret = {"type": ["string", "null"]}
    given = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "description": say("Other fields are ignored.", "Los demás campos se ignoran."),
        "properties": {
            "existingSecret": {
                **secret,
                "description": say(
                    "The `client_secret` to replace, at most 24 hours after it expired. Required,"
                    " by this name or the other.",
                    "El `client_secret` que se renueva, como máximo 24 horas después de caducar."
                    " Obligatorio, con este nombre o con el otro.",
                ),
            },
            "currentClientSecret": {
                **secret,
                "description": say(
                    "Another name for `existingSecret`, which wins where both are sent.",
                    "Otro nombre de `existingSecret`, que prevalece si se envían los dos.",
                ),
            },
            "userId": {
                **ref("UserId"),
                "description": say(
                    "Whose secret it is. Yours by default; only an administrator may name another"
                    " user.",
                    "De quién es. Por defecto, tuyo; solo un administrador puede indicar otro"
                    " usuario.",
                ),
            },
        },
        "anyOf": [
            {"required": [name], "properties": {name: given}}
            for name in ("existingSecret", "currentClientSecret")
        ],
    }


def _issued_session(say: Say) -> JSON:
    return _object(
        {
            "session_id": {"type": "string", "description": _session_id(say)},
            "client_secret": {
                "type": "string",
                "minLength": 1,
                "description": say(
                    "For ChatKit in the user's browser alone. It is not stored and cannot be read"
                    " again.",
                    "Solo para ChatKit en el navegador del usuario. No se guarda ni se puede volver"
                    " a leer.",
                ),
            },
            "expires_at": _unix_seconds(
                say("When the secret expires", "Cuándo caduca el secreto"), say
            ),
            "user_id": {
                "type": "string",
                "description": say("Whose session it is.", "De quién es la sesión."),
            },
            "mode": _mode(say),
            "workflow_id": {"type": ["string", "null"], "description": _workflow_id(say)},
        }
    )


def _session(say: Say) -> JSON:
    return _object(
        {
            "id": {"type": "string", "description": _session_id(say)},
            "status": {
                "enum": ["active", "expired", "refreshed", "deleted"],
                "description": say(
                    "`active`: its secret works. `expired`: it can be refreshed for 24 hours."
                    " `refreshed`: another session took its place. `deleted`: it is over.",
                    "`active`: su secreto sirve. `expired`: se puede renovar durante 24 horas."
                    " `refreshed`: otra sesión ocupa su lugar. `deleted`: ha terminado.",
                ),
            },
            "user_id": {
                "type": "string",
                "description": say("Whose session it is.", "De quién es la sesión."),
            },
            "mode": _mode(say),
            "workflow_id": {"type": ["string", "null"], "description": _workflow_id(say)},
            "created_at": _unix_seconds(say("When it was created", "Cuándo se creó"), say),
            "expires_at": _unix_seconds(
                say("When its secret expires", "Cuándo caduca su secreto"), say
            ),
            "deleted_at": _unix_seconds(
                say("When it was deleted, if it was", "Cuándo se eliminó, si es el caso"), say
            ),
            "refreshed_from": {
                "type": "string",
                "description": say(
                    "The session that this one replaced, if any.",
                    "La sesión a la que sustituyó, si la hay.",
                ),
            },
            "refreshed_to": {
                "type": "string",
                "description": say(
                    "The newest session that replaced this one, if any.",
                    "La sesión más reciente que la sustituyó, si la hay.",
                ),
            },
        },
        optional=frozenset(("deleted_at", "refreshed_from", "refreshed_to")),
    )


def _stats(say: Say) -> JSON:
    texts = {
        "totalSessions": (
            "Sessions ever; a refresh does not make another one.",
            "Sesiones en total; renovar no cuenta como otra.",
        ),
        "totalMessages": (
            "Messages of the user and of the assistant.",
            "Mensajes del usuario y del asistente.",
        ),
        "lastActivity": ("The last activity, or null.", "La última actividad, o null."),
        "averageSessionDuration": (
            "Seconds from a session's creation to its end, on average.",
            "Media de segundos entre el inicio y el fin de una sesión.",
        ),
        "activeSessions": ("Sessions that are active now.", "Sesiones activas ahora."),
        "sessionsToday": ("Sessions begun today.", "Sesiones iniciadas hoy."),
        "messagesToday": ("Messages of today.", "Mensajes de hoy."),
        "refreshes": ("Refreshed secrets.", "Secretos renovados."),
        "deletedSessions": ("Deleted sessions.", "Sesiones eliminadas."),
        "failures": (
            "Creates and refreshes that failed because of OpenAI or of the configuration.",
            "Creaciones y renovaciones fallidas por OpenAI o por la configuración.",
        ),
        "messagesUpdatedAt": (
            "When messages were last counted, or null.",
            "Cuándo se contaron los mensajes por última vez, o null.",
        ),
        "turns": (
            "Runs of the agent, finished or not. As all that follows, of the self-hosted mode.",
            "Ejecuciones del agente, terminadas o no. Como lo que sigue, del modo autoalojado.",
        ),
        "failedTurns": ("Turns that ended with an error.", "Turnos que acabaron con un error."),
        "inputTokens": ("Tokens that the model has read.", "Tokens leídos por el modelo."),
        "outputTokens": ("Tokens that the model has written.", "Tokens escritos por el modelo."),
        "estimatedTurns": (
            "Turns whose tokens are estimates, as they were not finished.",
            "Turnos cuyos tokens son una estimación, porque no terminaron.",
        ),
        "toolCalls": ("Calls of tools.", "Llamadas a herramientas."),
        "answerTime": (
            "Seconds until an answer was complete: half took at most `p50`, 95 % at most `p95`,"
            " within 10 %. Null where nothing was answered.",
            "Segundos hasta completar una respuesta: la mitad tardó como máximo `p50` y el 95 %"
            " `p95`, con un error de hasta el 10 %. Null si no hubo respuestas.",
        ),
        "failuresByReason": (
            "Failed creates, refreshes and turns, by reason.",
            "Creaciones, renovaciones y turnos fallidos, por motivo.",
        ),
    }
    special: JSON = {
        **_distributions(),
        "lastActivity": {"type": ["string", "null"], "format": "date-time"},
        "messagesUpdatedAt": {"type": ["string", "null"], "format": "date-time"},
        "averageSessionDuration": {"type": "number", "minimum": 0},
    }
    properties: JSON = {
        name: {**special.get(name, _count()), "description": say(*text)}
        for name, text in texts.items()
    }
    properties["daily"] = {
        "type": "array",
        "minItems": 1,
        "maxItems": 366,
        "items": ref("DailyStats"),
        "description": say(
            "One entry per day, oldest first, zeros included.",
            "Una entrada por día, de la más antigua a la más reciente, ceros incluidos.",
        ),
    }
    return _object(properties)


def _daily(say: Say) -> JSON:
    day = {"type": "string", "format": "date", "description": say("The day, UTC.", "El día, UTC.")}
    counters = ("sessions", "messages", "refreshes", "failures", "turns", "failedTurns")
    return _object(
        {"date": day}
        | {name: _count() for name in (*counters, "inputTokens", "outputTokens", "toolCalls")}
        | _distributions()
    )


def _distributions() -> JSON:
    seconds: JSON = {"type": "number", "minimum": 0}
    return {
        "answerTime": {
            **_object({"p50": seconds, "p95": seconds}),
            "type": ["object", "null"],
        },
        "failuresByReason": {"type": "object", "additionalProperties": _count()},
    }


def _checks(say: Say) -> JSON:
    mode: JSON = {
        "type": ["string", "null"],
        "description": say(
            "That of the session service, `hosted` or `self_hosted`; null where it does not"
            " answer.",
            "El del servicio de sesiones, `hosted` o `self_hosted`; null si no responde.",
        ),
    }
    state: JSON = {
        "enum": ["passed", "warning", "failed"],
        "description": say("The worst of all.", "El peor de todos."),
    }
    return _object(
        {
            "mode": mode,
            "state": state,
            "checks": {
                "type": "array",
                "items": _check(say),
                "description": say(
                    "In the order in which they are to be mended.",
                    "En el orden en que conviene arreglarlas.",
                ),
            },
        }
    )


def _check(say: Say) -> JSON:
    def text(english: str, spanish: str) -> JSON:
        return {"type": "string", "description": say(english, spanish)}

    return _object(
        {
            "name": text("Such as `openai.key`.", "Como `openai.key`."),
            "state": {
                "enum": ["passed", "warning", "failed", "skipped"],
                "description": say(
                    "`skipped` is what could not be checked, or was not asked for.",
                    "`skipped` es lo que no se pudo comprobar o no se pidió.",
                ),
            },
            "title": text("What is checked, for a person.", "Qué se comprueba, para una persona."),
            "cause": text("Why, for a program; or empty.", "Por qué, para un programa; o vacío."),
            "remedy": text("What to do, for a person.", "Qué hacer, para una persona."),
            "details": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": say(
                    "What the remedy names, such as an address.",
                    "Lo que el remedio nombra, como una dirección.",
                ),
            },
        },
        optional=frozenset(("cause", "remedy", "details")),
    )


def _chat_request(say: Say) -> JSON:
    return _object(
        {
            "type": {
                "type": "string",
                "description": say(
                    "What is asked, such as `threads.create` or `items.list`.",
                    "Lo que se pide, como `threads.create` o `items.list`.",
                ),
            },
            "params": {
                "type": "object",
                "description": say("Depends on the type.", "Depende del tipo."),
            },
            "metadata": {
                "type": "object",
                "description": say("Is for the agent.", "Es para el agente."),
            },
        },
        optional=frozenset(("params", "metadata")),
    )


def _attachment(say: Say) -> JSON:
    return _object(
        {
            "type": {
                "enum": ["file", "image"],
                "description": say(
                    "`image` where it can be shown, else `file`.",
                    "`image` si se puede mostrar; si no, `file`.",
                ),
            },
            "id": {
                "type": "string",
                "description": say(
                    "Goes into `attachments` of a message.", "Va en `attachments` de un mensaje."
                ),
            },
            "name": {"type": "string", "description": say("Its name.", "Su nombre.")},
            "mime_type": {"type": "string", "description": say("Its type.", "Su tipo.")},
            "preview_url": {
                "type": "string",
                "description": say(
                    "A link to an image, for a few minutes.",
                    "Un enlace a una imagen, durante unos minutos.",
                ),
            },
        },
        optional=frozenset(("preview_url",)),
    )


def _error(say: Say) -> JSON:
    properties: JSON = {
        "success": {
            "const": False,
            "description": say("It did not work.", "No ha funcionado."),
        },
        "error": {
            "type": "string",
            "description": say("What happened, for a person.", "Qué ha pasado, para una persona."),
        },
        "code": {
            **ref("ErrorCode"),
            "description": say("Why, for a program.", "Por qué, para un programa."),
        },
        "hint": {"type": "string", "description": say("What to do about it.", "Qué hacer.")},
        "requestId": {
            "type": "string",
            "minLength": 1,
            "maxLength": 128,
            "description": say(
                "The `X-Request-Id` of the answer; it finds the request in the logs.",
                "El `X-Request-Id` de la respuesta; con él se encuentra en los registros.",
            ),
        },
    }
    return _object(properties)


def _count() -> JSON:
    return {"type": "integer", "minimum": 0}


def _unix_seconds(what: str, say: Say) -> JSON:
    unit = say("in Unix seconds", "en segundos Unix")
    return {"type": "integer", "description": f"{what}, {unit}."}


def _session_id(say: Say) -> str:
    return say(
        "The id of the session; OpenAI's in hosted mode.",
        "El identificador de la sesión; en el modo hosted, el de OpenAI.",
    )


def _mode(say: Say) -> JSON:
    return {
        "enum": ["hosted", "self_hosted"],
        "description": say(
            "Who answers. `hosted`: a workflow at OpenAI, which the browser talks to by itself."
            " `self_hosted`: this back end.",
            "Quién responde. `hosted`: un workflow de OpenAI, con el que habla el propio navegador."
            " `self_hosted`: este back end.",
        ),
    }


def _workflow_id(say: Say) -> str:
    return say(
        "The workflow that answers, or null in self-hosted mode.",
        "El workflow que responde, o null en el modo self_hosted.",
    )
