"""The contacts of an organization, a place or a role: R5's ExtendedContactDetail, R4's Organization.contact
(https://hl7.org/fhir/R5/metadatatypes.html#ExtendedContactDetail)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from fhir_bridge.fhir.datatypes import ExtendedContactDetail
from fhir_bridge.mapping.periods import current
from fhir_bridge.mapping.profile import Profile

NOT_FOR_CARE = frozenset({"BILL", "HR", "PAYOR", "PRESS"})
"""http://terminology.hl7.org/CodeSystem/contactentity-type: offices nobody calls about an appointment."""

NOT_FOR_MEMBERS = frozenset({"HR", "PRESS"})
"""The same for an insurance: bills and claims are what its members call about."""


def contacts_for(
    contacts: Sequence[ExtendedContactDetail], unwanted: frozenset[str], profile: Profile, now: datetime
) -> Iterator[tuple[int, ExtendedContactDetail]]:
    """Those that hold at `now` (aware) and are not for one of the unwanted purposes, each with its index."""
    for index, contact in enumerate(contacts):
        purposes = contact.purpose.coding if contact.purpose else ()
        if any((coding.code or "").upper() in unwanted for coding in purposes):
            continue
        if current(contact.period, now, profile.source.zone):
            yield index, contact
