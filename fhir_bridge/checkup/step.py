"""One step of a check: what was tried, what was found, what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from fhir_bridge.errors import BridgeError, FhirServerError


class Mark(StrEnum):
    """How a step went. `WARN`: it works, and somebody should know. `UNTRIED`: an earlier one has to go
    first."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNTRIED = "untried"


@dataclass(frozen=True, slots=True)
class Step:
    """`name` is stable for tools; `found` and `to_do` are for people and hold no secret and no patient."""

    name: str
    mark: Mark
    found: str
    to_do: str | None = None
    code: str | None = None


Look = Callable[[], Awaitable[Step]]


async def tried(name: str, look: Look) -> Step:
    """The step, or what kept it from being one."""
    try:
        return await look()
    except BridgeError as error:
        return Step(name, Mark.FAIL, str(error), error.hint, error.code)
    except OSError as error:
        return Step(name, Mark.FAIL, error.strerror or type(error).__name__, None, "unreachable")


def untried(name: str, because: str) -> Step:
    """A step that waits for another one."""
    return Step(name, Mark.UNTRIED, f"cannot be tried before {because} works")


def is_our_right(error: FhirServerError) -> bool:
    """Whether the server merely lacks what was asked for: it let us in."""
    return error.status in (400, 404, 410, 422)
