"""What resources are called, and of which kinds a name is followed; names are compared as 64-bit keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from zlib import crc32

from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import TRIGGER_TYPES, VIEWS, View
from fhir_bridge.intake.bulk.glance import DIRECTORY

_ORDINARY = frozenset(VIEWS) - DIRECTORY - TRIGGER_TYPES - {"Patient", "Slot"}

PATIENT, TRIGGER, SLOT, OTHER = range(4)
KINDS: Mapping[bytes, int] = {
    b"Patient": PATIENT,
    b"Slot": SLOT,
    **{name.encode(): TRIGGER for name in TRIGGER_TYPES},
    **{name.encode(): OTHER for name in _ORDINARY},
}
"""The types whose names are followed; what every partition has at hand is none of them."""

System = Callable[[str | None], str | None]
Message = Mapping[str, tuple[str, str]]
"""The URNs of one Bundle, in small letters → the type and name of what each stands for there."""


def key_of(name: bytes) -> int:
    """A name's key: its checksum read forwards and backwards, for one of 32 bits has too few values."""
    return crc32(name) << 32 | crc32(name[::-1])


def own_name(resource: Resource[View]) -> str:
    """What a resource is called here: `Type/id`, else its fullUrl, else its contents."""
    if resource.view.id:
        return f"{resource.view.resource_type}/{resource.view.id}"
    url = resource.full_url
    return (url.lower() if url[:4].lower() == "urn:" else url) if url else f"~{resource.raw.hex()}"


def has_id(view: View) -> bool:
    """Whether it has an id that is no template nobody filled."""
    return bool(view.id) and not set("${}<>") & set(view.id or "")
