"""The pieces of the page at /docs: panels of code, lists of fields, tables of errors."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import urlencode

from gateway.documentation.words import Words

ORIGIN = "http://127.0.0.1:8080"
"""Where `make run` listens; the page's script puts its own origin in its place."""

_JSON_TOKEN = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<literal>\b(?:true|false|null)\b|-?\b\d+(?:\.\d+)?\b)"
)
_MAX_INLINE = 80

Document = Mapping[str, Any]


@dataclass(slots=True)
class ErrorRow:
    """One text of an error; its remedies are several where its causes are."""

    status: str
    code: str
    error: str
    hints: list[str] = field(default_factory=list)


def resolve(node: Mapping[str, Any], document: Document) -> Mapping[str, Any]:
    """Returns what a $ref refers to, under the description that stands beside it."""
    reference = node.get("$ref")
    if reference is None:
        return node
    target: Any = document
    for part in reference.removeprefix("#/").split("/"):
        target = target[part]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def first_example(body: Mapping[str, Any]) -> Any:
    """Returns the first example of a request body or a response in JSON, None without any."""
    content = body["content"].get("application/json", {})
    return next((example["value"] for example in content.get("examples", {}).values()), None)


def body_schema(body: Mapping[str, Any], document: Document) -> Mapping[str, Any] | None:
    """Returns the schema of a request body that has fields, None for one that is just bytes."""
    (media, *_) = body["content"].values()
    schema = resolve(media["schema"], document)
    return schema if "properties" in schema else None


def prose(text: str) -> str:
    """Renders the Markdown that we use: paragraphs, lists with `- `, and code in backticks."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith("- "):
            items = (f"<li>{_inline(item[2:])}</li>" for item in block.split("\n"))
            blocks.append(f"<ul>{''.join(items)}</ul>")
        else:
            blocks.append(f"<p>{_inline(block)}</p>")
    return "".join(blocks)


def badge(method: str) -> str:
    return f'<span class="method {method}">{method.upper()}</span>'


def path_html(path: str) -> str:
    """Returns a path that may break after its slashes."""
    marked = re.sub(r"(\{\w+\})", r"<var>\1</var>", escape(path))
    return re.sub(r"(?<=\w)/", "/<wbr>", marked)


def code_panel(title: str, code: str, words: Words) -> str:
    """Returns code, which is HTML already, with a button that copies it."""
    label = escape(f"{words['copy']}: {title}")
    # Lines with their ends in them: they wrap with an indent, and are copied as they are.
    lines = "".join(f'<span class="line">{line}</span>' for line in code.splitlines(keepends=True))
    return (
        f'<figure class="panel"><figcaption>{escape(title)}'
        f'<button type="button" class="copy" aria-label="{label}" hidden>{words["copy"]}</button>'
        f'</figcaption><pre tabindex="0"><code>{lines}</code></pre></figure>'
    )


def json_panel(title: str, value: object, words: Words) -> str:
    return code_panel(title, _highlight(_pretty(value)), words)


def curl(method: str, path: str, operation: Mapping[str, Any], document: Document) -> str:
    """Returns the line for a terminal, as HTML."""
    parameters = [resolve(item, document) for item in operation["parameters"]]
    for parameter in parameters:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    query = urlencode({p["name"]: p["example"] for p in parameters if p["in"] == "query"})
    address = (
        f"<span data-origin>{ORIGIN}</span>{escape(path)}{'?' + escape(query) if query else ''}"
    )
    streams = "text/event-stream" in operation["responses"]["200"]["content"]
    command = "curl -N" if streams else "curl"
    body = operation.get("requestBody")
    if method != ("post" if body else "get"):  # what curl does by itself
        command += f" -X {method.upper()}"
    lines = [f"{command} {_quoted(address) if query else address}"]
    if "security" not in operation:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    elif operation["security"]:
        lines.append('-H "Authorization: Bearer $CLIENT_SECRET"')
    if body:
        lines += _curl_body(body["content"], streams)
    first, *rest = lines
    return " \\\n  ".join([first, *(escape(line, quote=False) for line in rest)])


def _curl_body(content: Mapping[str, Any], streams: bool) -> list[str]:
    if "multipart/form-data" in content:
        return ["-F file=@informe.pdf"]
    if "application/json" not in content:
        return ["-H 'Content-Type: application/pdf'", "--data-binary @informe.pdf"]
    # The first example is the one that streams, else the last is the shortest.
    bodies = [*content["application/json"]["examples"].values()]
    example = bodies[0 if streams else -1]
    return [
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(json.dumps(example['value']))}",
    ]


def parameter_fields(
    parameters: Iterable[Mapping[str, Any]],
    document: Document,
    words: Words,
    *,
    answer: bool = False,
) -> str:
    """Returns a list of parameters or headers."""
    items = (
        _field(
            item["name"],
            {**resolve(item["schema"], document), "description": item.get("description", "")},
            document,
            words,
            required=None if answer else item.get("required", False),
        )
        for item in parameters
    )
    return f'<dl class="fields">{"".join(items)}</dl>'


def fields(
    schema: Mapping[str, Any], document: Document, words: Words, *, answer: bool = False
) -> str:
    """Returns a list of the fields of an object, with what is to be said of it as a whole."""
    schema = resolve(schema, document)
    required = schema.get("required", ())
    alternatives = [name for item in schema.get("anyOf", ()) for name in item["required"]]
    items = []
    for name, node in schema["properties"].items():
        marked: bool | None = name in required
        # All of an answer is there; of alternatives each is required where the others are absent.
        if (answer and marked) or name in alternatives:
            marked = None
        items.append(_field(name, resolve(node, document), document, words, required=marked))
    text = schema.get("description", "")
    return f'{prose(text) if text else ""}<dl class="fields">{"".join(items)}</dl>'


def error_rows(status: str, response: Mapping[str, Any]) -> Iterator[ErrorRow]:
    """Yields the texts of an error response, those that differ in their remedy together."""
    rows: dict[tuple[str, str], ErrorRow] = {}
    for example in response["content"]["application/json"]["examples"].values():
        body = example["value"]
        row = rows.setdefault(
            (body["code"], body["error"]), ErrorRow(status, body["code"], body["error"])
        )
        row.hints.append(body["hint"])
    yield from rows.values()


def error_table(rows: Sequence[ErrorRow], label: str, words: Words) -> str:
    """Returns a table, with the roles that its layout on a phone would take from it."""
    names = ("http", "code", "text", "remedy")
    heads = "".join(f'<th role="columnheader" scope="col">{words[name]}</th>' for name in names)
    lines = []
    for row in rows:
        hints = [f"<li>{_inline(hint)}</li>" for hint in row.hints]
        remedy = f"<ul>{''.join(hints)}</ul>" if len(hints) > 1 else _inline(row.hints[0])
        lines.append(
            f'<tr role="row"><td role="cell" class="status">{row.status}</td>'
            f'<td role="cell"><code>{row.code.replace("_", "_<wbr>")}</code></td>'
            f'<td role="cell">{_inline(row.error)}</td><td role="cell">{remedy}</td></tr>'
        )
    return (
        f'<table role="table" class="error-table" aria-label="{escape(label)}">'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(lines)}</tbody></table>'
    )


def _field(
    name: str,
    schema: Mapping[str, Any],
    document: Document,
    words: Words,
    *,
    required: bool | None,
) -> str:
    """Returns a field, required, optional, or (None) with nothing to say about that."""
    marks = [f'<span class="type">{_type(schema, document, words)}</span>']
    if required is not None:
        marks.append(
            f'<span class="required">{words["required"]}</span>'
            if required
            else f'<span class="optional">{words["optional"]}</span>'
        )
    inner = ""
    if schema.get("properties"):
        inner = fields({"properties": schema["properties"]}, document, words, answer=True)
        inner = inner.replace(f'<span class="optional">{words["optional"]}</span>', "")
    elif schema.get("type") == "array":
        inner = fields(schema["items"], document, words, answer=True)
    text = schema.get("description", "")
    values = "".join(f"<code>{escape(value)}</code> " for value in schema.get("enum", ()))
    return (
        f"<div><dt><code>{escape(name)}</code> {' '.join(marks)}</dt>"
        f"<dd>{prose(text) if text else ''}"
        f"{f'<p class=values>{values}</p>' if values and not _named(values, text) else ''}{inner}"
        "</dd></div>"
    )


def _named(values: str, text: str) -> bool:
    """Tells whether a description explains every value by itself."""
    return all(f"`{value}`" in text for value in re.findall(r"<code>(.*?)</code>", values))


def _type(schema: Mapping[str, Any], document: Document, words: Words) -> str:
    schema = resolve(schema, document)
    if "anyOf" in schema:
        return " | ".join(item["type"] for item in schema["anyOf"])
    if "const" in schema:
        return escape(json.dumps(schema["const"]).strip('"'))
    kind = schema.get("type", "string" if "enum" in schema else words["any"])
    parts = [" | ".join(kind) if isinstance(kind, list) else kind]
    if "format" in schema:
        parts.append(schema["format"])
    if "minimum" in schema and "maximum" in schema:
        parts.append(f"{schema['minimum']}–{schema['maximum']}")  # noqa: RUF001
    if "default" in schema:
        parts.append(f"{words['default']} {schema['default']}")
    return escape(" · ".join(parts))


def _pretty(value: object, indent: str = "") -> str:
    """Returns JSON with an object a line where that is short enough to be read."""
    line = json.dumps(value, ensure_ascii=False)
    nested = indent + "  "
    match value:
        case dict() if indent == "" or len(indent + line) > _MAX_INLINE - 20:
            items = [f"{json.dumps(key)}: {_pretty(item, nested)}" for key, item in value.items()]
            brackets = "{}"
        case list() if value:
            items = [_pretty(item, nested) for item in value]
            brackets = "[]"
        case _:
            return line
    inner = ",\n".join(f"{nested}{item}" for item in items)
    return f"{brackets[0]}\n{inner}\n{indent}{brackets[1]}"


def _highlight(code: str) -> str:
    def token(found: re.Match[str]) -> str:
        return f'<span class="j-{found.lastgroup}">{escape(found.group(), quote=False)}</span>'

    return _JSON_TOKEN.sub(token, code)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _quoted(text: str) -> str:
    return f"'{text}'"
