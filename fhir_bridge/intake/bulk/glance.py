"""What a line of NDJSON is, told by the one pass that shows whether it is whole JSON.

A reader that keeps a name, a few identifiers and nothing else takes a tenth more time than one that only
looks where the JSON ends, and a third of what a view takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union, cast

import msgspec

from fhir_bridge.fhir.datatypes import Identifier
from fhir_bridge.fhir.reading import NOISE
from fhir_bridge.fhir.views import TRIGGER_TYPES, VIEWS

UNSEEN = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What `glance` raises."""

_NOTHING = msgspec.Raw()

DIRECTORY = frozenset(
    {"Practitioner", "PractitionerRole", "Organization", "Location", "HealthcareService", "Schedule"}
)
"""What every partition has at hand: there are few of these, and many name them."""

EVENTS = frozenset({"Encounter", "Condition", "DiagnosticReport", "Specimen"})
"""What there is most of, and nobody is called for: of one patient's, what it names oddly is theirs too."""

_ID = re.compile(r"[A-Za-z0-9\-.]+").fullmatch


class Seen(msgspec.Struct, frozen=True, gc=False, tag_field="resourceType"):
    """What is seen of a resource. Of a type that no view reads it is only the type."""


class SeenOfOurs(Seen, frozen=True):
    """What is seen of a resource that a view reads."""

    id: str | None = None
    identifier: tuple[Identifier, ...] = ()
    contained: msgspec.Raw = _NOTHING

    @property
    def plain_id(self) -> bytes | None:
        """Its id, where that is made of letters and digits, with `-` and `.` at most."""
        text = self.id
        return text.encode() if text and (text.isalnum() or _ID(text)) else None


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What counts of a resource type; `prefix` is `Type/`."""

    prefix: bytes
    is_patient: bool
    is_trigger: bool
    is_event: bool
    is_directory: bool
    is_slot: bool


def _kind(name: str) -> Kind:
    return Kind(
        prefix=f"{name}/".encode(),
        is_patient=name == "Patient",
        is_trigger=name in TRIGGER_TYPES,
        is_event=name in EVENTS,
        is_directory=name in DIRECTORY,
        is_slot=name == "Slot",
    )


def _seen(name: str, base: type[Seen]) -> type[Seen]:
    seen: Any = msgspec.defstruct(name, (), bases=(base,), tag=name, frozen=True, gc=False)
    return cast("type[Seen]", seen)


KINDS = {_seen(name, SeenOfOurs): _kind(name) for name in VIEWS}
"""What is known of each kind of `Seen`, but of those that no view reads."""

glance: Callable[[bytes], Any] = msgspec.json.Decoder(
    Union[(*KINDS, *(_seen(name, Seen) for name in NOISE))]
).decode
"""What is seen of a line. Raises UNSEEN for what is not whole, is none of the usual types, or of another form
than theirs; text that is not looked at need not be UTF-8."""
