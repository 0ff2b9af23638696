"""Whatever a record holds and whatever a site writes: no error, no change of the input, no broken request."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.fhir.documents import read
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Reject
from fhir_bridge.mapping.overrides import fields
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.profiles.load import load_profile
from fhir_bridge.task_api.models import PatientDraft, TaskDraft

Json = dict[str, Any]

EXPRESSIONS = (
    "description",
    "%patient.name.given",
    "%patient.name.first().given.first() & ' ' & %patient.gender",
    "%patient.telecom.where(rank > 1).value.first().upper()",
    "extension('urn:x').value",
    "%patient.extension('urn:x').value.toString()",
    "%encounters.where(status = 'finished').period.start.first().substring(0, 10)",
    "%order.code.text | description",
    "participant.actor.display.first().replace('a', '')",
    "start.toDate() + 1 day",
    "minutesDuration * 2 + priority",
    "%patient.birthDate + 18 years <= today()",
    "%patient.deceased or %patient.active.not()",
    "iif(%patient.multipleBirth > 1, '+12125550199', {})",
    "descendants().where($this = 'x').first()",
    "'' & %guardian.name.family.first()",
    "%requester.ofType(Organization).name",
)

values = some.recursive(
    some.none() | some.booleans() | some.integers(-9, 9) | some.floats(-2, 2) | some.sampled_from(
        ["x", "", "finished", "2026-11-23", "2026-11-23T10:00:00Z", "urn:x", "XXXX", "<b>a</b>", "true"]
    ),
    lambda inner: some.lists(inner, max_size=3)
    | some.dictionaries(some.sampled_from(["url", "valueString", "given", "text", "start", "value"]), inner),
    max_leaves=6,
)  # fmt: skip
ODD_NAMES = ["description", "extension", "start", "minutesDuration", "priority", "name", "telecom",
             "birthDate", "gender", "active", "multipleBirthInteger", "participant", "status"]  # fmt: skip


@some.composite
def records(draw: some.DrawFn) -> list[Json]:
    """Marigold, her appointment, an encounter, with some elements that are anything at all."""
    whole: list[Json] = [
        {
            "resourceType": "Appointment", "id": "a1", "status": "proposed", "created": "2026-11-20",
            "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
        },
        {
            "resourceType": "Patient", "id": "p1", "name": [{"family": "Example", "given": ["Marigold"]}],
            "telecom": [{"system": "phone", "value": "(646) 555-0101"}], "birthDate": "1985-04-12",
            "address": [{"line": ["1 A St"], "city": "Springfield", "state": "NY", "postalCode": "12345"}],
        },
        {
            "resourceType": "Encounter", "id": "e1", "status": "finished",
            "subject": {"reference": "Patient/p1"},
        },
    ]  # fmt: skip
    for resource in whole:
        resource.update(draw(some.dictionaries(some.sampled_from(ODD_NAMES), values, max_size=2)))
    return whole


@some.composite
def layers(draw: some.DrawFn) -> str:
    """A site's overrides and gates, drawn from expressions that suit their fields and that do not."""
    chosen = some.sampled_from(EXPRESSIONS)
    overrides = draw(some.dictionaries(some.sampled_from(fields()), chosen, max_size=4))
    gates = draw(some.dictionaries(some.sampled_from(["a", "b"]), chosen, max_size=1))
    return json.dumps({"overrides": overrides, "gates": {draw(some.sampled_from(["skip", "reject"])): gates}})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a layer is written; JSON is YAML."""
    return tmp_path_factory.mktemp("site") / "site.yaml"


def case_of(resources: list[Json]) -> tuple[Case, list[bytes]] | None:
    """The case of the appointment and the bytes of all; None where what was drawn is no trigger any more."""
    entries = [{"resource": resource} for resource in resources]
    document = read(
        json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode(), "t"
    )
    at_hand = AtHand(document.resources)
    found = triggers(at_hand, document.resources)
    return (gather(at_hand, found[0], source="s"), [r.raw for r in document.resources]) if found else None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(resources=records(), layer=layers())
def test_rules_of_a_site_never_raise_and_change_nothing_but_their_fields(
    resources: list[Json], layer: str, file: Path, now: datetime, profile_of: Callable[..., Profile]
) -> None:
    """The decision is the same twice, the input is as it was, a request is one the task API takes, and who is
    not called without the rules is not called with them."""
    file.write_text(layer, encoding="utf-8")
    profile = load_profile(SourceFacts(), file)
    made = case_of(resources)
    if made is None:
        return
    case, before = made
    plain = decide(case, load_profile(SourceFacts()), now)
    decision = decide(case, profile, now)
    assert decide(case, profile, now) == decision
    assert [resource.raw for resource in (case.trigger,)] == before[:1]
    assert decide(case, load_profile(SourceFacts()), now) == plain
    if isinstance(decision, Call):
        assert isinstance(plain, Call)
        assert decision.task.phone_number == plain.task.phone_number
        assert TaskDraft.from_wire(decision.task.to_wire()) == decision.task
        assert PatientDraft.from_wire(decision.patient.to_wire()) == decision.patient
        taken = {entry.field for entry in decision.lineage if entry.rule == "override"}
        failed = {
            note.path.removeprefix("overrides.") for note in decision.notes if note.code == "override-failed"
        }
        assert taken | failed <= set(json.loads(layer)["overrides"])
        assert not taken & failed
    elif isinstance(plain, Call):
        assert isinstance(decision, Reject) or (decision.reason or "").startswith("site:")  # type: ignore[union-attr]
