"""Reading FHIR: a view against the same bytes in orjson, and against fhir.resources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from io import BytesIO
from time import process_time

import orjson
from fhir.resources.R4B import get_fhir_model_class

from benchmarks.generator import Export
from benchmarks.measure import Row, micro, side_by_side
from fhir_bridge.fhir import documents, reading
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.fhir.views import VIEWS

PATIENTS = 100
_ORIGIN = Origin("export.ndjson", 1)


def rows() -> Iterator[Row]:
    """Views of the types that the bridge reads, in the export's mix, and its NDJSON as `map` takes it."""
    lines = [orjson.dumps(resource) for resource in Export(PATIENTS).resources()]
    seen = [line for line in lines if reading.resource_type(line) in VIEWS]
    ours, theirs = side_by_side(lambda: _read(seen), lambda: _load(seen), 31, process_time)
    yield Row("reading: a view", "orjson.loads", ours / theirs, "<= 1.0", "0.5",
              micro(ours, len(seen)), micro(theirs, len(seen)))  # fmt: skip
    sample = seen[:: len(seen) // 300]
    ours, theirs = side_by_side(lambda: _read(sample), lambda: _check(sample), 15, process_time)
    yield Row("reading: a view (times as fast)", "fhir.resources R4B", theirs / ours, ">= 50", "100",
              micro(ours, len(sample)), micro(theirs, len(sample)))  # fmt: skip
    export = b"\n".join(lines)
    read = partial(documents.read, export, "export.ndjson")
    ours, theirs = side_by_side(read, lambda: _load(BytesIO(export)), 31, process_time)
    yield Row("reading: a line of NDJSON, every type", "orjson.loads", ours / theirs, "<= 1.0", "0.5",
              micro(ours, len(lines)), micro(theirs, len(lines)))  # fmt: skip
    ours, theirs = side_by_side(read, lambda: _keep(BytesIO(export)), 31, process_time)
    yield Row("reading: a line of NDJSON, every type", "orjson.loads, all kept", ours / theirs, "<= 1.0",
              "0.5", micro(ours, len(lines)), micro(theirs, len(lines)))  # fmt: skip


def _read(lines: list[bytes]) -> None:
    for line in lines:
        reading.read(line, _ORIGIN)


def _load(lines: Iterable[bytes]) -> None:
    for line in lines:
        orjson.loads(line)


def _keep(lines: Iterable[bytes]) -> list[object]:
    return [orjson.loads(line) for line in lines]


def _check(lines: list[bytes]) -> None:
    for line in lines:
        get_fhir_model_class(reading.resource_type(line) or "").model_validate_json(line)
