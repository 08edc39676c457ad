"""Strategies for JSON: what a schema describes, and what becomes of it when it is spoilt."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

Schema: TypeAlias = Mapping[str, Any]
Known: TypeAlias = Mapping[str, Sequence[Any]]
"""By the name of a property, values that mean something to who is asked."""

_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", " ", "\0", "\ud800", "\udfff\ud800", "../../etc", "a" * 300, "\u202ex"]),
    st.just("x" * 100_000),
)
_NUMBERS = st.one_of(
    st.integers(-2, 200),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)
_ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    _NUMBERS,
    _TEXTS,
    # Copies, as they are spoilt in their turn.
    st.sampled_from([[], {}, [[]], [None] * 100, {"": {}}, {"type": "a"}]).map(copy.deepcopy),
)


def described(schema: Schema, known: Known) -> st.SearchStrategy[Any]:
    """What a schema of pydantic's describes; more often than not with values that are known."""
    definitions = schema.get("$defs", {})

    def build(node: Schema, name: str = "", depth: int = 0) -> st.SearchStrategy[Any]:
        if "$ref" in node:
            return build(definitions[node["$ref"].rpartition("/")[2]], name, depth + 1)
        value = _plain(node, name, depth, build)
        if name not in known:
            return value
        meant = st.sampled_from(known[name])
        return st.one_of(meant, meant, meant, value)

    return build(schema)


def _plain(
    node: Schema, name: str, depth: int, build: Callable[..., st.SearchStrategy[Any]]
) -> st.SearchStrategy[Any]:
    if "const" in node:
        return st.just(node["const"])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if choices := node.get("oneOf", node.get("anyOf")):
        return st.one_of(*(build(choice, name, depth) for choice in choices))
    match node.get("type"):
        case "object":
            return _object(node, depth, build)
        case "array":
            return st.lists(build(node["items"], name, depth), max_size=3)
        case "string":
            return _TEXTS
        case "integer":
            return st.integers(-1, 100)
        case "number":
            return st.floats(0, 10)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            return _ODD


def _object(
    node: Schema, depth: int, build: Callable[..., st.SearchStrategy[Any]]
) -> st.SearchStrategy[Any]:
    properties = {
        name: build(value, name, depth + 1) for name, value in node.get("properties", {}).items()
    }
    required = {name: properties[name] for name in node.get("required", ()) if name in properties}
    # A discriminator has a default, without which nothing is understood.
    required |= {name: properties[name] for name in ("type",) if name in properties}
    rest = {name: value for name, value in properties.items() if name not in required}
    return st.fixed_dictionaries(required, optional=rest)


@st.composite
def spoilt(draw: st.DrawFn, trees: st.SearchStrategy[Any]) -> Any:
    """Takes a tree and changes one to three of its nodes: another type, missing, added."""
    tree = json.loads(json.dumps(draw(trees)))
    for _ in range(draw(st.integers(1, 3))):
        nodes = list(_containers(tree))
        if not nodes:
            return draw(_ODD)
        node = draw(st.sampled_from(nodes))
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"])):
            case "replace" if keys:
                node[draw(st.sampled_from(keys))] = draw(_ODD)
            case "remove" if keys:
                del node[draw(st.sampled_from(keys))]
            case _ if isinstance(node, dict):
                node[draw(_TEXTS)] = draw(_ODD)
            case _:
                node.append(draw(_ODD))
    return tree


def _containers(tree: Any) -> Any:
    if isinstance(tree, dict | list):
        yield tree
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _containers(value)


@st.composite
def written(draw: st.DrawFn, trees: st.SearchStrategy[Any]) -> bytes:
    """Writes a tree as JSON: mostly well, sometimes as JSON must not be."""
    text = json.dumps(draw(trees), ensure_ascii=draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )
    match draw(st.integers(0, 20)):
        case 0:
            return text[: draw(st.integers(0, len(text)))]
        case 1:
            return b'{"type":"threads.list",' + text[1:]  # a key twice
        case 2:
            return b"\xef\xbb\xbf" + text
        case 3:
            deep = draw(st.sampled_from([50, 127, 500, 20_000]))
            return text[:-1] + b',"metadata":' + b'{"a":' * deep + b"1" + b"}" * deep + b"}"
        case 4:
            return text + draw(st.sampled_from([b" ", b"\0", b"{}", b"//", b"\n\n"]))
        case 5:
            return text.decode("utf-8", "replace").encode("utf-16")
        case 6:
            return draw(st.binary(max_size=100))
        case _:
            return text
