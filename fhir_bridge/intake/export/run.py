"""The whole of an export: fetched, crawled where the server exports too little, counted, job deleted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir.views import TRIGGER_TYPES
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.crawl import Crawl
from fhir_bridge.intake.export.crawl_group import GroupCrawl
from fhir_bridge.intake.export.crawl_plan import CrawlRules
from fhir_bridge.intake.export.deletions import date_deletions
from fhir_bridge.intake.export.export import Export
from fhir_bridge.intake.export.finishing import count, files_here, write_manifest
from fhir_bridge.intake.export.folder import ExportFolder
from fhir_bridge.intake.export.job import Job
from fhir_bridge.intake.export.manifest import DELETED
from fhir_bridge.intake.export.report import Report
from fhir_bridge.intake.export.state import State
from fhir_bridge.intake.export.transfer import Transfer
from fhir_bridge.intake.export.waiting import Pace
from fhir_bridge.intake.export.watching import Watching


@dataclass(frozen=True, slots=True)
class Manner:
    """How a server is dealt with: `at_once` files or searches at a time, kicked off by `post` or by GET."""

    at_once: int = 4
    post: bool = False
    keep_job: bool = False
    pace: Pace = field(default_factory=Pace)


@dataclass(slots=True)
class Run:
    """Goes on with the export that `folder` and `state` are of; `rules` are for what is crawled."""

    server: FhirServer
    folder: ExportFolder
    state: State
    manner: Manner
    watching: Watching
    rules: CrawlRules | None = None
    report: Report = field(default_factory=Report)

    async def run(self) -> Report:
        """Until it is done, or as far as the server lets us; the folder holds a manifest.json only where the
        export is whole. Raises FhirServerError, UsageError where the disk refuses.
        """
        self.folder.make()
        self.folder.save(self.state)
        if not self.folder.is_finished:
            await self._fetch()
        files = files_here(self.folder, self.state)
        deleted = [part.name for part in files if part.kind == DELETED]
        if self.state.transaction_time is not None:
            date_deletions(self.folder, deleted, self.state.transaction_time)
        await asyncio.to_thread(count, self.folder, files, self.report)
        if self.report.is_whole:
            write_manifest(self.folder, self.state, files, self.report)
            there = self.state.job_url is not None
            self.report.job_left = there and (self.manner.keep_job or not await ended(self.job, self.state))
            self.folder.tidy()
        return self.report

    @property
    def job(self) -> Job:
        """The server's side of it."""
        return Job(self.server, self.manner.pace, self.watching)

    async def _fetch(self) -> None:
        state, rules = self.state, self.rules if self.state.crawl else None
        if rules is not None and state.crawled is None and rules.lacks:
            state.crawled = tuple(kind for kind in state.request.types if kind in rules.lacks)
        if state.exported.types or not state.request.types:
            await self._export(crawling=rules is not None)
        if rules is None or self.report.failed:
            return
        if state.crawled is None:
            # What calls for a task is looked for once more where the export holds none of it.
            given = {part.type for part in state.parts or ()}
            state.crawled = tuple(sorted(set(state.request.types) & TRIGGER_TYPES - given))
        self.folder.save(state)
        await self._crawl(rules)

    async def _export(self, *, crawling: bool) -> None:
        """By `$export`; a server that has none is crawled for everything."""
        manner = self.manner
        transfer = Transfer(self.server, self.folder, manner.pace, self.watching)
        export = Export(
            self.job, transfer, self.folder, self.watching, manner.at_once, manner.post, self.report
        )
        try:
            await export.fetch(self.state)
        except FhirServerError as error:
            if not crawling or error.code != "no-export":
                raise
            self.watching.said("the server has no $export for this: everything is searched for")
            self.state.crawled = self.state.request.types

    async def _crawl(self, rules: CrawlRules) -> None:
        one = GroupCrawl(self.server, self.folder, self.manner.pace, self.watching)
        crawl = Crawl(one, self.folder, rules, self.watching, self.manner.at_once)
        await crawl.run(self.state)
        for group in crawl.groups:
            self.report.crawled[group.kind] = self.report.crawled.get(group.kind, 0) + group.size
        self.report.failed |= crawl.failed


async def ended(job: Job, state: State) -> bool:
    """Have the server's job deleted, if there is one; whether there is none any more."""
    return state.job_url is None or await job.delete(state.job_url)
