"""Mapping: from resources read to a decision for each trigger, against parsing the trigger alone."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

import orjson
from fhir.resources.R4B import get_fhir_model_class

from benchmarks.decided import Decided, decided, resources_of
from benchmarks.generator import Export
from benchmarks.measure import Row, Work, growth, micro, seconds
from fhir_bridge.fhir import documents
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.mapping.decision import Decision

PATIENTS = 200
ROUNDS = 7


def rows() -> Iterator[Row]:
    """All triggers in the export's mix, then Skips and Calls alone.

    Every round maps other patients, dates and numbers: what was cached of one round helps the next no more
    than one patient's data helps with the next patient's.
    """
    decided(resources_of(20, seed=0))
    rounds = [_Round(seed) for seed in range(1, ROUNDS + 1)]
    middle = sorted(rounds, key=lambda one: one.ours / one.theirs)[ROUNDS // 2]
    yield _row("mapping: a case to a decision", middle.ours, middle.theirs)
    for kind in ("Skip", "Call"):
        yield _row(f"mapping: a case that ends in a {kind}", middle.by_kind[kind], middle.theirs)
    yield from growth("reading and mapping", _work_of)


def _row(path: str, ours: float, theirs: float) -> Row:
    return Row(
        path,
        "fhir.resources of the trigger",
        ours / theirs,
        "<= 1.0",
        "0.3",
        micro(ours, 1),
        micro(theirs, 1),
    )


class _Round:
    """Seconds for a case: ours (index of what is at hand included), theirs, and ours by kind of decision."""

    def __init__(self, seed: int) -> None:
        resources = resources_of(PATIENTS, seed)
        found: list[Decided] = []
        self._times: dict[str, list[float]] = defaultdict(list)
        ours = seconds(lambda: found.extend(self._decided(resources)))
        self.ours = ours / len(found)
        self.theirs = _parse([trigger for trigger, _ in found[::3]])
        self.by_kind = {kind: statistics.fmean(times) for kind, times in self._times.items()}

    def _decided(self, resources: list[Resource[View]]) -> list[Decided]:
        """The first decision is nobody's: it waits until all that is at hand has been indexed."""
        last = 0.0

        def seen(decision: Decision) -> None:
            nonlocal last
            now = time.perf_counter()
            if last:
                self._times[type(decision).__name__].append(now - last)
            last = time.perf_counter()

        return decided(resources, seen)


def _parse(triggers: Sequence[Resource[View]]) -> float:
    """Seconds for one by fhir.resources."""
    models = [(get_fhir_model_class(one.view.resource_type), one.raw) for one in triggers]
    return seconds(lambda: [model.model_validate_json(raw) for model, raw in models]) / len(models)


def _work_of(size: int) -> Work:
    """Reading and mapping the NDJSON of so many times 20 patients."""
    export = b"\n".join(orjson.dumps(resource) for resource in Export(20 * size, seed=size).resources())
    return lambda: decided(documents.read(export, "export.ndjson").resources)
