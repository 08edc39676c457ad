"""What a person is told of each setting, taken from the settings' own fields and docstrings.

`--help`, `.env.example` and docs/configuration.md are made of it, so that it is written once.
"""

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import annotated_types
from pydantic.fields import FieldInfo

from runtime.settings import ProcessSettings

_BOUNDS = {
    annotated_types.Gt: ("gt", "above {:g}"),
    annotated_types.Ge: ("ge", "{:g} or more"),
    annotated_types.Lt: ("lt", "below {:g}"),
    annotated_types.Le: ("le", "{:g} or less"),
}
_KINDS: Mapping[object, str] = {
    bool: "`true` or `false`",
    int: "a whole number",
    float: "a number",
    Path: "a path",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, in words; code in them is between backticks."""

    name: str
    """As in the environment."""
    meaning: str
    values: str
    """What it takes, empty where that is any text."""
    default: str
    """As one would write it; empty where there is none."""
    example: str
    """The default where there is no better one; empty for what is a secret."""


def describe(settings: type[ProcessSettings]) -> Iterator[Setting]:
    """Yields every setting of a process. Raises ValueError for one that nobody has described."""
    for name, field in settings.model_fields.items():
        if not field.description:
            raise ValueError(f"{settings.__module__}: {name} needs a docstring")
        default = _written(field.default, field)
        example = field.examples[0] if field.examples else default
        yield Setting(
            name=name.upper(),
            meaning=" ".join(field.description.split()),
            values=_values(field),
            default=default,
            example=example,
        )


def _written(value: object, field: FieldInfo) -> str:
    """Returns a default as it would be in the environment."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, frozenset):  # a set has no order, its type has
        return ",".join(sorted(value, key=_choices(field.annotation).index))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def _values(field: FieldInfo) -> str:
    several = typing.get_origin(_bare(field.annotation)) in (tuple, frozenset)
    if choices := _choices(field.annotation):
        listed = _list(f"`{choice}`" for choice in choices)
        return f"any of {listed}, comma-separated" if several else listed
    kind = "a comma-separated list" if several else _KINDS.get(_bare(field.annotation))
    if kind is None:
        return ""
    bounds = [
        text.format(getattr(bound, attribute))
        for bound in field.metadata
        for type_, (attribute, text) in _BOUNDS.items()
        if isinstance(bound, type_)
    ]
    return ", ".join([kind, *bounds])


def _bare(annotation: Any) -> Any:
    """Returns a type without its annotations, and without None as another choice."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _bare(typing.get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _bare(typing.get_args(annotation)[0])
    return annotation


def _choices(annotation: Any) -> tuple[str, ...]:
    bare = _bare(annotation)
    if typing.get_origin(bare) is Literal:
        return typing.get_args(bare)
    for argument in typing.get_args(bare):
        if typing.get_origin(_bare(argument)) is Literal:
            return typing.get_args(_bare(argument))
    return ()


def _list(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"
