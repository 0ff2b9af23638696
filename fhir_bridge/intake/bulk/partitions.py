"""An export in scratch files, read back partition by partition: each holds all that its decisions need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain

from fhir_bridge.errors import InputError, Lost
from fhir_bridge.fhir import documents, reading
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.views import View
from fhir_bridge.intake.bulk.joining import Together
from fhir_bridge.intake.bulk.pieces import Piece
from fhir_bridge.intake.bulk.spill import EVENT, IN_CONTEXT, About, Problem, Record, Stream
from fhir_bridge.intake.bulk.spilled import Scratch

Place = tuple[int, int, int]
"""Where a resource stood among all: its file, its line and its entry there; 0 and -1 for none."""


@dataclass(slots=True)
class Contents:
    """What one partition holds, in the order in which the files have it.

    `resources` are those of the files, `context` those that only inform; `places` are where the former
    stood; `said_gone` the labels here that a history says are deleted and were written again since; `lost`
    what of it cannot be read and may speak against a call.
    """

    resources: list[Resource[View]] = field(default_factory=list)
    context: list[Resource[View]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    said_gone: set[str] = field(default_factory=set)
    lost: list[Lost] = field(default_factory=list)


class Partitions:
    """All that was read, by partition. `moved` are the scratch files of what was moved between them."""

    def __init__(
        self,
        pieces: Sequence[Piece],
        files: Sequence[Scratch],
        count: int,
        together: Together,
        moved: Sequence[Scratch] = (),
    ) -> None:
        self.pieces = pieces
        self.count = count
        self._files = files
        self._together = together
        self._moved = moved
        self.abouts = [about for file in files for _, about in sorted(file.abouts.items())]
        self._names = [piece.name for piece in pieces]
        self._before = _lines_before(pieces, self.abouts)
        self.deleted = _deleted(pieces, self.abouts)

    def size(self, partition: int) -> int:
        """Bytes of one partition."""
        return sum(file.size(Stream.RESOURCES, partition) for file in (*self._files, *self._moved))

    def bases(self) -> frozenset[str]:
        """The servers that the fullUrls show."""
        return frozenset(base for about in self.abouts for base in about.bases)

    def lost(self) -> Iterator[Lost]:
        """What was found, when the files were read, that cannot be read and may speak against a call."""
        for problem in (problem for about in self.abouts for problem in about.problems):
            yield from self.lost_of(problem)

    def lost_of(self, problem: Problem) -> Iterator[Lost]:
        """What of a problem may speak against a call, by the lines of its file."""
        before = self._before[problem.piece]
        for lost in problem.lost:
            yield replace(lost, line=lost.line + before) if lost.line else lost

    def over(self, files: Sequence[Scratch], moved: Sequence[Scratch]) -> Partitions:
        """The same partitions where other files hold them."""
        same = copy(self)
        same._files, same._moved = files, moved
        return same

    def directory(self) -> Contents:
        """What every partition has at hand; the same thing told twice is told once."""
        contents, seen = Contents(), set[tuple[bytes, str | None]]()
        for file in self._files:
            for record in file.records(Stream.DIRECTORY, 0):
                if (record.raw, record.full_url) not in seen:
                    seen.add((record.raw, record.full_url))
                    self._take(record, contents)
        return contents

    def read(
        self, partition: int, may_call: Callable[[Resource[View]], bool] = lambda resource: True
    ) -> Contents:
        """One partition. Whoever is tied to somebody in another one is only in one of the two.

        `may_call`: whether a resource is a trigger that more must be known of than its person. Of patients
        without any, as most are, the visits and the like are left out: nothing looks at them, and that they
        are whole was seen when they were put there.
        """
        contents, events, busy = Contents(), list[Record](), set[int]()
        for record in self._records(partition):
            if record.flags & EVENT and not self.deleted:
                events.append(record)
            elif (resource := self._take(record, contents)) is not None and may_call(resource):
                busy.add(record.group)
        for record in events:
            if record.group in busy or record.group in self._together:
                self._take(record, contents)
        return contents

    def _records(self, partition: int) -> Iterator[Record]:
        came = [record for file in self._moved for record in file.records(Stream.RESOURCES, partition)]
        stayed = self._stayed(partition)
        if not came:
            return stayed
        return iter(sorted((*stayed, *came), key=lambda one: (one.piece, one.line, one.entry)))

    def _stayed(self, partition: int) -> Iterator[Record]:
        records = (file.records(Stream.RESOURCES, partition) for file in self._files)
        stayed = chain.from_iterable(records)
        if not self._together:
            return stayed
        return (one for one in stayed if self._together.of(one.group) % self.count == partition)

    def _take(self, record: Record, contents: Contents) -> Resource[View] | None:
        """The resource of a record, put where it belongs; None where it cannot be read or is gone."""
        number, entry = record.piece, record.entry
        line = record.line + self._before[number] if record.line else 0
        origin = Origin(self._names[number], line or None, None if entry < 0 else entry)
        try:
            resource = reading.read(record.raw, origin, record.full_url)
        except InputError as error:
            contents.problems.append(self._problem(record, error))
            contents.lost += error.lost
            return None
        if self.deleted and self._is_gone(resource, record, contents):
            return None
        if record.flags & IN_CONTEXT:
            contents.context.append(resource)
        else:
            contents.resources.append(resource)
            contents.places.append((self.pieces[number].file, line, entry))
        return resource

    def _is_gone(self, resource: Resource[View], record: Record, contents: Contents) -> bool:
        """Whether a file, or all together, say that it is deleted (`documents.without_deleted`)."""
        label = resource.label
        for deleted in (self.deleted.get(None), self.deleted.get(self.pieces[record.piece].file)):
            if deleted and label in deleted and not documents.without_deleted([resource], deleted):
                contents.problems += [
                    self._problem(record, each) for each in documents.undated([resource], deleted)
                ]
                return True
        if label in self.deleted[None]:
            contents.said_gone.add(label)
        return False

    def _problem(self, record: Record, error: InputError) -> Problem:
        piece = self.pieces[record.piece]
        line = record.line + self._before[record.piece] if record.line else 0
        text = str(error).removeprefix(piece.name).removeprefix(f":{line}" if line else "")
        lost = tuple(replace(each, line=record.line or None) for each in error.lost)
        return Problem(record.piece, record.line, record.offset, text, error.code, error.hint, lost)

    def place_of(self, problem: Problem) -> tuple[str, int]:
        """The file of a problem and its line there, 0 for none."""
        line = problem.line + self._before[problem.piece] if problem.line else 0
        return self.pieces[problem.piece].name, line


def _lines_before(pieces: Sequence[Piece], abouts: Sequence[About]) -> list[int]:
    """How many lines of its file stand before each piece."""
    before = [0, *accumulate(about.lines for about in abouts)]
    first = {piece.file: before[piece.number] for piece in reversed(pieces)}
    return [before[piece.number] - first[piece.file] for piece in pieces]


def _deleted(pieces: Sequence[Piece], abouts: Sequence[About]) -> dict[int | None, dict[str, str | None]]:
    """What each file says is deleted and when, by its place, and under None what all say, the last counting;
    empty where none says anything."""
    said: dict[int | None, dict[str, str | None]] = {}
    for piece, about in zip(pieces, abouts, strict=True):
        if about.deleted:
            said.setdefault(None, {}).update(about.deleted)
            said.setdefault(piece.file, {}).update(about.deleted)
    return said
