"""A made-up export in which everything is tied to everything: what a partition must not tear apart."""

from __future__ import annotations

import gzip
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from benchmarks.generator import Export

Json = dict[str, Any]
MRN = "urn:oid:2.16.840.1.113883.19.5"


class Tangle:
    """An export of so many patients, tied by chance; the same for the same seed."""

    def __init__(self, patients: int, seed: int, ties: int = 60) -> None:
        self.chance = random.Random(seed)
        self.resources = list(Export(patients, seed).resources())
        self.patients = patients
        self.extra: list[Json] = []
        kinds: list[Callable[[], None]] = [
            getattr(self, name) for name in dir(type(self)) if name.startswith("tie_")
        ]
        for _ in range(ties):
            self.chance.choice(kinds)()

    def lines(self) -> list[bytes]:
        """Every resource and Bundle as a line, in any order."""
        lines = [orjson.dumps(resource) for resource in (*self.resources, *self.extra)]
        self.chance.shuffle(lines)
        return lines

    def write(self, folder: Path) -> None:
        """Files of every form; the last line of none is ended, and some end in CR LF."""
        folder.mkdir()
        lines = self.lines()
        parts = [lines[number::5] for number in range(5)]
        (folder / "a.ndjson").write_bytes(b"\n".join(parts[0]))
        (folder / "b.ndjson").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(parts[1]))
        (folder / "c.ndjson.gz").write_bytes(gzip.compress(b"\n".join(parts[2])))
        entries = [{"resource": orjson.loads(line)} for line in parts[3]]
        (folder / "d.json").write_bytes(orjson.dumps({"resourceType": "Bundle", "entry": entries}))
        with zipfile.ZipFile(folder / "e.zip", "w") as archive:
            archive.writestr("anything", b"\n".join(parts[4]))

    def _any(self, kind: str) -> Json:
        return self.chance.choice([one for one in self.resources if one["resourceType"] == kind])

    def _patient(self) -> str:
        return f"Patient/p{self.chance.randrange(self.patients)}"

    def _appointment(self, **changes: Any) -> Json:
        return {**self._any("Appointment"), "id": f"x{len(self.extra)}", "status": "proposed", **changes}

    def _with_patient(self, actor: Json) -> Json:
        return self._appointment(participant=[{"actor": actor, "status": "accepted"}])

    def tie_merged_records(self) -> None:
        one, other = self._any("Patient"), self._any("Patient")
        one.setdefault("link", []).append(
            {"type": "replaced-by", "other": {"reference": f"Patient/{other['id']}"}}
        )
        one["active"] = False

    def tie_a_death(self) -> None:
        """Told by another record of the person alone: one that is linked, or one with the same number."""
        gone, other = self._any("Patient"), self._any("Patient")
        person = {**gone, "id": "c"}
        gone["deceasedBoolean"] = True
        type_ = self.chance.choice(["seealso", "refer", "replaces"])
        other.setdefault("link", []).append({"type": type_, "other": {"reference": f"Patient/{gone['id']}"}})
        self.extra.append({**self._with_patient({"reference": "#c"}), "contained": [person]})

    def tie_appointment_to_an_order(self) -> None:
        self._any("Appointment")["basedOn"] = [
            {"reference": f"ServiceRequest/{self._any('ServiceRequest')['id']}"}
        ]

    def tie_appointments_to_an_absent_order(self) -> None:
        for _ in range(3):
            self._any("Appointment")["basedOn"] = [{"reference": "ServiceRequest/elsewhere"}]
        self.extra.append(
            self._appointment(participant=[], basedOn=[{"reference": "ServiceRequest/elsewhere"}])
        )

    def tie_two_patients(self) -> None:
        self._any("Appointment")["participant"].append(
            {"actor": {"reference": self._patient()}, "status": "accepted"}
        )

    def tie_by_identifier(self) -> None:
        value = f"MRN{self.chance.randrange(self.patients):08d}"
        self.extra.append(
            self._with_patient({"type": "Patient", "identifier": {"system": MRN, "value": value}})
        )

    def tie_by_search(self) -> None:
        value = f"MRN{self.chance.randrange(self.patients):08d}"
        self.extra.append(self._with_patient({"reference": f"Patient?identifier={MRN}|{value}"}))

    def tie_by_bare_id(self) -> None:
        self.extra.append(self._with_patient({"reference": f"p{self.chance.randrange(self.patients)}"}))

    def tie_by_address(self) -> None:
        self.extra.append(self._with_patient({"reference": f"https://ehr.example/fhir/{self._patient()}"}))

    def tie_by_versioned_reference(self) -> None:
        self.extra.append(self._with_patient({"reference": f"{self._patient()}/_history/3"}))

    def tie_by_bare_text(self) -> None:
        self.extra.append(self._appointment(participant=[{"actor": self._patient()}]))

    def tie_by_misspelt_element(self) -> None:
        self.extra.append(
            self._appointment(participant=[{"Actor": {"Reference": self._patient()}, "status": "accepted"}])
        )

    def tie_by_misspelt_types(self) -> None:
        """In each kind of record that may keep somebody from being called: who is meant may have it so."""
        spelt, number = self._misspelt, len(self.extra)
        of_order = f"ServiceRequest/{self._any('ServiceRequest')['id']}"
        self._any("Patient").setdefault("link", []).append(
            {"type": self.chance.choice(["seealso", "replaces", "replaced-by"]),
             "other": {"reference": spelt(self._patient())}}
        )  # fmt: skip
        self.extra += [
            self._with_patient({"reference": spelt(self._patient())}),
            {**self._any("ServiceRequest"), "id": f"y{number}",
             "subject": {"reference": spelt(self._patient())}},
            {**self._any("Encounter"), "id": f"z{number}", "subject": {"reference": spelt(self._patient())}},
            {"resourceType": "Consent", "id": f"q{number}", "status": "active", "provision": {"type": "deny"},
             "patient": {"reference": spelt(self._patient())},
             "performer": [{"reference": self._patient()}]},
            self._appointment(
                status="booked", id=f"b{number}", basedOn=[{"reference": spelt(of_order)}],
                participant=[{"actor": {"reference": spelt(self._patient())}},
                             {"actor": {"reference": self.chance.choice(["Practitoner/x", "Room/p1"])}}]
            ),
        ]  # fmt: skip

    def _misspelt(self, text: str) -> str:
        """A reference's text with its type in another case, with a slip, or of another name."""
        kind, _, id_ = text.partition("/")
        spelt = [kind.upper(), kind.lower(), f" {kind} ", kind[:3] + kind[4:], f"{kind}s", "Client"]
        base = self.chance.choice(["", "", "https://ehr.example/fhir/"])
        return f"{base}{self.chance.choice(spelt)}/{id_}"

    def tie_by_slot(self) -> None:
        slot = {"resourceType": "Slot", "id": f"slot{self.chance.randrange(5)}", "status": "free",
                "start": "2026-12-01T15:00:00Z", "end": "2026-12-01T15:30:00Z",
                "schedule": {"reference": "Schedule/s"}}  # fmt: skip
        self.extra += [slot, self._appointment(slot=[{"reference": f"Slot/{slot['id']}"}], start=None)]

    def tie_by_order_number(self) -> None:
        number = [{"system": "urn:placer", "value": str(self.chance.randrange(4))}]
        self._any("ServiceRequest")["identifier"] = number
        self._any("Encounter")["identifier"] = number
        self.extra.append(self._appointment(basedOn=[{"identifier": number[0]}]))

    def tie_contained_patients(self) -> None:
        person = {**self._any("Patient"), "id": "c"}
        self.extra += [
            {**self._with_patient({"reference": "#c"}), "id": f"c{len(self.extra)}{n}", "contained": [person]}
            for n in range(2)
        ]

    def tie_a_contained_copy_without_a_number(self) -> None:
        gone = self._any("Patient")
        inner = {name: value for name, value in gone.items() if name != "identifier"}
        gone["deceasedBoolean"] = self.chance.random() < 0.5
        self.extra.append({**self._with_patient({"reference": f"#{gone['id']}"}), "contained": [inner]})

    def tie_one_id_to_two_contents(self) -> None:
        kind = self.chance.choice(["Appointment", "ServiceRequest", "Encounter"])
        twin = {**self._any(kind), "meta": {"versionId": "4"}}
        twin["subject" if kind != "Appointment" else "description"] = (
            {"reference": self._patient()} if kind != "Appointment" else "Another one"
        )
        self.extra.append(twin)

    def tie_nameless_orders(self) -> None:
        order = {**self._any("ServiceRequest"), "status": "active"}
        del order["id"]
        self.extra += [order, {**order, "subject": {"reference": self._patient()}}]

    def tie_evidence(self) -> None:
        order = {"reference": f"ServiceRequest/{self._any('ServiceRequest')['id']}"}
        number = len(self.extra)
        self.extra.append(
            {"resourceType": "DiagnosticReport", "id": f"r{number}", "basedOn": [order],
             "subject": {"reference": self._patient()}}
        )  # fmt: skip
        self.extra.append({"resourceType": "Specimen", "id": f"s{number}", "request": [order]})

    def tie_reasons_and_families(self) -> None:
        number = len(self.extra)
        self.extra += [
            {"resourceType": "Condition", "id": f"c{number}", "subject": {"reference": self._patient()},
             "code": {"text": "A sore knee"}},
            self._appointment(reasonReference=[{"reference": f"Condition/c{number}"}]),
            {"resourceType": "Coverage", "id": f"v{number}", "status": "active",
             "beneficiary": {"reference": self._patient()}, "subscriber": {"reference": self._patient()},
             "payor": [{"display": "Harbor Health"}]},
            {"resourceType": "RelatedPerson", "id": f"f{number}", "patient": {"reference": self._patient()},
             "relationship": [{"text": "mother"}], "telecom": [{"system": "phone", "value": "212-555-0147"}]},
            {"resourceType": "Consent", "id": f"k{number}", "status": "active", "scope": {"text": "x"},
             "patient": {"reference": f"https://other.example/{self._patient()}"},
             "provision": {"type": "deny"}},
        ]  # fmt: skip

    def tie_a_message(self) -> None:
        """A transaction whose URNs other messages use for something else."""
        person, order = {**self._any("Patient")}, {**self._any("ServiceRequest"), "status": "active"}
        doctor = {**self._any("Practitioner"), "id": f"m{len(self.extra)}"}
        nameless = self.chance.random() < 0.5
        for one in (person, order) if nameless else (order,):
            del one["id"]
        urns = ["urn:uuid:1", "urn:uuid:2", "urn:uuid:3"]
        self.chance.shuffle(urns)
        order["subject"], order["requester"] = {"reference": urns[0]}, {"reference": urns[1]}
        entries = [
            {"fullUrl": urn, "resource": one, "request": {"method": "POST", "url": one["resourceType"]}}
            for urn, one in zip(urns, (person, doctor, order), strict=True)
        ]
        self.extra.append({"resourceType": "Bundle", "type": "transaction", "entry": entries})

    def tie_a_history(self) -> None:
        gone = self._any("Appointment")
        at = self.chance.choice(["2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z", None])
        entry: Json = {"request": {"method": "DELETE", "url": f"Appointment/{gone['id']}"}}
        if at:
            entry["response"] = {"status": "204", "lastModified": at}
        self.extra.append({"resourceType": "Bundle", "type": "history", "entry": [entry]})

    def tie_the_chain(self) -> None:
        one, other = self._any("Appointment"), self._any("Appointment")
        one["extension"] = [
            {"url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-Appointment.replaces",
             "valueReference": {"reference": f"Appointment/{other['id']}"}}
        ]  # fmt: skip

    def tie_an_encounter(self) -> None:
        self._any("ServiceRequest")["encounter"] = {"reference": f"Encounter/{self._any('Encounter')['id']}"}
        self._any("Encounter")["appointment"] = [
            {"reference": f"Appointment/{self._any('Appointment')['id']}"}
        ]
