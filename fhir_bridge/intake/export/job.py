"""The server's side of an export: kicked off, asked how far it is, and deleted (Bulk Data Access 2.0)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

import msgspec

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.answers import refusal
from fhir_bridge.fhir_client.politeness import retry_after
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.manifest import Manifest, ManifestFile, read_manifest
from fhir_bridge.intake.export.request import HEADERS, ExportRequest
from fhir_bridge.intake.export.waiting import Pace, Waits
from fhir_bridge.intake.export.watching import Watching

MOST_PAGES = 10_000
"""Of one manifest: one whose next page never ends is stopped."""

FAULTS = 3
"""Times in a row that a server may tell of a fault of its own before the export counts as failed."""

_TRANSIENT = frozenset({429, 502, 503, 504})
_NO_EXPORT = frozenset({404, 405, 501})
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_TO_CRAWL = "this server may have no $export for this: `--crawl` searches instead"
_HINTS = {
    401: "look at `client` of this source; for SMART, is our public key registered there? docs/export.md",
    403: "the client needs the scope system/*.read (or .rs) for every type asked for, and leave to export",
    400: "name what this server can export with --type; --crawl searches for the rest",
    422: "name what this server can export with --type; --crawl searches for the rest",
}


class JobGoneError(Exception):
    """The server knows nothing of the job any more: it has expired, or was deleted."""


@dataclass(frozen=True, slots=True)
class Whole:
    """All pages of a manifest; `open` are the addresses of files that are fetched without a token."""

    transaction_time: str | None
    files: tuple[ManifestFile, ...]
    open: frozenset[str]


@dataclass(frozen=True, slots=True)
class Job:
    """Asks one server. All methods raise FhirServerError; the waits are `pace`'s."""

    server: FhirServer
    pace: Pace
    watching: Watching

    async def kick_off(self, request: ExportRequest, *, post: bool = False) -> str:
        """Have an export begun; gives the address of its status. A server that takes no GET is sent a POST.

        Code `no-export` where the server has no `$export` there.
        """
        waits = Waits(self.pace)
        while True:
            status, headers, body = await self._asked(request, post)
            if status == 202 or (200 <= status < 300 and _where(headers)):
                return self._status_address(headers, request)
            if status == 405 and not post:
                post = True
                continue
            wait = _wait_after(status, body, waits, _said(headers))
            if wait is None:
                raise await self._refused(status, body)
            self.watching.said(f"the server takes no export now (HTTP {status}): asked again in {wait:.0f} s")
            await waits.sleep(wait)

    async def manifest(self, job_url: str) -> Whole:
        """Wait until the export is done; gives what is to be fetched. Raises JobGoneError."""
        pages: list[Manifest] = []
        url: str | None = job_url
        while url is not None:
            pages.append(await self._page(url))
            url = pages[-1].next
            if len(pages) == MOST_PAGES:
                raise FhirServerError("the pages of the export's manifest have no end", code="paging-loop")
        return Whole(
            pages[0].transaction_time,
            tuple(file for page in pages for file in page.files),
            frozenset(file.url for page in pages if not page.requires_access_token for file in page.files),
        )

    async def delete(self, job_url: str) -> bool:
        """Tell the server that its files are not needed any more; whether it knows that now."""
        try:
            response = await self.server.request("DELETE", job_url, headers=_accept(), elsewhere=True)
        except FhirServerError:
            return False
        return response.is_success or response.status_code in (404, 410)

    async def _asked(self, request: ExportRequest, post: bool) -> tuple[int, Mapping[str, str], bytes]:
        if not post:
            # Not asked again by itself: a kick-off whose answer was lost may have begun an export.
            got = await self.server.request("GET", request.kick_off_url(), headers=HEADERS, again=False)
        else:
            headers = {**HEADERS, "Content-Type": "application/fhir+json"}
            body = msgspec.json.encode(request.body())
            got = await self.server.request("POST", request.url, headers=headers, content=body, again=False)
        return got.status_code, got.headers, got.content

    def _status_address(self, headers: Mapping[str, str], request: ExportRequest) -> str:
        given = _where(headers)
        if not given:
            raise FhirServerError(
                "the server began an export and does not say where to ask for it (Content-Location)",
                code="export-no-location",
                hint="a proxy between us may drop that header",
            )
        url = urljoin(f"{request.base_url}/", given)
        if urlsplit(url).netloc != urlsplit(request.base_url).netloc:
            self.watching.said(
                "the export is to be asked for at another host: without our token, which stays with base_url"
            )
        return url

    async def _refused(self, status: int, body: bytes) -> FhirServerError:
        """Why nothing was begun. HAPI answers 400 where it is not set to export, as to an operation it never
        heard of; others look for resources of a type `$export` and find none (200)."""
        error = refusal(status, body, "$export")
        has_none = status in _NO_EXPORT or status < 300
        if has_none or (status == 400 and (await self.server.known()).lacks_operation("export")):
            error.code, error.hint = "no-export", _TO_CRAWL
        else:
            error.hint = _HINTS.get(status, error.hint)
        return error

    async def _page(self, url: str) -> Manifest:
        """One page of the manifest, once it is there."""
        waits = Waits(self.pace)
        while True:
            try:
                got = await self.server.request("GET", url, headers=_accept(), elsewhere=True, again=False)
            except FhirServerError as error:
                if error.code not in ("unreachable", "timeout") or (wait := waits.failing(None)) is None:
                    raise
                progress = "no answer, asked again"
            else:
                status, said = got.status_code, _said(got.headers)
                if status == 202:
                    wait, progress = waits.working(said), _shown(got.headers.get("x-progress"))
                elif got.is_success:
                    return read_manifest(got.content, url)
                elif status in (404, 410):
                    raise JobGoneError
                else:
                    wait, progress = self._after(status, got.content, waits, said), f"HTTP {status}"
            self.watching.waiting(progress, wait)
            await waits.sleep(wait)

    def _after(self, status: int, body: bytes, waits: Waits, said: float | None) -> float:
        """Seconds to wait after an answer that is none of those one hopes for."""
        wait = _wait_after(status, body, waits, said)
        if wait is not None:
            return wait
        error = refusal(status, body, "the export")
        if status >= 500:
            error.code, error.hint = (
                "export-failed",
                "the server gave the export up: begin it anew, or with less",
            )
        raise error


def _accept() -> dict[str, str]:
    return {"Accept": "application/json"}


def _where(headers: Mapping[str, str]) -> str | None:
    return headers.get("content-location") or headers.get("location")


def _said(headers: Mapping[str, str]) -> float | None:
    return retry_after(headers.get("retry-after"), datetime.now(UTC))


def _shown(progress: str | None) -> str:
    """X-Progress as it may stand on a terminal: the standard has at most 100 characters."""
    return _UNPRINTABLE.sub(" ", progress or "").strip()[:100]


def _wait_after(status: int, body: bytes, waits: Waits, said: float | None) -> float | None:
    """Seconds until the same is asked again; None where that would not help.

    Busy, or an OperationOutcome says `transient`: for as long as we have patience. Any other fault of the
    server's own that it explains: few times, for some tell so that the job has failed for good.
    """
    if status in _TRANSIENT or (status >= 400 and b'"transient"' in body):
        return waits.failing(said)
    if status >= 500 and status not in _NO_EXPORT:
        return waits.failed(FAULTS) if b'"OperationOutcome"' in body else waits.failing(said)
    return None
