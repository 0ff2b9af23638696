"""What a source's server answered, kept for the cases that asked: resources, and what could not be had."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from fhir_bridge.case import editions
from fhir_bridge.errors import FhirServerError, InputError
from fhir_bridge.fhir import documents
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View

UNKNOWN = frozenset({"not-found", "foreign-link", "bad-reference"})
"""Of a reference: the server says that it leads to nothing, or it leads to another one."""


class Keeping:
    """Puts what comes into `context`. `gaps` are in words without values; `lost` what could not be read of
    what was asked for by reference, by `Type/id`."""

    def __init__(self, base_url: str, there: Iterable[Resource[View]], context: list[Resource[View]]) -> None:
        self._base_url, self._context = base_url, context
        self._known = {one.label: one for one in there}
        self.gaps: dict[str, None] = {}
        self.lost: dict[str, str] = {}

    def know(self, resources: Iterable[Resource[View]]) -> None:
        """These are at hand elsewhere than in the context."""
        self._known |= {one.label: one for one in resources}

    def keep_one(self, label: str, answer: bytes | FhirServerError, url: str) -> None:
        """What was read by reference. That the server does not know it is an answer."""
        what = f"{label.partition('/')[0]} by reference"
        is_whole = self.keep(answer, url, what)
        if not is_whole and not (isinstance(answer, FhirServerError) and answer.code in UNKNOWN):
            code = answer.code if isinstance(answer, FhirServerError) else "unreadable"
            self.lost[label] = f"{what}: {code}"

    def keep(self, answer: bytes | FhirServerError, url: str | None, what: str) -> bool:
        """What came joins the context, unless it is at hand already in a version that is not older. False
        where not all of it could be had."""
        if isinstance(answer, FhirServerError):
            self.gaps[f"{what}: {answer.code}"] = None
            return False
        read, is_whole = self.read(answer, url)
        for resource in read:
            there = self._known.get(resource.label)
            both = (there, resource) if there is not None else (resource,)
            if editions.newest(both) == (resource,) or editions.disagree(both):
                self._context.append(resource)
                self._known[resource.label] = resource
        return is_whole

    def read(self, body: bytes, url: str | None) -> tuple[list[Resource[View]], bool]:
        """The resources of one answer, each under its address on the server that gave it, and whether all of
        it could be read."""
        try:
            document = documents.read(body, self._base_url)
        except InputError as error:
            self.gaps[f"unreadable: {error.code}"] = None
            return [], False
        self.gaps |= dict.fromkeys(f"unreadable: {problem.code}" for problem in document.problems)
        read = [
            structs.replace(one, full_url=url or f"{self._base_url}/{one.label}") if one.view.id else one
            for one in document.resources
        ]
        return read, not document.problems
