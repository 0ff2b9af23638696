"""The patient as the endpoint is to create them (mapping, section 6)."""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache

from fhir_bridge.case.case import Case
from fhir_bridge.case.links import Party
from fhir_bridge.fhir import datatypes
from fhir_bridge.fhir.dates import is_day, parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient
from fhir_bridge.mapping.addresses import Addressed, complete_address, ordered_addresses
from fhir_bridge.mapping.insurance import insurance
from fhir_bridge.mapping.language import interpreter_needed
from fhir_bridge.mapping.names import Named
from fhir_bridge.mapping.people import Callee
from fhir_bridge.mapping.periods import current
from fhir_bridge.mapping.practitioner import is_practitioner, named_type, party_name
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Recorder
from fhir_bridge.mapping.said import code, said
from fhir_bridge.task_api.models import RESOURCE_ID, Address, PatientDraft


def patient_draft(
    case: Case,
    patient: Resource[Patient],
    named: Named,
    callee: Callee,
    profile: Profile,
    now: datetime,
    recorder: Recorder,
) -> PatientDraft:
    """The patient to create, with the number that is called, a guardian's for a minor (mapping, section 5).

    `named` must be complete; the address may be left out only by the policy that the gate has checked before.
    """
    assert named.first is not None
    assert named.last is not None
    name_path = f"name[{named.index}]"
    recorder.take("patient.first_name", "patient-name", (patient, f"{name_path}.given"))
    recorder.take("patient.last_name", "patient-name", (patient, f"{name_path}.family"))
    _note_name(patient, named, recorder)
    return PatientDraft.model_validate(
        {
            "phone_number": callee.phone.e164,
            "first_name": named.first,
            "last_name": named.last,
            "address": _address(patient, profile, now, recorder),
            "email": _email(patient, profile, now, recorder),
            "date_of_birth": _date_of_birth(patient, recorder),
            "primary_care_provider": _primary_care(case, patient, profile, now, recorder),
            "insurance": insurance(case, profile, now, recorder),
        }
    )


@lru_cache(maxsize=512)
def best_address(
    addresses: tuple[datatypes.Address, ...], profile: Profile, now: datetime
) -> tuple[int, Addressed]:
    """The first complete address in the order they count, else the first with what it lacks; index -1 without
    any."""
    found = [
        (index, complete_address(address, profile))
        for index, address in ordered_addresses(addresses, profile, now)
    ]
    complete = next((pair for pair in found if pair[1].address is not None), None)
    return complete or (found[0] if found else (-1, Addressed(None, ("address",))))


def look_through_patient(
    case: Case, patient: Resource[Patient], named: Named, profile: Profile, now: datetime, recorder: Recorder
) -> None:
    """Notes what `patient_draft`, `patient_id` and the sentences about the patient note, and asks the maps of
    codes what they ask: for who only counts."""
    _note_name(patient, named, recorder)
    _address(patient, profile, now, recorder)
    _date_of_birth(patient, recorder)
    insurance(case, profile, now, recorder)
    patient_id(patient, profile, recorder)
    if "interpreter" in profile.context.said:
        interpreter_needed(patient, profile)


def _note_name(patient: Resource[Patient], named: Named, recorder: Recorder) -> None:
    for note in named.notes:
        recorder.note(note, patient, f"name[{named.index}]")


def patient_id(patient: Resource[Patient], profile: Profile, recorder: Recorder) -> str | None:
    """The task API's id of the patient where the site names the identifier system that carries it (mapping,
    section 6), else None. A value that is none of the API's ids (UUIDs) is noted and left."""
    system = profile.patient.task_api_system
    if system is None:
        return None
    for index, identifier in enumerate(patient.view.identifiers):
        value = said(identifier.value)
        if not value or profile.terms.canonical(identifier.system or "") != profile.terms.canonical(system):
            continue
        if RESOURCE_ID.fullmatch(value):
            recorder.take("patient_id", "task-api-identifier", (patient, f"identifier[{index}].value"))
            return value
        recorder.note("patient-id-invalid", patient, f"identifier[{index}].value")
    return None


def _address(
    patient: Resource[Patient], profile: Profile, now: datetime, recorder: Recorder
) -> Address | None:
    index, found = best_address(patient.view.address, profile, now)
    if found.address is None:
        path = f"address[{index}]" if index >= 0 else "address"
        recorder.note("address-incomplete", patient, path)
        return None
    recorder.take("patient.address", "patient-address", (patient, f"address[{index}]"))
    return found.address


def _email(patient: Resource[Patient], profile: Profile, now: datetime, recorder: Recorder) -> str | None:
    """The first current mail address."""
    for index, point in enumerate(patient.view.telecom):
        value = said(point.value)
        if (
            code(point.system) != "email"
            or value is None
            or (code(point.use) or "") not in profile.patient.email_uses
        ):
            continue
        if "@" in value and " " not in value and current(point.period, now, profile.source.zone):
            recorder.take("patient.email", "first-current-email", (patient, f"telecom[{index}].value"))
            return value.removeprefix("mailto:")
    return None


def _date_of_birth(patient: Resource[Patient], recorder: Recorder) -> date | None:
    """The birth date, only if it is a full date."""
    text = patient.view.birth_date
    moment = parse(text)
    if moment is None:
        if said(text):
            recorder.note("date-unreadable", patient, "birthDate")
        return None
    if not is_day(text):
        recorder.note("birth-date-partial", patient, "birthDate")
        return None
    recorder.take("patient.date_of_birth", "full-birth-date", (patient, "birthDate"))
    return moment.date


def _primary_care(
    case: Case, patient: Resource[Patient], profile: Profile, now: datetime, recorder: Recorder
) -> dict[str, str | None] | None:
    """The first general practitioner who has a name, or a practice that has one. A display alone, which may
    be either's, says nothing."""
    for index, party in enumerate(case.primary_care):
        person = party_name(party, profile, now) if is_practitioner(party) else None
        practice = _practice(party)
        if person or practice:
            element = (patient, f"generalPractitioner[{index}]")
            also = (person.element,) if person else ()
            recorder.take("patient.primary_care_provider", "general-practitioner", element, *also)
            return {"name": person.text if person else None, "practice": practice}
    return None


def _practice(party: Party) -> str | None:
    """The practice's name: the organization's, else the display of a reference to one."""
    if party.organization is not None:
        return said(party.organization.view.name)
    reference = party.link.reference
    return said(reference.display) if named_type(reference) == "Organization" else None
