"""What a subscription asks for, `Appointment?location=Location/1`, as its parts."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode


@dataclass(frozen=True, slots=True)
class Criteria:
    """A resource type and search parameters, in their order, as they stand after the `?`."""

    resource_type: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As a search, always with its `?`: HAPI takes a criteria by it."""
        return f"{self.resource_type}?{urlencode(self.parameters, safe='/:,|$')}"

    @property
    def is_narrowed(self) -> bool:
        """Whether it asks for less than all of a type."""
        return bool(self.parameters)


def criteria_of(text: str) -> Criteria:
    """`text` as it was checked when the settings were read, or as a server gives it."""
    resource_type, _, query = text.strip().partition("?")
    return Criteria(resource_type, tuple(parse_qsl(query, keep_blank_values=True)))
