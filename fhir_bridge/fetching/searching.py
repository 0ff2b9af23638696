"""The searches of a case as the source's layers say them, each in the first way that its server takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.capabilities import Capabilities
from fhir_bridge.fhir_client.pages import page_of, says_error
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.rules import Ways

TYPES = {
    "patients": "Patient",
    "encounters": "Encounter",
    "appointments": "Appointment",
    "chain": "Appointment",
    "related_persons": "RelatedPerson",
    "coverages": "Coverage",
    "consents": "Consent",
    "roles": "PractitionerRole",
}
"""Key of the layers' section `searches` → the type that is searched."""

MOST_MATCHES = 200
"""Of one search: more than this of one patient are no help to a call."""

DECIDING = frozenset({"patients", "appointments", "chain", "consents"})
"""The searches that may bring why nobody is to be called; the others only inform a call."""

MOST_DECIDING = 1_000
"""Of one of those: who comes three times a week, for years ahead, is to be called all the same."""

_NO_SUCH_SEARCH = frozenset({404, 405, 501})

_ANOTHER_WAY = frozenset({400, 403, 404, 405, 406, 414, 422, 500, 501})
"""Answers after which the next way is tried: servers differ in how they refuse what they do not know. After
403 there is none: it is the type that we may not see."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search brought: its pages, and whether that is known to be all there is. `refused`: what the
    server said, without values, to the ways that were tried before; to all of them where there are no pages.
    `lacking`: what is known to be left out of the pages, in words without values. `has_none`: the server says
    that it has nothing of the kind to be searched for."""

    pages: tuple[bytes, ...] = ()
    is_whole: bool = False
    refused: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    has_none: bool = False

    @property
    def open(self) -> str | None:
        """Why the question is not answered; None where it is, or was not asked."""
        return next(iter(self.lacking if self.pages else self.refused[-1:]), None)

    @property
    def gaps(self) -> tuple[str, ...]:
        """The same for people: what is missing, or was asked for in another way."""
        if not self.pages:
            return self.refused
        return (*(f"{words}; asked in another way" for words in self.refused), *self.lacking)


class Searcher:
    """Searches one server by one source's rules. It remembers which way the server took."""

    def __init__(self, server: FhirServer, profile: Profile) -> None:
        self._server, self._profile = server, profile
        self._taken: dict[str, int] = {}

    async def search(self, name: str, now: datetime, **values: str) -> Found:
        """One search by its key in `searches`, its braces filled with `values`.

        Raises FhirServerError where the server does not answer or does not know us: then nothing is known. A
        server that refuses the search itself, in every way, leaves a gap.
        """
        kind, ways = TYPES[name], self._ways(name)
        said = await self._server.known()
        if not ways:
            return Found()
        if said.lacks(kind, "search-type"):
            return Found(refused=(f"search of {kind}: not supported",), has_none=True)
        filled = self._values(now, said) | values
        refused: list[str] = []
        statuses: set[int | None] = set()
        for at in range(self._taken.get(name, 0), len(ways)):
            way = ways[at]
            try:
                found = await self._asked(name, (way,) if isinstance(way, str) else way, filled)
            except FhirServerError as error:
                is_last = at + 1 == len(ways)
                if error.status not in _ANOTHER_WAY or (error.status == 500 and is_last):
                    raise
                refused.append(str(error))
                statuses.add(error.status)
                if error.status == 403:
                    break
            else:
                self._taken[name] = at
                return replace(found, refused=tuple(refused))
        return Found(refused=tuple(refused), has_none=statuses <= _NO_SUCH_SEARCH)

    async def _asked(self, name: str, queries: tuple[str, ...], values: Mapping[str, str]) -> Found:
        """The pages of every query of one way."""
        limit = self._profile.searches.newest if name == "encounters" else MOST_MATCHES
        limit = MOST_DECIDING if name in DECIDING else limit
        pages: list[bytes] = []
        lacking: list[str] = []
        is_whole = True
        for query in queries:
            parameters = filled("&".join((query, *self._profile.searches.always)), values)
            page = b""
            async for page in self._server.search(TYPES[name], parameters, limit=limit):
                pages.append(page)
            last = page_of(page)
            # What a server could not do, or left out, it says in an OperationOutcome among the matches.
            is_whole &= last is not None and last.next is None and b'"OperationOutcome"' not in page
            if last is not None and last.next is not None:
                lacking.append(f"search of {TYPES[name]}: more than {limit} matches")
        if any(map(says_error, pages)):
            lacking.append(f"search of {TYPES[name]}: its answer says that it failed in part")
        return Found(tuple(pages), is_whole, lacking=tuple(lacking))

    def _ways(self, name: str) -> Ways:
        ways: Ways = getattr(self._profile.searches, name)
        return ways

    def _values(self, now: datetime, said: Capabilities) -> dict[str, str]:
        """What does not depend on the case: the span of time, what a finished visit is called."""
        rules = self._profile
        since = now - timedelta(days=rules.triggers.max_age_days)
        until = now + timedelta(days=rules.searches.days_ahead)
        is_r5 = (said.fhir_version or "").startswith("5.")
        return {
            "since": _instant(since),
            "until": _instant(until),
            "since_day": since.date().isoformat(),
            "until_day": until.date().isoformat(),
            "finished": "completed,discharged" if is_r5 else "finished",
            "newest": str(rules.searches.newest),
        }


def token(systems: Iterable[str], value: str) -> str:
    """An identifier as FHIR searches for it, under any of its system's names
    (https://hl7.org/fhir/R4/search.html#token)."""
    return ",".join(f"{_escaped(system)}|{_escaped(value)}" for system in systems)


def _escaped(text: str) -> str:
    return re.sub(r"([\\$,|])", r"\\\1", text)


def filled(query: str, values: Mapping[str, str]) -> list[tuple[str, str]]:
    """A query of the layers as parameters; what a value holds stays within its own."""
    parameters = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        for key, text in values.items():
            value = value.replace(f"{{{key}}}", text)
        parameters.append((name, value))
    return parameters


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
