"""What a check against the standard changes in a decision: notes, and, where a site wants it, a Reject
(mapping, section 16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from msgspec.structs import replace

from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.mapping.decision import Decision, Lineage, Note, Reject, Source

Validation = Literal["off", "warn", "strict"]

REASON = "not-conformant"
PREFIX = "validation:"
"""Before the checker's name for what is wrong, in a note's code."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A resource and what does not conform in it: (FHIRPath, kind by the checker's name) each."""

    resource: Resource[View]
    issues: Sequence[tuple[str, str]]

    @property
    def notes(self) -> tuple[Note, ...]:
        """Each issue as a note, said once."""
        label = self.resource.label
        return tuple(dict.fromkeys(Note(f"{PREFIX}{kind}", label, path) for path, kind in self.issues))


def advised(decision: Decision, trigger: Checked, patient: Checked | None, *, strict: bool) -> Decision:
    """The decision with a note for each issue of the trigger and its patient.

    Where it is `strict`, a Call whose trigger does not conform becomes a Reject, so that a person looks; who
    is rightly not called stays so.
    """
    notes = tuple(chain.from_iterable(each.notes for each in (trigger, patient) if each is not None))
    decision = replace(decision, notes=(*decision.notes, *notes))
    if not (strict and trigger.issues and decision.kind == "call"):
        return decision
    paths = list(dict.fromkeys(path for path, _ in trigger.issues))
    sources = tuple(Source(trigger.resource.versioned_label, path) for path in paths)
    return Reject(
        decision.subject,
        reason=REASON,
        expression=paths[0],
        detail=", ".join(dict.fromkeys(kind for _, kind in trigger.issues)),
        notes=decision.notes,
        lineage=(Lineage("decision", sources, "validation"),),
    )
