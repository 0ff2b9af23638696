"""One group of searches or reads, asked and written as a file; what is refused is written down, too."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import msgspec

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.answers import not_fhir
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.bundle_lines import label, one_line, resource_lines
from fhir_bridge.intake.export.crawl_plan import Group, Search
from fhir_bridge.intake.export.folder import PARTIAL, ExportFolder, sync_folder, told
from fhir_bridge.intake.export.waiting import Pace, Waits
from fhir_bridge.intake.export.watching import Watching

MOST_PAGES = 1_000_000
REFUSED = "crawl-refused"
HOPELESS = 5
"""Searches at the start of a group that are all refused: the next would be, too."""

_ISSUES = {403: "forbidden", 404: "not-found", 410: "deleted", 400: "invalid", 422: "invalid"}
_NOT_OF_ONE = frozenset({401, 408, 429})
"""Refusals that say nothing of what was asked for."""


@dataclass(frozen=True, slots=True)
class GroupCrawl:
    """Asks one server, for one folder."""

    server: FhirServer
    folder: ExportFolder
    pace: Pace
    watching: Watching

    async def crawl(self, group: Group) -> None:
        """Have the group's file in its place. Raises FhirServerError for what ends all of them, with the code
        `crawl-refused` for what ends those of this type."""
        if not self.folder.has(group.name):
            with told(self.folder.path / group.name):
                await self._write(group)

    async def _write(self, group: Group) -> None:
        path = self.folder.path / f"{group.name}{PARTIAL}"
        refused: list[bytes] = []
        descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            for number, what in enumerate(chain[Search | str](group.searches, group.ids), 1):
                outcome = await self._asked(group.kind, what, file)
                refused += [] if outcome is None else [outcome[1]]
                if outcome is not None and number == len(refused) and _is_hopeless(group, number):
                    raise _hopeless(outcome[0])
            file.flush()
            os.fsync(file.fileno())
        # First what is missing, then what is there: a file that is there is never looked at again.
        if refused:
            self.folder.write(f"error/{group.name}", b"".join(refused))
        path.replace(self.folder.path / group.name)
        sync_folder(self.folder.path)

    async def _asked(
        self, kind: str, what: Search | str, file: BinaryIO
    ) -> tuple[FhirServerError, bytes] | None:
        """One question, its answer into the file; what is told of it where it is refused."""
        waits, start = Waits(self.pace), file.tell()
        while True:
            try:
                await self._written(kind, what, file)
                return None
            except FhirServerError as error:
                if _is_refused(error.status):
                    return error, _outcome(kind, what, error)
                wait = waits.failing(None) if _may_pass(error) else None
                if wait is None:
                    raise
                self.watching.waiting(error.code, wait)
            file.seek(start)
            file.truncate()
            await waits.sleep(wait)

    async def _written(self, kind: str, what: Search | str, file: BinaryIO) -> None:
        if isinstance(what, str):
            line = one_line(await self.server.read(kind, what))
            file.write(line)
            self.watching.received(len(line))
            return
        seen: set[str] = set()
        async for line in self._lines(kind, what):
            # A search may give a resource twice where something changes between two of its pages.
            own = label(line)
            if own is None or own not in seen:
                seen.add(own or "")
                file.write(line)
                self.watching.received(len(line))

    async def _lines(self, kind: str, search: Search) -> AsyncIterator[bytes]:
        async for page in self.server.search(kind, search, most_pages=MOST_PAGES):
            try:
                found, _ = resource_lines(page)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                raise not_fhir(f"search of {kind}", "a page that is no Bundle of resources") from None
            for line in found:
                yield line


def _is_hopeless(group: Group, refused: int) -> bool:
    """Whether so many refusals at the start of a group say that the server is not searched like that."""
    return bool(group.searches) and (
        refused == HOPELESS or (group.number <= 1 and refused == len(group.searches))
    )


def _is_refused(status: int | None) -> bool:
    """Whether the server will not answer this question, and may answer the next."""
    return status is not None and (400 <= status < 500 or status == 501) and status not in _NOT_OF_ONE


def _may_pass(error: FhirServerError) -> bool:
    status = error.status
    return status in (408, 429) or (status or 0) >= 500 or error.code in ("unreachable", "timeout")


def _outcome(kind: str, what: Search | str, error: FhirServerError) -> bytes:
    """What was refused, as a server would tell it in an export; with its ids, so for the folder only."""
    asked = f"{kind}/{what}" if isinstance(what, str) else "&".join("=".join(pair) for pair in what)
    issue = {
        "severity": "error",
        "code": _ISSUES.get(error.status or 0, "processing"),
        "diagnostics": f"{error}; asked was {kind}: {asked}",
    }
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode() + b"\n"


def _hopeless(error: FhirServerError) -> FhirServerError:
    return FhirServerError(
        f"{error}, again and again",
        code=REFUSED,
        hint="leave the type out (--type), or say in `exports` of the site's layer what a search of it takes",
        status=error.status,
    )
