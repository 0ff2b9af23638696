"""What each element of a view may hold, as its annotations say."""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec


@dataclass(frozen=True, slots=True)
class Shape:
    """What an element may hold: a datatype, a list of something, a text, a whole number, a truth value,
    raw JSON."""

    struct: type[msgspec.Struct] | None = None
    items: Shape | None = None
    text: bool = False
    whole: bool = False
    decimal: bool = False
    truth: bool = False
    raw: bool = False


@cache
def shapes_of(struct: type[msgspec.Struct]) -> dict[str, Shape]:
    """The shape of each element of a struct by its name on the wire."""
    known = [field for field in msgspec.structs.fields(struct) if not field.name.startswith("misspelt_")]
    return {field.encode_name: shape_of(field.type) for field in known}


@cache
def names_of(struct: type[msgspec.Struct]) -> frozenset[str]:
    """Those names alone."""
    return frozenset(shapes_of(struct))


def shape_of(annotation: Any) -> Shape:
    """The shape an annotation describes; a union has those of all its members."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    items = next((get_args(member)[0] for member in members if get_origin(member) is tuple), None)
    return Shape(
        struct=next((m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)), None),
        items=None if items is None else shape_of(items),
        text=str in members,
        whole=int in members,
        decimal=float in members,
        truth=bool in members,
        raw=msgspec.Raw in members,
    )
