"""The trigger, its patient and its order read once more before the call, what else may stand against it
searched for, and all mapped anew where something moved (delivery, "Before a byte is sent", 3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime

from fhir_bridge.errors import FhirServerError, InputError
from fhir_bridge.fetching.completing import Completion
from fhir_bridge.fhir import documents
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import TRIGGER_TYPES, View
from fhir_bridge.intake.files import Inputs
from fhir_bridge.ledger.records import Arrival, Heard
from fhir_bridge.mapping.decision import Call
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping_run import MappingRun

PATIENCE = 45.0
"""Seconds for all of it: well within the lease of the intent that waits for it."""

MOST_READ = 6
"""The trigger, the patient and a few more of the chain; each is a request where a server takes no batches."""

_LABEL = re.compile(r"([A-Za-z]+)/([A-Za-z0-9\-._]+)")

Name = tuple[str, str]


class Rereader:
    """Reads one source again; a `dispatch.rereading.SourceReader`.

    `run` has the source's rules; `blocked` gives the do-not-call list of the moment, `clock` the moment
    (aware UTC).
    """

    def __init__(
        self,
        completion: Completion,
        run: MappingRun,
        blocked: Callable[[], Awaitable[Blocked]],
        clock: Callable[[], datetime],
    ) -> None:
        self._completion, self._run = completion, run
        self._blocked, self._clock = blocked, clock

    async def read_again(
        self, trigger: str, patient: str, seen: Mapping[str, str]
    ) -> tuple[list[Arrival], list[Heard]] | None:
        """See SourceReader. A trigger that cannot be asked for by type and id has nothing to be asked."""
        name = _name(trigger)
        if name is None:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._read_again(trigger, patient, seen)
        except TimeoutError:
            raise FhirServerError("reading again took too long", code="timeout") from None

    async def _read_again(
        self, trigger: str, patient: str, seen: Mapping[str, str]
    ) -> tuple[list[Arrival], list[Heard]] | None:
        others = [label for label in seen if label.partition("/")[0] in TRIGGER_TYPES]
        labels = list(dict.fromkeys((trigger, patient, *others)))[:MOST_READ]
        names = {label: name for label in labels if (name := _name(label))}
        answers = await self._completion.server.read_many(list(names.values()))
        found = {label: answers[name] for label, name in names.items()}
        now = {label: self._read(label, answer) for label, answer in found.items()}
        _check_known(trigger, patient, found)
        if now[trigger] is None and isinstance(found[trigger], bytes):
            raise FhirServerError("the trigger cannot be read any more", code="not-fhir")
        is_same = all(_is_same(resource, seen.get(label)) for label, resource in now.items())
        if is_same and await self._is_still_wanted(trigger, now):
            return None
        return await self._mapped(trigger, now)

    async def _is_still_wanted(self, trigger: str, now: Mapping[str, Resource[View] | None]) -> bool:
        """Whether what the source holds now still calls for the trigger, though neither it nor its patient
        moved: the same care may be booked by another appointment, or a consent taken back."""
        arrivals, _ = await self._mapped(trigger, now, only_deciding=True)
        return all(isinstance(each.decision, Call) for each in arrivals)

    async def _mapped(
        self, trigger: str, now: Mapping[str, Resource[View] | None], *, only_deciding: bool = False
    ) -> tuple[list[Arrival], list[Heard]]:
        """The trigger decided anew, its case completed; a Skip where it is gone."""
        there = {label: resource for label, resource in now.items() if resource is not None}
        inputs = Inputs(
            resources=[there[trigger]] if trigger in there else [],
            context=[resource for label, resource in there.items() if label != trigger],
            deleted={} if trigger in there else {trigger: None},
        )
        blocked = await self._blocked()
        run = replace(self._run, now=self._clock())
        inputs = await self._completion.complete(run, inputs, blocked=blocked, only_deciding=only_deciding)
        return run.taken(inputs, blocked)

    def _read(self, label: str, answer: bytes | FhirServerError) -> Resource[View] | None:
        """The resource as it is now; None where it is gone or cannot be read any more."""
        if isinstance(answer, FhirServerError):
            return None
        try:
            read = documents.read(answer, self._completion.server.base_url).resources
        except InputError:
            return None
        return next((resource for resource in read if resource.label == label), None)


def _check_known(trigger: str, patient: str, found: Mapping[str, bytes | FhirServerError]) -> None:
    """A trigger that the server says is gone is gone. One it merely does not know, or does not show us, is
    taken for gone only where it knows the patient: else it is another server, or our rights have changed.

    Raises FhirServerError: then nobody is called, and a person will see why.
    """
    answer = found[trigger]
    if not isinstance(answer, FhirServerError) or answer.code == "gone":
        return
    if answer.code != "not-found" or not isinstance(found.get(patient), bytes):
        raise answer


def _is_same(resource: Resource[View] | None, version: str | None) -> bool:
    """Whether it is the version that was decided on; without a version nobody can say so."""
    return resource is not None and resource.version is not None and resource.version == version


def _name(label: str) -> Name | None:
    found = _LABEL.fullmatch(label)
    return (found[1], found[2]) if found else None
