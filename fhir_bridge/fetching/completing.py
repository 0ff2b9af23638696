"""A case is completed: what its decision asks for and is not at hand is fetched, until it asks for no more.

Nothing is fetched on suspicion. The decision is made on what is there; what it looked for in vain is fetched,
and it is made again (mapping, section 15). A trigger that is rightly skipped costs no request more.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from fhir_bridge.case.case import Case
from fhir_bridge.case.wanted import Missing, Wanted
from fhir_bridge.errors import FhirServerError
from fhir_bridge.fetching.by_reference import ByReference
from fhir_bridge.fetching.keeping import Keeping
from fhir_bridge.fetching.searching import DECIDING, TYPES, Found, Searcher, token
from fhir_bridge.fetching.unanswered import Search, unanswered
from fhir_bridge.fhir.views import (
    TRIGGER_TYPES,
    Appointment,
    Consent,
    Coverage,
    Encounter,
    RelatedPerson,
    View,
)
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.fhir_client.together import together
from fhir_bridge.intake.files import Inputs
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Skip
from fhir_bridge.mapping.gates import NOBODY_BLOCKED, Blocked
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping_run import MappingRun

SEARCHES: dict[type[View], str] = {
    Encounter: "encounters",
    Appointment: "appointments",
    RelatedPerson: "related_persons",
    Coverage: "coverages",
    Consent: "consents",
}
"""What is asked for of a patient → the search that brings it."""

OPEN_SKIPS = frozenset({"consent-missing"})
"""Skips that what is fetched may turn; every other one stands by what is at hand."""

MOST_ROUNDS = 6
"""Trigger, patient and order, role, organization, place: what hangs on what was fetched is a round more."""

MOST_FETCHED = 100
"""References and searches of one trigger: a record that refers to thousands is not followed to its end."""

PATIENCE = 120.0
"""Seconds that the completing of one message may take in all."""

_ORDER = re.compile(r"(?:ServiceRequest|ReferralRequest|ProcedureRequest)/[A-Za-z0-9\-.]+")


class Completion:
    """Completes cases from one source's FHIR server; kept as long as that is, for it learns its ways."""

    def __init__(self, server: FhirServer, profile: Profile) -> None:
        self.server = server
        self._searcher = Searcher(server, profile)

    async def complete(
        self,
        run: MappingRun,
        inputs: Inputs,
        triggers: Sequence[str] = (),
        blocked: Blocked = NOBODY_BLOCKED,
        *,
        patience: float | None = PATIENCE,
        only_deciding: bool = False,
    ) -> Inputs:
        """The inputs with all their decisions need, as far as the server has it; `inputs` stay as they are.

        `triggers` (`Type/id`) are read first where they are not at hand, and join the inputs' own resources;
        one that is gone is `deleted`. Everything else joins the context. Each thing is asked for once.
        Raises FhirServerError where the server does not answer, does not know us or takes too long (then
        nothing may be decided: it may know why nobody must be called), and for a trigger it does not know.
        What it merely has not, or does not give us, is in `gaps`; where that may say that nobody is to be
        called, the trigger is `unanswered`. `patience`: seconds for all of it. With
        `only_deciding` just that is asked for which may say that nobody is to be called: no request can be
        made of it.
        """
        try:
            async with asyncio.timeout(patience):
                completing = _Completing(self.server, self._searcher, run, inputs, blocked, only_deciding)
                return await completing.whole(triggers)
        except TimeoutError:
            raise FhirServerError("completing a case took too long", code="timeout") from None


@dataclass(slots=True)
class _Round:
    """What one look at the cases asks for."""

    references: list[Missing] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)


class _Completing:
    """The completing of one message."""

    def __init__(
        self,
        server: FhirServer,
        searcher: Searcher,
        run: MappingRun,
        inputs: Inputs,
        blocked: Blocked,
        only_deciding: bool,
    ) -> None:
        self._server, self._searcher, self._run, self._blocked = server, searcher, run, blocked
        self._only_deciding = only_deciding
        self._inputs = replace(
            inputs,
            resources=list(inputs.resources),
            context=list(inputs.context),
            problems=list(inputs.problems),
            deleted=dict(inputs.deleted),
        )
        there = (*inputs.context, *inputs.resources)
        self._keeping = Keeping(server.base_url, there, self._inputs.context)
        self._by_reference = ByReference(server, self._keeping)
        self._asked: set[Missing | Search] = set()
        self._found: dict[Search, Found] = {}
        self._numbers: dict[str, Search] = {}

    async def whole(self, triggers: Sequence[str]) -> Inputs:
        """See Completion.complete."""
        await self._read_triggers(triggers)
        cases: list[Case] = []
        for _ in range(MOST_ROUNDS):
            wanted = self._look()
            cases = wanted.cases
            if not wanted.references and not wanted.searches:
                break
            await together((self._by_reference.fetch(wanted.references), self._search(wanted.searches)))
        return replace(
            self._inputs,
            whole_histories=self._inputs.whole_histories | set(self._whole_histories()),
            whole_chains=self._inputs.whole_chains | {c async for c in self._whole_chains(cases)},
            unanswered={**self._inputs.unanswered, **self._unanswered(cases)},
            gaps=(*self._inputs.gaps, *self._keeping.gaps),
        )

    def _unanswered(self, cases: Iterable[Case]) -> dict[str, tuple[str, ...]]:
        without = self._run.profile.searches.do_without
        asked = {
            case.trigger.label: unanswered(
                case,
                tuple(_orders(case)),
                self._found,
                self._keeping.lost,
                without,
                self._numbers.get(case.trigger.label),
            )
            for case in cases
        }
        return {label: open_ for label, open_ in asked.items() if open_}

    # -- what is asked for --

    def _look(self) -> _Round:
        """Decide on what is there, and say what the decisions that may still change looked for in vain."""
        open_ = {
            case.trigger.label
            for case in self._run.cases(self._inputs, self._run.at_hand(self._inputs))
            if self._is_open(case)
        }
        wanted, found = Wanted(), _Round()
        for case in self._run.cases(self._inputs, self._run.at_hand(self._inputs, wanted)):
            if case.trigger.label in open_:
                self._is_open(case)
                found.cases.append(case)
        asked_for: list[Missing | Search] = [
            *self._searches(wanted, found.cases),
            *filter(_is_worth_it, wanted.references),
        ]
        new = [each for each in dict.fromkeys(asked_for) if each not in self._asked and self._is_meant(each)]
        room = MOST_FETCHED * len(open_) - len(self._asked)
        if len(new) > room:
            self._keeping.gaps["more is referred to than is fetched for one case"] = None
        for each in new[: max(room, 0)]:
            self._asked.add(each)
            if isinstance(each, Missing):
                found.references.append(each)
            else:
                found.searches.append(each)
        return found

    def _is_meant(self, asked: Missing | Search) -> bool:
        if not self._only_deciding:
            return True
        if isinstance(asked, Missing):
            return asked.target.type in TRIGGER_TYPES or asked.target.type == "Patient"
        return asked[0] in DECIDING

    def _is_open(self, case: Case) -> bool:
        decision = decide(case, self._run.profile, self._run.now, self._blocked)
        return not isinstance(decision, Skip) or decision.reason in OPEN_SKIPS

    def _searches(self, wanted: Wanted, cases: Iterable[Case]) -> Iterator[Search]:
        for kind, identity in wanted.of_patients:
            if kind in SEARCHES and identity.startswith("Patient/"):
                yield SEARCHES[kind], identity
        for practitioner in wanted.roles:
            yield "roles", practitioner
        for case in cases:
            if number := case.patient_number:
                search = "patients", token(self._run.profile.systems.names_of(number[0]), number[1])
                yield self._numbers.setdefault(case.trigger.label, search)
            for order in _orders(case):
                yield "chain", order
                of_order = self._found.get(("chain", order))
                # Where it cannot be asked for those of an order, they are among the patient's.
                if of_order is not None and not of_order.pages and self._is_at_server(case):
                    yield "appointments", case.patient_identity or ""

    @staticmethod
    def _is_at_server(case: Case) -> bool:
        return (case.patient_identity or "").startswith("Patient/")

    # -- fetching --

    async def _read_triggers(self, triggers: Sequence[str]) -> None:
        own = {resource.label for resource in self._inputs.resources}
        for label in dict.fromkeys(triggers):
            if label in own:
                continue
            kind, _, id_ = label.partition("/")
            try:
                body = await self._server.read(kind, id_)
            except FhirServerError as error:
                if error.code != "gone":
                    raise
                self._inputs.deleted[label] = None
            else:
                read, _ = self._keeping.read(body, f"{self._server.base_url}/{label}")
                self._inputs.resources += read
                self._keeping.know(read)

    async def _search(self, searches: Sequence[Search]) -> None:
        found = await together(self._searched(*search) for search in searches)
        for search, each in zip(searches, found, strict=True):
            self._found[search] = each
            self._keeping.gaps |= dict.fromkeys(each.gaps)
            what = f"search of {TYPES[search[0]]}"
            kept = [self._keeping.keep(page, None, what) for page in each.pages]
            if not all(kept):
                self._found[search] = dataclasses.replace(each, lacking=(f"{what}: a match cannot be read",))

    async def _searched(self, name: str, about: str) -> Found:
        id_ = about.rpartition("/")[2]
        values = {"patient": id_, "practitioner": id_, "order": about, "order_id": id_, "identifier": about}
        return await self._searcher.search(name, self._run.now, **values)

    # -- what is known to be all there is --

    def _whole_histories(self) -> Iterator[str]:
        """The patients of whom every visit is here: as encounters, and as appointments that took place."""
        for (name, patient), found in self._found.items():
            appointments = self._found.get(("appointments", patient))
            if name == "encounters" and found.is_whole and appointments and appointments.is_whole:
                yield patient

    async def _whole_chains(self, cases: Sequence[Case]) -> AsyncIterator[str]:
        """The triggers all of whose chain is here; only a server that knows `based-on` can know it."""
        if not cases:
            return
        said = await self._server.known()
        if "based-on" not in said.parameters.get("Appointment", ()):
            return
        for case in cases:
            searches = [("chain", order) for order in _orders(case)]
            searches.append(("appointments", case.patient_identity or ""))
            if all(self._found.get(search, Found()).is_whole for search in searches):
                yield case.trigger.label


def _orders(case: Case) -> Iterator[str]:
    """The orders of a chain by Type/id."""
    return (name for name in case.chain.members if _ORDER.fullmatch(name))


def _is_worth_it(missing: Missing) -> bool:
    """Whether fetching it can change anything. A visit's appointment only says what is not to be told
    twice."""
    return not (missing.holder == "Encounter" and missing.target.type == "Appointment")
