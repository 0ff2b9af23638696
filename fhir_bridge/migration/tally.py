"""What a migration would do, counted: small, and the same however the work was shared."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, tzinfo
from heapq import nsmallest
from zlib import crc32

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.dispatch.calling_hours import zones_of
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.mapping.decision import Call, Decision, Due

PLACES = 3
"""Where a finding stands: so many places are told, those that stand first."""

TEXTS = 10
"""Calls whose free texts are shown: remarks meant for staff are found by looking at a few."""

NO_CLINIC = "no clinic named"


class Shown(msgspec.Struct, order=True):
    """Something shown of many: those with the lowest ranks, so that it is the same whoever counts."""

    rank: int
    text: str


class Found(msgspec.Struct):
    """How often something was noted, and where first: (file's number, line, entry) and the file's name."""

    count: int = 0
    places: list[tuple[tuple[int, int, int], str]] = []


class Queue(msgspec.Struct, frozen=True):
    """Calls that wait for the same: the clinic, the zones of the called persons (IANA, with commas between),
    the day on which they are of no use any more (UTC)."""

    clinic: str
    zones: str
    until: str


class Tally(msgspec.Struct):
    """Counts of one partition, or of many.

    `decisions` by `call`, `skip REASON`, `reject REASON`; `calls` by their queue as JSON; `unmapped` by map,
    system and code with tabs between, and `displays` one of the displays that it had there; `stops` are the
    reasons for which records speak against calls; `older` counts the versions that were left aside for a
    newer one, by type; `same_call` the calls that another one of `decisions` is about too, which are not
    among `calls`; `only_in_context` the triggers that no decision is of, though their patient's record is
    among what is decided on.
    """

    triggers: int = 0
    decisions: dict[str, int] = {}
    calls: dict[str, int] = {}
    notes: dict[str, Found] = {}
    unmapped: dict[str, int] = {}
    displays: dict[str, str] = {}
    stops: dict[str, int] = {}
    older: dict[str, int] = {}
    same_call: int = 0
    only_in_context: int = 0
    samples: list[Shown] = []
    texts: list[Shown] = []

    def merge(self, other: Tally, samples: int) -> None:
        """Adds what another one counted; of the samples so many are kept."""
        self.triggers += other.triggers
        self.same_call += other.same_call
        self.only_in_context += other.only_in_context
        for mine, theirs in (
            (self.decisions, other.decisions),
            (self.calls, other.calls),
            (self.unmapped, other.unmapped),
            (self.stops, other.stops),
            (self.older, other.older),
        ):
            _add(mine, theirs)
        for key, display in other.displays.items():
            self.displays[key] = min(display, self.displays.get(key, display))
        for code, found in other.notes.items():
            own = self.notes.setdefault(code, Found())
            own.count += found.count
            own.places = nsmallest(PLACES, [*own.places, *found.places])
        self.samples = nsmallest(samples, [*self.samples, *other.samples])
        self.texts = nsmallest(TEXTS, [*self.texts, *other.texts])

    def count(self, decision: Decision, place: tuple[int, int, int], where: Origin) -> None:
        """One decision; `where` is the trigger's place for people."""
        self.triggers += 1
        told = outcome(decision)
        self.decisions[told] = self.decisions.get(told, 0) + 1
        for code in {note.code for note in decision.notes} if decision.notes else ():
            found = self.notes.setdefault(code, Found())
            found.count += 1
            if len(found.places) < PLACES:
                found.places.append((place, str(where)))

    def call(self, queue: Queue) -> None:
        """One call, in the queue it waits in."""
        key = msgspec.json.encode(queue).decode()
        self.calls[key] = self.calls.get(key, 0) + 1

    def queues(self) -> Iterable[tuple[Queue, int]]:
        """Every queue with its calls."""
        return ((msgspec.json.decode(text, type=Queue), count) for text, count in self.calls.items())


def outcome(decision: Decision) -> str:
    """`call`, or `skip reason`, `reject reason`."""
    reason = getattr(decision, "reason", None)
    return decision.kind if reason is None else f"{decision.kind} {reason}"


def rank(trigger: str) -> int:
    """The place of a trigger among many, by chance and the same every time."""
    return crc32(trigger.encode())


def queue_of(case: Case, call: Call | Due, source_zone: tzinfo) -> Queue:
    """The queue of a call; `source_zone` is that of persons of whom nothing else is known."""
    zones = zones_of(call.zones, call.phone_number, source_zone)
    until = call.valid_until.astimezone(UTC).date().isoformat()
    return Queue(_clinic(case), ",".join(sorted(map(str, zones))), until)


def _clinic(case: Case) -> str:
    """The place of care by its name, else the service's, else that of the organization that asked."""
    names = [place.view.name for place in case.locations] + [one.view.name for one in case.services]
    if not any(names) and case.requester is not None and case.requester.organization is not None:
        names.append(case.requester.organization.view.name)
    return next((name for name in names if name), NO_CLINIC)


def _add(mine: dict[str, int], theirs: dict[str, int]) -> None:
    for key, count in theirs.items():
        mine[key] = mine.get(key, 0) + count
