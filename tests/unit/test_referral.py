"""Who refers: the order's requester and nobody else (mapping, section 11)."""

from __future__ import annotations

from collections.abc import Callable

from fhir_bridge.mapping.recorder import Recorder
from tests.unit.marigold import Told, appointment, concept, order

NPI_SYSTEM = "http://hl7.org/fhir/sid/us-npi"


def test_who_refers_is_told_without_their_home(told: Callable[..., Told]) -> None:
    """Name with its title, the NPI that passes, the work address and number."""
    bea = {
        "resourceType": "Practitioner",
        "id": "bea",
        "identifier": [{"system": NPI_SYSTEM, "value": "1234567893"}],
        "name": [{"family": "Steady", "given": ["Bea"]}],
        "qualification": [{"code": concept("MD")}],
        "telecom": [
            {"system": "phone", "use": "home", "value": "212-555-0177"},
            {"system": "phone", "use": "work", "value": "212-555-0188"},
        ],
        "address": [
            {"use": use, "line": [line], "city": "Brooklyn", "state": "NY", "postalCode": "11201"}
            for use, line in (("home", "1 Own St"), ("work", "2 Work St"))
        ],
    }
    said = told(
        order(code=concept("Cardiology consultation"), requester={"reference": "Practitioner/bea"}), bea
    )
    assert said["has_referral"] is True
    assert said["referral"] == {
        "name": "Dr. Bea Steady",
        "npi": "1234567893",
        "specialty": None,
        "facility": None,
        "address": {
            "street_name": "2 Work St",
            "city": "Brooklyn",
            "state": "NY",
            "postal_code": "11201",
            "country_code": "US",
        },
        "phone_number": "+12125550188",
    }


def test_a_home_is_never_told_even_where_it_is_all_there_is(told: Callable[..., Told]) -> None:
    """Not as data and not as a sentence."""
    bea = {
        "resourceType": "Practitioner",
        "id": "bea",
        "name": [{"family": "Steady", "given": ["Bea"]}],
        "telecom": [{"system": "phone", "use": "home", "value": "212-555-0177"}],
        "address": [{"use": "home", "line": ["1 Own St"]}, {"line": ["3 Some St"]}],
    }
    said = told(order(requester={"reference": "Practitioner/bea"}), bea)
    assert said["referral"]["address"] is None
    assert said["referral"]["phone_number"] is None
    assert said["additional_context"] is None


def test_the_patient_who_asks_refers_nobody(told: Callable[..., Told]) -> None:
    """And a chain that is known complete without a referral says so."""
    asked = order(code=concept("Physical therapy"), requester={"reference": "Patient/marigold"})
    assert told(asked)["has_referral"] is None
    assert told(asked)["referral"] is None
    assert told(appointment(), chain_complete=True)["has_referral"] is False


def test_a_practice_at_home_is_no_address_to_tell(told: Callable[..., Told]) -> None:
    """Never a home address, whoever's record it stands in."""
    clinic = {
        "resourceType": "Organization",
        "id": "org",
        "name": "Steady Care",
        "telecom": [{"system": "phone", "use": "home", "value": "212-555-0177"}],
        "address": [
            {"use": "home", "line": ["1 Own St"], "city": "Brooklyn", "state": "NY", "postalCode": "11201"}
        ],
    }
    said = told(order(requester={"reference": "Organization/org"}), clinic)
    assert said["referral"] == dict.fromkeys(said["referral"]) | {"facility": "Steady Care"}
    assert said["additional_context"] is None


def test_an_incomplete_address_is_said_and_not_sent(told: Callable[..., Told]) -> None:
    """All five parts or none; what is known is a sentence of the context."""
    clinic = {
        "resourceType": "Organization",
        "id": "org",
        "name": "Steady Care",
        "address": [{"line": ["2 Work St"], "city": "Brooklyn"}],
    }
    said = told(order(requester={"reference": "Organization/org"}), clinic)
    assert said["referral"]["address"] is None
    assert said["additional_context"] == "Address of the referring practice: 2 Work St, Brooklyn."


def test_a_bare_reference_to_nobody_at_hand_is_no_known_requester(told: Callable[..., Told]) -> None:
    """It proves no referral, and is noted so that a person can bring who it is."""
    recorder = Recorder()
    asked = order(code=concept("Chest X-ray"), requester={"reference": "PractitionerRole/elsewhere"})
    said = told(asked, recorder=recorder)
    assert (said["has_referral"], said["referral"]) == (None, None)
    assert [(note.code, note.path) for note in recorder.notes] == [
        ("reference-unresolved", "ServiceRequest.requester")
    ]
