"""What a crawl asks for: groups of searches or reads, each a file of its own, the same however often planned.

A group is what is lost when a crawl is killed; those whose file is there are done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar, overload
from urllib.parse import parse_qsl

from fhir_bridge.intake.export.folder import CRAWLED
from fhir_bridge.intake.export.request import instant

A_GROUP = 100
"""Searches or reads, at most."""

A_WEEK = timedelta(days=7)

T = TypeVar("T")

Search = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Each(Sequence[Search]):
    """A search for each of `whose`, made when it is asked for: there may be a million."""

    whose: Sequence[str]
    search: Callable[[str], Search]

    def __len__(self) -> int:
        return len(self.whose)

    @overload
    def __getitem__(self, index: int) -> Search: ...
    @overload
    def __getitem__(self, index: slice) -> Each: ...
    def __getitem__(self, index: int | slice) -> Search | Each:
        if isinstance(index, slice):
            return Each(self.whose[index], self.search)
        return self.search(self.whose[index])


@dataclass(frozen=True, slots=True)
class CrawlRules:
    """What a server's searches take, as the layers have it (section `exports`); queries by resource type.

    `lacks` are types its export does not give. `window` bounds what a query asks for by date; `changed` is
    the instant of --since, None for everything; `always` goes with each, `filters` narrow a type.
    """

    by_patient: Mapping[str, str]
    by_date: Mapping[str, Sequence[str]]
    window: tuple[datetime, datetime]
    lacks: frozenset[str] = frozenset()
    patients: str = ""
    roles: str = ""
    changed_query: str = ""
    always: Sequence[str] = ()
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    changed: str | None = None

    def of_patients(self, kind: str, patients: Sequence[str]) -> Sequence[Sequence[Search]]:
        """The search of a type for each patient, once for each filter of the type."""

        def search(filtered: str, patient: str) -> Search:
            found = self._filled(self.by_patient[kind], self.window, patient=patient)
            return (*found, *parse_qsl(filtered))

        return [Each(patients, partial(search, text)) for text in self.filters.get(kind, ("",))]

    def of_practitioners(self, practitioners: Sequence[str]) -> Sequence[Search]:
        """The search of each practitioner's roles: nothing refers to them."""
        return Each(practitioners, lambda one: self._filled(self.roles, self.window, practitioner=one))

    def of_weeks(self, kind: str) -> Iterator[Search]:
        """The searches of a type for the whole window: by week, and once what no date is asked of."""
        for query in self.by_date.get(kind, ()):
            if "{since" not in query:
                yield self._filled(query, self.window)
                continue
            start, end = self.window
            while start < end:
                yield self._filled(query, (start, min(start + A_WEEK, end)))
                start += A_WEEK

    def of_all_patients(self) -> Search:
        """The search of every patient: also of those that did not change, for others' changes are theirs."""
        return tuple(pair for text in (self.patients, *self.always) for pair in parse_qsl(text))

    def _filled(self, query: str, window: tuple[datetime, datetime], **values: str) -> Search:
        start, end = (moment.astimezone(UTC) for moment in window)
        values |= {"since": instant(start), "until": instant(end)}
        values |= {"since_day": start.date().isoformat(), "until_day": end.date().isoformat()}
        pairs = [pair for text in (query, *self.always) for pair in parse_qsl(text)]
        if self.changed is not None:
            pairs += parse_qsl(self.changed_query)
            values["changed"] = self.changed
        # What is filled in is somebody else's text: it becomes part of a value, never of the query.
        return tuple((name, re.sub(r"\{(\w+)\}", lambda m: values[m[1]], value)) for name, value in pairs)


@dataclass(frozen=True, slots=True)
class Group:
    """Searches of a type, or reads of it by id; `name` is the file they go to."""

    kind: str
    number: int
    searches: Sequence[Search] = ()
    ids: Sequence[str] = ()
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.kind}{CRAWLED}{self.number:05}.ndjson")

    @property
    def size(self) -> int:
        """How many questions it is."""
        return len(self.searches) + len(self.ids)


def groups_of(
    kind: str, *, searches: Sequence[Search] = (), ids: Sequence[str] = (), already: int = 0
) -> list[Group]:
    """Searches or reads in groups; `already` groups of the type came before."""
    found = [Group(kind, 0, searches=chunk) for chunk in _chunks(searches)]
    found += [Group(kind, 0, ids=chunk) for chunk in _chunks(ids)]
    return [Group(kind, number, group.searches, group.ids) for number, group in enumerate(found, already + 1)]


def _chunks(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + A_GROUP] for start in range(0, len(items), A_GROUP)]
