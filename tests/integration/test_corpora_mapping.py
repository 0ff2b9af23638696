"""`fhir-bridge map` over every third-party file, alone and with its folder: each trigger is decided once, and
what would be sent keeps the contract and can be read aloud."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from fhir_bridge.cli.main import run
from fhir_bridge.fhir.documents import read
from fhir_bridge.fhir.views import TRIGGER_TYPES
from fhir_bridge.intake.files import Inputs
from fhir_bridge.mapping.decision import Call, Decision
from fhir_bridge.mapping.printed import decision_data, kind
from fhir_bridge.mapping.reasons import REASONS
from fhir_bridge.task_api.bodies import patient_body, task_body
from fhir_bridge.task_api.models import CreatePatientRequest, create_task_request

Json = dict[str, Any]

PROJECT = "123e4567-e89b-12d3-a456-426614174000"
PATIENT = "123e4567-e89b-12d3-a456-426614174001"
CLOCKS = [datetime(year, month, day, 15, tzinfo=UTC) for year, month, day in ((2012, 1, 1), (2019, 6, 1))]
PATIENT_SITE = {"max_age": "20000d", "reschedule_within": "20000d", "incomplete_address": "omit"}
"""A site to which nothing is too old."""

UNSPEAKABLE = re.compile(
    r"\s\s|^\s|\s$|\b(?:None|null|NaN|undefined)\b|\$\{|\{\{|\}\}|<[^<>]*>|X{4}|\bTBC\b|\\[nrt]|[\x00-\x1f\x7f]"
    r"|https?://|urn:|\(\)|\[\]|[,;:.] ?[,;]"
)
"""What no text that is read aloud may hold."""

SOMEBODY = {
    "resourceType": "Patient",
    "id": "somebody-made-up",
    "name": [{"family": "Sample", "given": ["Juniper"]}],
    "birthDate": "1960-01-01",
    "telecom": [{"system": "phone", "use": "mobile", "value": "+1 212 555 0123"}],
}
LIVE = {
    "Appointment": [{"status": status} for status in ("proposed", "waitlist", "cancelled", "noshow")],
    "ServiceRequest": [{"status": "active", "intent": "order"}],
}
"""What makes a trigger of any state one that may call."""


def trigger_labels(inputs: Inputs) -> set[str]:
    """What a plain look at the resources says the triggers are."""
    return {
        one.label
        for one in inputs.resources
        if one.view.resource_type in TRIGGER_TYPES and one.container is None
    }


def texts(data: object) -> Iterator[str]:
    """Every string in JSON data."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for inner in data.values() if isinstance(data, dict) else data:
            yield from texts(inner)


def codings(data: object) -> Iterator[Json]:
    """Every object with a code in JSON data."""
    if isinstance(data, dict):
        if isinstance(data.get("code"), str):
            yield data
        data = list(data.values())
    if isinstance(data, list):
        for inner in data:
            yield from codings(inner)


def bare_codes(inputs: Inputs) -> set[str]:
    """The codes of some resources that are nobody's word: neither a display nor a text among them."""
    codes: set[str] = set()
    words: set[str] = set()
    for resource in (*inputs.resources, *inputs.context):
        text = resource.raw.decode()
        for coding in codings(json.loads(text)):
            codes.add(coding["code"].casefold())
            words.add(str(coding.get("display")).casefold())
        words.update(found.casefold() for found in re.findall(r'"text"\s*:\s*"([^"]*)"', text))
    return {code for code in codes - words if len(code) > 1 and not (code.isalpha() and len(code) > 4)}


def said_pieces(call: Call) -> set[str]:
    """The pieces of what is said about the visit: whole fields and their parts."""
    data = call.task.task_data
    told = [call.task.task, data.speciality_preferences, data.reschedule_reason, data.additional_context]
    told += [text for visit in data.previous_visits or () for text in (visit.purpose, visit.outcome)]
    whole = {text for text in told if text}
    parts = {piece for text in whole for piece in re.split(r"[.,;:]\s*| for an? | for | with ", text)}
    return {piece.strip(" .").casefold() for piece in whole | parts}


def check(decision: Decision, codes: set[str], name: str) -> None:
    """A known reason of its own kind; or requests by the contract, in words, each with its lineage."""
    where = f"{name} {decision.subject.trigger}"
    if not isinstance(decision, Call):
        assert kind(decision) == REASONS[getattr(decision, "reason", "")].kind, where
        return
    task = json.loads(task_body(decision.task.to_json(), PROJECT, PATIENT))
    patient = json.loads(patient_body(decision.patient.to_json(), PROJECT))
    assert create_task_request(task).to_wire() == task == decision.task.to_wire(PROJECT, PATIENT), where
    assert CreatePatientRequest.model_validate(patient).to_wire() == patient, where
    for text in (*texts(task), *texts(patient)):
        assert text, where
        assert not UNSPEAKABLE.search(text), (where, UNSPEAKABLE.findall(text))
    assert not said_pieces(decision) & codes, where
    assert {"task", "phone_number", "decision"} <= {entry.field for entry in decision.lineage}, where


def show(counts: dict[str, Counter[str]]) -> None:
    """The decisions by source and reason, for people (`pytest -s`)."""
    print()
    for source, reasons in sorted(counts.items()):
        print(f"{source:24}", ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))


def test_every_trigger_has_one_decision_that_keeps_the_contract(mapped_corpora: Any) -> None:
    """At three clocks, and by the rules of two sites, in each file alone and in each folder read together."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for source, name, inputs in mapped_corpora.each():
        expected, codes = trigger_labels(inputs), bare_codes(inputs)
        for now in (mapped_corpora.today, *CLOCKS):
            for site in ({}, PATIENT_SITE):
                found = mapped_corpora.run(source, now, **site).decide(inputs)
                told = [decision.subject.trigger for decision in found]
                assert sorted(told) == sorted(expected), name
                for decision in found:
                    counts[source][mapped_corpora.verdict(decision)] += 1
                    check(decision, codes, name)
    show(counts)
    assert sum(reasons["call"] for reasons in counts.values()) > 20


def test_whatever_is_asked_for_can_be_read_aloud(mapped_corpora: Any) -> None:
    """Every trigger made live for somebody made up, an hour before the newest moment it names."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for source, inputs in mapped_corpora.together.items():
        codes = bare_codes(inputs)
        for resource in inputs.resources:
            if resource.view.resource_type not in TRIGGER_TYPES or resource.container is not None:
                continue
            for live in made_live(resource.raw):
                made = Inputs(live, context=[one for one in inputs.resources if not _is_trigger(one)])
                run_then = mapped_corpora.run(source, mapped_corpora.own_time(live[0]), **PATIENT_SITE)
                (decision,) = run_then.decide(made)
                counts[source][mapped_corpora.verdict(decision)] += 1
                check(decision, codes, f"{resource.origin}")
    show(counts)
    assert sum(reasons["call"] for reasons in counts.values()) > 100


def _is_trigger(resource: Any) -> bool:
    return resource.view.resource_type in TRIGGER_TYPES


def made_live(raw: bytes) -> Iterator[list[Any]]:
    """A trigger in each state that may call, with somebody made up for its patient."""
    told = json.loads(raw)
    somebody = {"reference": "Patient/somebody-made-up"}
    if told["resourceType"] == "Appointment":
        kept = [one for one in told.get("participant", []) if "Patient" not in json.dumps(one)]
        told["participant"] = [{"actor": somebody, "status": "accepted"}, *kept]
    else:
        told = {name: value for name, value in told.items() if name not in ("doNotPerform", "patient")}
        told["subject"] = somebody
    for change in LIVE.get(told["resourceType"], LIVE["ServiceRequest"]):
        entries = [{"resource": {**told, **change, "id": "live"}}, {"resource": SOMEBODY}]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        yield read(orjson.dumps(bundle), "live.json").resources


def test_every_patient_can_be_told_of(mapped_corpora: Any) -> None:
    """A made-up Appointment for each: names, numbers, visits and insurances of whom the gates let in."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    now = datetime(2025, 6, 1, 15, tzinfo=UTC)
    for source, name, inputs in mapped_corpora.each():
        patients = {one.label for one in inputs.resources if one.view.resource_type == "Patient"}
        lines = [json.dumps(_proposed(f"a{i}", label)) for i, label in enumerate(sorted(patients))]
        if not lines:
            continue
        context = [one for one in inputs.resources if not _is_trigger(one)]
        made = Inputs(read("\n".join(lines).encode(), "made-up.ndjson").resources, context=context)
        codes = bare_codes(inputs)
        found = mapped_corpora.run(source, now, **PATIENT_SITE).decide(made)
        assert len(found) == len(lines), name
        for decision in found:
            counts[source][mapped_corpora.verdict(decision)] += 1
            check(decision, codes, name)
    show(counts)
    assert sum(reasons["call"] for reasons in counts.values()) > 100


def _proposed(id_: str, patient: str) -> Json:
    return {
        "resourceType": "Appointment",
        "id": id_,
        "status": "proposed",
        "created": "2025-05-30",
        "participant": [{"actor": {"reference": patient}, "status": "accepted"}],
    }


def test_mapping_again_gives_the_same_bytes_and_leaves_the_input_alone(mapped_corpora: Any) -> None:
    """Same input, settings and clock, same bytes out; and not a byte that came in is touched."""
    for source, name, inputs in mapped_corpora.each():
        before = [bytes(bytearray(one.raw)) for one in inputs.resources]
        first, second = (_bytes(mapped_corpora.run(source, **PATIENT_SITE).decide(inputs)) for _ in "12")
        assert first == second, name
        assert [one.raw for one in inputs.resources] == before, name


def _bytes(decisions: Iterable[Decision]) -> list[bytes]:
    return [orjson.dumps(decision_data(decision)) for decision in decisions]


def test_the_command_line_prints_these_decisions(
    mapped_corpora: Any, corpora: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`map FOLDER --format decisions` for every folder: a line for each, none where there is no trigger."""
    monkeypatch.chdir(corpora)
    for source, inputs in mapped_corpora.together.items():
        arguments = ["--config", str(mapped_corpora.config), "map", source, "--source", source]
        code = run([*arguments, "--format", "decisions", "--now", mapped_corpora.today.isoformat()])
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert code in (0, 1), source
        assert printed == [decision_data(each) for each in mapped_corpora.run(source).decide(inputs)], source
