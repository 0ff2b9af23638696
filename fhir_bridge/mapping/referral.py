"""Whether there is a referral, and who refers: the order's requester and nobody else (mapping, section
11)."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from fhir_bridge.case.case import Case
from fhir_bridge.case.links import Link, Party
from fhir_bridge.fhir.datatypes import Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Practitioner
from fhir_bridge.mapping.practitioner import named_type, note_links, party_name
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.referring import Known, Referring, Unusable
from fhir_bridge.mapping.said import said
from fhir_bridge.mapping.schedulable import order_class
from fhir_bridge.mapping.shared import shared

FIELD = "task_data.has_referral"

Told = tuple[Known | None, Unusable]
"""Who refers, and what is known of them but cannot be sent as data."""


def has_referral(case: Case, profile: Profile, recorder: Recorder) -> bool | None:
    """True on an order that is a referral, or schedulable with a requester who is known and not the
    patient; False
    where the chain is known complete and has none; else None."""
    for order in (link.resource for link in case.orders if link.resource):
        known = order_class(order, profile)
        element = (order, known.path)
        if known.classes & profile.referral.classes:
            recorder.take(FIELD, "referral-by-class", element, map_row=known.map_row, layer=known.layer)
            return True
        if known.scheduled(profile) and case.requester is not None and _is_somebody_else(case.requester):
            recorder.take(FIELD, "referral-by-requester", element, (order, "requester"))
            return True
    if case.chain_complete:
        recorder.take(FIELD, "chain-without-referral", (case.trigger, ""))
        return False
    return None


def referral(case: Case, profile: Profile, now: datetime, recorder: Recorder) -> Told:
    """Who refers, and what is known of them but cannot be sent as data."""
    party = case.requester
    if party is None:
        return None, Unusable()
    note_links(recorder, party)
    if not _is_somebody_else(party):
        return None, Unusable()
    party = _with_organization(case, party)
    person = party.practitioner
    if person is not None and person.container is None and named_type(party.link.reference) != "Organization":
        key = "referral", person, party.role, party.organization, party.locations
        of_record = shared(
            case,
            profile,
            now,
            recorder,
            key,
            lambda own: _of_record(person, party, profile, now, own),
            about=person,
        )
        if of_record is not None:
            return of_record
    return _told(Referring(party, profile, now, recorder))


def _of_record(
    person: Resource[Practitioner], party: Party, profile: Profile, now: datetime, recorder: Recorder
) -> Told | None:
    """What is known of a practitioner who refers, by the records alone: the same few refer thousands of
    patients. None where their own does not say what they are called, so that the display of the reference
    that leads to them may."""
    party = replace(party, link=Link(person, "", Reference(), person))
    called = party_name(party, profile, now)
    if called is None or called.element[0] is not person:
        return None
    return _told(Referring(party, profile, now, recorder))


def _told(referring: Referring) -> Told:
    return referring.provider(), referring.unusable


def _with_organization(case: Case, party: Party) -> Party:
    """The requester with the organization they act for, which STU3 names beside them."""
    order = case.order.resource if case.order else None
    requester = order.view.requester if order else None
    if order is None or requester is None or requester.on_behalf_of is None or party.organization is not None:
        return party
    acts_for = case.party(order, "requester.onBehalfOf", requester.on_behalf_of)
    return replace(party, organization=acts_for.organization) if acts_for else party


def _is_somebody_else(party: Party) -> bool:
    """Whether the requester is known (a bare reference to nobody at hand is not), and neither the patient nor
    their family nor a device."""
    found = party.link.resource
    if found is not None:
        return found.view.resource_type not in ("Patient", "RelatedPerson")
    reference = party.link.reference
    if named_type(reference) in ("Patient", "RelatedPerson", "Device"):
        return False
    return bool(said(reference.display) or reference.identifier)
