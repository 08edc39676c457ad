"""Every operation of the API: what it takes, what it returns, and the names of its errors."""

from collections.abc import Sequence

from gateway.documentation import examples
from gateway.documentation.examples import JSON
from gateway.documentation.schemas import Say, ref, success
from gateway.texts import Language, session_deleted
from runtime.metrics import METRICS_PATH

# The errors of a route are keys of TEXTS; a `*` stands for every variant of a reason.
CALL_ERRORS = ("UNAUTHENTICATED", "INTERNAL", "UPSTREAM_TIMEOUT", "UNAVAILABLE.*")
_BODY_ERRORS = (
    "INVALID_ARGUMENT.body",
    "INVALID_ARGUMENT.userId",
    "PERMISSION_DENIED",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
)
_ISSUE_ERRORS = (
    *CALL_ERRORS,
    *_BODY_ERRORS,
    "RATE_LIMITED",
    "WORKFLOW_NOT_CONFIGURED.*",
    "INVALID_API_KEY.*",
    "WORKFLOW_NOT_FOUND.*",
    "UPSTREAM_RATE_LIMITED",
    "UPSTREAM_QUOTA_EXHAUSTED",
    "UPSTREAM_REJECTED",
    "UPSTREAM_UNAVAILABLE.*",
)
_SESSION_ERRORS = (
    *CALL_ERRORS,
    "INVALID_ARGUMENT.sessionId",
    "INVALID_ARGUMENT.userId",
    "PERMISSION_DENIED",
    "SESSION_NOT_FOUND",
    "NOT_FOUND",  # an id with a slash in it names another path
)
STATS_ERRORS = (
    *CALL_ERRORS,
    "INVALID_ARGUMENT.days",
    "INVALID_ARGUMENT.userId",
    "PERMISSION_DENIED",
)

# That the session service is not there is what the checks say.
_CHECK_ERRORS = ("UNAUTHENTICATED", "INTERNAL", "UNAVAILABLE.keys", "UNAVAILABLE.overload")


def paths(say: Say, language: Language) -> dict[str, dict[str, tuple[JSON, Sequence[str]]]]:
    """Returns every operation with its errors, which `openapi` turns into responses."""
    return {
        "/api/chatkit/session": {"post": (_create(say), _ISSUE_ERRORS)},
        "/api/chatkit/refresh": {
            "post": (
                _refresh(say),
                (
                    *_ISSUE_ERRORS,
                    "INVALID_ARGUMENT.existingSecret",
                    "SESSION_NOT_FOUND",
                    "SESSION_DELETED",
                ),
            )
        },
        "/api/chatkit/session/{sessionId}": {
            "get": (_get(say), _SESSION_ERRORS),
            "delete": (_delete(say, language), _SESSION_ERRORS),
        },
        "/api/chatkit/stats": {"get": (_stats(say), STATS_ERRORS)},
        "/api/chatkit/checks": {
            "get": (_checks(say), _CHECK_ERRORS),
            "post": (_checks_with_openai(say), (*_CHECK_ERRORS, "PERMISSION_DENIED.checks")),
        },
        "/healthz": {"get": (_health(say), ())},
        "/readyz": {"get": (_ready(say), ("UNAVAILABLE",))},
        METRICS_PATH: {"get": (_metrics(say), ("PERMISSION_DENIED.metrics",))},
        "/chatkit-client.js": {"get": (_client_script(say), ("UNAVAILABLE",))},
        "/chatkit-client.d.ts": {"get": (_client_types(say), ())},
        "/openapi.json": {"get": (_openapi_json(say), ())},
        "/docs": {"get": (_docs(say), ())},
    }


def _create(say: Say) -> JSON:
    return {
        "operationId": "createSession",
        "tags": ["sessions"],
        "summary": say("Create a session", "Crear una sesión"),
        "description": say(
            "Makes a ChatKit session at OpenAI and returns its client secret, which the widget"
            " needs. Not idempotent.",
            "Crea una sesión de ChatKit en OpenAI y devuelve su client secret, que el widget"
            " necesita. No es idempotente.",
        ),
        "parameters": common_parameters(),
        "requestBody": _request_body(
            "CreateSessionRequest",
            {
                "dashboard": {
                    "summary": say("What the dashboard sends", "Lo que envía el dashboard"),
                    "value": examples.DASHBOARD_REQUEST,
                },
                "minimal": {
                    "summary": say("The least", "Lo mínimo"),
                    "value": {"userId": 7},
                },
            },
            required=False,
        ),
        "responses": ok(
            say("The session.", "La sesión."),
            success(ref("IssuedSession")),
            _issued(say),
            issued={"success": True, "data": examples.ISSUED},
        ),
    }


def _refresh(say: Say) -> JSON:
    return {
        "operationId": "refreshSession",
        "tags": ["sessions"],
        "summary": say("Refresh a secret", "Renovar un secreto"),
        "description": say(
            "Exchanges a client secret for a new one of the same user and context: a new session at"
            " OpenAI. An expired secret can be refreshed for 24 hours. Refreshes of one secret at"
            " the same time share one answer.",
            "Cambia un client secret por otro nuevo del mismo usuario y contexto: una sesión nueva"
            " en OpenAI. Un secreto caducado se puede renovar durante 24 horas. Las renovaciones"
            " simultáneas de un secreto comparten la respuesta.",
        ),
        "parameters": common_parameters(),
        "requestBody": _request_body(
            "RefreshSessionRequest",
            {
                "refresh": {
                    "summary": say("What the dashboard sends", "Lo que envía el dashboard"),
                    "value": examples.REFRESH_REQUEST,
                },
            },
            required=True,
        ),
        "responses": ok(
            say("The new session.", "La sesión nueva."),
            success(ref("IssuedSession")),
            _issued(say),
            refreshed={"success": True, "data": examples.REFRESHED},
        ),
    }


def _get(say: Say) -> JSON:
    return {
        "operationId": "getSession",
        "tags": ["sessions"],
        "summary": say("Read a session", "Consultar una sesión"),
        "description": say(
            "Returns one of your sessions, never its secret. Another user's session is a 404, for"
            " an administrator too, who names the user in `userId`.",
            "Devuelve una de tus sesiones, nunca su secreto. La sesión de otro usuario es un 404,"
            " también para un administrador, que indica el usuario en `userId`.",
        ),
        "parameters": [ref("SessionId", "parameters"), _acting_for(say), *common_parameters()],
        "responses": ok(
            say("The session.", "La sesión."),
            success(ref("Session")),
            session={"success": True, "data": examples.SESSION},
        ),
    }


def _delete(say: Say, language: Language) -> JSON:
    message = session_deleted(language)
    return {
        "operationId": "deleteSession",
        "tags": ["sessions"],
        "summary": say("Delete a session", "Eliminar una sesión"),
        "description": say(
            "Ends a session of yours with everything that it was refreshed from or to. Idempotent."
            " The cancel at OpenAI goes on in the background where it has to.",
            "Termina una de tus sesiones con todas las que se renovaron de ella o a ella. Es"
            " idempotente. La cancelación en OpenAI sigue en segundo plano si hace falta.",
        ),
        "parameters": [ref("SessionId", "parameters"), _acting_for(say), *common_parameters()],
        "responses": ok(
            say("It is deleted.", "Está eliminada."),
            success(ref("DeletedSession"), message={"type": "string"}),
            deleted={"success": True, "message": message, "data": examples.DELETED},
        ),
    }


def _stats(say: Say) -> JSON:
    return {
        "operationId": "getStats",
        "tags": ["statistics"],
        "summary": say("Usage statistics", "Estadísticas de uso"),
        "description": say(
            "Returns your own numbers; an administrator's are everybody's, or those of the user"
            " that `userId` names. `days` shapes `daily` alone.",
            "Devuelve tus propias cifras; las de un administrador son las de todos, o las del"
            " usuario que indique `userId`. `days` solo afecta a `daily`.",
        ),
        "parameters": [
            *whose_days(say),
            *common_parameters(),
        ],
        "responses": ok(
            say("The statistics.", "Las estadísticas."),
            success(ref("Stats")),
            user={"success": True, "data": examples.STATS},
            new={"success": True, "data": examples.NEW_STATS},
        ),
    }


def _checks(say: Say) -> JSON:
    return {
        "operationId": "getChecks",
        "tags": ["operations"],
        "summary": say("Checklist", "Lista de comprobaciones"),
        "description": say(
            "Tells whether everything is in order, without asking anybody outside. Everybody gets"
            " names and states, administrators also causes, remedies and details.",
            "Dice si todo está en orden, sin preguntar a nadie de fuera. Todos ven nombres y"
            " estados; los administradores, también causas, remedios y detalles.",
        ),
        "parameters": common_parameters(),
        "responses": _checklist(say, administrator=examples.CHECKS, user=examples.NAMED_CHECKS),
    }


def _checks_with_openai(say: Say) -> JSON:
    return {
        "operationId": "makeChecks",
        "tags": ["operations"],
        "summary": say("Checklist, OpenAI included", "Lista de comprobaciones, con OpenAI"),
        "description": say(
            "For administrators: also asks OpenAI, in hosted mode for a session that is cancelled"
            " at once. Who asks within ten seconds gets the same answer.",
            "Para administradores: pregunta también a OpenAI; en modo hosted, por una sesión que se"
            " cancela enseguida. Quien pregunte en los diez segundos siguientes recibe lo mismo.",
        ),
        "parameters": common_parameters(),
        "responses": _checklist(say, administrator=examples.CHECKS),
    }


def _checklist(say: Say, **bodies: JSON) -> JSON:
    return ok(
        say("The checks.", "Las comprobaciones."),
        success(ref("Checks")),
        **{name: {"success": True, "data": body} for name, body in bodies.items()},
    )


def _health(say: Say) -> JSON:
    return _operational(
        "checkHealth",
        say("Liveness check", "Comprobación de vida"),
        say(
            "Tells that the gateway runs. Asks nobody else.",
            "Dice que el gateway está en marcha. No pregunta a nadie más.",
        ),
        "alive",
        say,
    )


def _ready(say: Say) -> JSON:
    return _operational(
        "checkReadiness",
        say("Readiness check", "Comprobación de disponibilidad"),
        say(
            "Tells that the session service answers, so that requests can be sent here.",
            "Dice que el servicio de sesiones responde y que se pueden enviar peticiones.",
        ),
        "ready",
        say,
    )


def _operational(name: str, summary: str, description: str, status: str, say: Say) -> JSON:
    data: JSON = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"const": status}},
    }
    return {
        "operationId": name,
        "tags": ["operations"],
        "summary": summary,
        "description": description,
        "security": [],
        "parameters": common_parameters(),
        "responses": ok(
            say("It is.", "Lo está."),
            success(data),
            **{status: {"success": True, "data": {"status": status}}},
        ),
    }


def _client_script(say: Say) -> JSON:
    return client_file(
        "getClientScript",
        say("Module for the dashboard", "Módulo para el dashboard"),
        say(
            "What the dashboard imports: `chatkitApi` returns ChatKit's `api` option for the mode"
            " that is served, and takes care of client secrets.",
            "Lo que el dashboard importa: `chatkitApi` devuelve la opción `api` de ChatKit para el"
            " modo en servicio y se ocupa de los client secrets.",
        ),
        "text/javascript",
        say,
    )


def _client_types(say: Say) -> JSON:
    return client_file(
        "getClientTypes",
        say("Its types", "Sus tipos"),
        say("The module's types for TypeScript.", "Los tipos del módulo para TypeScript."),
        "application/typescript",
        say,
    )


def _metrics(say: Say) -> JSON:
    exposition = {"schema": {"type": "string"}}
    return {
        "operationId": "getMetrics",
        "tags": ["operations"],
        "summary": say("Metrics", "Métricas"),
        "description": say(
            "What Prometheus reads, in its text format or in OpenMetrics. Without `METRICS_TOKEN`"
            " it is there for the gateway's own machine alone.",
            "Lo que lee Prometheus, en su formato de texto o en OpenMetrics. Sin `METRICS_TOKEN`"
            " solo está para la propia máquina del gateway.",
        ),
        "security": [{}, {"metricsToken": []}],
        "parameters": common_parameters(),
        "responses": {
            "200": {
                "description": say("The metrics.", "Las métricas."),
                "headers": {"X-Request-Id": ref("X-Request-Id", "headers")},
                "content": {"text/plain": exposition, "application/openmetrics-text": exposition},
            }
        },
    }


def client_file(name: str, summary: str, description: str, media_type: str, say: Say) -> JSON:
    return {
        "operationId": name,
        "tags": ["operations"],
        "summary": summary,
        "description": description,
        "security": [],
        "parameters": common_parameters(),
        "responses": {
            "200": {
                "description": say("The file.", "El archivo."),
                "headers": {name: ref(name, "headers") for name in ("X-Request-Id", "ETag")},
                "content": {media_type: {"schema": {"type": "string"}}},
            }
        },
    }


def _openapi_json(say: Say) -> JSON:
    return {
        "operationId": "getOpenAPI",
        "tags": ["operations"],
        "summary": say("OpenAPI document", "Documento OpenAPI"),
        "description": say("The API as OpenAPI 3.1.", "La API en OpenAPI 3.1."),
        "security": [],
        "parameters": common_parameters(),
        "responses": ok(
            say("The document.", "El documento."),
            {"type": "object", "required": ["openapi", "info", "paths"]},
        ),
    }


def _docs(say: Say) -> JSON:
    return {
        "operationId": "getDocs",
        "tags": ["operations"],
        "summary": say("Documentation", "Documentación"),
        "description": say(
            "This API for people, in Spanish and English.",
            "Esta API para personas, en español y en inglés.",
        ),
        "security": [],
        "parameters": [
            {
                "name": "lang",
                "in": "query",
                "description": say(
                    "`es` or `en`; anything else leaves it to `Accept-Language`.",
                    "`es` o `en`; con otro valor decide `Accept-Language`.",
                ),
                "schema": {"type": "string"},
                "example": "es",
            },
            *common_parameters(),
        ],
        "responses": {
            "200": {
                "description": say("The page.", "La página."),
                "headers": {
                    "X-Request-Id": ref("X-Request-Id", "headers"),
                    "Content-Language": ref("Content-Language", "headers"),
                },
                "content": {"text/html": {"schema": {"type": "string"}}},
            }
        },
    }


def whose_days(say: Say) -> list[JSON]:
    return [
        whose(say),
        {
            "name": "days",
            "in": "query",
            "description": say("How many days `daily` has.", "Cuántos días tiene `daily`."),
            "schema": {"type": "integer", "minimum": 1, "maximum": 366, "default": 30},
            "example": 2,
        },
    ]


def whose(say: Say) -> JSON:
    return _user(
        say(
            "Whose; empty is the same as absent. Another user's are for administrators, whose own"
            " are everybody's.",
            "De quién; vacío equivale a no indicarlo. Lo de otro usuario es para administradores,"
            " que sin él ven lo de todos.",
        )
    )


def _acting_for(say: Say) -> JSON:
    return _user(
        say(
            "The user for whom an administrator acts; empty is the same as absent.",
            "El usuario por el que actúa un administrador; vacío equivale a no indicarlo.",
        )
    )


def _user(description: str) -> JSON:
    return {
        "name": "userId",
        "in": "query",
        "description": description,
        "schema": {"type": "string", "maxLength": 256, "pattern": "^[ -~]*$"},
        "example": "7",
    }


def common_parameters() -> list[JSON]:
    """Returns what every operation takes."""
    return [ref("X-Request-Id", "parameters"), ref("Accept-Language", "parameters")]


def _request_body(schema: str, bodies: JSON, *, required: bool) -> JSON:
    return {
        "required": required,
        "content": {"application/json": {"schema": ref(schema), "examples": bodies}},
    }


def _issued(say: Say) -> JSON:
    """Returns what can be asked with what an issued session has, as links of its response."""
    path = {"sessionId": "$response.body#/data/session_id"}
    body = {"existingSecret": "$response.body#/data/client_secret"}
    return {
        "read": {
            "operationId": "getSession",
            "parameters": path,
            "description": say("Read it.", "Consultarla."),
        },
        "delete": {
            "operationId": "deleteSession",
            "parameters": path,
            "description": say("Delete it.", "Eliminarla."),
        },
        "refresh": {
            "operationId": "refreshSession",
            "requestBody": body,
            "description": say("Refresh its secret.", "Renovar su secreto."),
        },
    }


def ok(description: str, schema: JSON, links: JSON | None = None, **bodies: JSON) -> JSON:
    """Returns the responses of a success in JSON, with its examples, and what they lead to."""
    content: JSON = {"schema": schema}
    if bodies:
        content["examples"] = {name: {"value": body} for name, body in bodies.items()}
    return {
        "200": {
            "description": description,
            "headers": {name: ref(name, "headers") for name in ("X-Request-Id", "Server-Timing")},
            "content": {"application/json": content},
            **({"links": links} if links else {}),
        }
    }
