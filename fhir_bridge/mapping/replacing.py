"""Which appointment one replaces, and which took its place, as its record says (mapping, section 2)."""

from __future__ import annotations

from collections.abc import Iterator

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment
from fhir_bridge.mapping.losses import loss_class
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element
from fhir_bridge.mapping.statuses import status_of


def replaced(view: Appointment, profile: Profile) -> Iterator[tuple[str, Reference | None]]:
    """The appointments it replaces, each with its FHIRPath: R5's `replaces`, the extensions of the layers,
    supportingInformation by its display. The reference is None where an extension has none."""
    rules = profile.triggers
    for number, reference in enumerate(view.replaces):
        yield f"replaces[{number}]", reference
    for extension in view.extension:
        if extension.url in rules.replaces:
            yield f"extension('{extension.url}').value", extension.value_reference
    yield from _displayed(view, rules.replaces_displays)


def superseding(case: Case, lost: Resource[Appointment], profile: Profile) -> Element | None:
    """The element that says another one took the lost one's place, whatever became of that one since.

    Its own supportingInformation, the other at hand or not; or the other's record, unless that was entered
    in error or booked by mistake. The other stands for the visit: if it was lost too, its own trigger calls.
    """
    for path, _ in _displayed(lost.view, profile.triggers.replaced_by_displays):
        return lost, path
    for other in case.chain_appointments:
        if other.label == lost.label or not _was_meant(other, profile):
            continue
        for path, reference in replaced(other.view, profile):
            link = case.follow(other, path, reference, Appointment)
            if link and link.resource is lost:
                return other, path
    return None


def _was_meant(other: Resource[Appointment], profile: Profile) -> bool:
    status, loss = status_of(other, profile), loss_class(other, profile)
    entered_in_error = status is not None and status.code == "entered-in-error"
    return not entered_in_error and (loss is None or loss.reason != "booked-in-error")


def _displayed(view: Appointment, displays: frozenset[str]) -> Iterator[tuple[str, Reference]]:
    for number, reference in enumerate(view.supporting_information if displays else ()):
        if (reference.display or "").casefold() in displays:
            yield f"supportingInformation[{number}]", reference
