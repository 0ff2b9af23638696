"""What was asked for and is not at hand, told to whoever can fetch it: this folder fetches nothing.

A case asks for no more than its decision needs, so what was asked for is what is worth fetching.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fhir_bridge.fhir.references import Target
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import VIEWS, View


@dataclass(frozen=True, slots=True)
class Missing:
    """A reference to a resource by type and id that is not at hand.

    `current`: only the current version counts, whatever it names. `holder`: the type of who refers.
    """

    target: Target
    holder: str
    current: bool


@dataclass(slots=True)
class Wanted:
    """Each in the order it was first asked for: references, the resources of one view that are about a
    patient (`Case.patient_identity`), and the roles of a practitioner (`Type/id`)."""

    references: dict[Missing, None] = field(default_factory=dict)
    of_patients: dict[tuple[type[View], str], None] = field(default_factory=dict)
    roles: dict[str, None] = field(default_factory=dict)

    def miss(self, holder: Resource[View], target: Target, kind: type[View], current: bool) -> None:
        """A reference led nowhere; one whose own words rule out what was looked for says nothing."""
        view = VIEWS.get(target.type or "")
        if view is not None and target.id and issubclass(view, kind):
            self.references[Missing(target, holder.view.resource_type, current)] = None
