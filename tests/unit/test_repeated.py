"""What stands twice, or under a name that is nearly right, hides nothing that keeps people out."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stringzilla import count

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.reading import read as read_one
from fhir_bridge.fhir.repeated import decoded
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.views import Appointment, Consent, Patient, View
from fhir_bridge.mapping.consents import denial
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.statements import patient_stop

APPOINTMENT = b'{"resourceType":"Appointment","id":"a1","status":"proposed"}'


def one(text: str) -> Resource[View]:
    """The resource of a text."""
    return read_one(text.encode(), Origin("f"))


@pytest.mark.parametrize(
    ("told", "stop"),
    [
        ('"deceasedBoolean": true, "deceasedBoolean": false', "patient-deceased"),
        ('"deceasedBoolean": true, "deceasedBoolean": null', "patient-deceased"),
        ('"deceasedBoolean": true, "deceasedDateTime": null', "patient-deceased"),
        ('"deceasedBoolean": false, "deceasedBoolean": false', None),
        ('"deceasedDateTime": "2026-01-01", "deceasedDateTime": null', "patient-deceased"),
        ('"active": false, "active": true', "patient-inactive"),
        ('"meta": {"security": [{"code": "R"}]}, "meta": {"versionId": "2"}', "restricted-record"),
        ('"meta": {"tag": [{"code": "HTEST"}], "tag": []}', None),
        ('"meta": {"security": [{"code": "R"}], "security": []}', "restricted-record"),
        ('"meta": {"security": [{"coding": [{"code": "R"}]}]}', "restricted-record"),
        ('"META": {"SECURITY": [{"CODE": "R"}]}', "restricted-record"),
        ('"DECEASEDBOOLEAN": true', "patient-deceased"),
        ('"DECEASED": true', "patient-deceased"),
        ('"DECEASEDDATETIME": "2026"', "patient-deceased"),
        ('"ACTIVE": false', "patient-inactive"),
        ('"_deceasedDateTime": {"extension": [{"url": "u", "valueCode": "unknown"}]}', "patient-deceased"),
        ('"_deceasedDateTime": null', None),
    ],
)
def test_no_gate_hides_behind_a_second_element(us: Profile, told: str, stop: str | None) -> None:
    """The reading that calls nobody counts."""
    patient = cast("Resource[Patient]", one(f'{{"resourceType":"Patient","id":"p",{told}}}'))
    assert patient_stop(patient, us) == stop


def test_two_statuses_are_none() -> None:
    """A person has to look: `status-missing`."""
    view = one('{"resourceType":"Appointment","status":"cancelled","status":"proposed"}').view
    assert cast("Appointment", view).status is None


def test_a_consent_that_says_both_denies() -> None:
    """Active and not, denying and permitting: it is in force and denies."""
    told = '"status":"active","status":"inactive","provision":{"type":"deny","type":"permit"}'
    view = cast("Consent", one(f'{{"resourceType":"Consent",{told}}}').view)
    assert (view.status, denial(view)) == ("active", "provision.type")


def test_a_second_list_of_entries_hides_no_first() -> None:
    """Nor the other way round."""
    entry = b'"entry":[{"resource":%s}]'
    both = b"{%s,%s,%s}" % (
        b'"resourceType":"Bundle"',
        entry % APPOINTMENT,
        entry % APPOINTMENT.replace(b"a1", b"a2"),
    )
    assert [one.label for one in read(both, "f").resources] == ["Appointment/a1", "Appointment/a2"]


@pytest.mark.parametrize("type_", [b"bundle", b"BUNDLE", b"Bundle"])
def test_a_bundle_is_one_in_any_case(type_: bytes) -> None:
    """Whatever letters its type is in."""
    text = b'{"resourceType":"%s","entry":[{"resource":%s}]}' % (type_, APPOINTMENT)
    assert [one.label for one in read(text, "f").resources] == ["Appointment/a1"]


@pytest.mark.parametrize("name", [b"Entry", b"ENTRY", b"entries", b"Entries"])
def test_entries_under_another_name_are_told(name: bytes) -> None:
    """Nothing is silently passed over."""
    text = b'{"resourceType":"Bundle","%s":[{"resource":%s}]}' % (name, APPOINTMENT)
    with pytest.raises(InputError):
        read(text, "f")


def test_an_entry_with_two_resources_is_told() -> None:
    """Which of them is meant nobody knows; the entry after it is read."""
    two: Any = b'{"resource":%s,"resource":%s}' % (APPOINTMENT, APPOINTMENT.replace(b"a1", b"a2"))
    text = b'{"resourceType":"Bundle","entry":[%s,{"resource":%s}]}' % (
        two,
        APPOINTMENT.replace(b"a1", b"a3"),
    )
    document = read(text, "f")
    assert [one.label for one in document.resources] == ["Appointment/a3"]
    assert len(document.problems) == 1


@pytest.mark.parametrize("status", ["inactive", "entered-in-error"])
def test_a_consent_hides_no_denial_behind_a_status_that_settles_it(status: str) -> None:
    """Of two statuses the one that is in force counts."""
    told = f'"status":"active","status":"{status}","provision":{{"type":"deny"}}'
    view = cast("Consent", one(f'{{"resourceType":"Consent",{told}}}').view)
    assert (view.status, denial(view)) == ("active", "provision.type")


@given(
    st.lists(st.sampled_from([b'"meta"', b'"met', b'a"', b'"', b"\xc3\xa9", b"x" * 31, b"\0"]), max_size=60)
)
def test_a_name_is_counted_wherever_it_stands(parts: list[bytes]) -> None:
    """What looks for second elements sees what the standard library sees, at every length and offset."""
    text = b"".join(parts)
    for start in range(min(len(text), 9)):
        assert count(text[start:], b'"meta"') == text[start:].count(b'"meta"')


def test_a_byte_that_is_no_utf8_beside_what_stands_twice_is_told() -> None:
    """As InputError, like any other text in another encoding; the byte is not shown."""
    with pytest.raises(InputError, match="not UTF-8") as caught:
        read_one(APPOINTMENT[:-1] + b',"status":"c","comment":"Ju\xe5per"}', Origin("x.json"))
    assert (caught.value.code, "per" in str(caught.value)) == ("encoding", False)


def test_two_objects_that_differ_within_are_joined_within() -> None:
    """At any depth: what both have is kept of both."""
    one, other = (b'"meta":{"versionId":"%s","security":[{"code":"c%s"}]}' % (n, n) for n in (b"1", b"2"))
    met = b"," + one + b"," + other + b"}"
    joined, repeats = decoded(APPOINTMENT[:-1] + met)
    assert repeats
    assert joined["meta"] == {"versionId": ["1", "2"], "security": [{"code": "c1"}, {"code": "c2"}]}
    assert read_one(APPOINTMENT[:-1] + met, Origin("x.json")).label == "Appointment/a1"


def test_what_stands_twice_within_what_stands_twice_is_kept_too() -> None:
    """At any depth: the label in the first of two, beside another in the second."""
    told = '"meta":{"security":[{"code":"R"}],"versionId":"1"},"meta":{"security":[],"versionId":"2"}'
    view = one(f'{{"resourceType":"Patient","id":"p",{told}}}').view
    assert view.meta is not None and [label.code for label in view.meta.security] == ["R"]
