"""Doing a transaction again when the database gave it up in favour of another (PostgreSQL, section 13.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from fhir_bridge.errors import LedgerError

_WAITS = (0.01, 0.05, 0.25, 1.0)
"""Seconds before each new try."""

_GIVEN_UP = frozenset({"40P01", "40001"})  # deadlock_detected, serialization_failure

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
Method = Callable[Asked, Coroutine[Any, Any, Answer]]


class CollidedError(LedgerError):
    """Two transactions waited for each other, and this one was given up: nothing of it was written."""


def gave_up(sqlstate: str | None) -> bool:
    """Whether the error says that the same transaction may succeed when it is done again."""
    return sqlstate in _GIVEN_UP


def done_again(
    method: Callable[Asked, Coroutine[Any, Any, Answer]],
) -> Callable[Asked, Coroutine[Any, Any, Answer]]:
    """Let a method that is one transaction be done again a few times; then its CollidedError comes out."""

    @wraps(method)
    async def tried(*args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        for seconds in _WAITS:
            try:
                return await method(*args, **kwargs)
            except CollidedError:
                await asyncio.sleep(seconds)
        return await method(*args, **kwargs)

    return tried
