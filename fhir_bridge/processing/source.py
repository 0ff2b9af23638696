"""One source as processing sees it: its rules, how long it holds calls back, and what it can be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from fhir_bridge.intake.files import Inputs
from fhir_bridge.intake.notifications import Notification
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping_run import MappingRun


class SourceServer(Protocol):
    """The source's FHIR server."""

    async def fetch(self, reference: str) -> bytes:
        """What a literal reference names. Raises FhirServerError, `foreign-link` for another server's."""
        ...


class Hears(Protocol):
    """Whoever follows a source's subscriptions."""

    async def heard(self, messages: Sequence[tuple[Notification, datetime]]) -> None:
        """Note messages, each with when it came (aware UTC), and have the source searched where one does not
        say what changed. Doing it again changes nothing but a count."""
        ...


class Completes(Protocol):
    """Whoever reads at the source what a case needs besides."""

    async def complete(
        self, run: MappingRun, inputs: Inputs, triggers: Sequence[str] = ..., blocked: Blocked = ...
    ) -> Inputs:
        """The inputs with what their decisions need. Raises FhirServerError where the source does not
        answer."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessedSource:
    """A source. `run` gives what maps at an instant; what cannot be asked of it is None."""

    name: str
    run: Callable[[datetime], MappingRun] = field(repr=False)
    hold: timedelta = timedelta(0)
    server: SourceServer | None = None
    completes: Completes | None = None
    hears: Hears | None = None
    can_search: bool = False
