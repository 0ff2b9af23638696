"""Every trigger in the third-party files is decided, and every patient in them could be called or is not with
a reason."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.errors import InputError
from fhir_bridge.fhir.dates import parse
from fhir_bridge.fhir.documents import Document, read, read_file
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Appointment, ServiceRequest, View
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.reasons import REASONS
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.task_api.bodies import patient_body, task_body
from fhir_bridge.task_api.models import CreatePatientRequest, create_task_request

PROJECT = "123e4567-e89b-12d3-a456-426614174000"
JURISDICTIONS = {
    "ans-sas-fr": ("FR", "Europe/Paris"),
    "au-core": ("AU", "Australia/Sydney"),
    "au-fhir-test-data": ("AU", "Australia/Sydney"),
    "nhs-bars": ("GB", "Europe/London"),
    "nhs-pds": ("GB", "Europe/London"),
}
"""Folders of the corpora that are not American."""

AMERICAN = ("US", "America/New_York")
WITH_ADDRESS = 25
"""Fewer callable people than this in all the corpora would mean that something broke."""


@pytest.fixture(scope="module")
def sources(corpora: Path) -> dict[str, list[Document]]:
    """What each folder of the corpora holds."""
    found: dict[str, list[Document]] = defaultdict(list)
    for path in sorted(corpora.rglob("*json")):
        try:
            found[path.relative_to(corpora).parts[0]].append(read_file(path))
        except InputError:
            continue
    return found


def profile_for(source: str, **settings: str) -> Profile:
    """The profile a site in that country would run with."""
    jurisdiction, zone = JURISDICTIONS.get(source, AMERICAN)
    return load_profile(SourceFacts(source, jurisdiction, zone=ZoneInfo(zone)), None, settings)


def clocks(trigger: Resource[View]) -> Iterator[datetime]:
    """Today, and just before the newest moment the trigger names, when it may still have called."""
    yield datetime(2026, 11, 23, 15, tzinfo=UTC)
    view = trigger.view
    if isinstance(view, Appointment):
        texts = [view.created, view.start, *(period.start for period in view.requested_period)]
    else:
        assert isinstance(view, ServiceRequest)
        texts = [view.authored_on, view.date, view.occurrence_date_time]
    moments = [moment.instant(UTC) for text in texts if (moment := parse(text))]
    if moments:
        yield max(moments) - timedelta(hours=1)


def check(decision: Decision) -> str:
    """A known reason, or requests that keep the contract; gives what to count it under."""
    if not isinstance(decision, Call):
        reason = getattr(decision, "reason", "")
        assert reason in REASONS
        return f"{REASONS[reason].kind} {reason}"
    task = json.loads(task_body(decision.task.to_json(), PROJECT, PROJECT))
    assert create_task_request(task).to_wire() == task
    CreatePatientRequest.model_validate_json(patient_body(decision.patient.to_json(), PROJECT))
    assert decision.lineage
    return "call"


def printed(counts: dict[str, Counter[str]]) -> None:
    """The decisions by source and reason, for people."""
    for source, reasons in sorted(counts.items()):
        told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        print(f"{source:24} {told}")


def test_every_trigger_is_decided_at_any_time(sources: dict[str, list[Document]]) -> None:
    """Each file by itself, as `map FILE` reads it, at two clocks: no crash, and every request valid."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for source, documents in sources.items():
        profile = profile_for(source)
        for document in documents:
            at_hand = AtHand(document.resources)
            for trigger in triggers(at_hand, document.resources):
                for now in clocks(trigger):
                    counts[source][check(decide(gather(at_hand, trigger, source=source), profile, now))] += 1
    printed(counts)
    assert sum(sum(reasons.values()) for reasons in counts.values()) > 300


def test_with_a_whole_source_at_hand_some_are_called(sources: dict[str, list[Document]]) -> None:
    """Each folder together, as `--context` brings it, just before the newest moment each trigger names."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for source, documents in sources.items():
        resources = [resource for document in documents for resource in document.resources]
        profile, at_hand = profile_for(source, incomplete_address="omit"), AtHand(resources)
        for trigger in triggers(at_hand, resources):
            *_, now = clocks(trigger)
            counts[source][check(decide(gather(at_hand, trigger, source=source), profile, now))] += 1
    printed(counts)
    assert sum(reasons["call"] for reasons in counts.values()) >= 5


def test_every_patient_is_called_or_kept_out_with_a_reason(sources: dict[str, list[Document]]) -> None:
    """A made-up Appointment for each of them, their relatives and coverages at hand."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    now = datetime(2025, 6, 1, 15, tzinfo=UTC)
    for source, documents in sources.items():
        profile = profile_for(source, incomplete_address="omit")
        for document in documents:
            near = [
                one for one in document.resources if not isinstance(one.view, Appointment | ServiceRequest)
            ]
            for patient in near:
                if patient.view.resource_type == "Patient" and patient.view.id:
                    trigger = _appointment_for(patient.view.id)
                    case = gather(AtHand([trigger, *near]), trigger, source=source)  # type: ignore[arg-type]
                    counts[source][check(decide(case, profile, now))] += 1
    printed(counts)
    assert sum(reasons["call"] for reasons in counts.values()) >= WITH_ADDRESS


def _appointment_for(patient: str) -> Resource[View]:
    data = {
        "resourceType": "Appointment",
        "id": "made-up",
        "status": "proposed",
        "created": "2025-05-30",
        "participant": [{"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"}],
    }
    return read(json.dumps(data).encode(), "made-up.json").resources[0]
