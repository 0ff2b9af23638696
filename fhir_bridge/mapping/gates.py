"""Gates: nobody is called who should not be (mapping, section 4), a function for each, asked in the page's
order."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.fhir import references
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient
from fhir_bridge.mapping.consents import denial, in_force, may_be_in_force
from fhir_bridge.mapping.marks import marked
from fhir_bridge.mapping.names import Named, full_name
from fhir_bridge.mapping.patient_request import best_address
from fhir_bridge.mapping.people import Callee, NoCallee, callee_of
from fhir_bridge.mapping.record_gates import RECORD_GATES, deceased
from fhir_bridge.mapping.recorder import Element
from fhir_bridge.mapping.scope import Scope
from fhir_bridge.mapping.shared import shared
from fhir_bridge.mapping.site_gates import site_verdict
from fhir_bridge.mapping.verdict import Look, Verdict


@dataclass(frozen=True, slots=True)
class Blocked:
    """Whom the site's list says not to call: numbers in E.164, patients as Type/id or as the case identifies
    them. What is asked with `in` may be a list that holds no number but its hash."""

    numbers: Container[str] = frozenset()
    patients: Container[str] = frozenset()


NOBODY_BLOCKED = Blocked()


class Admitted(msgspec.Struct, frozen=True):
    """Who passed every gate: the patient, whom to call, and the complete name."""

    patient: Resource[Patient]
    callee: Callee
    named: Named


class _Known(msgspec.Struct, frozen=True):
    """What is the same for all triggers of a patient: who would be called, the name, and what a Consent and
    the policy on addresses say."""

    callee: Callee | NoCallee
    named: Named | None
    consent: Verdict | None
    address: Verdict | None


class _Person(msgspec.Struct, frozen=True):
    """What the gates look at: the patient at hand, what is known of them, the site's list."""

    look: Look
    patient: Resource[Patient]
    known: _Known
    blocked: Blocked


Gate = Callable[[_Person], Verdict | None]


def admit(look: Look, blocked: Blocked = NOBODY_BLOCKED) -> Admitted | Verdict:
    """The patient and whom to call, or the verdict of the first gate that keeps them out."""
    case = look.case
    patient = case.patient
    if case.patient_doubtful:
        return Verdict("patient-unresolved", ((case.trigger, case.patient_path),), wanted=True)
    if patient is None or case.patient_merge_broken:
        return _unknown(look)
    if case.patient_contradicted:
        path = f"{case.patient_path}.identifier"
        return Verdict("patient-contradicted", ((case.trigger, path),), wanted=True)
    if mark := marked(patient.view.extension, look.profile.gates.placeholder_marks):
        element = (patient, f"extension('{mark.url}')")
        layer = _layer(look, "placeholder_marks")
        return Verdict("patient-unresolved", (element,), wanted=True, layer=layer)
    for record_gate in RECORD_GATES:
        if verdict := record_gate(look.profile, patient, case.trigger):
            return verdict
    known = shared(
        case,
        look.profile,
        look.now,
        look.recorder,
        ("person", id(patient), case.patient_identity),
        lambda recorder: _known_of(look, patient),
    )
    if not isinstance(known, _Known):
        return known
    callee, named = known.callee, known.named
    person = _Person(look, patient, known, blocked)
    for gate in PERSON_GATES:
        if verdict := gate(person):
            return verdict
    assert isinstance(callee, Callee)
    if named is None or not named.complete:
        path = "name" if named is None else f"name[{named.index}]"
        return Verdict("name-incomplete", ((patient, path),), wanted=True)
    return known.address or Admitted(patient, callee, named)


def _known_of(look: Look, patient: Resource[Patient]) -> _Known | Verdict:
    """What is known of a patient; the verdict that another record of theirs brings about."""
    if verdict := _other_record(look):
        return verdict
    return _Known(
        callee_of(look.case, patient, look.profile, look.now),
        full_name(patient.view.name, look.profile, look.now),
        _consent(look, patient),
        _address_incomplete(look, patient),
    )


def _other_record(look: Look) -> Verdict | None:
    """What another record at hand of the same person says: a copy, whatever a record may say; one that is
    linked, whether the person died."""
    for record in look.case.copies_of_patient:
        for gate in RECORD_GATES:
            if verdict := gate(look.profile, record):
                return verdict
    return next(filter(None, (deceased(look.profile, one) for one in look.case.linked_with_patient)), None)


def _unknown(look: Look) -> Verdict:
    """patient-unresolved and patient-merged; duplicate-id or versions-disagree where several contents
    share the patient's id (section 2)."""
    case = look.case
    element = (case.patient, "link") if case.patient else (case.trigger, case.patient_path)
    if case.patient_merge_broken:
        return Verdict("patient-merged", (element,), wanted=True)
    if places := case.duplicate_places:
        return several_contents(case, element, places)
    return Verdict("patient-unresolved", (element,), wanted=True)


def several_contents(case: Case, element: Element, places: Sequence[str]) -> Verdict:
    """Of contents at these places that share an id, and none is known to be the newest (section 2)."""
    reason = "versions-disagree" if case.versions_disagree else "duplicate-id"
    return Verdict(reason, (element,), ", ".join(places), wanted=True)


def _do_not_call(person: _Person) -> Verdict | None:
    look, patient, callee = person.look, person.patient, person.known.callee
    blocked = person.blocked.patients
    if blocked != frozenset() and any(name in blocked for name in _names(look, patient)):
        return Verdict("do-not-call", ((patient, ""),), "patient")
    if mark := marked(patient.view.extension, look.profile.gates.do_not_call_marks):
        return Verdict(
            "do-not-call", ((patient, f"extension('{mark.url}')"),), layer=_layer(look, "do_not_call_marks")
        )
    if not isinstance(callee, Callee):
        return (
            Verdict(callee.reason, ((callee.holder, callee.path),), layer=_layer(look, "do_not_call_marks"))
            if callee.reason == "do-not-call"
            else None
        )
    if callee.phone.e164 in person.blocked.numbers:
        path = f"{callee.path}telecom[{callee.phone.index}]"
        return Verdict("do-not-call", ((callee.holder or patient, path),), "number")
    return None


def _names(look: Look, patient: Resource[Patient]) -> Iterator[str]:
    """What the patient may stand under on the list: the record, who it is for, the one that the trigger still
    names, copies of it, and those merged into it: what somebody asked for does not end with a merge."""
    case = look.case
    reference = case.patient_reference
    named = references.parse(reference.reference) if reference else None
    copies = (copy.label for copy in case.copies_of_patient)
    own = patient.label, case.patient_identity, named.label if named else None
    for name in (*own, *case.patient_names, *copies):
        if name is not None:
            yield name


def _consented(person: _Person) -> Verdict | None:
    return person.known.consent


def _consent(look: Look, patient: Resource[Patient]) -> Verdict | None:
    zone = look.profile.source.zone
    for consent in look.case.consents:
        if may_be_in_force(consent.view, look.now, zone) and (path := denial(consent.view)):
            return Verdict("consent-denied", ((consent, path),))
    rules = look.profile.gates
    is_there = any(
        in_force(consent.view, look.now, zone) and not look.case.may_be_anothers(consent)
        for consent in look.case.consents
    )
    if rules.consent != "opt-in" or is_there or marked(patient.view.extension, rules.consent_marks):
        return None
    return Verdict("consent-missing", ((patient, ""),), layer=_layer(look, "consent"))


def _site(person: _Person) -> Verdict | None:
    """The site's own: after every gate that skips, so that what nobody wants bothers nobody, and before what
    a person would have to mend."""
    look = person.look
    if not look.profile.site.gates:
        return None
    return site_verdict(look, Scope.of(look, person.patient, person.known.callee))


def _nobody_to_call(person: _Person) -> Verdict | None:
    """minor-without-guardian, phone-missing and phone-invalid: a person has at most one of the three."""
    callee = person.known.callee
    if isinstance(callee, Callee):
        return None
    return Verdict(callee.reason, ((callee.holder, callee.path),), wanted=True)


def _address_incomplete(look: Look, patient: Resource[Patient]) -> Verdict | None:
    if look.profile.addresses.incomplete_address == "omit":
        return None
    index, found = best_address(patient.view.address, look.profile, look.now)
    if found.address is not None:
        return None
    path = f"address[{index}]" if index >= 0 else "address"
    return Verdict(
        "address-incomplete",
        ((patient, path),),
        ", ".join(found.missing),
        wanted=True,
        layer=look.profile.layer_of("addresses.incomplete_address"),
    )


PERSON_GATES: tuple[Gate, ...] = (_do_not_call, _consented, _site, _nobody_to_call)
"""The gates that ask who would be called."""


def _layer(look: Look, key: str) -> str:
    return look.profile.layer_of(f"gates.{key}")
