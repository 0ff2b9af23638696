"""The status of a trigger in FHIR's own codes, after the layers' status map (mapping, section 3, row 2)."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from fhir_bridge.fhir.datatypes import Extension
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, ServiceRequest, is_order
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
    return _status(view.status, view.extension, is_order(view), profile)


@lru_cache(maxsize=4_096)
def _status(
    written: str | None, extensions: tuple[Extension, ...], order: bool, profile: Profile
) -> Status | None:
    status = code(written)
    if status is None:
        return None
    rules = profile.triggers
    for row in rules.order_status_map if order else rules.appointment_status_map:
        if status == row.status and (row.mark is None or marked(extensions, (row.mark,))):
            return Status(row.becomes, row.spoken)
    if status not in (rules.order_statuses if order else rules.appointment_statuses):
        return None
    return Status(status, note=None if status == written else "code-case")
