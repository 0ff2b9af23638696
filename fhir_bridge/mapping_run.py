"""One call that maps: a decision for every trigger of what was read, and what the ledger takes in of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case
from fhir_bridge.case.editions import superseded
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.case.index import ResolutionRules
from fhir_bridge.case.people import person_records
from fhir_bridge.case.unread import unread_of
from fhir_bridge.case.wanted import Wanted
from fhir_bridge.fhir import dates
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import TRIGGER_TYPES, View
from fhir_bridge.intake.files import Inputs, read_inputs
from fhir_bridge.mapping.conformance import Checked, Validation, advised
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import DELETED, Decision, Skip, Subject
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.statements import Statement, statements

if TYPE_CHECKING:
    # `map` and `explain` start without SQLAlchemy (performance).
    from fhir_bridge.ledger.records import Arrival, Heard


@dataclass(frozen=True, slots=True)
class MappingRun:
    """One call of a command that maps: whose rules, at which instant (aware UTC).

    `brief`: whether decisions are without lineage, intent and words, which who only counts them needs not.
    """

    profile: Profile
    now: datetime
    project_id: str | None = None
    validation: Validation = "off"
    brief: bool = False

    def read(
        self,
        files: Sequence[str],
        context: Sequence[Path] = (),
        seen: Callable[[str], None] = lambda name: None,
    ) -> Inputs:
        """Reads the FILEs and their context (intake, section 3)."""
        return read_inputs(files, context, seen=seen)

    def decide(self, inputs: Inputs, blocked: Blocked = NOBODY_BLOCKED) -> list[Decision]:
        """A decision for every trigger of the FILEs, in their order; context only informs.

        `blocked` is the site's do-not-call list.
        """
        return list(self.decisions(inputs, blocked))

    def decisions(self, inputs: Inputs, blocked: Blocked = NOBODY_BLOCKED) -> Iterator[Decision]:
        """The same one by one, each decided when it is asked for."""
        return (decision for _, decision in self.over(inputs, self.at_hand(inputs), blocked))

    def arrivals(self, inputs: Inputs, blocked: Blocked = NOBODY_BLOCKED) -> list[Arrival]:
        """The same decisions as the ledger takes them in, each with its trigger's bytes; and a Skip for every
        trigger that a history says is gone, for it may be waiting there to be called."""
        return self.taken(inputs, blocked)[0]

    def taken(self, inputs: Inputs, blocked: Blocked = NOBODY_BLOCKED) -> tuple[list[Arrival], list[Heard]]:
        """What the ledger takes in: these arrivals, and what the records at hand say of whole persons."""
        from fhir_bridge.ledger.records import Arrival, Heard

        source, at_hand = self.profile.source.name, self.at_hand(inputs)
        arrivals = [
            *(
                Arrival(source, named(decision), case.trigger.view.resource_type, case.trigger.raw)
                for case, decision in self.over(inputs, at_hand, blocked)
            ),
            *(
                Arrival(source, gone, gone.subject.trigger.partition("/")[0])
                for gone in skips_of(gone_in(inputs))
            ),
        ]
        said = statements(person_records(at_hand), self.profile, self.now)
        said += people_gone(gone_in(inputs), self.now)
        return arrivals, [Heard(source, statement) for statement in said]

    def at_hand(self, inputs: Inputs, wanted: Wanted | None = None) -> AtHand:
        """All that was read, to be resolved; `wanted` is told what is asked for and is not there."""
        resources = [*inputs.resources, *inputs.context]
        rules, unread = resolution_rules(self.profile), unread_of(inputs.problems)
        return AtHand(resources, rules, wanted=wanted, unread=unread)

    def cases(self, inputs: Inputs, at_hand: AtHand) -> Iterator[Case]:
        """The case of every trigger of the FILEs, in their order."""
        histories, chains, unanswered = inputs.whole_histories, inputs.whole_chains, inputs.unanswered
        for trigger in triggers(at_hand, inputs.resources):
            patient = at_hand.patients.of(trigger) if histories else None
            yield gather(
                at_hand,
                trigger,
                source=self.profile.source.name,
                history_complete=patient is not None and patient.identity in histories,
                chain_complete=bool(chains) and trigger.label in chains,
                unanswered=unanswered.get(trigger.label, ()) if unanswered else (),
            )

    def over(
        self, inputs: Inputs, at_hand: AtHand, blocked: Blocked = NOBODY_BLOCKED
    ) -> Iterator[tuple[Case, Decision]]:
        """The case of every trigger of what was read with its decision, all of `at_hand` in view."""
        return ((case, self.decide_on(case, blocked)) for case in self.cases(inputs, at_hand))

    def decide_on(self, case: Case, blocked: Blocked = NOBODY_BLOCKED) -> Decision:
        """The decision of one case."""
        decision = decide(case, self.profile, self.now, blocked, brief=self.brief)
        return decision if self.validation == "off" else self._advised(case, decision)

    def _advised(self, case: Case, decision: Decision) -> Decision:
        """The decision after a check of the trigger and its patient against the standard."""
        patient = None if case.patient is None else checked(case.patient)
        return advised(decision, checked(case.trigger), patient, strict=self.validation == "strict")


def checked(resource: Resource[View]) -> Checked:
    """What does not conform in a resource, by fhir.resources."""
    from fhir_bridge.fhir.validation import validate

    found = validate(resource.raw, str(resource.origin))
    return Checked(resource, [(issue.element, issue.type) for issue in found])


def named(decision: Decision) -> Decision:
    """The decision under its trigger's lasting name."""
    subject = decision.subject
    if subject.name in (None, subject.trigger):
        return decision
    return replace(decision, subject=replace(subject, trigger=subject.name))


def gone_in(inputs: Inputs) -> dict[str, str | None]:
    """What was deleted and not written again, and when."""
    there = {resource.label for resource in (*inputs.resources, *inputs.context)}
    return {label: at for label, at in inputs.deleted.items() if label not in there}


def superseded_in(inputs: Inputs) -> Counter[str]:
    """How many of what was read were left aside for a newer version of the same, by type."""
    return superseded((*inputs.resources, *inputs.context))


def people_gone(deleted: Mapping[str, str | None], now: datetime) -> list[Statement]:
    """What it means for the calls of a patient that their record is among what is gone: nobody may make them,
    until it is written again. Where nothing says when it went, it is so since `now` (aware)."""
    return [
        Statement((label,), label, "patient-inactive", last_updated=_moment(at) or now)
        for label, at in deleted.items()
        if label.partition("/")[0] == "Patient"
    ]


def skips_of(deleted: Mapping[str, str | None]) -> Iterator[Skip]:
    """A Skip for each trigger among what is gone (labels, and when): what was deleted never was, as what was
    entered in error."""
    for label, deleted_at in deleted.items():
        if label.partition("/")[0] in TRIGGER_TYPES:
            subject = Subject(label, None, (label,), last_updated=_moment(deleted_at))
            yield Skip(subject, "entered-in-error", detail=DELETED)


def _moment(instant: str | None) -> datetime | None:
    moment = dates.parse(instant)
    return moment.instant(UTC) if moment else None


def resolution_rules(profile: Profile) -> ResolutionRules:
    """What a source's layers say about references (mapping, section 15)."""
    base_url = profile.source.base_url
    return ResolutionRules(
        base_urls=frozenset({base_url} if base_url else ()),
        patient_systems=frozenset(profile.systems.patient),
        system_aliases=profile.systems.aliases,
        replaces_extensions=frozenset(profile.triggers.replaces),
        replacement_displays=profile.triggers.replaces_displays | profile.triggers.replaced_by_displays,
        service_extensions=frozenset(profile.specialty.service_extensions),
    )
