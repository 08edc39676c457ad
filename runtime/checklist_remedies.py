"""Why a check did not pass, and what to do about it, in Spanish and English.

Keyed by a check's name and cause; `*` is any check. Of what has passed it is a remark on its line.
"""

from runtime.bilingual import Both
from runtime.checklist_remedies_gateway import GATEWAY
from runtime.checklist_remedies_openai import OPENAI
from runtime.checklist_remedies_service import SERVICE

_ANY = {
    "*.after": Both("antes, «{check}»", "first, “{check}”"),
    "*.not_asked": Both(
        "Sin comprobar: no se ha preguntado fuera de esta máquina. Lo hace un administrador con"
        " POST /api/chatkit/checks, o make doctor.",
        "Not checked: nobody outside of this machine was asked. An administrator does so with"
        " POST /api/chatkit/checks, or make doctor.",
    ),
    "*.settings": Both(
        "Sin comprobar: antes hay que corregir las variables.",
        "Not checked: the variables have to be corrected first.",
    ),
    "*.malformed": Both(
        "Corrige en .env, o donde se definan (docs/configuration.es.md; lo que sigue está en"
        " inglés, como al arrancar):\n{problems}",
        "Correct in .env, or wherever they are set (docs/configuration.md):\n{problems}",
    ),
    "*.overridden": Both(
        "El entorno (shell, contenedor) tiene otro valor que .env, y gana: {settings}."
        " Si el de .env es el bueno: unset VARIABLE, y busca quién la exporta (~/.bashrc, ~/.zshrc,"
        " docker-compose.yml).",
        "The environment (shell, container) has another value than .env, and wins: {settings}."
        " If the one in .env is right: unset VARIABLE, and look for who exports it (~/.bashrc,"
        " ~/.zshrc, docker-compose.yml).",
    ),
    "*.running": Both("{address}, donde ya está en marcha", "{address}, where it runs already"),
    "*.impossible": Both(
        "No se puede escuchar en {address}{said}\nUsa una dirección de esta máquina, como"
        " 127.0.0.1, y un puerto a partir de 1024.",
        "It cannot listen on {address}{said}\nUse an address of this machine, such as 127.0.0.1,"
        " and a port from 1024 on.",
    ),
}

EXPLANATIONS = {**_ANY, **OPENAI, **SERVICE, **GATEWAY}
