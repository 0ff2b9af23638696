"""The status of a trigger in FHIR's own codes, after the layers' status map (mapping, section 3, row 2)."""

from __future__ import annotations

import msgspec

from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, ServiceRequest
from fhir_bridge.mapping.marks import marked
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.said import code


class Status(msgspec.Struct, frozen=True):
    """A status as FHIR's code. `spoken` is what a layer calls it instead ("to be rescheduled"), `note` an
    oddity."""

    code: str
    spoken: str | None = None
    note: str | None = None


def status_of(resource: Resource[Appointment] | Resource[ServiceRequest], profile: Profile) -> Status | None:
    """The status of an Appointment or an order; None where it is missing, or none of FHIR's."""
    view = resource.view
    status = code(view.status)
    if status is None:
        return None
    rules = profile.triggers
    order = isinstance(view, ServiceRequest)
    for row in rules.order_status_map if order else rules.appointment_status_map:
        if status == row.status and (row.mark is None or marked(view.extension, (row.mark,))):
            return Status(row.becomes, row.spoken)
    if status not in (rules.order_statuses if order else rules.appointment_statuses):
        return None
    return Status(status, note=None if status == view.status else "code-case")
