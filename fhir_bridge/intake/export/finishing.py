"""The end of an export: what is here is counted, manifest.json written, and the folder tidied."""

from __future__ import annotations

from typing import Any

import msgspec

from fhir_bridge.intake.export.folder import MANIFEST, ExportFolder
from fhir_bridge.intake.export.lines import lines_of
from fhir_bridge.intake.export.manifest import ERROR, KINDS, OUTPUT
from fhir_bridge.intake.export.outcomes import issues_in
from fhir_bridge.intake.export.report import Report
from fhir_bridge.intake.export.state import Part, State, stem


def files_here(folder: ExportFolder, state: State) -> list[Part]:
    """The files of the export that are here; those of a crawl last."""
    parts = [part for part in state.parts or () if folder.has(part.name)]
    parts += [Part(OUTPUT, stem(name), name, name) for name in folder.crawled()]
    return parts + [Part(ERROR, "OperationOutcome", name, name) for name in folder.crawled("error")]


def count(folder: ExportFolder, files: list[Part], report: Report) -> None:
    """Count what is here, into the report. Raises OSError."""
    for part in files:
        lines = report.looked_through.get(part.name) or lines_of(folder.path / part.name)
        report.lines[part.name] = lines.count
        report.size += lines.size
        if part.kind == OUTPUT:
            report.resources[part.type] += lines.count
        if part.count is not None and part.count != lines.count:
            report.mismatched[part.name] = (part.count, lines.count)
    report.issues = issues_in(folder.path / part.name for part in files if part.kind == ERROR)


def write_manifest(folder: ExportFolder, state: State, files: list[Part], report: Report) -> None:
    """The manifest of what is in the folder, in the standard's own form: whatever reads bulk exports reads
    this. Only a whole export has one."""
    listed: dict[str, list[dict[str, Any]]] = {
        kind: [
            {"type": part.type, "url": part.name, "count": report.lines[part.name]}
            for part in files
            if part.kind == kind
        ]
        for kind in KINDS
    }
    folder.write_json(
        MANIFEST,
        {
            "transactionTime": state.transaction_time or state.begun,
            "request": state.request.kick_off_url(),
            "requiresAccessToken": False,
            **listed,
            "extension": {
                "source": state.source,
                "request": msgspec.to_builtins(state.request),
                "crawled": report.crawled,
                "mismatched": sorted(report.mismatched),
            },
        },
    )
