"""Codes that were met and that no map knows, as ConceptMaps to fill in (mapping, section 17)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fhir_bridge.fhir.datatypes import Coding
from fhir_bridge.mapping.terminology import Group, Missed, Row, Terminology

_Answer = TypeVar("_Answer")

MET = "Met in "
"""What the comment of a row that is not filled in yet begins with."""


@dataclass(frozen=True, slots=True)
class Listening(Terminology):
    """A terminology that remembers what it did not know."""

    counts: Counter[Missed] = field(default_factory=Counter, compare=False)
    displays: dict[Missed, str] = field(default_factory=dict, compare=False)
    _now: set[Missed] = field(default_factory=set, compare=False, repr=False)

    def begin(self) -> None:
        """Forgets what was missed so far."""
        self.counts.clear()
        self._now.clear()

    def next_trigger(self) -> None:
        """Counts what was missed since the last call of this, each code once: it was one trigger's."""
        for missed in self._now:
            self.counts[missed] += 1
        self._now.clear()

    def listened(self, ask: Callable[[], _Answer]) -> tuple[_Answer, frozenset[Missed]]:
        """See Terminology."""
        before = set(self._now)
        self._now.clear()
        answer = ask()
        missed = frozenset(self._now)
        self._now.update(before)
        return answer, missed

    def missed_again(self, missed: frozenset[Missed]) -> None:
        """See Terminology."""
        self._now.update(missed)

    def _find(self, map_name: str, coding: Coding) -> tuple[Group, Row] | None:
        found = Terminology._find(self, map_name, coding)
        if found is None and coding.code:
            missed = Missed(map_name, self.canonical(coding.system or ""), coding.code)
            self._now.add(missed)
            if coding.display:
                self.displays.setdefault(missed, coding.display)
        return found


def skeletons(counts: Mapping[Missed, int], displays: Mapping[Missed, str]) -> list[dict[str, Any]]:
    """A ConceptMap (R4) for each map, its codes the most frequent first, each mapped to nothing as yet.

    Filling in is to give `target` a code and a display, and `equivalence` another value than "unmatched". As
    they stand they load, and say nothing. Checked with fhir.resources.
    """
    from fhir.resources.R4B.conceptmap import ConceptMap

    maps = []
    for name in sorted({missed.map_name for missed in counts}):
        skeleton = _skeleton(name, counts, displays)
        ConceptMap.model_validate(skeleton)
        maps.append(skeleton)
    return maps


def _skeleton(name: str, counts: Mapping[Missed, int], displays: Mapping[Missed, str]) -> dict[str, Any]:
    groups: dict[str, list[dict[str, Any]]] = {}
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    for missed, count in ordered:
        if missed.map_name == name:
            groups.setdefault(missed.system, []).append(_element(missed, count, displays.get(missed)))
    return {
        "resourceType": "ConceptMap",
        "id": name,
        "name": "".join(part.title() for part in name.split("-")),
        "status": "draft",
        "group": [
            {**({"source": system} if system else {}), "element": elements}
            for system, elements in groups.items()
        ],
    }


def _element(missed: Missed, count: int, display: str | None) -> dict[str, Any]:
    times = "1 trigger" if count == 1 else f"{count} triggers"
    target = {"equivalence": "unmatched", "comment": f"{MET}{times}."}
    return {"code": missed.code, **({"display": display} if display else {}), "target": [target]}
