"""The whole of an export: fetched, crawled where the server exports too little, counted, job deleted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.export import Export
from fhir_bridge.intake.export.finishing import count, files_here, write_manifest
from fhir_bridge.intake.export.folder import ExportFolder
from fhir_bridge.intake.export.job import Job
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


async def run(
    server: FhirServer, folder: ExportFolder, state: State, manner: Manner, watching: Watching
) -> Report:
    """Go on with an export until it is done, or as far as the server lets us; the folder holds a
    manifest.json only where it is whole. Raises FhirServerError, UsageError where the disk refuses.
    """
    folder.make()
    folder.save(state)
    job = Job(server, manner.pace, watching)
    export = Export(
        job, Transfer(server, folder, manner.pace, watching), folder, watching, manner.at_once, manner.post
    )
    report = export.report
    if not folder.is_finished:
        await export.fetch(state)
    files = files_here(folder, state, [])
    await asyncio.to_thread(count, folder, files, report)
    if report.is_whole:
        write_manifest(folder, state, files, report)
        report.job_left = state.job_url is not None and (manner.keep_job or not await ended(job, state))
        folder.tidy()
    return report


async def ended(job: Job, state: State) -> bool:
    """Have the server's job deleted, if there is one; whether there is none any more."""
    return state.job_url is None or await job.delete(state.job_url)
