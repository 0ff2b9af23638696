"""Which practitioner the patient is to see, and what they are called (mapping, sections 9 and 11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.case.links import Link, Participant, Party
from fhir_bridge.fhir.datatypes import CodeableConcept, Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, Location, Practitioner, Qualification, View
from fhir_bridge.mapping.concepts import kinds
from fhir_bridge.mapping.names import practitioner_name, spoken_display
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element, Recorder

PRACTITIONERS = ("Practitioner", "PractitionerRole")


class Called(msgspec.Struct, frozen=True):
    """Somebody's name as it is said, and the element it stands in."""

    text: str
    element: Element


class Seen(msgspec.Struct, frozen=True):
    """The practitioner to be seen: who it is, and their name."""

    party: Party
    called: Called


def practitioner_to_see(case: Case, profile: Profile, now: datetime) -> Seen | None:
    """The first practitioner with a name: the Appointment's, its lead in front, then the order's
    performers."""
    for party in (*taking_part(case.participants, profile), *filter(is_practitioner, case.performers)):
        if (called := party_name(party, profile, now)) is not None:
            return Seen(party, called)
    return None


def participants_of(case: Case, appointment: Resource[Appointment]) -> tuple[Participant, ...]:
    """The participants of the trigger, or of another Appointment at hand, who may be practitioners or
    places."""
    if appointment is case.trigger:
        return case.participants
    found: list[Participant] = []
    for index, view in enumerate(appointment.view.participant):
        path = f"participant[{index}].actor"
        if view.actor is not None and named_type(view.actor) == "Location":
            place = case.follow(appointment, path, view.actor, Location)
            found.append(Participant(view, index, location=place))
        else:
            found.append(Participant(view, index, party=case.party(appointment, path, view.actor)))
    return tuple(found)


def taking_part(
    participants: Iterable[Participant], profile: Profile, *, declined: bool = False
) -> Iterator[Party]:
    """The practitioners among them, leads first; those who declined only if asked for."""
    found: list[tuple[bool, Party]] = []
    for participant in participants:
        if participant.party is None or not is_practitioner(participant.party):
            continue
        if not declined and participant.view.status in profile.specialty.declined:
            continue
        classes = _classes(participant, profile) if participant.view.type else frozenset()
        if not classes & profile.specialty.unnamed_types:
            found.append(("lead" not in classes, participant.party))
    if len(found) > 1:
        found.sort(key=lambda pair: pair[0])
    return (party for _, party in found)


def party_name(party: Party, profile: Profile, now: datetime) -> Called | None:
    """The practitioner's name: from their record, else the reference to it, else the role's (section 11)."""
    if (person := party.practitioner) is not None:
        doctor = is_doctor(person, profile)
        if (spoken := practitioner_name(person.view.name, profile, now, doctor=doctor)) is not None:
            return Called(spoken.text, (person, f"name[{spoken.index}]"))
    link = party.link
    if (text := spoken_display(link.reference.display, profile)) is not None:
        return Called(text, display_of(link))
    role = party.role
    if role is not None and role.view.practitioner is not None:
        text = spoken_display(role.view.practitioner.display, profile)
        return Called(text, (role, "practitioner.display")) if text else None
    return None


def is_practitioner(party: Party) -> bool:
    """Whether the party is a person who practises: by what it leads to, else by the type the reference names.
    A display alone may be a room."""
    if party.practitioner is not None or party.role is not None:
        return True
    return party.link.resource is None and named_type(party.link.reference) in PRACTITIONERS


def named_type(reference: Reference) -> str | None:
    """The resource type a reference names, by its type or its URL."""
    if reference.type:
        return reference.type.rpartition("/")[2]
    parts = (reference.reference or "").partition("/_history/")[0].split("/")
    return parts[-2] if len(parts) > 1 else None


def is_doctor(practitioner: Resource[Practitioner], profile: Profile) -> bool:
    """Whether a qualification is one whose holder the layer calls a doctor."""
    held = practitioner.view.qualification
    return bool(held) and _are_doctors(held, profile.referral.doctor_qualifications)


@lru_cache(maxsize=4_096)
def _are_doctors(qualifications: tuple[Qualification, ...], doctors: frozenset[str]) -> bool:
    held = (each.code for each in qualifications if each.code)
    return any(_bare(word) in doctors for code in held for word in _all_words(code))


def display_of(link: Link[View]) -> Element:
    """The element a reference's display stands in."""
    return link.holder, f"{element_path(link)}.display"


def element_path(link: Link[View]) -> str:
    """The FHIRPath of a reference inside its holder, without the holder's type."""
    return link.path.removeprefix(f"{link.holder.view.resource_type}.")


def note_links(recorder: Recorder, *parties: Party) -> None:
    """Note what is odd about the references to these parties (section 15)."""
    for party in parties:
        for code in party.link.notes:
            recorder.note(code, party.link.holder, element_path(party.link))


def _classes(participant: Participant, profile: Profile) -> frozenset[str]:
    return frozenset(
        kind for each in participant.view.type for kind, _, _ in kinds(each, profile, "participant-type")
    )


def _all_words(concept: CodeableConcept) -> Iterator[str]:
    yield from filter(None, (concept.text,))
    for coding in concept.coding:
        yield from filter(None, (coding.code, coding.display))


def _bare(word: str) -> str:
    return word.replace(".", "").strip().casefold()
