"""How far an export has come, so that the same command goes on after a crash: no secret, no patient data.

Addresses of files are not kept: a pre-signed one lets anybody in who has it. Whoever goes on reads the
manifest again, and knows its files by their `key`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import msgspec

from fhir_bridge.intake.export.manifest import DELETED, ERROR, ManifestFile
from fhir_bridge.intake.export.request import ExportRequest

VERSION = 1


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the export: which of the manifest's it is, and its name in our folder."""

    kind: str
    type: str
    key: str
    name: str
    count: int | None = None


class State(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`job_url` None: not kicked off; `parts` None: the manifest is not known yet. Times are FHIR instants.

    `crawl`: what the server does not export is searched for. `crawled` are those types, None where that is
    still to be found out.
    """

    version: int = VERSION
    source: str
    request: ExportRequest
    begun: str
    job_url: str | None = None
    transaction_time: str | None = None
    parts: list[Part] | None = None
    crawl: bool = False
    crawled: tuple[str, ...] | None = None

    @property
    def holds_something(self) -> bool:
        """Whether more was done than asking."""
        return self.job_url is not None or self.parts is not None or self.crawled is not None

    @property
    def exported(self) -> ExportRequest:
        """What is asked of `$export`: what is not searched for."""
        types = tuple(kind for kind in self.request.types if kind not in (self.crawled or ()))
        filters = self.request.type_filters
        own = tuple(text for text in filters if not types or text.partition("?")[0] in types)
        return msgspec.structs.replace(self.request, types=types, type_filters=own)

    def forget_job(self) -> None:
        """Nothing of the server's job counts any more."""
        self.job_url = self.transaction_time = self.parts = None


def key(file: ManifestFile) -> str:
    """What stays the same of a file when its address is signed anew."""
    parts = urlsplit(file.url)
    return f"{file.kind}/{file.type} {parts.netloc}{parts.path}"


def named(files: Iterable[ManifestFile]) -> list[tuple[Part, str]]:
    """Each file with a name of its own, and its address; the same files in the same order, the same names."""
    alike: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    found = []
    for file in files:
        own = key(file)
        alike[own] += 1
        folder = {DELETED: "deleted/", ERROR: "error/"}.get(file.kind, "")
        stem = f"{folder}{file.type}"
        # Some file systems take patient and Patient for one name.
        numbers[stem.casefold()] += 1
        name = f"{stem}.{numbers[stem.casefold()]:03}.ndjson"
        found.append((Part(file.kind, file.type, f"{own} {alike[own]}", name, file.count), file.url))
    return found


def stem(name: str) -> str:
    """The resource type in the name of a file of ours."""
    return PurePosixPath(name).name.partition(".")[0]
