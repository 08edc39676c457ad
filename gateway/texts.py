"""Every text that a person reads, in Spanish and English, and the choice between them.

Keyed by reason, or by reason and cause where that changes the remedy. The three documented errors
keep their English name in both languages, as people search for it.
"""

from dataclasses import dataclass
from typing import Literal

Language = Literal["es", "en"]

DEFAULT_LANGUAGE: Language = "es"
"""The people of the dashboard speak Spanish."""


@dataclass(frozen=True, slots=True)
class Text:
    """What has happened, and what to do about it."""

    error: str
    hint: str


@dataclass(frozen=True, slots=True)
class Translations:
    """A text in each language."""

    es: Text
    en: Text


def text_of(reason: str, detail: str | None, language: Language) -> Text:
    """Returns the text for a reason, more precise where there is one for the detail."""
    translations = TEXTS.get(f"{reason}.{detail}") or TEXTS[reason]
    return translations.es if language == "es" else translations.en


def chat_message(reason: str, detail: str | None, language: Language) -> str:
    """Returns what the chat shows in place of the rest of an answer.

    A hint is part of it where it is for who reads it there: most are for administrators, and to try
    again the chat has a button.
    """
    text = text_of(reason, detail, language)
    error = text.error if text.error.endswith(".") else f"{text.error}."
    return f"{error} {text.hint}" if reason in _HINTS_FOR_THE_CHAT else error


def session_deleted(language: Language) -> str:
    """Returns the message of a successful delete."""
    return "Sesión eliminada." if language == "es" else "Session deleted."


def language_of(accept_language: str | None) -> Language:
    """Returns the language that an Accept-Language header prefers, by RFC 9110, section 12.5.4."""
    best, best_weight = DEFAULT_LANGUAGE, 0.0
    for part in (accept_language or "").split(","):
        tag, _, parameter = part.strip().partition(";")
        weight = _weight(parameter)
        language = tag.strip().lower().partition("-")[0]
        if language in ("es", "en") and weight > best_weight:
            best, best_weight = ("es" if language == "es" else "en"), weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


_HINTS_FOR_THE_CHAT = frozenset(
    (
        "SESSION_DELETED",
        "UPSTREAM_QUOTA_EXHAUSTED",
        "THREAD_NOT_FOUND",
        "ATTACHMENT_NOT_FOUND",
    )
)

TEXTS: dict[str, Translations] = {
    "UNAUTHENTICATED": Translations(
        es=Text(
            "Tu sesión en el dashboard no es válida o ha caducado.",
            "Vuelve a iniciar sesión. Si se repite, comprueba que JWT_SECRET (o JWT_JWKS_URL) es el"
            " del dashboard.",
        ),
        en=Text(
            "Your dashboard login is not valid or has expired.",
            "Log in again. If it happens again, check that JWT_SECRET (or JWT_JWKS_URL) is the"
            " dashboard's.",
        ),
    ),
    "UNAUTHENTICATED.secret": Translations(
        es=Text(
            "El acceso al chat no es válido o ha caducado.",
            "Recarga la página. Si llamas por tu cuenta, envía un client_secret vigente.",
        ),
        en=Text(
            "The access to the chat is not valid or has expired.",
            "Reload the page. If you call by yourself, send a client_secret that is still valid.",
        ),
    ),
    "PERMISSION_DENIED": Translations(
        es=Text(
            "No puedes actuar en nombre de otro usuario.",
            "Envía tu propio userId o ninguno; solo un administrador puede indicar otro.",
        ),
        en=Text(
            "You may not act for another user.",
            "Send your own userId or none; only an administrator may name another.",
        ),
    ),
    "PERMISSION_DENIED.checks": Translations(
        es=Text(
            "Solo un administrador puede hacer esta comprobación.",
            "Pregunta a OpenAI y cuesta una sesión. Con GET ves lo que no lo necesita.",
        ),
        en=Text(
            "Only an administrator may make these checks.",
            "They ask OpenAI, and cost a session. GET shows those that do without.",
        ),
    ),
    "PERMISSION_DENIED.origin": Translations(
        es=Text(
            "Este origen no está permitido.",
            "Añade el origen del dashboard a CORS_ALLOW_ORIGINS.",
        ),
        en=Text(
            "This origin is not allowed.",
            "Add the dashboard's origin to CORS_ALLOW_ORIGINS.",
        ),
    ),
    "PERMISSION_DENIED.preflight": Translations(
        es=Text(
            "Una página de otro origen no puede usar ese método o esa cabecera.",
            "Usa GET, POST o DELETE con las cabeceras Authorization, Content-Type y X-Request-Id.",
        ),
        en=Text(
            "A page of another origin may not use that method or header.",
            "Use GET, POST or DELETE with the headers Authorization, Content-Type and"
            " X-Request-Id.",
        ),
    ),
    "PERMISSION_DENIED.metrics": Translations(
        es=Text(
            "Las métricas no son para cualquiera.",
            "Sin METRICS_TOKEN solo se leen desde la misma máquina; con él, envíalo como token"
            " Bearer.",
        ),
        en=Text(
            "Metrics are not for everybody.",
            "Without METRICS_TOKEN they are read on the same machine alone; with it, send it as"
            " bearer token.",
        ),
    ),
    "INVALID_ARGUMENT": Translations(
        es=Text("La petición no es válida.", "Consulta la documentación en /docs."),
        en=Text("The request is not valid.", "See the documentation at /docs."),
    ),
    "INVALID_ARGUMENT.http": Translations(
        es=Text("La petición no es HTTP válido.", "Usa un cliente HTTP/1.1."),
        en=Text("The request is not valid HTTP.", "Use an HTTP/1.1 client."),
    ),
    "INVALID_ARGUMENT.late": Translations(
        es=Text(
            "El cuerpo de la petición no ha llegado a tiempo.",
            "Envía todos los bytes que anuncia Content-Length, sin pausas largas.",
        ),
        en=Text(
            "The body of the request has not arrived in time.",
            "Send all the bytes that Content-Length announces, without long pauses.",
        ),
    ),
    "INVALID_ARGUMENT.body": Translations(
        es=Text(
            "El cuerpo (body) de la petición no es un objeto JSON válido.",
            "Envía un objeto JSON en UTF-8, por ejemplo {}.",
        ),
        en=Text(
            "The body of the request is not a valid JSON object.",
            "Send a JSON object in UTF-8, for example {}.",
        ),
    ),
    "INVALID_ARGUMENT.userId": Translations(
        es=Text(
            "El campo userId no es válido.",
            "Debe ser un entero o un texto de 1 a 256 caracteres.",
        ),
        en=Text(
            "The field userId is not valid.",
            "It must be an integer or a text of 1 to 256 characters.",
        ),
    ),
    "INVALID_ARGUMENT.existingSecret": Translations(
        es=Text(
            "Falta el campo existingSecret o no es un texto.",
            "Envía en él el client_secret que quieres renovar.",
        ),
        en=Text(
            "The field existingSecret is missing or not a text.",
            "Send the client_secret that you want to refresh in it.",
        ),
    ),
    "INVALID_ARGUMENT.sessionId": Translations(
        es=Text(
            "El identificador sessionId no es válido.",
            "Usa el session_id que devolvió la creación de la sesión.",
        ),
        en=Text(
            "The id sessionId is not valid.",
            "Use the session_id that creating the session returned.",
        ),
    ),
    "INVALID_ARGUMENT.days": Translations(
        es=Text("El parámetro days no es válido.", "Debe ser un entero de 1 a 366."),
        en=Text("The parameter days is not valid.", "It must be an integer from 1 to 366."),
    ),
    "INVALID_ARGUMENT.active": Translations(
        es=Text("El parámetro active no es válido.", "Debe ser true o false."),
        en=Text("The parameter active is not valid.", "It must be true or false."),
    ),
    "INVALID_ARGUMENT.pageSize": Translations(
        es=Text("El parámetro pageSize no es válido.", "Debe ser un entero de 1 a 1000."),
        en=Text("The parameter pageSize is not valid.", "It must be an integer from 1 to 1000."),
    ),
    "INVALID_ARGUMENT.pageToken": Translations(
        es=Text(
            "El parámetro pageToken no es válido.",
            "Debe ser el nextPageToken de la página anterior; sin él se lee la primera.",
        ),
        en=Text(
            "The parameter pageToken is not valid.",
            "It must be the nextPageToken of the page before; without it the first is read.",
        ),
    ),
    "INVALID_ARGUMENT.request": Translations(
        es=Text(
            "Esta petición del chat (request) no es válida o no se puede atender ahora.",
            "Recarga la página. Si programas el cliente: envía {type, params, metadata} como lo"
            " hace el componente de ChatKit; el registro del servicio dice qué falla.",
        ),
        en=Text(
            "This request of the chat (request) is not valid, or cannot be served now.",
            "Reload the page. If you program the client: send {type, params, metadata} as the"
            " ChatKit component does; the log of the service says what is wrong.",
        ),
    ),
    "INVALID_ARGUMENT.file": Translations(
        es=Text(
            "Falta el archivo en el campo file, o no ha llegado entero.",
            "Envía multipart/form-data con un solo archivo, en el campo file y con su nombre.",
        ),
        en=Text(
            "The file is missing from the field file, or has not arrived as a whole.",
            "Send multipart/form-data with just one file, in the field file and with its name.",
        ),
    ),
    "SESSION_NOT_FOUND": Translations(
        es=Text("No existe esa sesión.", "Crea una sesión nueva."),
        en=Text("There is no such session.", "Create a new session."),
    ),
    "SESSION_DELETED": Translations(
        es=Text("Esa sesión fue eliminada.", "Crea una sesión nueva."),
        en=Text("That session was deleted.", "Create a new session."),
    ),
    "SESSION_DELETED.chat": Translations(
        es=Text("Esta sesión de chat se ha cerrado.", "Recarga la página para abrir otra."),
        en=Text("This chat session was closed.", "Reload the page to open another."),
    ),
    "RATE_LIMITED": Translations(
        es=Text(
            "Has iniciado demasiadas sesiones de chat en un minuto.",
            "Espera un poco y vuelve a intentarlo. El límite es CHATKIT_SESSIONS_PER_MINUTE.",
        ),
        en=Text(
            "You have started too many chat sessions in a minute.",
            "Wait a little and try again. The limit is CHATKIT_SESSIONS_PER_MINUTE.",
        ),
    ),
    "RATE_LIMITED.requests": Translations(
        es=Text(
            "Has enviado demasiados mensajes en un minuto.",
            "Espera un poco y vuelve a intentarlo. El límite es CHATKIT_REQUESTS_PER_MINUTE.",
        ),
        en=Text(
            "You have sent too many messages in a minute.",
            "Wait a little and try again. The limit is CHATKIT_REQUESTS_PER_MINUTE.",
        ),
    ),
    "RATE_LIMITED.watchers": Translations(
        es=Text(
            "Ya sigues las estadísticas desde demasiadas páginas a la vez.",
            "Cierra alguna de ellas y vuelve a intentarlo.",
        ),
        en=Text(
            "You already follow the statistics from too many pages at a time.",
            "Close some of them and try again.",
        ),
    ),
    "WORKFLOW_NOT_CONFIGURED": Translations(
        es=Text(
            "No workflow ID configured",
            "Define OPENAI_CHATKIT_WORKFLOW_ID en .env con el identificador wf_… de tu workflow y"
            " reinicia el servicio.",
        ),
        en=Text(
            "No workflow ID configured",
            "Set OPENAI_CHATKIT_WORKFLOW_ID in .env to the wf_… id of your workflow and restart the"
            " service.",
        ),
    ),
    "WORKFLOW_NOT_CONFIGURED.malformed": Translations(
        es=Text(
            "No workflow ID configured",
            "OPENAI_CHATKIT_WORKFLOW_ID debe ser «wf_» seguido de letras, dígitos, «_» o «-»: copia"
            " el identificador del workflow tal cual y reinicia el servicio.",
        ),
        en=Text(
            "No workflow ID configured",
            "OPENAI_CHATKIT_WORKFLOW_ID must be “wf_” followed by letters, digits, “_” or “-”: copy"
            " the workflow's id as it is and restart the service.",
        ),
    ),
    "INVALID_API_KEY": Translations(
        es=Text(
            "Invalid API key",
            "OpenAI no reconoce la clave: comprueba OPENAI_API_KEY en .env (sin espacios, no"
            " revocada) y que ninguna variable del shell la sustituye; después reinicia el"
            " servicio.",
        ),
        en=Text(
            "Invalid API key",
            "OpenAI does not know the key: check OPENAI_API_KEY in .env (no spaces, not revoked)"
            " and that no shell variable overrides it; then restart the service.",
        ),
    ),
    "INVALID_API_KEY.missing": Translations(
        es=Text(
            "Invalid API key",
            "Falta la clave: define OPENAI_API_KEY en .env y reinicia el servicio.",
        ),
        en=Text(
            "Invalid API key",
            "The key is missing: set OPENAI_API_KEY in .env and restart the service.",
        ),
    ),
    "INVALID_API_KEY.permission": Translations(
        es=Text(
            "Invalid API key",
            "La clave existe, pero le falta un permiso: en la configuración del proyecto de OpenAI"
            " dale el de escritura de ChatKit (en modo self_hosted, los de Responses y Files), o"
            " usa otra clave.",
        ),
        en=Text(
            "Invalid API key",
            "The key exists but lacks a permission: in the settings of the OpenAI project grant it"
            " write permission for ChatKit (in self_hosted mode, for Responses and Files), or use"
            " another key.",
        ),
    ),
    "WORKFLOW_NOT_FOUND": Translations(
        es=Text(
            "Workflow not found",
            "Comprueba, en este orden: que el workflow está en el mismo proyecto de OpenAI que la"
            " clave; que ninguna variable del shell sustituye a la de .env; que el workflow está"
            " publicado; y que Agent Builder, que aloja los workflows wf_…, cierra el 2026-11-30."
            " Para no depender de él, define CHATKIT_MODE=self_hosted y reinicia el servicio, como"
            " explica docs/migration.es.md.",
        ),
        en=Text(
            "Workflow not found",
            "Check, in this order: that the workflow is in the same OpenAI project as the key; that"
            " no shell variable overrides the one in .env; that the workflow is published; and that"
            " Agent Builder, which hosts wf_… workflows, closes on 2026-11-30. To do without it,"
            " set CHATKIT_MODE=self_hosted and restart the service, as docs/migration.md explains.",
        ),
    ),
    "WORKFLOW_NOT_FOUND.closed": Translations(
        es=Text(
            "Workflow not found",
            "Comprueba, en este orden: que el workflow está en el mismo proyecto de OpenAI que la"
            " clave; que ninguna variable del shell sustituye a la de .env; y que el workflow está"
            " publicado. Pero lo más probable es que ya no exista: Agent Builder, que alojaba los"
            " workflows wf_…, cerró el 2026-11-30. Para que el chat siga, define"
            " CHATKIT_MODE=self_hosted y reinicia el servicio, como explica docs/migration.es.md.",
        ),
        en=Text(
            "Workflow not found",
            "Check, in this order: that the workflow is in the same OpenAI project as the key; that"
            " no shell variable overrides the one in .env; and that the workflow is published. But"
            " most likely it is no more: Agent Builder, which hosted wf_… workflows, closed on"
            " 2026-11-30. For the chat to go on, set CHATKIT_MODE=self_hosted and restart the"
            " service, as docs/migration.md explains.",
        ),
    ),
    "UPSTREAM_RATE_LIMITED": Translations(
        es=Text(
            "OpenAI está recibiendo demasiadas peticiones.",
            "Espera un poco y vuelve a intentarlo.",
        ),
        en=Text("OpenAI is receiving too many requests.", "Wait a little and try again."),
    ),
    "UPSTREAM_QUOTA_EXHAUSTED": Translations(
        es=Text(
            "La cuenta de OpenAI no tiene crédito.",
            "Un administrador debe revisar la facturación de la cuenta de OpenAI.",
        ),
        en=Text(
            "The OpenAI account has no credit left.",
            "An administrator must check the billing of the OpenAI account.",
        ),
    ),
    "UPSTREAM_REJECTED": Translations(
        es=Text(
            "OpenAI ha rechazado la petición.",
            "No sirve reintentar: busca el requestId en el registro del servicio de sesiones.",
        ),
        en=Text(
            "OpenAI rejected the request.",
            "Trying again will not help: look for the requestId in the session service's log.",
        ),
    ),
    "UPSTREAM_UNAVAILABLE": Translations(
        es=Text(
            "OpenAI no está disponible en este momento.",
            "Vuelve a intentarlo en unos minutos; el estado está en status.openai.com.",
        ),
        en=Text(
            "OpenAI is not available right now.",
            "Try again in a few minutes; its state is at status.openai.com.",
        ),
    ),
    "UPSTREAM_UNAVAILABLE.circuit": Translations(
        es=Text(
            "OpenAI no responde en este momento.",
            "Vuelve a intentarlo en unos segundos: se comprueba cada segundo si ya responde. Su"
            " estado está en status.openai.com.",
        ),
        en=Text(
            "OpenAI does not respond right now.",
            "Try again in a few seconds: whether it responds again is checked every second. Its"
            " state is at status.openai.com.",
        ),
    ),
    "UPSTREAM_TIMEOUT": Translations(
        es=Text(
            "OpenAI no ha terminado de responder a tiempo.",
            "Vuelve a intentarlo. El límite es CHATKIT_TIMEOUT_SECONDS.",
        ),
        en=Text(
            "OpenAI did not finish answering in time.",
            "Try again. The limit is CHATKIT_TIMEOUT_SECONDS.",
        ),
    ),
    "UNAVAILABLE": Translations(
        es=Text(
            "El servicio de chat no está disponible en este momento.",
            "Vuelve a intentarlo en unos segundos. Si sigue así, comprueba que session_service está"
            " en marcha.",
        ),
        en=Text(
            "The chat service is not available right now.",
            "Try again in a few seconds. If it goes on, check that session_service is running.",
        ),
    ),
    "UNAVAILABLE.store": Translations(
        es=Text(
            "El servicio de chat no puede guardar ni leer datos en este momento.",
            "Vuelve a intentarlo en unos segundos. Si sigue así, busca la causa en el registro de"
            " session_service: comprueba la base de datos de DATABASE_URL y su disco.",
        ),
        en=Text(
            "The chat service cannot store or read data right now.",
            "Try again in a few seconds. If it goes on, look for the cause in the log of"
            " session_service: check the database of DATABASE_URL and its disk.",
        ),
    ),
    "UNAVAILABLE.service_token": Translations(
        es=Text(
            "El servicio de chat no está disponible en este momento.",
            "Un administrador debe comprobar que SESSION_SERVICE_TOKEN es el mismo en el gateway y"
            " en session_service.",
        ),
        en=Text(
            "The chat service is not available right now.",
            "An administrator must check that SESSION_SERVICE_TOKEN is the same for the gateway and"
            " for session_service.",
        ),
    ),
    "UNAVAILABLE.overload": Translations(
        es=Text(
            "El servicio de chat tiene demasiadas peticiones en este momento.",
            "Vuelve a intentarlo en unos segundos. Si ocurre a menudo, hacen falta más procesos o"
            " una máquina mayor: busca «overload» en los registros.",
        ),
        en=Text(
            "The chat service has too many requests right now.",
            "Try again in a few seconds. If it happens often, it needs more processes or a larger"
            " machine: look for “overload” in the logs.",
        ),
    ),
    "UNAVAILABLE.attachments": Translations(
        es=Text(
            "El servicio de chat no puede guardar ni leer archivos en este momento.",
            "Vuelve a intentarlo en unos segundos. Si sigue así, busca la causa en el registro de"
            " session_service: comprueba el disco y la carpeta de CHATKIT_ATTACHMENTS_DIR.",
        ),
        en=Text(
            "The chat service cannot store or read files right now.",
            "Try again in a few seconds. If it goes on, look for the cause in the log of"
            " session_service: check the disk and the directory CHATKIT_ATTACHMENTS_DIR.",
        ),
    ),
    "UNAVAILABLE.not_ready": Translations(
        es=Text(
            "El servicio de chat no está listo en este momento.",
            "El proceso session_service está en marcha, pero se está deteniendo o no puede usar su"
            " base de datos; la causa está en su registro.",
        ),
        en=Text(
            "The chat service is not ready right now.",
            "The process session_service is running, but it is being stopped or cannot use its"
            " database; its log says which.",
        ),
    ),
    "UNAVAILABLE.keys": Translations(
        es=Text(
            "No se puede comprobar tu inicio de sesión en este momento.",
            "Vuelve a intentarlo en unos segundos. Si sigue así, comprueba que JWT_JWKS_URL"
            " responde.",
        ),
        en=Text(
            "Your login cannot be checked right now.",
            "Try again in a few seconds. If it goes on, check that JWT_JWKS_URL answers.",
        ),
    ),
    "INTERNAL": Translations(
        es=Text(
            "Ha ocurrido un error interno.",
            "Vuelve a intentarlo. Si se repite, comunica el requestId al equipo técnico.",
        ),
        en=Text(
            "An internal error has occurred.",
            "Try again. If it happens again, give the requestId to the technical team.",
        ),
    ),
    "THREAD_NOT_FOUND": Translations(
        es=Text(
            "Esta conversación ya no existe.",
            "Empieza una nueva, o elige otra en el historial.",
        ),
        en=Text(
            "This conversation no longer exists.",
            "Start a new one, or choose another from the history.",
        ),
    ),
    "ATTACHMENT_NOT_FOUND": Translations(
        es=Text(
            "Este archivo ya no está disponible.",
            "Vuelve a adjuntarlo. Los enlaces a los archivos caducan a los pocos minutos.",
        ),
        en=Text(
            "This file is no longer available.",
            "Attach it again. Links to files expire after a few minutes.",
        ),
    ),
    "ATTACHMENT_TOO_LARGE": Translations(
        es=Text(
            "El archivo es demasiado grande.",
            "Adjunta uno más pequeño. El límite es CHATKIT_ATTACHMENT_MAX_MB, 512 como máximo.",
        ),
        en=Text(
            "The file is too large.",
            "Attach a smaller one. The limit is CHATKIT_ATTACHMENT_MAX_MB, 512 at most.",
        ),
    ),
    "ATTACHMENT_TYPE_NOT_ALLOWED": Translations(
        es=Text(
            "Este tipo de archivo no se admite, o su contenido no es lo que dice ser.",
            "Adjunta una imagen, un PDF, un documento de oficina o un texto en UTF-8 (en Excel,"
            " «CSV UTF-8»).",
        ),
        en=Text(
            "Files of this type are not allowed, or the content is not what it claims to be.",
            "Attach an image, a PDF, an office document or a text in UTF-8 (in Excel,"
            " “CSV UTF-8”).",
        ),
    ),
    "ATTACHMENT_TYPE_NOT_ALLOWED.off": Translations(
        es=Text(
            "Aquí no se pueden adjuntar archivos.",
            "Envía tu mensaje sin archivos. Un administrador puede permitirlos con file_upload en"
            " CHATKIT_TOOLS.",
        ),
        en=Text(
            "Files cannot be attached here.",
            "Send your message without files. An administrator can allow them with file_upload in"
            " CHATKIT_TOOLS.",
        ),
    ),
    "NOT_FOUND": Translations(
        es=Text("Esta ruta no existe.", "Las rutas están documentadas en /docs."),
        en=Text("There is no such route.", "The routes are documented at /docs."),
    ),
    "NOT_FOUND.chatkit": Translations(
        es=Text(
            "Esta instalación funciona en modo hosted: el chat lo atiende OpenAI, no este gateway.",
            "Para alojarlo aquí, define CHATKIT_MODE=self_hosted en el servicio de sesiones; lo"
            " explica docs/migration.es.md.",
        ),
        en=Text(
            "This installation runs in hosted mode: OpenAI serves the chat, not this gateway.",
            "To host it here, set CHATKIT_MODE=self_hosted for the session service;"
            " docs/migration.md explains it.",
        ),
    ),
    "METHOD_NOT_ALLOWED": Translations(
        es=Text("Esta ruta no admite ese método.", "Usa uno de los métodos de la cabecera Allow."),
        en=Text("This route does not support that method.", "Use a method of the Allow header."),
    ),
    "PAYLOAD_TOO_LARGE": Translations(
        es=Text("La petición es demasiado grande.", "Envía como máximo 64 KiB."),
        en=Text("The request is too large.", "Send at most 64 KiB."),
    ),
    "PAYLOAD_TOO_LARGE.chat": Translations(
        es=Text(
            "El mensaje es demasiado grande.",
            "Envía como máximo 512 KiB; lo que sea más largo, como archivo adjunto.",
        ),
        en=Text(
            "The message is too large.",
            "Send at most 512 KiB; attach what is longer as a file.",
        ),
    ),
    "UNSUPPORTED_MEDIA_TYPE": Translations(
        es=Text("El tipo de contenido no se admite.", "Envía «Content-Type: application/json»."),
        en=Text("The content type is not supported.", "Send “Content-Type: application/json”."),
    ),
    "UNSUPPORTED_MEDIA_TYPE.file": Translations(
        es=Text(
            "El tipo de contenido no se admite para subir un archivo.",
            "Envía «Content-Type: multipart/form-data» con el archivo en el campo file.",
        ),
        en=Text(
            "The content type is not supported for the upload of a file.",
            "Send “Content-Type: multipart/form-data” with the file in the field file.",
        ),
    ),
}
