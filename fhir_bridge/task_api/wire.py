"""What every wire model shares: strictness, and the values the contract constrains (task-api)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
)


class Wire(BaseModel):
    """The base of all: unchangeable, and its repr names the keys that are set, never a patient's data."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((None, name) for name, value in self if value is not None)


class Sent(Wire):
    """A shape we send: an unknown key, a blank text or a malformed value is an error of ours."""

    model_config = ConfigDict(extra="forbid")

    def to_wire(self) -> dict[str, Any]:
        """The JSON object to send, as plain values; keys without a value are left out (task-api)."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_json(self) -> bytes:
        """The same object as UTF-8 JSON bytes; the same model gives the same bytes."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class Received(Wire):
    """A shape we read: keys the vendor adds are ignored, and what it leaves out is None."""

    model_config = ConfigDict(extra="ignore")


_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _iso_date(value: object) -> object:
    """Only `YYYY-MM-DD` or a date: pydantic by itself would read the number 1 as a day in 1970."""
    if type(value) is date or (isinstance(value, str) and _ISO_DATE.fullmatch(value)):
        return value
    raise ValueError("a date must be YYYY-MM-DD")


def _aware_utc(value: datetime) -> datetime:
    """The vendor's timestamps may come without a zone (task-api, webhooks): those are read as UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# [0-9] instead of \d: pydantic's regex engine takes any script's digits for \d, the endpoint does not.
Text = Annotated[str, StringConstraints(pattern=r"\S")]
PhoneNumber = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{1,14}$")]
CountryCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$")]
RESOURCE_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
"""A UUID, as every id of the endpoint's is."""
ResourceId = Annotated[str, StringConstraints(pattern=f"^{RESOURCE_ID.pattern}$")]
IsoDate = Annotated[date, BeforeValidator(_iso_date)]
Instant = Annotated[datetime, AfterValidator(_aware_utc)]

NIL_ID = "00000000-0000-0000-0000-000000000000"
"""A well-formed id that names nothing: what a probe asks for (delivery, "Which outcome means what")."""


def problems(error: ValidationError) -> list[str]:
    """Each error as `path: kind`, never with the value (architecture, rule 8)."""
    return [
        f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['type']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
