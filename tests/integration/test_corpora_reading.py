"""Every third-party file is read, and every trigger in it gathered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.case.identity import stable_name
from fhir_bridge.errors import InputError
from fhir_bridge.fhir.documents import Document, read_file

PROPERTIES = [name for name, value in vars(Case).items() if not name.startswith("_") and not callable(value)]


@pytest.fixture(scope="module")
def files(corpora: Path) -> list[Path]:
    """All FHIR files there are."""
    return sorted(path for path in corpora.rglob("*json") if path.is_file())


@pytest.fixture(scope="module")
def documents(files: list[Path]) -> dict[Path, Document | InputError]:
    """What reading each of them gave."""
    found: dict[Path, Document | InputError] = {}
    for path in files:
        try:
            found[path] = read_file(path)
        except InputError as error:
            found[path] = error
    return found


def test_every_file_is_read_or_says_why_not(documents: dict[Path, Document | InputError]) -> None:
    """No crash; and of what is FHIR, nothing is left unread without a problem that names its place."""
    assert documents
    kinds: Counter[str] = Counter()
    for path, found in documents.items():
        if isinstance(found, InputError):
            kinds[f"refused: {found.code}"] += 1
            assert str(path) in str(found)
            continue
        kinds.update(resource.view.resource_type for resource in found.resources)
        kinds.update(found.others)
        kinds["problems"] += len(found.problems)
        kinds.update(f"note: {note}" for resource in found.resources for note in resource.notes)
    print("\n" + "\n".join(f"{count:6} {kind}" for kind, count in kinds.most_common()))
    assert sum(count for kind, count in kinds.items() if kind.startswith("refused")) <= len(documents) // 100
    assert kinds["note: element-dropped"] == 0


def test_no_resource_vanishes(documents: dict[Path, Document | InputError]) -> None:
    """What a plain walk through the JSON finds was read or counted, but for suggestions and outcomes."""
    for path, found in documents.items():
        if isinstance(found, Document):
            lines = path.read_text("utf-8-sig").splitlines() if path.suffix == ".ndjson" else None
            values = map(json.loads, filter(str.strip, lines)) if lines else [json.loads(path.read_bytes())]
            there = Counter(name for value in values for name in _types(value))
            read = Counter(resource.view.resource_type for resource in found.resources) + found.others
            assert there == read, path


def _types(value: object) -> Iterator[str]:
    """The type of every resource in some JSON, not looking into a resource."""
    if isinstance(value, list):
        for item in value:
            yield from _types(item)
    elif isinstance(value, dict):
        name = value.get("resourceType")
        if isinstance(name, str) and name.isalpha() and name not in {"Bundle", "Parameters"}:
            yield name
            return
        for member, inner in value.items():
            if member not in {"cards", "suggestions", "outcome"}:
                yield from _types(inner)


def test_every_trigger_is_gathered(documents: dict[Path, Document | InputError]) -> None:
    """Every property of every case can be asked for, and every chain knows its trigger."""
    kinds: Counter[str] = Counter()
    for found in documents.values():
        if isinstance(found, InputError):
            continue
        at_hand = AtHand(found.resources)
        for trigger in triggers(at_hand, found.resources):
            case = gather(at_hand, trigger, source="corpora")
            for name in PROPERTIES:
                getattr(case, name)
            assert stable_name(trigger) in case.chain.members
            assert case.chain.root
            kinds["patient at hand" if case.patient else "named" if case.patient_reference else "none"] += 1
    print(f"\n{dict(kinds)}")
    assert kinds["patient at hand"] > 0
