"""What the six full countries' layers say, in the words and codes that are written there."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
import pytest

from fhir_bridge.case.index import ResolutionRules
from fhir_bridge.fhir.datatypes import Address, Coding
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.mapping.addresses import address_country
from fhir_bridge.mapping.losses import loss_class
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.schedulable import order_class
from fhir_bridge.profiles.load import load_profile

FULL = ["US", "GB", "DE", "FR", "AU", "CA"]


@cache
def country(code: str) -> Profile:
    """The profile of a source there."""
    return load_profile(SourceFacts(jurisdiction=code))


def resource(**elements: Any) -> Resource[Any]:
    """A resource as the reader reads it."""
    return read(orjson.dumps(elements), "test.json").resources[0]


def class_of_loss(code: str, text: str) -> str | None:
    """Why nobody is called, where a lost appointment says `text`; None: somebody is."""
    lost = resource(resourceType="Appointment", status="cancelled", cancelationReason={"text": text})
    found = loss_class(lost, country(code))
    return found.reason if found else None


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        ("DE", "Patient verstorben", "patient-deceased"),
        ("DE", "Patientin ist umgezogen", "patient-moved"),
        ("DE", "Wird anderweitig behandelt", "treated-elsewhere"),
        ("DE", "Arzt gewechselt", "treated-elsewhere"),
        ("DE", "Irrtümlich angelegt", "booked-in-error"),
        ("DE", "Doppelbuchung", "booked-in-error"),
        ("DE", "Praxis ist umgezogen", None),
        ("DE", "Fehler im Gerät", None),
        ("DE", "Arzt erkrankt", None),
        ("DE", "Patient deceased", "patient-deceased"),
        ("FR", "Patiente décédée", "patient-deceased"),
        ("FR", "Le patient a déménagé", "patient-moved"),
        ("FR", "Suivie ailleurs", "treated-elsewhere"),
        ("FR", "Doublon", "booked-in-error"),
        ("FR", "Le cabinet a déménagé", None),
        ("FR", "Erreur technique", None),
        ("FR", "Remplacé par un autre médecin", None),
        ("CA", "Pris par erreur", "booked-in-error"),
        ("CA", "Moved away", "patient-moved"),
        ("GB", "Pt gone private", "treated-elsewhere"),
        ("GB", "Booked wrongly", "booked-in-error"),
        ("GB", "Doctor left the practice", None),
        ("AU", "Patient moved interstate", "patient-moved"),
        ("AU", "Doctor moved interstate", None),
        ("US", "Irrtümlich angelegt", None),
    ],
)
def test_reasons_of_loss_in_the_countrys_words(code: str, text: str, reason: str | None) -> None:
    """What says that nobody is to be called says so in the language of the country; English stays."""
    assert class_of_loss(code, text) == reason


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("DE", "MRT Schädel", True),
        ("DE", "Überweisung Kardiologie", True),
        ("DE", "Gastroskopie", True),
        ("DE", "Szintigraphie", True),
        ("DE", "Cholezystektomie", True),
        ("DE", "Krankengymnastik", True),
        ("DE", "Blutentnahme", False),
        ("DE", "Wiederholungsrezept", False),
        ("DE", "Rezept", None),
        ("DE", "Befund", None),
        ("FR", "IRM cérébrale", True),
        ("FR", "Coloscopie", True),
        ("FR", "Mammographie", True),
        ("FR", "Ordonnance de kinésithérapie", True),
        ("FR", "Prise de sang", False),
        ("FR", "Bilan", None),
        ("CA", "Échographie", True),
        ("CA", "Blood test", False),
        ("GB", "Physio", True),
        ("AU", "DEXA scan", True),
    ],
)
def test_orders_in_the_countrys_words(code: str, text: str, expected: bool | None) -> None:
    """Scheduled with the patient (True), not (False), or nothing tells (None)."""
    order = resource(resourceType="ServiceRequest", status="active", intent="order", code={"text": text})
    profile = country(code)
    found = order_class(order, profile)
    assert (found.scheduled(profile), found.unscheduled(profile)) == (expected is True, expected is False)


@pytest.mark.parametrize("code", FULL)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("United States of America", "US"), ("USA", "US"), ("U.S.A.", "US"), ("États-Unis", "US"),
        ("Vereinigte Staaten", "US"), ("UK", "GB"), ("Great Britain", "GB"), ("England", "GB"),
        ("Royaume-Uni", "GB"), ("Vereinigtes Königreich", "GB"), ("Deutschland", "DE"), ("Germany", "DE"),
        ("Allemagne", "DE"), ("DEU", "DE"), ("France", "FR"), ("Frankreich", "FR"), ("FRA", "FR"),
        ("Australia", "AU"), ("AUS", "AU"), ("Canada", "CA"), ("CAN", "CA"), ("Kanada", "CA"),
    ],
)  # fmt: skip
def test_every_country_knows_the_others_names(code: str, text: str, expected: str) -> None:
    """A patient may live across any border, and be written down in any of the languages."""
    assert address_country(Address(country=text), country(code)) == expected


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("GB", "Cymru", "GB"),
        ("GB", "United Kingdom of Great Britain and Northern Ireland", "GB"),
        ("DE", "Bundesrepublik Deutschland", "DE"),
        ("DE", "BRD", "DE"),
        ("FR", "République française", "FR"),
        ("AU", "Commonwealth of Australia", "AU"),
    ],
)
def test_a_countrys_own_names(code: str, text: str, expected: str) -> None:
    """Those that no list of names has."""
    assert address_country(Address(country=text), country(code)) == expected


NHS = "https://fhir.nhs.uk/CodeSystem/NHSDataModelAndDictionary"
R38 = "https://mos.esante.gouv.fr/NOS/TRE_R38-SpecialiteOrdinale/FHIR/TRE-R38-SpecialiteOrdinale"


@pytest.mark.parametrize(
    ("code", "system", "value", "word"),
    [
        ("GB", f"{NHS}-treatment-function", "330", "Dermatology"),
        ("GB", f"{NHS}-clinical-specialty", "600", "General practice"),
        ("FR", R38, "SM54", "General practice"),
        ("FR", R38, "SM47", None),
        ("DE", "http://ihe-d.de/CodeSystems/AerztlicheFachrichtungen", "AUGE", "Ophthalmology"),
        ("DE", "urn:oid:1.3.6.1.4.1.19376.3.276.1.5.4", "AUGE", "Ophthalmology"),
        ("DE", "http://ihe-d.de/CodeSystems/FachrichtungenAerztlich", "AUGE", "Ophthalmology"),
        ("DE", "http://fhir.de/CodeSystem/dkgev/Fachabteilungsschluessel", "0300", "Cardiology"),
        ("US", R38, "SM54", None),
        ("AU", "http://snomed.info/sct", "394579002", "Cardiology"),
        ("CA", "http://snomed.info/sct", "394579002", "Cardiology"),
        ("US", "http://nucc.org/provider-taxonomy", "207N00000X", "Dermatology"),
    ],
)
def test_national_specialties_have_words(code: str, system: str, value: str, word: str | None) -> None:
    """In their own country; the base's codes have theirs everywhere."""
    found = country(code).terms.word("specialty", Coding(system=system, code=value))
    assert (found.text if found else None) == word
    if found and code in ("GB", "FR", "DE"):
        assert found.layer == f"jurisdiction {code}"


@pytest.mark.parametrize("code", FULL)
def test_a_full_country_decides_what_base_leaves_open(code: str) -> None:
    """Region, hours, what a complete address is, and who is a patient by identifier, where there is such."""
    profile = country(code)
    layer = f"jurisdiction {code}"
    assert profile.layer_of("place.phone_region") == layer
    assert profile.layer_of("addresses.incomplete_address") == layer
    assert profile.layer_of("systems.patient") == layer
    assert (profile.addresses.incomplete_address == "reject") == (code in ("US", "AU", "CA"))
    assert bool(profile.zones.by_state) == (code in ("US", "AU", "CA"))


@pytest.mark.parametrize(
    ("code", "text"),
    [("DE", "Mutter"), ("FR", "père"), ("CA", "tutrice légale"), ("CA", "mother"), ("GB", "Mummy")],
)
def test_guardians_in_the_countrys_words(code: str, text: str) -> None:
    """Whole, in lower case."""
    assert text.casefold() in country(code).people.guardian_words


def test_a_pattern_is_made_once_for_a_layers_systems() -> None:
    """A patient's identifier is looked for by one pattern, and an alias leads to the listed name."""
    systems = country("GB").systems
    rules = ResolutionRules(patient_systems=frozenset(systems.patient), system_aliases=systems.aliases)
    assert rules.is_patient_system("http://fhir.nhs.net/Id/nhs-number")
    assert rules.is_patient_system("https://fhir.nhs.uk/Id/nhs-number")
    assert not rules.is_patient_system("https://fhir.nhs.uk/Id/ods-organization-code")
