"""The patient's insurances from Coverage: medical, dental, vision (mapping, section 6)."""

from __future__ import annotations

from datetime import datetime

from fhir_bridge.case.case import Case
from fhir_bridge.fhir.datatypes import CodeableConcept, Identifier, Reference
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Coverage, CoverageClass, Organization, Patient, RelatedPerson
from fhir_bridge.mapping.addresses import address_country
from fhir_bridge.mapping.contacts import NOT_FOR_MEMBERS, contacts_for
from fhir_bridge.mapping.names import full_name
from fhir_bridge.mapping.periods import over
from fhir_bridge.mapping.phones import Phone, choose_phone
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.said import code, said
from fhir_bridge.task_api.models import Insurance, MemberInsurance, RelationshipToSubscriber, Subscriber

SELF_PAY = "self-pay"
UNKNOWN_KIND = "medical"
FIELD = "patient.insurance"


def insurance(case: Case, profile: Profile, now: datetime, recorder: Recorder) -> Insurance | None:
    """The insurances in force at `now`, each told once, the first in coordination of benefits in front; None
    without any."""
    kinds: dict[str, list[MemberInsurance]] = {"medical": [], "dental": [], "vision": []}
    for coverage in sorted(case.coverages, key=lambda found: found.view.order or 0):
        kind = _kind(coverage, profile, now)
        if kind is None:
            continue
        member = _member(case, coverage, profile, now)
        if member is None:
            continue
        if kind not in kinds:
            recorder.note("coverage-type-unknown", coverage, "type")
            kind = UNKNOWN_KIND
        if member in kinds[kind]:
            continue
        kinds[kind].append(member)
        recorder.take(f"{FIELD}.{kind}[{len(kinds[kind]) - 1}]", "coverage", (coverage, ""))
    if not any(kinds.values()):
        return None
    return Insurance(**{kind: tuple(found) for kind, found in kinds.items() if found})


def _kind(coverage: Resource[Coverage], profile: Profile, now: datetime) -> str | None:
    """The list it belongs to ("" where its type is unknown), or None where it counts for nothing: not active,
    over, or the patient's own purse."""
    view = coverage.view
    if code(view.status) != "active" or over(view.period, now, profile.source.zone):
        return None
    if view.kind == SELF_PAY or _paid_by_patient(view):
        return None
    codings = view.type.coding if view.type else ()
    found = {kind.text for coding in codings if (kind := profile.terms.kind("coverage-type", coding))}
    texts = [view.type.text if view.type else None, *(payor.display for payor in _payors(view))]
    if SELF_PAY in found or any(_uninsured(text, profile) for text in texts):
        return None
    return next(iter(sorted(found)), "")


def _payors(view: Coverage) -> tuple[Reference, ...]:
    return (view.insurer, *view.payor) if view.insurer else view.payor


def _paid_by_patient(view: Coverage) -> bool:
    payors = [payor for payor in _payors(view) if payor.reference or payor.type]
    return bool(payors) and all(
        "Patient" in (payor.type or "", *(payor.reference or "").split("/")) for payor in payors
    )


def _uninsured(text: str | None, profile: Profile) -> bool:
    return (
        text is not None
        and " ".join(text.replace("_", " ").casefold().split()) in profile.insurance.none_words
    )


def _member(
    case: Case, coverage: Resource[Coverage], profile: Profile, now: datetime
) -> MemberInsurance | None:
    """One insurance; None where the record says nothing about it that could be told."""
    view = coverage.view
    company = _company(case, coverage)
    phone = _phone(company, profile, now) if company else None
    shown = next((words for payor in _payors(view) if (words := said(payor.display))), None)
    parts = {
        "company_name": (said(company.view.name) if company else None) or shown,
        "member_id": _member_id(view, profile),
        "group_number": _class_value(view, profile.insurance.group_codes),
        "plan_name": _plan_name(view, profile),
        "phone_number": phone.e164 if phone else None,
        "relationship_to_subscriber": _relationship(view, profile),
        "primary_subscriber": _subscriber(case, coverage, profile, now),
    }
    told = {name: value for name, value in parts.items() if value is not None}
    return MemberInsurance.model_validate(told) if told else None


def _phone(company: Resource[Organization], profile: Profile, now: datetime) -> Phone | None:
    """The company's own number, in R5 that of a contact of it."""
    view = company.view
    contacts = [each for _, each in contacts_for(view.contact, NOT_FOR_MEMBERS, profile, now)]
    places = [*view.address, *(each.address for each in contacts if each.address)]
    region = address_country(next(iter(places), None), profile)
    listed = (view.telecom, *(each.telecom for each in contacts))
    found = (choose_phone(telecom, region, profile, now) for telecom in listed)
    return next((phone for phone in found if phone is not None), None)


def _company(case: Case, coverage: Resource[Coverage]) -> Resource[Organization] | None:
    links = (
        case.follow(coverage, "insurer" if payor is coverage.view.insurer else "payor", payor, Organization)
        for payor in _payors(coverage.view)
    )
    return next((link.resource for link in links if link and link.resource), None)


def _member_id(view: Coverage, profile: Profile) -> str | None:
    """R4's and R5's subscriberId, else an identifier whose type says member number."""
    if isinstance(view.subscriber_id, str):
        return said(view.subscriber_id)
    for identifier in view.subscriber_id or ():
        if value := said(identifier.value):
            return value
    numbered = (one for one in view.identifiers if _is_any(one.type, profile.insurance.member_codes))
    return next((value for one in numbered if (value := said(one.value))), None)


def _class_value(view: Coverage, codes: frozenset[str]) -> str | None:
    for one in view.class_:
        if _is_any(one.type, codes) and (words := said(_value(one))):
            return words
    return said(view.grouping.group) if view.grouping else None


def _value(one: CoverageClass) -> str | None:
    """R4's text; R5's Identifier."""
    return one.value.value if isinstance(one.value, Identifier) else one.value


def _plan_name(view: Coverage, profile: Profile) -> str | None:
    """The plan's name; its value only where that is words, not a number."""
    for one in view.class_:
        if _is_any(one.type, profile.insurance.plan_codes):
            value = _value(one)
            words = said(one.name) or (said(value) if value and " " in value.strip() else None)
            if words:
                return words
    return said(view.grouping.plan_display) if view.grouping else None


def _is_any(concept: CodeableConcept | None, codes: frozenset[str]) -> bool:
    return concept is not None and any(coding.code in codes for coding in concept.coding if coding.code)


def _relationship(view: Coverage, profile: Profile) -> RelationshipToSubscriber | None:
    for coding in view.relationship.coding if view.relationship else ():
        if kind := profile.terms.kind("subscriber-relationship", coding):
            return RelationshipToSubscriber(kind.text)
    subscriber, beneficiary = view.subscriber, view.beneficiary
    if subscriber and beneficiary and subscriber.reference and subscriber.reference == beneficiary.reference:
        return RelationshipToSubscriber.SELF
    return None


def _subscriber(
    case: Case, coverage: Resource[Coverage], profile: Profile, now: datetime
) -> Subscriber | None:
    reference = coverage.view.subscriber
    patient = case.follow(coverage, "subscriber", reference, Patient)
    related = case.follow(coverage, "subscriber", reference, RelatedPerson)
    person = (patient and patient.resource) or (related and related.resource)
    named = full_name(person.view.name, profile, now) if person else None
    return Subscriber(first_name=named.first, last_name=named.last) if named else None
