"""Readers that refuse what stands under a name that FHIR does not have (mapping, section 16).

A view passes over what it does not know, which is most of a resource and costs nothing. These know all names
of `elements`, and so pass over none that may be misspelt.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec

from fhir_bridge.fhir.datatypes import Meta
from fhir_bridge.fhir.elements import ELEMENTS
from fhir_bridge.fhir.views import View

_NOTHING = msgspec.Raw()
_UNREAD = "unread_"
_DEEPEST = 2
"""Extensions in extensions are looked into so far: no layer's marks lie deeper."""

_COMMON = {"Patient": {"_birthDate", "_gender"}}
"""What often stands beside primitive elements: the time of birth, what German law calls a sex."""

Struct = type[msgspec.Struct]


def strict(view: type[View]) -> type[View]:
    """A kind of the view that refuses a name which its type, or `meta`, does not have. What the view reads it
    reads as the view does, and keeps the rest as bytes.

    A name with an underscore in front, of what stands beside a primitive element, is refused too where it is
    neither read nor common: to know one more costs every resource time.
    """
    kind: type[View] = _strict(view, [("meta", _strict(Meta, []) | None, None)])
    return kind


def _strict(struct: Struct, fields: list[tuple[str, Any, Any]]) -> Any:
    return msgspec.defstruct(
        struct.__name__,
        [*fields, *_unread(struct)],
        bases=(struct,),
        frozen=True,
        kw_only=True,
        gc=False,
        forbid_unknown_fields=True,
    )


def checker(view: type[View]) -> Callable[[bytes], object]:
    """Takes what the view took, and raises `msgspec.ValidationError` where a name in it is none of
    FHIR's, at any depth."""
    return msgspec.json.Decoder(_skeleton(view, _DEEPEST)).decode


def says_the_same(one: View, other: View) -> bool:
    """Whether two views differ in nothing that is read, whichever kind of them they are."""
    if one.resource_type != other.resource_type:
        return False
    names = one.__struct_fields__
    return all(
        _plain(getattr(one, name)) == _plain(getattr(other, name))
        for name in names
        if not name.startswith(_UNREAD)
    )


def _plain(value: Any) -> Any:
    if not isinstance(value, Meta):
        return value
    return tuple(getattr(value, name) for name in Meta.__struct_fields__)


@cache
def _skeleton(struct: Struct, depth: int) -> Struct:
    """Names and nothing else: the tree of a struct's elements, those first that are mostly there."""
    depth -= struct.__name__ == "Extension"
    read = [_field(name, _skeletons(kind, depth)) for name, kind in _read(struct).items()]
    fields = [*read, *_unread(struct), _field("resourceType", msgspec.Raw)]
    return msgspec.defstruct(struct.__name__, fields, gc=False, forbid_unknown_fields=True)


def _skeletons(kind: Any, depth: int) -> Any:
    """What an element is read as: skeletons in place of what has names of its own, and nothing else."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    kinds = [_skeleton_of(member, depth) for member in members]
    return Union[tuple(kinds)] if kinds != list(members) else msgspec.Raw  # noqa: UP007


def _skeleton_of(member: Any, depth: int) -> Any:
    if get_origin(member) is tuple:
        inner = get_args(member)[0]
        skeleton: Any = _skeleton_of(inner, depth)
        return member if skeleton is inner else types.GenericAlias(tuple, (skeleton, ...))
    is_known = isinstance(member, type) and issubclass(member, msgspec.Struct) and member.__name__ in ELEMENTS
    return _skeleton(member, depth) if is_known and (depth or member.__name__ != "Extension") else member


def _unread(struct: Struct) -> list[tuple[str, Any, Any]]:
    names = (ELEMENTS[struct.__name__] | _COMMON.get(struct.__name__, set())) - _read(struct).keys()
    # The narrative comes after `meta`, where a reader looks next.
    return [_field(name, msgspec.Raw) for name in sorted(names, key=lambda name: (name != "text", name))]


def _read(struct: Struct) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def _field(name: str, kind: Any) -> tuple[str, Any, Any]:
    return f"{_UNREAD}{name}", kind, msgspec.field(default=_NOTHING, name=name)
