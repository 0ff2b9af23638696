"""A made-up EHR export of any size, the same bytes for the same seed.

Per 1,000 patients: 10,000 Encounters, 3,000 Appointments (one in ten needs a call), 2,000 ServiceRequests
(a fifth active referrals), 20 Practitioners with roles, 5 Organizations and Locations, and as many
Observations as Encounters, which are noise to the bridge. Resources are 1 to 2 kB, with narrative.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
"""The instant the export is made for: a Monday, 10:00 in New York."""

Json = dict[str, Any]

GIVEN = (
    "Ada",
    "Ben",
    "Cleo",
    "Dov",
    "Esme",
    "Finn",
    "Gita",
    "Hugo",
    "Iris",
    "Jon",
    "Kaya",
    "Liam",
    "Mona",
    "Nils",
)
FAMILY = (
    "Alder",
    "Birch",
    "Cedar",
    "Dogwood",
    "Elm",
    "Fir",
    "Ginkgo",
    "Hazel",
    "Ivy",
    "Juniper",
    "Larch",
    "Maple",
)
STATES = (
    ("Boston", "MA", "02101"),
    ("New York", "NY", "10001"),
    ("Albany", "NY", "12201"),
    ("Newark", "NJ", "07101"),
)
SPECIALTIES = (("394579002", "Cardiology"), ("394583002", "Endocrinology"), ("394594003", "Ophthalmology"))
SERVICES = (("124", "General Practice"), ("57", "Immunization"), ("165", "Cardiology"))
REASONS = (("38341003", "Hypertension"), ("44054006", "Type 2 diabetes"), ("195967001", "Asthma"))
AREAS = tuple(area for first, end in ((201, 211), (212, 221), (223, 230), (301, 311), (312, 322), (401, 411))
              for area in range(first, end))  # fmt: skip
"""Of the US: with 555-0100 to 555-0199, which are nobody's, 5,600 numbers, and others for every seed."""
US_NPI = "http://hl7.org/fhir/sid/us-npi"
SNOMED = "http://snomed.info/sct"
SERVICE_TYPE = "http://terminology.hl7.org/CodeSystem/service-type"


def npi(number: int) -> str:
    """A made-up NPI with a right check digit (Luhn over 80840 and the number)."""
    body = f"1{number:08d}"
    total = 24
    for place, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return f"{body}{-total % 10}"


def narrative(chance: random.Random, words: int) -> Json:
    """Generated narrative, which every reader must skip."""
    text = " ".join(chance.choice(FAMILY).lower() for _ in range(words))
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{text}</p></div>'}


def meta(chance: random.Random, at: datetime) -> Json:
    """A version and a profile."""
    return {
        "versionId": str(chance.randint(1, 9)),
        "lastUpdated": at.isoformat().replace("+00:00", "Z"),
        "profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-generic"],
    }


def concept(system: str, pair: tuple[str, str]) -> Json:
    """A CodeableConcept of one coding."""
    return {"coding": [{"system": system, "code": pair[0], "display": pair[1]}], "text": pair[1]}


class Export:
    """The export of `patients` patients. `resources()` gives every resource, in the order of the files."""

    def __init__(self, patients: int, seed: int = 1) -> None:
        self.patients = patients
        self.seed = seed
        self.practitioners = max(1, patients * 20 // 1000)
        self.sites = max(1, patients * 5 // 1000)

    def resources(self) -> Iterator[Json]:
        """Every resource as JSON data, the directory first, then patient by patient in each type."""
        chance = random.Random(self.seed)
        for number in range(self.sites):
            yield from self._site(chance, number)
        for number in range(self.practitioners):
            yield from self._practitioner(chance, number)
        for number in range(self.patients):
            yield self._patient(chance, number)
        for number in range(self.patients * 10):
            yield self._encounter(chance, number)
            yield self._observation(chance, number)
        for number in range(self.patients * 3):
            yield self._appointment(chance, number)
        for number in range(self.patients * 2):
            yield self._service_request(chance, number)

    def write(self, folder: Path) -> int:
        """Writes one NDJSON file for each type into `folder` and gives the bytes written."""
        folder.mkdir(parents=True, exist_ok=True)
        files: dict[str, Any] = {}
        written = 0
        try:
            for resource in self.resources():
                kind = resource["resourceType"]
                if kind not in files:
                    files[kind] = (folder / f"{kind}.ndjson").open("wb")
                written += files[kind].write(orjson.dumps(resource) + b"\n")
        finally:
            for file in files.values():
                file.close()
        return written

    def _site(self, chance: random.Random, number: int) -> Iterator[Json]:
        city, state, postal = STATES[number % len(STATES)]
        address = {
            "line": [f"{number + 1} Harbor Street"],
            "city": city,
            "state": state,
            "postalCode": postal,
            "country": "US",
        }
        phone = {"system": "phone", "value": f"(212) 555-01{number % 100:02d}", "use": "work"}
        yield {
            "resourceType": "Organization",
            "id": f"o{number}",
            "meta": meta(chance, NOW),
            "text": narrative(chance, 20),
            "active": True,
            "name": f"Harbor Clinic {number}",
            "identifier": [{"system": US_NPI, "value": npi(90000 + number)}],
            "telecom": [phone],
            "address": [address],
        }
        yield {
            "resourceType": "Location",
            "id": f"l{number}",
            "meta": meta(chance, NOW),
            "status": "active",
            "text": narrative(chance, 20),
            "name": f"Harbor Clinic {number}, first floor",
            "telecom": [phone],
            "address": address,
            "managingOrganization": {"reference": f"Organization/o{number}"},
        }

    def _practitioner(self, chance: random.Random, number: int) -> Iterator[Json]:
        yield {
            "resourceType": "Practitioner",
            "id": f"d{number}",
            "meta": meta(chance, NOW),
            "text": narrative(chance, 30),
            "active": True,
            "identifier": [{"system": US_NPI, "value": npi(number)}],
            "name": [
                {
                    "use": "official",
                    "family": FAMILY[number % 12],
                    "given": [GIVEN[number % 14]],
                    "prefix": ["Dr."],
                }
            ],
        }
        yield {
            "resourceType": "PractitionerRole",
            "id": f"r{number}",
            "meta": meta(chance, NOW),
            "active": True,
            "text": narrative(chance, 30),
            "practitioner": {"reference": f"Practitioner/d{number}"},
            "organization": {"reference": f"Organization/o{number % self.sites}"},
            "location": [{"reference": f"Location/l{number % self.sites}"}],
            "specialty": [concept(SNOMED, SPECIALTIES[number % 3])],
        }

    def _patient(self, chance: random.Random, number: int) -> Json:
        city, state, postal = STATES[number % len(STATES)]
        return {
            "resourceType": "Patient", "id": f"p{number}", "meta": meta(chance, NOW),
            "text": narrative(chance, 60),
            "extension": [{"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex",
                           "valueCode": "F"}],
            "identifier": [{"system": "urn:oid:2.16.840.1.113883.19.5", "value": f"MRN{number:08d}"}],
            "active": True, "gender": "female",
            "birthDate": f"{chance.randint(1930, 2000)}-03-1{number % 10}",
            "name": [{"use": "official", "family": FAMILY[number % 12], "given": [GIVEN[number % 14], "Q."]}],
            "telecom": [{"system": "phone", "use": "mobile",
                         "value": f"({self._area(number)}) 555-01{number % 100:02d}"},
                        {"system": "email", "value": f"p{number}@example.org"}],
            "address": [{"use": "home", "line": [f"{number} Pier Road"], "city": city, "state": state,
                         "postalCode": postal, "country": "US"}],
            "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "en"}]}}],
            "generalPractitioner": [{"reference": f"Practitioner/d{number % self.practitioners}"}],
        }  # fmt: skip

    def _area(self, number: int) -> int:
        return AREAS[(number // 100 + self.seed * 7) % len(AREAS)]

    def _encounter(self, chance: random.Random, number: int) -> Json:
        start = NOW - timedelta(days=chance.randint(1, 1500), minutes=chance.randint(0, 600))
        return {
            "resourceType": "Encounter", "id": f"e{number}", "meta": meta(chance, start),
            "text": narrative(chance, 60), "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
            "type": [concept(SNOMED, ("185349003", "Encounter for check up"))],
            "subject": {"reference": f"Patient/p{number % self.patients}"},
            "participant": [{"individual": {"reference": f"Practitioner/d{number % self.practitioners}"}}],
            "period": {"start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat()},
            "reasonCode": [concept(SNOMED, chance.choice(REASONS))],
            "serviceProvider": {"reference": f"Organization/o{number % self.sites}"},
        }  # fmt: skip

    def _observation(self, chance: random.Random, number: int) -> Json:
        return {
            "resourceType": "Observation", "id": f"b{number}", "meta": meta(chance, NOW),
            "text": narrative(chance, 80), "status": "final",
            "code": concept("http://loinc.org", ("8867-4", "Pulse")),
            "subject": {"reference": f"Patient/p{number % self.patients}"},
            "encounter": {"reference": f"Encounter/e{number}"},
            "valueQuantity": {"value": chance.randint(50, 120), "unit": "/min"},
        }  # fmt: skip

    def _appointment(self, chance: random.Random, number: int) -> Json:
        status = self._appointment_status(number)
        days = chance.randint(1, 20) * (1 if status in ("booked", "proposed") else -1)
        if status == "fulfilled":
            days -= 30
        start = (NOW + timedelta(days=days)).replace(hour=chance.randint(14, 20), minute=0)
        resource: Json = {
            "resourceType": "Appointment", "id": f"a{number}", "meta": meta(chance, NOW - timedelta(days=1)),
            "text": narrative(chance, 60), "status": status,
            "serviceType": [concept(SERVICE_TYPE, chance.choice(SERVICES))],
            "created": (start - timedelta(days=40)).date().isoformat(),
            "start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat(),
            "comment": "Please bring the list of your medicines and your insurance card to the visit.",
            "participant": [
                {"actor": {"reference": f"Patient/p{number % self.patients}"}, "status": "accepted"},
                {"actor": {"reference": f"Practitioner/d{number % self.practitioners}"},
                 "status": "accepted"},
                {"actor": {"reference": f"Location/l{number % self.sites}"}, "status": "accepted"},
            ],
        }  # fmt: skip
        if status == "cancelled":
            system = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"
            resource["cancelationReason"] = concept(system, ("pat", "Patient"))
        return resource

    @staticmethod
    def _appointment_status(number: int) -> str:
        place = number % 30
        if place < 3:
            return ("proposed", "cancelled", "noshow")[place]
        return "booked" if place < 10 else "fulfilled"

    def _service_request(self, chance: random.Random, number: int) -> Json:
        referral = number % 5 == 0
        category = ("3457005", "Patient referral") if referral else ("108252007", "Laboratory procedure")
        code = (
            ("183519002", "Referral to cardiology service")
            if referral
            else ("26604007", "Complete blood count")
        )
        return {
            "resourceType": "ServiceRequest", "id": f"s{number}",
            "meta": meta(chance, NOW - timedelta(days=2)),
            "text": narrative(chance, 60), "status": "active" if referral else "completed", "intent": "order",
            "category": [concept(SNOMED, category)], "code": concept(SNOMED, code), "priority": "routine",
            "subject": {"reference": f"Patient/p{number % self.patients}"},
            "authoredOn": (NOW - timedelta(days=chance.randint(1, 90))).isoformat(),
            "requester": {"reference": f"PractitionerRole/r{number % self.practitioners}"},
            "reasonCode": [concept(SNOMED, chance.choice(REASONS))],
            "occurrencePeriod": {"start": (NOW + timedelta(days=3)).date().isoformat(),
                                 "end": (NOW + timedelta(days=30)).date().isoformat()},
        }  # fmt: skip
