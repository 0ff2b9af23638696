"""A property that is worked out once, as functools.cached_property does it, without that one's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - used as a decorator, like property
    """The value of a method without arguments, kept in the instance when first asked for.

    Until Python 3.12 cached_property locks all instances against each other each time it works one
    out. A case works out a dozen, and nothing of it is shared between threads.
    """

    def __init__(self, of: Callable[[Any], T]) -> None:
        self._of = of
        self._name = of.__name__
        self.__doc__ = of.__doc__

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> once[T]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any]) -> once[T] | T:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._of(instance)
        return value
