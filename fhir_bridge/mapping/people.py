"""Whom to call: the patient, or for a minor a guardian (mapping, section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import Address, CodeableConcept, ContactPoint, Extension, HumanName
from fhir_bridge.fhir.dates import parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient, PatientContact, RelatedPerson, View
from fhir_bridge.mapping.addresses import address_country, ordered_addresses
from fhir_bridge.mapping.concepts import concept_words, mapped_words
from fhir_bridge.mapping.marks import marked
from fhir_bridge.mapping.names import full_name
from fhir_bridge.mapping.periods import surely_current
from fhir_bridge.mapping.phones import Phone, numbers, read_phone
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.said import said


class Callee(msgspec.Struct, frozen=True):
    """The person who is called: their number, and, for a guardian, the name and relationship to ask for.

    `address` says where they are (their calling hours); None where the record does not tell. `holder` is the
    resource that speaks of them, `path` the FHIRPath in front of their `telecom` and `name` ("", or
    `contact[0].`).
    """

    phone: Phone
    name: str | None
    relationship: str | None
    is_patient: bool
    address: Address | None
    holder: Resource[View] | None = None
    path: str = ""


class NoCallee(msgspec.Struct, frozen=True):
    """Why nobody can be called: a reason of mapping, section 4, and the element it lies in."""

    reason: str
    holder: Resource[View]
    path: str


class _Person(msgspec.Struct, frozen=True):
    """Somebody with numbers: the patient, a RelatedPerson or a contact of the patient."""

    holder: Resource[View]
    path: str
    telecom: Sequence[ContactPoint]
    names: Sequence[HumanName]
    addresses: Sequence[Address]
    relationships: Sequence[CodeableConcept] = ()


def callee_of(case: Case, patient: Resource[Patient], profile: Profile, now: datetime) -> Callee | NoCallee:
    """Whom to call about the patient at `now`: an adult themselves, for a minor the first guardian with a
    number that can be called (mapping, section 5)."""
    if not is_minor(patient, profile, now):
        view = patient.view
        return _reached(
            _Person(patient, "", view.telecom, view.name, view.address), profile, now, is_patient=True
        )
    failure = NoCallee("minor-without-guardian", patient, "birthDate")
    for guardian in _guardians(case, patient, profile, now):
        found = _reached(guardian, profile, now, is_patient=False)
        if isinstance(found, Callee):
            return found
        if found.reason != "phone-missing":
            failure = found
    return failure


def is_minor(patient: Resource[Patient], profile: Profile, now: datetime) -> bool:
    """Whether the patient is below the age of majority at `now`, in the source's zone; no birth date: an
    adult.

    A birth date without day or month counts as the last day it may be: who may be a minor is treated as one.
    """
    moment = parse(patient.view.birth_date)
    if moment is None:
        return False
    majority = profile.people.age_of_majority
    if now.year - moment.value.year > majority + 3:
        return False  # whatever day it may be where, and however it is counted
    zone = profile.source.zone
    last_day = (moment.end_instant(zone) - timedelta(seconds=1)).astimezone(zone).date()
    return _age(last_day, now.astimezone(zone).date()) < majority


def _age(born: date, today: date) -> int:
    """Whole years; who is born on 29 February comes of age on 1 March."""
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _reached(person: _Person, profile: Profile, now: datetime, *, is_patient: bool) -> Callee | NoCallee:
    """The person with the first of their numbers that can be called, or why there is none."""
    place = next((address for _, address in ordered_addresses(person.addresses, profile, now)), None)
    region = address_country(place, profile)
    listed = numbers(person.telecom, profile, now)
    marks = profile.gates.do_not_call_marks
    open_numbers = [pair for pair in listed if not marked(pair[1].extension, marks)] if marks else listed
    for index, point in open_numbers:
        if phone := read_phone(point, index, region, profile):
            return _callee(person, phone, place, profile, now, is_patient)
    telecom = f"{person.path}telecom"
    if not listed:
        return NoCallee("phone-missing", person.holder, telecom)
    return NoCallee("phone-invalid" if open_numbers else "do-not-call", person.holder, telecom)


def _callee(
    person: _Person, phone: Phone, place: Address | None, profile: Profile, now: datetime, is_patient: bool
) -> Callee:
    named = full_name(person.names, profile, now)
    words = " ".join(part for part in (named.first, named.last) if part) if named else None
    return Callee(
        phone=phone,
        name=words or None,
        relationship=_relationship(person, profile) if person.relationships else None,
        is_patient=is_patient,
        address=place,
        holder=person.holder,
        path=person.path,
    )


def _guardians(case: Case, patient: Resource[Patient], profile: Profile, now: datetime) -> Iterator[_Person]:
    """The patient's guardians, as the records list them: RelatedPersons, then contacts of the Patient."""
    zone = profile.source.zone
    for related in case.related_persons:
        view = related.view
        concepts = _relationships(view)
        if view.active is False or not surely_current(view.period, now, zone):
            continue
        if _is_guardian(concepts, view.extension, profile):
            yield _Person(related, "", view.telecom, view.name, view.address, concepts)
    for i, contact in enumerate(patient.view.contact):
        concepts = contact.relationship
        if surely_current(contact.period, now, zone) and _is_guardian(concepts, contact.extension, profile):
            yield _Person(patient, f"contact[{i}].", contact.telecom, *_contact_parts(contact), concepts)


def _contact_parts(contact: PatientContact) -> tuple[tuple[HumanName, ...], tuple[Address, ...]]:
    names = (contact.name,) if contact.name else ()
    return names, (contact.address,) if contact.address else ()


def _relationships(view: RelatedPerson) -> tuple[CodeableConcept, ...]:
    return (view.relationship,) if isinstance(view.relationship, CodeableConcept) else view.relationship


def _is_guardian(
    concepts: Sequence[CodeableConcept], extensions: Sequence[Extension], profile: Profile
) -> bool:
    """By code, by a vendor's mark, or by a word of the list that is the whole text."""
    if marked(tuple(extensions), profile.people.guardian_marks):
        return True
    return any(_names_guardian(concept, profile) for concept in concepts)


def _names_guardian(concept: CodeableConcept, profile: Profile) -> bool:
    if any(profile.terms.kind("guardian-relationship", coding) for coding in concept.coding):
        return True
    texts = (concept.text, *(coding.display for coding in concept.coding))
    return any(words.casefold() in profile.people.guardian_words for text in texts if (words := said(text)))


def _relationship(person: _Person, profile: Profile) -> str | None:
    """What a guardian is to the patient, in words: the map's, else the record's; the guardian's role before
    others."""
    first_guardian = sorted(person.relationships, key=lambda concept: not _names_guardian(concept, profile))
    for concept in first_guardian:
        words = mapped_words(concept, "relationship", profile, "relationship") or concept_words(
            concept, "relationship", profile
        )
        if words:
            return words.text
    return None
