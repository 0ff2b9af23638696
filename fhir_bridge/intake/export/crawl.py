"""Searching for what a server does not export: by patient, or by week, then whoever is referred to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fhir_bridge.errors import FhirServerError
from fhir_bridge.intake.export import crawl_patients
from fhir_bridge.intake.export.bundle_lines import label
from fhir_bridge.intake.export.crawl_group import REFUSED, GroupCrawl
from fhir_bridge.intake.export.crawl_plan import CrawlRules, Group, Search, groups_of
from fhir_bridge.intake.export.folder import ExportFolder
from fhir_bridge.intake.export.manifest import OUTPUT
from fhir_bridge.intake.export.state import State
from fhir_bridge.intake.export.watching import Watching

ROUNDS = 3
"""How far references are followed: to a role, to its organization, to what that is part of."""


@dataclass(slots=True)
class Crawl:
    """One crawl into one folder; `at_once` groups are asked for at a time.

    `failed` are the types that the server would not be searched for, each with the refusal.
    """

    one: GroupCrawl
    folder: ExportFolder
    rules: CrawlRules
    watching: Watching
    at_once: int = 4
    groups: list[Group] = field(default_factory=list)
    failed: dict[str, FhirServerError] = field(default_factory=dict)

    async def run(self, state: State) -> None:
        """Have in the folder what can be found of `state.crawled`. Raises FhirServerError, UsageError."""
        kinds = [kind for kind in state.crawled or () if kind != "Patient"]
        patients = await self._patients(state)
        dated: list[str] = []
        if patients is None:
            self.watching.said("the server does not list its patients: it is searched by date, week by week")
            dated = [kind for kind in kinds if self.rules.by_date.get(kind)]
            for kind in dated:
                await self._search(kind, list(self.rules.of_weeks(kind)))
            patients = [one.partition("/")[2] for one in sorted(self._references(self.groups, {"Patient"}))]
        asked = [kind for kind in kinds if self.rules.by_patient.get(kind) and kind not in dated]
        for kind in asked:
            await self._search(kind, *self.rules.of_patients(kind, patients))
        whole = "Patient" in (state.crawled or ())
        await self._referred_to(state, [f"Patient/{one}" for one in patients] if whole else [])

    async def _patients(self, state: State) -> list[str] | None:
        """Whom to search for; None where the server does not say who its patients are. The same after a
        crash."""
        every = groups_of("Patient", searches=[self.rules.of_all_patients()], already=-1)
        found = crawl_patients.kept(self.folder)
        if found is None:
            found = crawl_patients.keep(self.folder, await self._found(state, every))
        # What a search found of patients need not be read.
        self.groups += [group for group in every if self.folder.has(group.name) and group not in self.groups]
        return None if found == crawl_patients.NOT_LISTED else found

    async def _found(self, state: State, every: Sequence[Group]) -> list[str]:
        exported = [part.name for part in state.parts or () if part.type == "Patient" and part.kind == OUTPUT]
        # In an increment there are only those patients who changed themselves.
        if exported and state.request.since is None:
            return crawl_patients.in_files(self.folder.path / name for name in exported)
        if state.request.scope.startswith("Group/"):
            return await crawl_patients.in_group(self.one.server, state.request.scope.partition("/")[2])
        await self._crawl(every)
        if self.failed.pop("Patient", None) is not None:
            return crawl_patients.NOT_LISTED
        return crawl_patients.in_files(self.folder.path / group.name for group in every)

    # -- who and what is referred to --

    async def _referred_to(self, state: State, labels: Sequence[str]) -> None:
        """Read `labels`, and what the crawled resources refer to, of the types that were asked for, where it
        is not here."""
        kinds = {kind for kind in state.request.types if not self.rules.by_patient.get(kind)} - {"Patient"}
        patients = {"Patient"} & set(state.crawled or ())
        known = self._labels(kinds | {"Patient"}, state)
        sources, wanted = list(self.groups), list(labels)
        for _ in range(ROUNDS):
            wanted += sorted(self._references(sources, kinds | patients))
            new = [one for one in dict.fromkeys(wanted) if one not in known]
            known.update(new)
            sources = self._reads(new)
            if "PractitionerRole" in (state.crawled or ()) and self.rules.roles:
                sources += self._roles(new, sources)
            await self._crawl(sources)
            wanted = []

    def _reads(self, labels: Sequence[str]) -> list[Group]:
        by_kind: dict[str, list[str]] = {}
        for one in labels:
            kind, _, id_ = one.partition("/")
            by_kind.setdefault(kind, []).append(id_)
        return [
            group
            for kind, ids in sorted(by_kind.items())
            for group in groups_of(kind, ids=ids, already=_number(kind, self.groups))
        ]

    def _roles(self, labels: Sequence[str], reads: Sequence[Group]) -> list[Group]:
        """The searches of the roles of practitioners, numbered after what is read of roles."""
        whose = [one.partition("/")[2] for one in labels if one.startswith("Practitioner/")]
        kind = "PractitionerRole"
        already = _number(kind, [*self.groups, *reads])
        return groups_of(kind, searches=self.rules.of_practitioners(whose), already=already)

    def _references(self, sources: Iterable[Group], kinds: set[str]) -> set[str]:
        """The literal references to these types on the server itself, as `Type/id`."""
        if not kinds:
            return set()
        base, names = re.escape(self.one.server.base_url), "|".join(sorted(kinds))
        text = rf'"reference"\s*:\s*"(?:{base}/)?((?:{names})/[A-Za-z0-9\-._]{{1,256}})["/]'
        pattern, found = re.compile(text.encode()), set[str]()
        for group in sources:
            if self.folder.has(group.name):
                with (self.folder.path / group.name).open("rb") as lines:
                    for line in lines:
                        found.update(one.decode() for one in pattern.findall(line))
        return found

    def _labels(self, kinds: set[str], state: State) -> set[str]:
        """The resources of these types that are here."""
        names = [part.name for part in state.parts or () if part.kind == OUTPUT and part.type in kinds]
        names += [group.name for group in self.groups if group.kind in kinds and self.folder.has(group.name)]
        found: set[str] = set()
        for name in names:
            with (self.folder.path / name).open("rb") as lines:
                found.update(one for line in lines if (one := label(line)) is not None)
        return found

    # -- how --

    async def _search(self, kind: str, *searches: Sequence[Search]) -> None:
        """All searches of a type."""
        groups: list[Group] = []
        for each in searches:
            groups += groups_of(kind, searches=each, already=len(groups))
        await self._crawl(groups)

    async def _crawl(self, groups: Sequence[Group]) -> None:
        """Have the groups' files here. A type that the server refuses again and again is given up."""
        self.groups += groups
        missing = [group for group in groups if not self.folder.has(group.name)]
        total = sum(group.size for group in groups)
        if total:
            kinds = ", ".join(sorted({group.kind for group in groups}))
            self.watching.searches(kinds, total, total - sum(group.size for group in missing))
        places = asyncio.Semaphore(self.at_once)

        async def one(group: Group) -> None:
            async with places:
                if group.kind in self.failed:
                    return
                try:
                    await self.one.crawl(group)
                except FhirServerError as error:
                    if error.code != REFUSED:
                        raise
                    self.failed[group.kind] = error
                self.watching.searched(group.size)

        try:
            async with asyncio.TaskGroup() as tasks:
                for group in missing:
                    tasks.create_task(one(group))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None


def _number(kind: str, groups: Iterable[Group]) -> int:
    return sum(group.kind == kind for group in groups)
