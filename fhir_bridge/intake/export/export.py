"""What a server exports, in our folder: one job of its, file by file, whatever happens in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fhir_bridge.errors import FhirServerError
from fhir_bridge.intake.export.folder import ExportFolder
from fhir_bridge.intake.export.job import Job, JobGoneError, Whole
from fhir_bridge.intake.export.report import Report
from fhir_bridge.intake.export.state import Part, State, named
from fhir_bridge.intake.export.transfer import ExpiredError, Transfer
from fhir_bridge.intake.export.watching import Watching

MOST_JOBS = 2
"""Times that an export is begun in one run: a server that loses its job twice would lose it again."""

_OWN_FAULT = frozenset({"export-truncated", "foreign-link"})
"""Codes that tell of one file, and nothing of the others."""


@dataclass(slots=True)
class Export:
    """One export into one folder; `at_once` files are fetched at a time. `post`: kicked off by POST."""

    job: Job
    transfer: Transfer
    folder: ExportFolder
    watching: Watching
    at_once: int = 4
    post: bool = False
    report: Report = field(default_factory=Report)

    async def fetch(self, state: State) -> None:
        """Have everything here that the server exports, as far as it can be had: see `report`.

        The state is kept at each step, so that another call goes on from there. Raises FhirServerError,
        UsageError where the disk refuses.
        """
        for last in (False,) * (MOST_JOBS - 1) + (True,):
            try:
                await self._fetch_job(state)
                return
            except JobGoneError:
                if last:
                    raise _gone() from None
                self.watching.said("the server's export has expired: it is begun again, from the first file")
                self.forget(state)

    def forget(self, state: State) -> None:
        """Begin anew. The files go first: a state without a job must not find another job's."""
        self.folder.drop_data()
        state.forget_job()
        self.folder.save(state)

    async def _fetch_job(self, state: State) -> None:
        if state.parts is not None and all(self.folder.has(part.name) for part in state.parts):
            return
        if state.job_url is None:
            self.folder.drop_data()
            state.job_url = await self.job.kick_off(state.exported, post=self.post)
            self.folder.save(state)
            self.watching.said("the export is begun")
        whole = await self.job.manifest(state.job_url)
        expired = await self._fetch_files(whole, state)
        if expired:
            self.watching.said(
                f"addresses of files have expired ({len(expired)}): the manifest is read again for new ones"
            )
            expired = await self._fetch_files(await self.job.manifest(state.job_url), state)
        self.report.failed |= {name: error for name, error in expired.items() if error.status == 403}
        if any(error.status != 403 for error in expired.values()):
            raise JobGoneError

    async def _fetch_files(self, whole: Whole, state: State) -> dict[str, FhirServerError]:
        """Fetch what is not here; gives the files that are not where the manifest says, by name."""
        addressed = named(whole.files)
        parts = [part for part, _ in addressed]
        if (parts, whole.transaction_time) != (state.parts, state.transaction_time):
            if state.parts is not None:
                self.watching.said("the server's manifest is another one by now: all files are fetched anew")
            self.folder.drop_data()
            state.parts, state.transaction_time = parts, whole.transaction_time
            self.folder.save(state)
        missing = [(part, url) for part, url in addressed if not self.folder.has(part.name)]
        self.watching.files(len(parts), len(parts) - len(missing))
        expired: dict[str, FhirServerError] = {}
        places = asyncio.Semaphore(self.at_once)

        async def one(part: Part, url: str) -> None:
            async with places:
                try:
                    await self._fetch_file(part, url, with_token=url not in whole.open)
                except ExpiredError as error:
                    expired[part.name] = error.refusal

        try:
            async with asyncio.TaskGroup() as group:
                for part, url in missing:
                    group.create_task(one(part, url))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return expired

    async def _fetch_file(self, part: Part, url: str, *, with_token: bool) -> None:
        """One file; what only this one suffers from is kept in the report. Raises what ends all of them."""
        try:
            self.report.looked_through[part.name] = await self.transfer.fetch(
                part, url, with_token=with_token
            )
        except FhirServerError as error:
            if _ends_all(error, with_token):
                raise
            self.report.failed[part.name] = error
            return
        self.watching.file_done()


def _ends_all(error: FhirServerError, with_token: bool) -> bool:
    """Whether the next file would fare no better: no answer, too busy for too long, or no credentials."""
    if error.code in _OWN_FAULT:
        return False
    status = error.status
    return status is None or status in (408, 429) or status >= 500 or (status == 401 and with_token)


def _gone() -> FhirServerError:
    return FhirServerError(
        "the server's export expired before it was fetched, twice",
        code="export-expired",
        hint="ask for less (--type, --group, --since), or ask its administrator how long files are kept",
    )
