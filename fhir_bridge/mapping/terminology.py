"""Codes to words and to classes, by ConceptMaps in layers (mapping, sections 9 and 17)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import msgspec

from fhir_bridge.fhir.datatypes import Coding

MOST_KNOWN = 10_000
"""How many systems, and how many codes, of a map are remembered: they come from the data, which may be
anything."""


_Answer = TypeVar("_Answer")


class Missed(NamedTuple):
    """A code that a map was asked for in vain; the system under the name the maps use."""

    map_name: str
    system: str
    code: str


class Word(msgspec.Struct, frozen=True):
    """What a map says of a coding: `text`, the `row` ("specialty 394579002") and the `layer` it stands in.

    `exact` is False where the code was found only by ignoring case.
    """

    text: str
    row: str
    layer: str
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One element of a ConceptMap: its target's code and display; both None where it is mapped to nothing."""

    code: str
    target_code: str | None
    target_display: str | None


class Group:
    """One group of a ConceptMap in one layer: a code system and its rows by code."""

    def __init__(self, system: str, layer: str, rows: Iterable[Row]) -> None:
        self.layer = layer
        self.system = system
        self.pattern = _pattern(system)
        self.rows = {row.code: row for row in rows}
        self._folded: dict[str, Row | None] = {}
        for row in self.rows.values():
            folded = row.code.casefold()
            self._folded[folded] = None if folded in self._folded else row

    def row(self, code: str) -> Row | None:
        """The row of exactly this code, else the only one that differs from it by case alone."""
        return self.rows.get(code) or self._folded.get(code.casefold())


@dataclass(frozen=True, slots=True)
class Terminology:
    """Every map there is, each asked of `load` when it is first needed.

    `load(name)` gives a map's groups, the layer that wins first; it raises for a name no layer has.
    `aliases` are other names of code systems; where both sides end in `*`, what the star stands for is kept.
    """

    load: Callable[[str], tuple[Group, ...]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    _maps: dict[str, tuple[Group, ...]] = field(default_factory=dict, compare=False, repr=False)
    _of_system: dict[tuple[str, str], tuple[Group, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )
    _of_code: dict[tuple[str, str | None, str], tuple[Group, Row] | None] = field(
        default_factory=dict, compare=False, repr=False
    )

    def word(self, map_name: str, coding: Coding) -> Word | None:
        """The word (target display) the map has for the coding, else None.

        A coding without a system matches only a group without a source.
        """
        found = self._find(map_name, coding)
        if found is None or not found[1].target_display:
            return None
        return _word(map_name, *found, found[1].target_display, coding)

    def kind(self, map_name: str, coding: Coding) -> Word | None:
        """The class (target code) the map puts the coding in, as the Word's `text`; else None."""
        found = self._find(map_name, coding)
        if found is None or not found[1].target_code:
            return None
        return _word(map_name, *found, found[1].target_code, coding)

    def _find(self, map_name: str, coding: Coding) -> tuple[Group, Row] | None:
        if not coding.code:
            return None
        key = map_name, coding.system, coding.code
        if key in self._of_code:
            return self._of_code[key]
        groups = self._groups_of(map_name, coding.system or "")
        found = next(((group, row) for group in groups if (row := group.row(coding.code))), None)
        if len(self._of_code) < MOST_KNOWN:
            self._of_code[key] = found
        return found

    def _groups_of(self, map_name: str, system: str) -> tuple[Group, ...]:
        """The map's groups for a system, worked out once: real data has few systems, and no more are kept."""
        key = map_name, system
        known = self._of_system.get(key)
        if known is None:
            name = self.canonical(system)
            known = tuple(group for group in self._groups(map_name) if group.pattern.fullmatch(name))
            if len(self._of_system) < MOST_KNOWN:
                self._of_system[key] = known
        return known

    def listened(self, ask: Callable[[], _Answer]) -> tuple[_Answer, frozenset[Missed]]:
        """What `ask` gives, and the codes it asked about in vain, where somebody counts them."""
        return ask(), frozenset()

    def missed_again(self, missed: frozenset[Missed]) -> None:
        """The same was asked in vain, though nobody came here: the answer was remembered."""

    def canonical(self, system: str) -> str:
        """The system under the name the maps use."""
        if system in self.aliases:
            return self.aliases[system]
        for alias, name in self.aliases.items():
            if alias.endswith("*") and system.startswith(alias[:-1]):
                return name[:-1] + system[len(alias) - 1 :]
        return system

    def _groups(self, map_name: str) -> tuple[Group, ...]:
        if map_name not in self._maps:
            self._maps[map_name] = self.load(map_name)
        return self._maps[map_name]


def _word(map_name: str, group: Group, row: Row, text: str, coding: Coding) -> Word:
    return Word(text, f"{map_name} {row.code}", group.layer, row.code == coding.code)


def _pattern(system: str) -> re.Pattern[str]:
    """A system's name; `*` stands for a part that carries a tenant."""
    return re.compile(".*".join(re.escape(part) for part in system.split("*")))
