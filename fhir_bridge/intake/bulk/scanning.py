"""One piece read: every resource put into its partition, what ties it to others written down beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path

from fhir_bridge.errors import InputError, Lost
from fhir_bridge.fhir import documents
from fhir_bridge.fhir.documents import Document
from fhir_bridge.fhir.references import base_of
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import TRIGGER_TYPES, View
from fhir_bridge.intake.bulk import lines
from fhir_bridge.intake.bulk.glance import DIRECTORY, KINDS, UNSEEN, Seen, glance
from fhir_bridge.intake.bulk.lines import Block
from fhir_bridge.intake.bulk.names import Message, System, key_of, own_name
from fhir_bridge.intake.bulk.pieces import HEAD, Piece
from fhir_bridge.intake.bulk.spill import EVENT, IN_CONTEXT, About, Problem, Stream, Writer
from fhir_bridge.intake.bulk.ties import Ties

MOST_PROBLEMS = 100_000
"""Of one piece: more, which its lines must be short for, are counted as one."""


def scan(
    pieces: Sequence[Piece],
    path: Path,
    partitions: int,
    system: System,
    read: Callable[[int], None] = lambda size: None,
) -> None:
    """Reads pieces into the scratch file at `path`; a file that cannot be read on is a problem there.

    `system` gives an identifier's system under the one name that counts. `read` is told of the bytes as
    they are read.
    """
    writer = Writer(path, partitions)
    try:
        abouts = {piece.number: _Scanner(piece, writer, system, read).read() for piece in pieces}
        writer.close(abouts)
    except BaseException:
        writer.abandon()
        raise


class _Scanner:
    def __init__(self, piece: Piece, writer: Writer, system: System, read: Callable[[int], None]) -> None:
        self._piece = piece
        self._told_of = read
        self._writer = writer
        self._ties = Ties(writer, system)
        self._flags = IN_CONTEXT if piece.is_context else 0
        self._others: Counter[str] = Counter()
        self._noise: dict[type[Seen], int] = {}
        self._untold: list[tuple[Lost, ...]] = []
        self._last = Block(0, 0, [])
        self.about = About()

    def read(self) -> About:
        try:
            if self._piece.is_lines:
                self._lines(lines.lines_between(self._piece, self._told_of))
            else:
                self._opened()
        except InputError as error:
            last = self._last
            next_line = self.about.lines + 1 if self.about.lines else None
            self._problem(error, next_line, last.offset + sum(map(len, last.lines)))
        self._others += Counter({kind.__name__: count for kind, count in self._noise.items()})
        self.about.others = dict(self._others)
        if self._untold:
            text = f"{len(self._untold)} more that cannot be read in this part of the file"
            lost = tuple(chain.from_iterable(self._untold))
            self.about.problems.append(Problem(self._piece.number, 0, 0, text, "more-problems", lost=lost))
        about = self.about
        about.unreadable = bool(about.problems) and not (about.resources or about.others or about.deleted)
        return about

    def _opened(self) -> None:
        """A file whose form shows only now: lines, or one JSON value, which is held whole."""
        stream = lines.chunks(self._piece, self._told_of)
        held, broken = list[bytes](), None
        try:
            while sum(map(len, held)) < HEAD and (chunk := next(stream, b"")):
                held.append(chunk)
        except InputError as error:
            broken = error
        head = b"".join(held)
        if lines.is_tar(head):
            raise InputError(": a tar archive", code="compressed", hint="unpack it first")
        if lines.is_ndjson(head) or (len(head) >= HEAD and lines.has_resource_lines(head)):
            self._lines(lines.blocks(_chain(held, stream, broken)))
        else:
            data = b"".join(self._at_most_whole(_chain(held, stream, broken)))
            self._keep(documents.read(data, self._piece.name), 0)

    def _at_most_whole(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        size = 0
        for chunk in stream:
            size += len(chunk)
            if size > lines.MOST_WHOLE:
                raise InputError(
                    f"{self._piece.name}: one JSON value of more than {lines.MOST_WHOLE // 2**20} MB",
                    code="too-large",
                    hint="export NDJSON, or several smaller Bundles",
                )
            yield chunk

    def _lines(self, found: Iterator[Block]) -> None:
        for block in found:
            self._last = block
            if block.is_too_long:
                self._too_long(block)
            else:
                self._block(block)
            self.about.lines = block.first + max(len(block.lines), 1) - 1

    def _too_long(self, block: Block) -> None:
        most = lines.MOST_LINE // 1024 // 1024
        problem = InputError(f": a line longer than {most} MB; passed over", code="line-too-long")
        self._problem(problem, block.first, block.offset)

    def _block(self, block: Block) -> None:
        """Long, for it is run for every line."""
        number, offset, writer = block.first, block.offset, self._writer
        piece, flags, plain, about = self._piece.number, self._flags, self._ties.plain, self.about
        noise, add_line = self._noise, writer.add_line
        resources = triggers = 0
        for line in block.lines:
            try:
                seen = glance(line)
            except UNSEEN:
                self._by_view(line, number, offset)
            else:
                kind = KINDS.get(type(seen))
                if kind is None:
                    noise[type(seen)] = noise.get(type(seen), 0) + 1
                elif kind.is_directory:
                    writer.add(Stream.DIRECTORY, 0, line[:-1], piece, number, offset, -1, flags)
                    resources += 1
                elif kind.is_slot and seen.plain_id:
                    key = key_of(kind.prefix + seen.plain_id)
                    writer.add(Stream.SLOTS, key, line[:-1], piece, number, offset, -1, flags)
                    resources += 1
                elif kind.is_slot or (group := plain(line, seen, kind)) is None:
                    self._by_view(line, number, offset)
                else:
                    add_line(group, line, piece, number, offset, flags | (EVENT if kind.is_event else 0))
                    resources += 1
                    triggers += kind.is_trigger
            number += 1
            offset += len(line)
        about.resources += resources
        about.triggers += triggers

    def _by_view(self, line: bytes, number: int, offset: int) -> None:
        """A line read as any document is."""
        document = Document(self._piece.name)
        documents.read_line(line.removesuffix(b"\n"), document, number)
        self._keep(document, offset)

    def _keep(self, document: Document, offset: int) -> None:
        """What a document held, each resource by its view; URNs count within it."""
        self._others.update(document.others)
        for label, at in document.deleted.items():
            self.about.deleted[label] = at
        for error in document.problems:
            self._problem(error, None, offset)
        for line, together in groupby(document.resources, key=lambda one: one.origin.line):
            message = list(together)
            urns = _urns(message)
            for resource in message:
                self._place(resource, urns, line or 0, offset)

    def _place(self, resource: Resource[View], urns: Message, line: int, offset: int) -> None:
        kind = resource.view.resource_type
        url = resource.full_url
        base = base_of(url, kind, resource.view.id)
        if base is not None:
            self.about.bases.add(base)
        entry = -1 if resource.origin.entry is None else resource.origin.entry
        if kind in DIRECTORY or (kind == "Slot" and (url or not resource.view.id)):
            stream, group = Stream.DIRECTORY, 0
        elif kind == "Slot":
            stream, group = Stream.SLOTS, key_of(own_name(resource).encode())
        else:
            told = None if url and base is None else self._told(resource)
            stream, group = Stream.RESOURCES, self._ties.of(resource, urns) if told is None else told
        self._writer.add(
            stream, group, resource.raw, self._piece.number, line, offset, entry, self._flags, url
        )
        self.about.resources += 1
        self.about.triggers += kind in TRIGGER_TYPES

    def _told(self, resource: Resource[View]) -> int | None:
        """The group of a Bundle's entry where its bytes tell it, in a fifth of the time; a line's did not."""
        if resource.origin.entry is None or resource.notes:
            return None
        try:
            seen = glance(resource.raw)
        except UNSEEN:
            return None
        return self._ties.plain(resource.raw, seen, KINDS[type(seen)])

    def _problem(self, error: InputError, line: int | None, offset: int) -> None:
        """Kept without its line, which the pieces before this one have a share in; None: the error says."""
        if len(self.about.problems) < MOST_PROBLEMS:
            text = str(error).removeprefix(self._piece.name)
            named = _LINE.match(text)
            if named is not None:
                text = text[named.end() :] + (f", at column {named[2]}" if named[2] else "")
            line = int(named[1]) if line is None and named is not None else line
            number = self._piece.number
            problem = Problem(number, line or 0, offset, text, error.code, error.hint, error.lost)
            self.about.problems.append(problem)
        else:
            self._untold.append(error.lost)


_LINE = re.compile(r":(\d+)(?::(\d+))?")


def _urns(message: list[Resource[View]]) -> Message:
    """What the URNs of one message stand for in it; not those that stand for several things, as they do
    where Bundles lie in a Bundle."""
    named: dict[str, set[tuple[str, str]]] = {}
    for one in message:
        if (url := one.full_url) is not None and url[:4].lower() == "urn:":
            named.setdefault(url.lower(), set()).add((one.view.resource_type, own_name(one)))
    return {url: next(iter(names)) for url, names in named.items() if len(names) == 1}


def _chain(held: list[bytes], stream: Iterator[bytes], broken: InputError | None) -> Iterator[bytes]:
    """What was looked at already, let go of as it is given, and the rest; or at its end what broke it."""
    while held:
        yield held.pop(0)
    if broken is not None:
        raise broken
    yield from stream
