"""The gates that need no more than the patient's record, and labels (mapping, section 4), in the page's
order."""

from __future__ import annotations

from collections.abc import Callable

from fhir_bridge.fhir.datatypes import Coding, Meta
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient, View
from fhir_bridge.mapping.marks import marked
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.said import code
from fhir_bridge.mapping.verdict import Verdict

RecordGate = Callable[..., Verdict | None]
"""`gate(profile, patient, *others)`: the others may carry a label too, such as the trigger."""

_NO_DEATH = frozenset({None, "null", "none", "undefined", "n/a"})
"""What stands for no date of death. A mask, or a date that is unknown, is one of somebody who died."""


def deceased(profile: Profile, patient: Resource[Patient], *others: Resource[View]) -> Verdict | None:
    """Whether the record says that the patient has died."""
    if patient.view.deceased_boolean:
        return Verdict("patient-deceased", ((patient, "deceasedBoolean"),))
    if code(patient.view.deceased_date_time) not in _NO_DEATH:
        return Verdict("patient-deceased", ((patient, "deceasedDateTime"),))
    return None


def _inactive(profile: Profile, patient: Resource[Patient], *others: Resource[View]) -> Verdict | None:
    return Verdict("patient-inactive", ((patient, "active"),)) if patient.view.active is False else None


def _test(profile: Profile, patient: Resource[Patient], *others: Resource[View]) -> Verdict | None:
    rules = profile.gates
    for resource in (patient, *others):
        if path := _labelled(resource.view.meta, rules.test_codes, tags=True):
            return Verdict("patient-test", ((resource, path),))
    if mark := marked(patient.view.extension, rules.test_marks):
        layer = profile.layer_of("gates.test_marks")
        return Verdict("patient-test", ((patient, f"extension('{mark.url}')"),), layer=layer)
    return None


def _restricted(profile: Profile, patient: Resource[Patient], *others: Resource[View]) -> Verdict | None:
    for resource in (patient, *others):
        if path := _labelled(resource.view.meta, profile.gates.restricted_codes, tags=False):
            layer = profile.layer_of("gates.restricted_codes")
            return Verdict("restricted-record", ((resource, path),), layer=layer)
    return None


RECORD_GATES: tuple[RecordGate, ...] = (deceased, _inactive, _test, _restricted)


def _labelled(meta: Meta | None, codes: frozenset[str], *, tags: bool) -> str | None:
    """The FHIRPath of the first security label, or tag, with one of the codes, whatever its system. Where
    tags do not count, a label that says nothing may be any."""
    if meta is None or not (meta.security or meta.tag):
        return None
    lists = {"security": meta.security, "tag": meta.tag if tags else ()}
    for name, codings in lists.items():
        for index, coding in enumerate(codings):
            said = _said(coding)
            if said in codes or (not said and not tags):
                return f"meta.{name}[{index}]"
    return None


def _said(label: Coding) -> str:
    """The code of a label, also where its system stands before it (`system|code`); without one its words."""
    written = code(label.code) or code(label.display) or ""
    return written.rpartition("|")[2].upper()
