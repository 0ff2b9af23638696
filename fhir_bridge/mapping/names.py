"""Names of people: which counts, its parts, how a practitioner's is spoken (mapping, sections 6 and 11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec

from fhir_bridge.fhir.datatypes import HumanName
from fhir_bridge.mapping.periods import current
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.rules import Names
from fhir_bridge.mapping.said import code, said

REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
"""Which script a name is written in: ABC, SYL or IDE."""


class Named(msgspec.Struct, frozen=True):
    """One name of a person: `first` (all given names) and `last`, its `prefix`, and its `index` in the list.

    `text` is set only where the record has no parts, which then were read from it (`notes`: name-split).
    """

    first: str | None
    last: str | None
    prefix: str | None
    text: str | None
    index: int
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether both a first and a last name are known."""
        return self.first is not None and self.last is not None


class Spoken(msgspec.Struct, frozen=True):
    """A name as it is said, and its place in the list."""

    text: str
    index: int


def full_name(names: Sequence[HumanName] | HumanName, profile: Profile, now: datetime) -> Named | None:
    """The name that counts: official, then usual, then any current one; never old, maiden or nickname unless
    alone (mapping, section 6). Of these the first that is complete, else the first; None where none says
    anything."""
    return _full_name(_listed(names), profile, now)


@lru_cache(maxsize=4_096)
def _full_name(names: tuple[HumanName, ...], profile: Profile, now: datetime) -> Named | None:
    rules = profile.names
    read = [(name, named) for i, name in enumerate(names) if (named := _named(name, i, rules)) is not None]
    if len(read) > 1:
        counting = [pair for pair in read if _counts(pair[0], profile, now)]
        read = sorted(counting or read, key=lambda pair: _rank(pair[0], rules))
    ordered = [named for _, named in read]
    return next((named for named in ordered if named.complete), ordered[0] if ordered else None)


def practitioner_name(
    names: Sequence[HumanName] | HumanName, profile: Profile, now: datetime, *, doctor: bool = False
) -> Spoken | None:
    """The practitioner's name that counts, with its prefix (mapping, section 11); None where none says
    anything.

    A `doctor` without a title is given one; credentials after a comma are dropped where it is said.
    """
    return _practitioner_name(_listed(names), profile, now, doctor)


@lru_cache(maxsize=4_096)
def _practitioner_name(
    names: tuple[HumanName, ...], profile: Profile, now: datetime, doctor: bool
) -> Spoken | None:
    named = _full_name(names, profile, now)
    if named is None:
        return None
    if named.text is None:
        words = " ".join(part for part in (named.prefix, named.first, named.last) if part)
    else:
        words = spoken_display(named.text, profile) or named.text
    title = profile.names.doctor
    if doctor and not _holds_title(words.split()[:1], profile.names):
        words = f"{title} {words}"
    if _bare(words.split()[0]) == _bare(title):
        words = words.split(",")[0].rstrip()
    return Spoken(words, named.index)


@lru_cache(maxsize=4_096)
def spoken_display(display: str | None, profile: Profile) -> str | None:
    """A practitioner's name from a display alone (mapping, section 11); None where it says nothing.

    "Last, First" is turned round when neither part holds a title, a credential or a digit and the second has
    at most three words; else it is said as it stands.
    """
    words = said(display)
    if words is None:
        return None
    last, comma, first = (part.strip() for part in words.partition(","))
    parts = [*last.split(), *first.split()]
    turns = bool(comma and last and first) and "," not in first and len(first.split()) <= 3
    if not turns or any(letter.isdigit() for letter in words):
        return words
    if _holds_title(parts, profile.names) or _holds_credential(parts, profile.names):
        return words
    return f"{first} {last}"


def _listed(names: Sequence[HumanName] | HumanName) -> tuple[HumanName, ...]:
    if isinstance(names, tuple):  # asked first: it costs a tenth of what the other does
        return names
    return (names,) if isinstance(names, HumanName) else tuple(names)


def _named(name: HumanName, index: int, rules: Names) -> Named | None:
    """One name in parts; None where it says nothing. Its text counts only where both parts are missing."""
    last = said(name.family)
    first = _joined(name.given)
    if first is None and last is None:
        text = said(name.text)
        return None if text is None else _split(text, index, rules)
    return Named(first, last, _joined(name.prefix), None, index)


def _joined(parts: Sequence[str]) -> str | None:
    return " ".join(words for part in parts if (words := said(part))) or None


def _split(text: str, index: int, rules: Names) -> Named:
    """A text as parts: "Last, First", else the last word is the last name; titles and credentials are no part
    of it."""
    before, comma, after = text.partition(",")
    words = before.split()
    given = [word for word in after.replace(",", " ").split() if not _is_credential(word, rules)]
    titles = 0
    while titles < len(words) and _is_title(words[titles], rules):
        titles += 1
    prefix, words = " ".join(words[:titles]) or None, words[titles:]
    if comma and given:
        first, last = " ".join(given), " ".join(words)
    else:
        while len(words) > 1 and _is_credential(words[-1], rules):
            words.pop()
        first, last = " ".join(words[:-1]), " ".join(words[-1:])
    return Named(first or None, last or None, prefix, text, index, ("name-split",))


def _counts(name: HumanName, profile: Profile, now: datetime) -> bool:
    return (code(name.use) or "") in profile.names.uses and current(name.period, now, profile.source.zone)


def _rank(name: HumanName, rules: Names) -> tuple[bool, int]:
    """Where a name stands in line: the preferred script first, then by use, as the layers order them."""
    script = next((each.value_code for each in name.extension if each.url == REPRESENTATION), None)
    order = (*rules.uses, *rules.last_uses)
    use = code(name.use) or ""
    other_script = rules.representation is not None and script != rules.representation
    return other_script, order.index(use) if use in order else len(order)


def _bare(word: str) -> str:
    return word.strip(".,").replace(".", "").casefold()


def _is_title(word: str, rules: Names) -> bool:
    return _bare(word) in rules.titles


def _is_credential(word: str, rules: Names) -> bool:
    return _bare(word) in rules.credentials


def _holds_title(words: Sequence[str], rules: Names) -> bool:
    return any(_is_title(word, rules) for word in words)


def _holds_credential(words: Sequence[str], rules: Names) -> bool:
    return any(_is_credential(word, rules) for word in words)
