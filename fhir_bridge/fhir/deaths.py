"""What a record says of a death, in one of the ways that its view knows (mapping, section 16)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fhir_bridge.fhir.misspelt import folded, meant, misspelling

_DEATH = frozenset({"deceased", "deceasedBoolean", "deceasedDateTime", "_deceasedDateTime"})
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_NO = frozenset({"false", "no", "n", "0", "f"})


def settled(data: dict[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """A copy in which every way to say that somebody died is one that the view knows.

    What is said of a death and cannot be read counts as one: nobody is phoned on the strength of a typing
    error.
    """
    plain: dict[str, Any] = {}
    for name, value in data.items():
        element = _of_death(name, value)
        if element is None or value in _EMPTY:
            plain.setdefault(name, value)
            continue
        if element == "_deceasedDateTime":
            # Why the date is absent, or more of it: somebody died, at whatever time.
            plain["deceasedBoolean"] = True
        elif isinstance(value, str) and re.match(r"\s*\d{4}", value):
            plain["deceasedDateTime"] = value
        elif isinstance(value, bool) or str(value).strip().lower() in _NO | {"true"}:
            said = value is True or str(value).strip().lower() == "true"
            plain["deceasedBoolean"] = said or plain.get("deceasedBoolean", False)
        else:
            plain["deceasedBoolean"] = True
            note("deceased-unreadable")
        if name not in _DEATH - {"deceased"}:
            note(misspelling(name, element))
    return plain


def _of_death(name: str, value: Any) -> str | None:
    """The element of a death that a name was meant for; any that begins as they do counts."""
    if name in _DEATH:
        return name
    if name.startswith("_") and not isinstance(value, dict | list | None):
        return _of_death(name.lstrip("_"), value)
    return meant(name, _DEATH) or ("deceased" if folded(name).startswith("deceased") else None)
