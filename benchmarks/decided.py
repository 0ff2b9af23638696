"""What the mapping and the ledger are measured with: the export's cases, decided by the US profile."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from zoneinfo import ZoneInfo

import orjson

from benchmarks.generator import NOW, Export
from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Trigger
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.fhir import reading
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.views import VIEWS, View
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Decision
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.profiles.load import load_profile

Decided = tuple[Trigger, Decision]


@cache
def us_profile() -> Profile:
    """The rules of an American source in New York."""
    return load_profile(SourceFacts(jurisdiction="US", zone=ZoneInfo("America/New_York")), None, {})


def resources_of(patients: int, seed: int = 1) -> list[Resource[View]]:
    """An export of so many patients, read; noise types left out as `map` leaves them out."""
    lines = (orjson.dumps(resource) for resource in Export(patients, seed).resources())
    return [
        reading.read(line, Origin("export.ndjson", number))
        for number, line in enumerate(lines, 1)
        if reading.resource_type(line) in VIEWS
    ]


def decided(
    resources: list[Resource[View]], seen: Callable[[Decision], None] = lambda decision: None
) -> list[Decided]:
    """From resources read to a decision for every trigger among them; `seen` is told of each at once."""
    at_hand = AtHand(resources)
    found = []
    for trigger in triggers(at_hand, resources):
        decision = decide(gather(at_hand, trigger, source="default"), us_profile(), NOW)
        seen(decision)
        found.append((trigger, decision))
    return found
