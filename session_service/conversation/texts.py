"""What a conversation itself says to the user. Errors are reasons; the gateway has their texts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Texts:
    """In one language."""

    limit_notice: str
    limit_reason: str
    closed_notice: str
    searching_web: str
    searching_files: str
    running_code: str
    refused: str


_TEXTS = {
    "es": Texts(
        limit_notice="Esta conversación ha llegado a su límite de {limit} mensajes. Empieza una"
        " nueva para continuar.",
        limit_reason="Límite de {limit} mensajes alcanzado.",
        closed_notice="Esta conversación está cerrada. Empieza una nueva para continuar.",
        searching_web="Búsqueda en la web",
        searching_files="Búsqueda en archivos",
        running_code="Ejecución de código",
        refused="No puedo ayudarte con eso.",
    ),
    "en": Texts(
        limit_notice="This conversation has reached its limit of {limit} messages. Start a new one"
        " to go on.",
        limit_reason="Limit of {limit} messages reached.",
        closed_notice="This conversation is closed. Start a new one to go on.",
        searching_web="Web search",
        searching_files="File search",
        running_code="Running code",
        refused="I cannot help with that.",
    ),
}


def texts_in(language: str) -> Texts:
    """Returns the texts in "es" or "en"; Spanish for anything else."""
    return _TEXTS.get(language, _TEXTS["es"])
