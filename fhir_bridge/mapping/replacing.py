"""Which appointment one replaces, and which took its place, as its record says (mapping, section 2)."""

from __future__ import annotations

from collections.abc import Iterator

from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.views import Appointment
from fhir_bridge.mapping.profile import Profile


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


def successor(view: Appointment, profile: Profile) -> str | None:
    """The FHIRPath of the supportingInformation that names the one that took its place, at hand or not."""
    return next((path for path, _ in _displayed(view, profile.triggers.replaced_by_displays)), None)


def _displayed(view: Appointment, displays: frozenset[str]) -> Iterator[tuple[str, Reference]]:
    for number, reference in enumerate(view.supporting_information if displays else ()):
        if (reference.display or "").casefold() in displays:
            yield f"supportingInformation[{number}]", reference
