"""The words of the page at /docs that are not in the OpenAPI document."""

from collections.abc import Mapping
from typing import TypeAlias

from gateway.texts import Language

Words: TypeAlias = Mapping[str, str]

WORDS: Mapping[Language, Words] = {
    "es": {
        "language": "es",
        "other_language": "English",
        "other_code": "en",
        "skip": "Ir al contenido",
        "menu": "Menú",
        "contents": "Contenido",
        "overview": "Introducción",
        "authentication": "Autenticación",
        "headers": "Cabeceras",
        "request_headers": "En la petición",
        "response_headers": "En la respuesta",
        "errors": "Errores",
        "error_intro": "Todos los errores tienen esta forma. Cada ruta enumera los suyos; estos"
        " pueden aparecer en cualquiera:",
        "token": "Guarda un token de tu dashboard para los ejemplos de esta página. `make run`"
        " muestra uno de desarrollo.",
        "public": "Sin token",
        "secret": "Con client secret",
        "copy": "Copiar",
        "copied": "Copiado",
        "path": "Ruta",
        "query": "Parámetros",
        "body": "Cuerpo de la petición",
        "data": "Datos de la respuesta",
        "request": "Petición",
        "response": "Respuesta",
        "required": "obligatorio",
        "optional": "opcional",
        "any": "cualquiera",
        "default": "por defecto",
        "http": "HTTP",
        "code": "Código",
        "text": "Texto",
        "remedy": "Qué hacer",
        "shell": "Terminal",
        "routes": "Rutas",
    },
    "en": {
        "language": "en",
        "other_language": "Español",
        "other_code": "es",
        "skip": "Skip to content",
        "menu": "Menu",
        "contents": "Contents",
        "overview": "Introduction",
        "authentication": "Authentication",
        "headers": "Headers",
        "request_headers": "In the request",
        "response_headers": "In the response",
        "errors": "Errors",
        "error_intro": "Every error has this form. Each route lists its own; these may come from"
        " any of them:",
        "token": "Keep a token of your dashboard for the examples on this page. `make run` prints"
        " one for development.",
        "public": "No token",
        "secret": "With a client secret",
        "copy": "Copy",
        "copied": "Copied",
        "path": "Path",
        "query": "Parameters",
        "body": "Request body",
        "data": "Response data",
        "request": "Request",
        "response": "Response",
        "required": "required",
        "optional": "optional",
        "any": "any",
        "default": "default",
        "http": "HTTP",
        "code": "Code",
        "text": "Text",
        "remedy": "What to do",
        "shell": "Terminal",
        "routes": "Routes",
    },
}
