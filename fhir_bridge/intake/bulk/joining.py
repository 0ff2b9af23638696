"""Ties followed: which groups must be decided on together, wherever their patients were put."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import msgspec

from fhir_bridge.intake.bulk.names import key_of
from fhir_bridge.intake.bulk.spill import Record, Stream, Writer
from fhir_bridge.intake.bulk.spilled import Scratch


class Together:
    """Groups that were tied to one another, each under one of them; a group that nothing ties is its own.

    Only tied groups are held, so this grows with what crosses patients: merged records, families that share
    a coverage, groups that meet.
    """

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._above)

    def __contains__(self, group: int) -> bool:
        return group in self._above

    def of(self, group: int) -> int:
        """The group that stands for all that are tied to this one."""
        above = self._above.get(group)
        if above is None:
            return group
        root = above
        while (higher := self._above.get(root)) is not None and higher != root:
            root = higher
        while above != root:
            self._above[group] = root
            group, above = above, self._above.get(above, root)
        return root

    def tie(self, one: int, other: int) -> None:
        """These two, and all that are tied to either, belong together. The smallest stands for all, so that
        every machine finds the same."""
        one, other = self.of(one), self.of(other)
        if one != other:
            low, high = (one, other) if one < other else (other, one)
            self._above[high] = low
            self._above.setdefault(low, low)


def ties_in(files: Sequence[Scratch], bucket: int) -> bytes:
    """The pairs of groups that the keys of one bucket tie together, as 64-bit numbers."""
    found = array("Q")
    names = _by_name(files, bucket, found)
    for file in files:
        for key, group in file.pairs(Stream.WANTS, bucket):
            named = names.get(key)
            if named is not None and named != group:
                found.extend((named, group))
    asked: dict[int, int] = {}
    for file in files:
        for key, group in file.pairs(Stream.ASKED, bucket):
            _meet(asked, key, group, found)
    if asked:
        for file in files:
            for key, group in file.pairs(Stream.CARRIED, bucket):
                if key in asked:
                    _meet(asked, key, group, found)
    for file in files:
        for group, other in file.pairs(Stream.UNIONS, bucket):
            found.extend((group, other))
    return found.tobytes()


def _by_name(files: Sequence[Scratch], bucket: int, found: array[int]) -> dict[int, int]:
    """The group of every name; several under one are tied. There are as many as resources, and nearly all
    have one group: they are compared without a step of Python for each."""
    names: dict[int, int] = {}
    for file in files:
        for block in file.blocks(Stream.NAMES, bucket):
            numbers = array("Q", block)
            groups = numbers[1::2]
            first = array("Q", map(names.setdefault, numbers[::2], groups))
            if first != groups:
                for one, other in zip(first, groups, strict=True):
                    if one != other:
                        found.extend((one, other))
    return names


def _meet(groups: dict[int, int], key: int, group: int, found: array[int]) -> None:
    first = groups.setdefault(key, group)
    if first != group:
        found.extend((first, group))


def bare_ids(files: Sequence[Scratch], bucket: int) -> bytes:
    """The pairs of an id that a reference names without a type, and the group that does."""
    found = array("Q")
    for file in files:
        for key, group in file.pairs(Stream.BARE, bucket):
            found.extend((key, group))
    return found.tobytes()


class _Id(msgspec.Struct):
    id: str | None = None


_id = msgspec.json.Decoder(_Id).decode


def having(files: Sequence[Scratch], partition: int, wanted: Collection[int]) -> bytes:
    """The pairs of an id that is wanted and a group of this partition in which something has it."""
    found = array("Q")
    for file in files:
        for record in file.records(Stream.RESOURCES, partition):
            try:
                key = key_of(f"id|{_id(record.raw).id}".encode())
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                continue
            if key in wanted:
                found.extend((key, record.group))
    return found.tobytes()


def pairs_of(data: bytes) -> Iterable[tuple[int, int]]:
    """The numbers of a pair of groups, again."""
    numbers = array("Q")
    numbers.frombytes(data)
    each = iter(numbers)
    return zip(each, each, strict=True)


def move(
    files: Sequence[Scratch], partition: int, partitions: int, together: Together, path: Path
) -> tuple[int, ...]:
    """Writes what is in this partition and belongs to others into a scratch file of its own: members of
    groups that are tied to groups elsewhere, and Slots that Appointments there name. Gives the partitions it
    is for; without any there is no file."""
    writer, places = Writer(path, partitions), set[int]()
    try:
        for file in files:
            for record in file.records(Stream.RESOURCES, partition):
                place = together.of(record.group) % partitions
                if place != partition:
                    writer.copy(Stream.RESOURCES, place, record)
                    places.add(place)
        for record, wanted in _slots(files, partition, partitions, together):
            for place in sorted(wanted):
                writer.copy(Stream.RESOURCES, place, record)
            places |= wanted
    except BaseException:
        writer.abandon()
        raise
    if places:
        writer.close({})
    else:
        writer.abandon()
    return tuple(sorted(places))


def _slots(
    files: Sequence[Scratch], partition: int, partitions: int, together: Together
) -> Iterable[tuple[Record, set[int]]]:
    """The Slots of this partition that anybody names, with the partitions of those who do."""
    wanted: dict[int, set[int]] = {}
    for file in files:
        for key, group in file.pairs(Stream.SLOT_WANTS, partition):
            wanted.setdefault(key, set()).add(together.of(group) % partitions)
    if not wanted:
        return
    for file in files:
        for record in file.records(Stream.SLOTS, partition):
            if record.group in wanted:
                yield record, wanted[record.group]
