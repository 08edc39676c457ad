"""The operations of the console: its page, and what it asks beside what a dashboard does."""

from collections.abc import Sequence

from gateway.documentation import examples
from gateway.documentation.examples import JSON
from gateway.documentation.operations import (
    CALL_ERRORS,
    STATS_ERRORS,
    client_file,
    common_parameters,
    ok,
    whose,
    whose_days,
)
from gateway.documentation.schemas import Say, ref, success

_LIST_ERRORS = (
    *CALL_ERRORS,
    "INVALID_ARGUMENT.userId",
    "INVALID_ARGUMENT.active",
    "INVALID_ARGUMENT.sessionId",
    "INVALID_ARGUMENT.pageSize",
    "INVALID_ARGUMENT.pageToken",
    "PERMISSION_DENIED",
)


def console_paths(say: Say) -> dict[str, dict[str, tuple[JSON, Sequence[str]]]]:
    """Returns every operation with its errors, as `operations.paths` does."""
    return {
        "/api/chatkit/sessions": {"get": (_list(say), _LIST_ERRORS)},
        "/api/chatkit/stats/stream": {
            "get": (_watch(say), (*STATS_ERRORS, "RATE_LIMITED.watchers"))
        },
        "/api/chatkit/me": {"get": (_me(say), ("UNAUTHENTICATED", "UNAVAILABLE"))},
        "/": {"get": (_console(say), ("NOT_FOUND",))},
        "/console/{file}": {"get": (_console_file(say), ("NOT_FOUND",))},
    }


def _list(say: Say) -> JSON:
    return {
        "operationId": "listSessions",
        "tags": ["sessions"],
        "summary": say("List sessions", "Listar sesiones"),
        "description": say(
            "Returns your own sessions, newest first; an administrator's are everybody's, or those"
            " of the user that `userId` names.",
            "Devuelve tus propias sesiones, primero la más nueva; las de un administrador son las"
            " de todos, o las del usuario que indique `userId`.",
        ),
        "parameters": [
            whose(say),
            {
                "name": "active",
                "in": "query",
                "description": say("Only those that are `active`.", "Solo las que están `active`."),
                "schema": {"type": "boolean", "default": False},
                "example": True,
            },
            {
                "name": "sessionId",
                "in": "query",
                "description": say("Only this one, if it is theirs.", "Solo esta, si es suya."),
                "schema": {"type": "string"},
                "example": examples.SESSION_ID,
            },
            {
                "name": "pageSize",
                "in": "query",
                "description": say("How many at most.", "Cuántas como máximo."),
                "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
                "example": 20,
            },
            {
                "name": "pageToken",
                "in": "query",
                "description": say(
                    "The `nextPageToken` of the page before.",
                    "El `nextPageToken` de la página anterior.",
                ),
                "schema": {"type": "string"},
                "example": examples.PAGE_TOKEN,
            },
            *common_parameters(),
        ],
        "responses": ok(
            say("A page of sessions.", "Una página de sesiones."),
            success(ref("Sessions")),
            page={"success": True, "data": examples.SESSIONS},
            none={"success": True, "data": {"sessions": [], "nextPageToken": None}},
        ),
    }


def _watch(say: Say) -> JSON:
    answered = ok(say("The stream of events.", "El flujo de eventos."), {})
    answered["200"]["content"] = {
        "text/event-stream": {"schema": {}, "examples": {"stream": {"value": examples.WATCHED}}}
    }
    return {
        "operationId": "watchStats",
        "tags": ["statistics"],
        "summary": say("Follow the statistics", "Seguir las estadísticas"),
        "description": say(
            "Sends what `getStats` returns as an event `stats`, at once and whenever it has"
            " changed, at most once a second, and a comment every 15 seconds. The last event may be"
            " an `error` with the envelope of a failure: `UNAUTHENTICATED` when the token has"
            " expired. A stream that ends without one is to be opened again after a second, as when"
            " the gateway is restarted.",
            "Envía lo que devuelve `getStats` como evento `stats`, en seguida y cada vez que"
            " cambia, como mucho una vez por segundo, y un comentario cada 15 segundos. El último"
            " evento puede ser un `error` con el sobre de un fallo: `UNAUTHENTICATED` cuando caduca"
            " el token. Un flujo que termina sin él se vuelve a abrir pasado un segundo, como al"
            " reiniciar el gateway.",
        ),
        "parameters": [*whose_days(say), *common_parameters()],
        "responses": answered,
    }


def _me(say: Say) -> JSON:
    return {
        "operationId": "getMe",
        "tags": ["operations"],
        "summary": say("Who the token names", "A quién nombra el token"),
        "description": say(
            "Tells whose token it is, and whether that is an administrator.",
            "Dice de quién es el token y si es de un administrador.",
        ),
        "parameters": common_parameters(),
        "responses": ok(
            say("The user.", "El usuario."),
            success(ref("Me")),
            user={"success": True, "data": examples.ME},
        ),
    }


def _console(say: Say) -> JSON:
    return client_file(
        "getConsole",
        say("Console", "Consola"),
        say(
            "The page that shows how this back end is doing, for browsers: to a request without"
            " `Accept: text/html` there is nothing here.",
            "La página que muestra cómo va este back end, para navegadores: para una petición sin"
            " `Accept: text/html` aquí no hay nada.",
        ),
        "text/html",
        say,
    )


def _console_file(say: Say) -> JSON:
    operation = client_file(
        "getConsoleFile",
        say("Files of the console", "Archivos de la consola"),
        say(
            "What the console loads: its modules, its style, and the texts of all reasons.",
            "Lo que carga la consola: sus módulos, su estilo y los textos de todos los motivos.",
        ),
        "text/javascript",
        say,
    )
    operation["parameters"].insert(
        0,
        {
            "name": "file",
            "in": "path",
            "required": True,
            "description": say("The name of the file.", "El nombre del archivo."),
            "schema": {"type": "string", "pattern": "^[a-z_-]+[.](js|css|json)$"},
            "example": "console.js",
        },
    )
    content = operation["responses"]["200"]["content"]
    content["text/css"] = {"schema": {"type": "string"}}
    content["application/json"] = {"schema": {"type": "object"}}
    return operation
