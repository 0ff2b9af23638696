"""What a place of care is called (mapping, sections 12 and 13)."""

from __future__ import annotations

from fhir_bridge.case.links import Link
from fhir_bridge.fhir.views import Location
from fhir_bridge.mapping.practitioner import display_of
from fhir_bridge.mapping.recorder import Element
from fhir_bridge.mapping.texts import plain


def place_name(link: Link[Location]) -> tuple[str, Element] | None:
    """The Location's name, else its description, else the reference's display; with the element it stands
    in."""
    place = link.resource
    if place is not None:
        if text := plain(place.view.name):
            return text, (place, "name")
        if text := plain(place.view.description):
            return text, (place, "description")
    text = plain(link.reference.display)
    return (text, display_of(link)) if text else None
