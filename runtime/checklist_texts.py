"""What a person reads of a checklist, in Spanish and English: titles, and what is around them."""

from collections import defaultdict
from typing import Literal

from runtime.bilingual import Both
from runtime.checklist import Check
from runtime.checklist_remedies import EXPLANATIONS

Language = Literal["es", "en"]


def title(check: Check, language: Language) -> str:
    """Returns what is checked; its name where it is another release's."""
    return _title(check.name, language)


def explanation(check: Check, language: Language) -> str:
    """Returns what is the matter and what to do; of what has passed a remark, where there is one.

    Empty for a check that has passed just so.
    """
    text = EXPLANATIONS.get(f"{check.name}.{check.cause}") or EXPLANATIONS.get(f"*.{check.cause}")
    if text is None:
        return check.cause
    said = check.details.get("said")
    details = {
        **check.details,
        "said": f": {said}" if said else ".",
        "check": _title(check.details.get("check", ""), language),
    }
    return _in(text, language).format_map(defaultdict(str, details))


def phrase(name: str, language: Language) -> str:
    """Returns one of the texts around the checks."""
    return _in(PHRASES[name], language)


def _title(name: str, language: Language) -> str:
    return _in(TITLES[name], language) if name in TITLES else name


def _in(text: Both, language: Language) -> str:
    return text.es if language == "es" else text.en


PHRASES = {
    "session_service": Both("Servicio de sesiones", "Session service"),
    "gateway": Both("Gateway", "Gateway"),
    "summary": Both("{failed} de {total} por arreglar", "{failed} of {total} to be mended"),
    "summary.fine": Both(
        "Nada que arreglar: {passed} de {total} en orden",
        "Nothing to be mended: {passed} of {total} in order",
    ),
    "summary.warning": Both("{} aviso", "{} warning"),
    "summary.warnings": Both("{} avisos", "{} warnings"),
    "summary.skipped": Both("{} sin comprobar", "{} not checked"),
    "summary.skippeds": Both("{} sin comprobar", "{} not checked"),
}

TITLES = {
    "service.settings": Both("Variables bien escritas", "Variables well-formed"),
    "service.overrides": Both("El entorno no contradice a .env", "The shell agrees with .env"),
    "service.rest": Both("Todo lo demás", "Everything else"),
    "openai.key": Both("Clave de OpenAI", "OpenAI key"),
    "openai.reachable": Both("OpenAI responde", "OpenAI answers"),
    "openai.key_accepted": Both("OpenAI acepta la clave", "OpenAI accepts the key"),
    "openai.permission": Both("Permiso para ChatKit", "Permission for ChatKit"),
    "openai.quota": Both("Saldo y límites en OpenAI", "Credit and limits at OpenAI"),
    "workflow.configured": Both("Workflow indicado", "Workflow named"),
    "workflow.found": Both("Workflow encontrado", "Workflow found"),
    "workflow.project": Both(
        "Workflow en el proyecto de la clave", "Workflow in the project of the key"
    ),
    "model.found": Both("Modelo disponible", "Model reachable"),
    "agent_builder": Both("Agent Builder sigue abierto", "Agent Builder still open"),
    "clock": Both("Reloj en hora", "Clock on time"),
    "database.usable": Both("Base de datos utilizable", "Database writable"),
    "database.migrated": Both("Base de datos al día", "Database migrated"),
    "attachments.writable": Both("Carpeta de adjuntos", "Folder of attachments"),
    "disk": Both("Espacio en disco", "Disk space"),
    "service.listen": Both("Puerto del servicio", "Port of the service"),
    "gateway.settings": Both("Variables bien escritas", "Variables well-formed"),
    "gateway.overrides": Both("El entorno no contradice a .env", "The shell agrees with .env"),
    "gateway.rest": Both("Todo lo demás", "Everything else"),
    "gateway.tokens": Both("Secreto de los tokens", "Secret of the tokens"),
    "gateway.jwt_keys": Both("Claves públicas de los tokens", "Public keys of the tokens"),
    "gateway.claims": Both("Tokens de esta aplicación", "Tokens of this application"),
    "gateway.cors": Both("Orígenes permitidos (CORS)", "Allowed origins (CORS)"),
    "gateway.public_url": Both("Dirección pública", "Public address"),
    "gateway.listen": Both("Puerto del gateway", "Port of the gateway"),
    "gateway.service": Both("Servicio de sesiones al alcance", "Session service within reach"),
}
