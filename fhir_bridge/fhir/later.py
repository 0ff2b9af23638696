"""Elements that are decoded when they are asked for: of a hundred visits that were, ten are ever told of.

Until then they are the bytes they came as. One that is out of form is mended then (mapping, section 16),
without a note: notes are told of triggers and patients, whose views are decoded at once.
"""

from __future__ import annotations

import typing
from functools import cached_property, lru_cache
from typing import Any, Generic, Self, TypeVar, cast, overload

import msgspec

from fhir_bridge.fhir.mending import mended_element

T = TypeVar("T")

KEPT = "kept_"
"""Before the name of an element it is the name of the field that keeps its bytes."""

_NOTHING = msgspec.Raw()
"""What stands for an element that is not there: msgspec takes no object where Raw or None may stand."""


def kept(name: str) -> Any:
    """The field that keeps the bytes of the element that has this name on the wire."""
    return msgspec.field(default=_NOTHING, name=name)


class Later(Generic[T]):
    """An element of a view, read from the bytes that its field `kept_…` keeps, when it is asked for; what
    stands in many resources in the same bytes, as classes and types do, is mostly read once.

    Its annotation `ClassVar[Later[T]]` says what it is read as. It is `absent` where it is not there or holds
    nothing that can be read; nothing is raised.
    """

    def __init__(self, absent: T) -> None:
        self._absent = absent
        self._remembered = lru_cache(maxsize=1_024)(self._read)

    def __set_name__(self, view: type[msgspec.Struct], name: str) -> None:
        self._view, self._name, self._kept = view, name, KEPT + name

    @overload
    def __get__(self, view: None, _: type[msgspec.Struct]) -> Self: ...
    @overload
    def __get__(self, view: msgspec.Struct, _: type[msgspec.Struct]) -> T: ...
    def __get__(self, view: msgspec.Struct | None, _: type[msgspec.Struct]) -> Self | T:
        if view is None:
            return self
        raw = getattr(view, self._kept)
        return self._absent if raw is _NOTHING else self._remembered(bytes(raw))

    def read(self, raw: bytes) -> T:
        """What these bytes of it say; none, that it is not there."""
        return self._remembered(raw) if raw else self._absent

    def _read(self, raw: bytes) -> T:
        try:
            return self._decoder.decode(raw)
        except msgspec.ValidationError:
            return self._mended(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._absent

    def _mended(self, raw: bytes) -> T:
        try:
            return cast("T", mended_element(raw, self.type, self._absent))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._absent

    @cached_property
    def type(self) -> Any:
        """What it is read as."""
        (later,) = typing.get_args(typing.get_type_hints(self._view)[self._name])
        return typing.get_args(later)[0]

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[T]:
        return msgspec.json.Decoder(self.type)
