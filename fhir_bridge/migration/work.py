"""What a process of a migration does with one partition: decides on it, counts, writes down."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Literal, cast

import msgspec
import orjson

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.intake.bulk.partitions import Place
from fhir_bridge.intake.bulk.spill import Problem
from fhir_bridge.ledger.records import Arrival, Heard
from fhir_bridge.mapping.decision import Call, Decision, Due
from fhir_bridge.mapping.printed import decision_data, request_data
from fhir_bridge.migration import codec, results
from fhir_bridge.migration.deciding import Decided, Decider
from fhir_bridge.migration.tally import TEXTS, Shown, Tally, queue_of, rank
from fhir_bridge.profiles.unmapped import Listening

Form = Literal["decisions", "ndjson", "arrivals"]


class Outcome(msgspec.Struct):
    """What became of a partition; `said_gone` are labels in it that a history says are deleted."""

    tally: Tally
    problems: list[Problem] = []
    said_gone: set[str] = set()


_outcome = msgspec.msgpack.Decoder(Outcome)


def read_outcome(data: bytes) -> Outcome:
    """An outcome out of what a process handed over."""
    return _outcome.decode(data)


class _Lowest:
    """Of a partition's decisions those with the lowest ranks, `most` of them, each behind its rank; and only
    as far as so few were lower in all partitions this process has seen: they are decided on once more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ranks: list[int] = []
        self._kept: list[tuple[int, Decided]] = []

    def offer(self, one: Decided) -> None:
        """Keeps it, if its rank is low enough."""
        place = rank(one.decision.subject.trigger)
        if len(self._ranks) >= self._most and not (self._ranks and place <= self._ranks[-1]):
            return
        insort(self._ranks, place)
        del self._ranks[self._most :]
        self._kept.append((place, one))
        self._kept.sort(key=itemgetter(0))
        del self._kept[self._most :]

    def taken(self) -> list[tuple[int, Decided]]:
        """Those of this partition, which are let go: all that was at hand for them hangs on them."""
        kept, self._kept = self._kept, []
        return kept


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of each partition: `form` is what is written down of a decision; `only` which decisions
    are written and shown, of a kind or for a reason; so many `samples` are shown."""

    form: Form | None = None
    only: str | None = None
    samples: int = 3


@dataclass(slots=True)
class Work:
    """The work on partitions, shared by all processes. A partition's lines are left in `folder`."""

    decider: Decider
    folder: Path
    asked: Asked = Asked()
    _heard: Listening = field(init=False)
    _samples: _Lowest = field(init=False)
    _told: _Lowest = field(init=False)

    def __post_init__(self) -> None:
        run = self.decider.run
        terms = run.profile.terms
        self._heard = Listening(terms.load, terms.aliases)
        self._samples, self._told = _Lowest(self.asked.samples), _Lowest(TEXTS)
        profile = replace(run.profile, terms=self._heard)
        self.decider.run = replace(run, profile=profile, brief=self.asked.form is None)

    def __call__(self, partition: int) -> bytes:
        """Decides on a partition; an Outcome as bytes."""
        contents = self.decider.read(partition, everything=self.asked.form == "arrivals")
        at_hand = self.decider.at_hand(contents)
        tally, decided, zone = Tally(), [], self.decider.run.profile.source.zone
        intents = set[str | None]()
        only, form = self.asked.only, self.asked.form
        self._heard.begin()
        for one in self.decider.decided(contents, at_hand):
            decision = one.decision
            tally.count(decision, one.place, one.case.trigger.origin)
            if decision.kind == "call":
                if (intent := self.decider.intent(one)) in intents:
                    tally.same_call += 1
                else:
                    intents.add(intent)
                    tally.call(queue_of(one.case, cast("Call | Due", decision), zone))
                self._told.offer(one)
            if only is None or only in (decision.kind, getattr(decision, "reason", None)):
                if only is not None or decision.kind == "call":
                    self._samples.offer(one)
                if form is not None:
                    decided.append(one)
            self._heard.next_trigger()
        for missed, count in self._heard.counts.items():
            key = "\t".join(part.replace("\t", " ") for part in missed)
            tally.unmapped[key] = count
            if display := self._heard.displays.get(missed):
                tally.displays[key] = display
        tally.stops = dict(Counter(self.decider.stops(at_hand)))
        tally.only_in_context = self.decider.only_in_context(contents, at_hand)
        tally.older = dict(at_hand.index.superseded())
        self._show(tally)
        if form is not None:
            self._write(partition, decided, at_hand)
        return msgspec.msgpack.encode(Outcome(tally, contents.problems, contents.said_gone))

    def _show(self, tally: Tally) -> None:
        """Decisions as they are shown, with their lineage, and the free texts of calls."""
        samples, told = self._samples.taken(), self._told.taken()
        whole = {id(one): self.decider.whole(one) for _, one in (*samples, *told)}
        for place, one in samples:
            data = decision_data(whole[id(one)], self.decider.run.project_id)
            tally.samples.append(Shown(place, orjson.dumps(data).decode()))
        for place, one in told:
            if text := cast("Call", whole[id(one)]).task.task_data.additional_context:
                tally.texts.append(Shown(place, text))

    def _write(self, partition: int, decided: list[Decided], at_hand: AtHand) -> None:
        path = results.path_of(self.folder, partition)
        if self.asked.form == "arrivals":
            heard = self.decider.heard(at_hand)
            results.write_plain(path, records_of(decided, heard, self.decider))
            return
        project = self.decider.run.project_id
        line: Callable[[Decision], bytes | None] = {
            "decisions": lambda decision: orjson.dumps(decision_data(decision, project)),
            "ndjson": lambda decision: (
                orjson.dumps(request_data(decision, project)) if isinstance(decision, Call) else None
            ),
        }[self.asked.form or "decisions"]
        results.write_placed(path, _placed(decided, line))


def _placed(
    decided: list[Decided], line: Callable[[Decision], bytes | None]
) -> Iterator[tuple[Place, bytes]]:
    for one in decided:
        if (text := line(one.decision)) is not None:
            yield one.place, text


def records_of(decided: list[Decided], heard: list[Heard], decider: Decider) -> Iterator[bytes]:
    """Decision records of one partition as lines: what is said of persons first, then their decisions,
    person by person, so that a chain is not torn where a batch ends."""
    records: list[Heard | Arrival] = list(heard)
    ordered = sorted(decided, key=lambda one: (one.decision.subject.patient or "", one.place))
    records += [replace(one.arrival(decider.source), is_lasting=decider.is_lasting(one)) for one in ordered]
    return (codec.encode(record) for record in records)
