"""One partition decided on: the same decisions as `map` makes of the same data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import cast

import msgspec

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case, Trigger
from fhir_bridge.case.gather import triggers
from fhir_bridge.case.people import person_records
from fhir_bridge.case.unread import Unread
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import TRIGGER_TYPES, View, is_appointment
from fhir_bridge.intake.bulk.partitions import Contents, Partitions, Place
from fhir_bridge.intake.bulk.spill import Problem
from fhir_bridge.intake.files import Inputs
from fhir_bridge.ledger.records import Arrival, Heard
from fhir_bridge.mapping.decide import would_call
from fhir_bridge.mapping.decision import Decision, Skip
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.intent import intent_key, loss_of
from fhir_bridge.mapping.statements import statements, stops
from fhir_bridge.mapping.triggers import ends_by_status
from fhir_bridge.mapping_run import MappingRun, named, resolution_rules

_BY_ITS_STATE = frozenset(("already-booked", "entered-in-error", "not-active", "order-withdrawn"))
"""Why nobody is called about a trigger that has come so far, as somebody would have been before."""


class Decided(msgspec.Struct, frozen=True):
    """A case with its decision, and where its trigger stood first among all that was read."""

    place: Place
    case: Case
    decision: Decision

    def arrival(self, source: str) -> Arrival:
        """The same as the ledger takes it in."""
        trigger = self.case.trigger
        return Arrival(source, named(self.decision), trigger.view.resource_type, trigger.raw)


class Decider:
    """Decides on partitions, the directory at hand for each. Made once, before processes share it."""

    def __init__(self, run: MappingRun, partitions: Partitions, blocked: Blocked = NOBODY_BLOCKED) -> None:
        self.run = run
        self.partitions = partitions
        self.blocked = blocked
        self._rules = resolution_rules(run.profile)
        self._bases = partitions.bases()
        directory = partitions.directory()
        self.problems: list[Problem] = directory.problems
        self._unread = Unread((*partitions.lost(), *directory.lost))
        everyone = (*directory.resources, *directory.context)
        self.directory = AtHand(everyone, self._rules, bases=self._bases)

    @property
    def source(self) -> str:
        """The name of the source that all of it is from."""
        return self.run.profile.source.name

    def read(self, partition: int, *, everything: bool = False) -> Contents:
        """A partition's resources, as far as its decisions look at them; `everything` where it will be asked
        which Skips are lasting."""
        if everything:
            return self.partitions.read(partition)
        return self.partitions.read(partition, self._may_call)

    def _may_call(self, resource: Resource[View]) -> bool:
        if resource.view.resource_type not in TRIGGER_TYPES:
            return False
        return not ends_by_status(cast("Trigger", resource), self.run.profile)

    def at_hand(self, contents: Contents) -> AtHand:
        """A partition's resources, findable."""
        everyone = (*contents.resources, *contents.context)
        unread = Unread(contents.lost, self._unread)
        return AtHand(everyone, self._rules, self.directory, bases=self._bases, unread=unread)

    def decided(self, contents: Contents, at_hand: AtHand) -> Iterator[Decided]:
        """A decision for every trigger of the partition, in the order in which they stood."""
        places = _first_places(at_hand, contents.resources, contents.places)
        inputs = Inputs(contents.resources)
        for case, decision in self.run.over(inputs, at_hand, self.blocked):
            yield Decided(places[id(case.trigger)], case, decision)

    def only_in_context(self, contents: Contents, at_hand: AtHand) -> int:
        """How many triggers that may call stand in the context alone, their patient's record among what is
        decided on: a call of theirs that waits in the ledger does not hear what the record says now."""
        if not contents.context:
            return 0
        here = {id(one) for one in contents.resources}
        people = (
            at_hand.patients.of(trigger)
            for trigger in triggers(at_hand, contents.context)
            if id(trigger) not in here and not ends_by_status(trigger, self.run.profile)
        )
        return sum(person is not None and id(person.patient) in here for person in people)

    def whole(self, one: Decided) -> Decision:
        """The decision with its intent and lineage, for which the case is decided on again where it was
        brief."""
        if not self.run.brief:
            return one.decision
        return replace(self.run, brief=False).decide_on(one.case, self.blocked)

    def intent(self, one: Decided) -> str | None:
        """What a call is for: decisions with the same one are one call."""
        return one.decision.subject.intent or intent_key(one.case, loss_of(one.case, self.run.profile))

    def is_lasting(self, one: Decided) -> bool:
        """Whether this Skip alone keeps an earlier version of its trigger from being called, should one come
        later, as by an older export or a message that was held up."""
        if not isinstance(one.decision, Skip) or one.decision.reason not in _BY_ITS_STATE:
            return False
        view = one.case.trigger.view
        if is_appointment(view) and not view.requested_period:
            day_before = (self.run.now - timedelta(days=1)).date().isoformat()
            if view.start and view.start[:10] < day_before:
                return False  # most of an export: it was over before
        status = "active" if one.case.is_order else "proposed"
        return would_call(one.case, status, self.run.profile, self.run.now)

    def heard(self, at_hand: AtHand) -> list[Heard]:
        """What the records of the partition say of whole persons."""
        said = statements(person_records(at_hand), self.run.profile, self.run.now)
        return [Heard(self.source, statement) for statement in said]

    def stops(self, at_hand: AtHand) -> list[str]:
        """Why those persons must not be called whose records say so: a reason for each record."""
        return stops(person_records(at_hand), self.run.profile, self.run.now)


def _first_places(
    at_hand: AtHand, resources: Sequence[Resource[View]], places: Sequence[Place]
) -> dict[int, Place]:
    """Where each trigger's first version stood, by the current one."""
    found: dict[int, Place] = {}
    for resource, place in zip(resources, places, strict=True):
        if resource.view.resource_type in TRIGGER_TYPES:
            found.setdefault(id(at_hand.index.same(resource)[0]), place)
    return found
