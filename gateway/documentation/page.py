"""The documentation for people at /docs: the OpenAPI document as one page, rendered once."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from starlette.responses import Response

from gateway.documentation.html import (
    badge,
    body_schema,
    code_panel,
    curl,
    error_rows,
    error_table,
    fields,
    first_example,
    json_panel,
    parameter_fields,
    path_html,
    prose,
    resolve,
)
from gateway.documentation.openapi import ALL_STATUS_CODES, openapi_document
from gateway.documentation.words import WORDS, Words
from gateway.security_headers import PAGE
from gateway.texts import Language

_HERE = Path(__file__).parent

_Operation: TypeAlias = tuple[str, str, Mapping[str, Any]]
"""A method, a path, and what the document says about them."""

_HEADERS = {"Cache-Control": "no-cache"}


@dataclass(frozen=True, slots=True)
class Documentation:
    """What /openapi.json and /docs answer, ready to be sent."""

    document: bytes
    pages: Mapping[Language, bytes]
    policy: str
    """The page's Content-Security-Policy: it loads nothing, and runs only what is in it."""

    def openapi_response(self) -> Response:
        return Response(self.document, headers=_HEADERS, media_type="application/json")

    def page_response(self, language: Language) -> Response:
        headers = {
            **_HEADERS,
            **PAGE,
            "Content-Language": language,
            "Content-Security-Policy": self.policy,
            "Vary": "Accept-Language",
        }
        return Response(self.pages[language], headers=headers, media_type="text/html")


def create_documentation() -> Documentation:
    """Builds everything; takes some milliseconds, so do it once."""
    style = (_HERE / "page.css").read_text("utf-8")
    script = (_HERE / "page.js").read_text("utf-8")
    return Documentation(
        document=orjson.dumps(openapi_document()),
        pages={
            language: _page(openapi_document(language, language), words, style, script).encode()
            for language, words in WORDS.items()
        },
        policy=(
            f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)};"
            " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _page(document: Mapping[str, Any], words: Words, style: str, script: str) -> str:
    info = document["info"]
    title = escape(info["title"])
    return f"""<!doctype html>
<html lang="{words["language"]}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="{escape(info["summary"])}">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">{words["skip"]}</a>
<header class="top">
<a class="brand" href="#overview">{title} <span class="version">{info["version"]}</span></a>
<div class="actions">
<a href="/openapi.json">OpenAPI</a>
<a href="?lang={words["other_code"]}" lang="{words["other_code"]}" \
hreflang="{words["other_code"]}">{words["other_language"]}</a>
<button class="menu" type="button" popovertarget="contents">{words["menu"]}</button>
</div>
</header>
<div class="frame">
<nav id="contents" popover aria-label="{words["contents"]}">{_contents(document, words)}</nav>
<main id="main" tabindex="-1">
{_overview(document, words)}
{"".join(_sections(document, words))}
</main>
</div>
<p class="announcer" role="status" data-copied="{words["copied"]}"></p>
<script>{script}</script>
</body>
</html>
"""


def _contents(document: Mapping[str, Any], words: Words) -> str:
    names = ("overview", "authentication", "headers", "errors")
    start = "".join(f'<li><a href="#{name}">{words[name]}</a></li>' for name in names)
    groups = [f"<ul>{start}</ul>"]
    for tag, heading, operations in _by_tag(document):
        items = "".join(
            f'<li><a href="#{operation["operationId"]}"><span>{escape(operation["summary"])}</span>'
            f" {badge(method)}</a></li>"
            for method, _, operation in operations
        )
        groups.append(
            f'<p class="group" id="nav-{tag}">{escape(heading)}</p>'
            f'<ul aria-labelledby="nav-{tag}">{items}</ul>'
        )
    return "".join(groups)


def _overview(document: Mapping[str, Any], words: Words) -> str:
    info, components = document["info"], document["components"]
    headers = partial(parameter_fields, document=document, words=words)
    parameters = [item for item in components["parameters"].values() if item["in"] == "header"]
    answers = [{"name": name, **header} for name, header in components["headers"].items()]
    failures = [row for response in _general(document) for row in error_rows(*response)]
    example = first_example(document["paths"]["/api/chatkit/session"]["post"]["responses"]["401"])
    export = "export TOKEN='eyJhbGciOiJIUzI1NiIs…'"
    return f"""<section id="overview" class="part split" aria-labelledby="h-overview">
<div class="say"><h1 id="h-overview">{escape(info["title"])}</h1>
<p class="lead">{escape(info["summary"])}</p>{prose(info["description"])}</div>
<div class="show">{_routes(document, words)}</div>
</section>
<section id="authentication" class="part split" aria-labelledby="h-authentication">
<div class="say"><h2 id="h-authentication">{words["authentication"]}</h2>
{prose(components["securitySchemes"]["bearer"]["description"])}{prose(words["token"])}
{prose(components["securitySchemes"]["clientSecret"]["description"])}</div>
<div class="show">{code_panel(words["shell"], escape(export), words)}</div>
</section>
<section id="headers" class="part" aria-labelledby="h-headers">
<h2 id="h-headers">{words["headers"]}</h2>
<div class="columns"><div><h3>{words["request_headers"]}</h3>{headers(parameters)}</div>
<div><h3>{words["response_headers"]}</h3>{headers(answers, answer=True)}</div></div>
</section>
<section id="errors" class="part split" aria-labelledby="h-errors">
<div class="say"><h2 id="h-errors">{words["errors"]}</h2>{prose(words["error_intro"])}
{fields(components["schemas"]["Error"], document, words, answer=True)}</div>
<div class="show">{json_panel("401", example, words)}</div>
<div class="wide">{error_table(failures, words["errors"], words)}</div>
</section>"""


def _routes(document: Mapping[str, Any], words: Words) -> str:
    items = "".join(
        f'<li>{badge(method)} <a href="#{operation["operationId"]}">{path_html(path)}</a></li>'
        for _, _, operations in _by_tag(document)
        for method, path, operation in operations
    )
    return (
        f'<div class="panel"><h2 class="panel-heading">{words["routes"]}</h2>'
        f'<ul class="routes">{items}</ul></div>'
    )


def _sections(document: Mapping[str, Any], words: Words) -> Iterator[str]:
    for tag, heading, operations in _by_tag(document):
        yield f'<section class="tag" aria-labelledby="tag-{tag}">'
        yield f'<h2 class="tag-heading" id="tag-{tag}">{escape(heading)}</h2>'
        for method, path, operation in operations:
            yield _article(method, path, operation, document, words)
        yield "</section>"


def _article(
    method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any], words: Words
) -> str:
    name = operation["operationId"]
    needs = "secret" if operation.get("security") else "public"
    public = f'<span class="public">{words[needs]}</span>' if "security" in operation else ""
    return f"""<article id="{name}" class="part split" aria-labelledby="h-{name}">
<div class="say"><h3 id="h-{name}">{escape(operation["summary"])}</h3>
<p class="route">{badge(method)} <code>{path_html(path)}</code>{public}</p>
{prose(operation["description"])}
{"".join(_inputs(operation, document, words))}</div>
<div class="show">{code_panel("curl", curl(method, path, operation, document), words)}
{"".join(_examples(operation, words))}</div>
{_errors(operation, words)}
</article>"""


def _inputs(
    operation: Mapping[str, Any], document: Mapping[str, Any], words: Words
) -> Iterator[str]:
    for place in ("path", "query"):
        parameters = [
            parameter
            for parameter in (resolve(item, document) for item in operation["parameters"])
            if parameter["in"] == place
        ]
        if parameters:
            yield f"<h4>{words[place]}</h4>{parameter_fields(parameters, document, words)}"
    if body := operation.get("requestBody"):
        schema = body_schema(body, document)
        if schema:
            yield f"<h4>{words['body']}</h4>{fields(schema, document, words)}"
    content = operation["responses"]["200"]["content"].get("application/json", {})
    answer = resolve(content.get("schema", {}), document).get("properties", {})
    # In our envelope, or without it as ChatKit expects it.
    data = answer.get("data") or ("id" in answer and content["schema"])
    if data:
        yield f"<h4>{words['data']}</h4>{fields(data, document, words, answer=True)}"


def _examples(operation: Mapping[str, Any], words: Words) -> Iterator[str]:
    body = operation.get("requestBody")
    if body and (request := first_example(body)) is not None:
        yield json_panel(words["request"], request, words)
    stream = operation["responses"]["200"]["content"].get("text/event-stream")
    if stream:
        (events,) = stream["examples"].values()
        yield code_panel(f"{words['response']} 200 · SSE", escape(events["value"], False), words)
    example = first_example(operation["responses"]["200"])
    if example is not None:
        yield json_panel(f"{words['response']} 200", example, words)


def _errors(operation: Mapping[str, Any], words: Words) -> str:
    failed = {
        status: response
        for status, response in operation["responses"].items()
        if not status.startswith("2")
    }
    if not failed:
        return ""
    rows = [row for status, response in failed.items() for row in error_rows(status, response)]
    statuses = "".join(f"<span>{status}</span>" for status in failed)
    label = f"{words['errors']}: {operation['summary']}"
    return (
        f'<details class="wide"><summary><span class="label">{words["errors"]}</span>'
        f' <span class="statuses">{statuses}</span></summary>'
        f"{error_table(rows, label, words)}</details>"
    )


def _by_tag(document: Mapping[str, Any]) -> Iterator[tuple[str, str, list[_Operation]]]:
    """Returns each tag's name, its heading, and its operations."""
    for tag in document["tags"]:
        yield (
            tag["name"],
            tag["description"],
            [
                (method, path, operation)
                for path, operations in document["paths"].items()
                for method, operation in operations.items()
                if tag["name"] in operation["tags"]
            ],
        )


def _general(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Returns the status and the response of what no route is needed for."""
    for response in document["components"]["responses"].values():
        yield str(ALL_STATUS_CODES[first_example(response)["code"]]), response
