"""One file of an export, from the server to the disk: streamed, resumed where it broke off, checked."""

from __future__ import annotations

import asyncio
import os
import re
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from fhir_bridge.errors import FhirServerError
from fhir_bridge.fhir_client.answers import refusal
from fhir_bridge.fhir_client.politeness import retry_after
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.folder import PARTIAL, ExportFolder, Resumable, sync_folder, told
from fhir_bridge.intake.export.lines import Lines, lines_of
from fhir_bridge.intake.export.state import Part
from fhir_bridge.intake.export.waiting import Pace, Waits
from fhir_bridge.intake.export.watching import Watching
from fhir_bridge.intake.files import RESUMABLE

SYNC_EVERY = 1.0
"""Seconds of a download that a power cut may cost."""

CUT_OFF = 3
"""Times that a file may come cut off, or with another number of lines than the manifest says."""

REFUSALS = 3
"""Times in a row that a token and the next one may be refused: other files, at the same time, use them up."""

_EXPIRED = frozenset({403, 404, 410})
"""What a pre-signed address answers once it is too old, and a server for a file it has deleted."""

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class ExpiredError(Exception):
    """The file is not at this address any more; `refusal` is how the server says so."""

    def __init__(self, refusal: FhirServerError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class _CutOffError(Exception):
    """What came is less than what the server has: `why` says what shows it."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Fetches files of one export into one folder."""

    server: FhirServer
    folder: ExportFolder
    pace: Pace
    watching: Watching

    async def fetch(self, part: Part, url: str, *, with_token: bool) -> Lines:
        """Have the file whole and in its place; gives what is in it.

        Raises ExpiredError, FhirServerError, UsageError where the disk refuses.
        """
        waits, why, cut, here = Waits(self.pace), "", 0, 0
        while cut < CUT_OFF:
            try:
                await self._download(part, url, with_token)
                return await self._settled(part, last=cut + 1 == CUT_OFF)
            except _CutOffError as error:
                self.folder.drop(part.name)
                cut, why = cut + 1, str(error)
                await waits.sleep(self.pace.first)
            except _LaterError as error:
                have = self._resumable(part)
                if have is not None and have.synced > here:
                    here, waits = have.synced, Waits(self.pace)  # it comes, if in pieces
                refused = error.refusal.status == 401
                wait = waits.failed(REFUSALS) if refused else waits.failing(error.said)
                if wait is None:
                    raise error.refusal from None
                await waits.sleep(wait)
        raise FhirServerError(
            f"{part.name}: {why}, {cut} times in a row",
            code="export-truncated",
            hint="run the same command again to fetch what is missing",
        )

    async def _settled(self, part: Part, *, last: bool) -> Lines:
        """Look the file through, and put it into its place. Raises _CutOffError.

        One that comes with another number of lines than the manifest says, each time, is kept as it is.
        """
        beside = self.folder.path / f"{part.name}{PARTIAL}"
        lines = await asyncio.to_thread(lines_of, beside)
        if lines.fault:
            raise _CutOffError(lines.fault)
        if part.count not in (None, lines.count) and not last:
            raise _CutOffError(f"it has {lines.count} lines, not the {part.count} of the manifest")
        if lines.unended:
            with beside.open("ab") as file:
                file.write(b"\n")
                os.fsync(file.fileno())
        beside.replace(self.folder.path / part.name)
        (self.folder.path / f"{part.name}{RESUMABLE}").unlink(missing_ok=True)
        sync_folder((self.folder.path / part.name).parent)
        return lines

    async def _download(self, part: Part, url: str, with_token: bool) -> None:
        """What is missing of the file, into its partial one."""
        have = self._resumable(part)
        if have is not None and have.synced == have.length:
            return
        headers = {"Accept": "application/fhir+ndjson, */*;q=0.1", "Accept-Encoding": "gzip"}
        if have is not None:
            # A range counts bytes as they are sent: of the file itself, not of a compressed one.
            headers |= {"Accept-Encoding": "identity", "Range": f"bytes={have.synced}-"}
            headers |= {"If-Range": have.etag} if have.etag else {}
        try:
            async with self.server.stream(
                "GET", url, headers=headers, elsewhere=True, authorised=with_token, again=False
            ) as response:
                status = response.status_code
                if status == 416:
                    self.folder.drop(part.name)
                    raise _LaterError(None, refusal(status, b"", part.name))
                if status not in (200, 206):
                    raise _refused(status, response.headers, part, with_token)
                start = _start(response.headers, have) if status == 206 else 0
                await self._write(part, start, response.headers, response.aiter_bytes())
        except FhirServerError as error:
            if error.code not in ("unreachable", "timeout"):
                raise
            raise _LaterError(None, error) from None

    async def _write(
        self, part: Part, start: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> None:
        """Append to the first `start` bytes; now and then make sure that they are on the disk."""
        path = self.folder.path / f"{part.name}{PARTIAL}"
        with told(path):
            await self._append(path, part, start, headers, chunks)

    async def _append(
        self, path: Path, part: Part, start: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> None:
        encoded = bool(headers.get("content-encoding", "").strip())
        with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+b") as file:
            file.truncate(start)
            file.seek(start)
            synced, compressed = time.monotonic(), False
            kept = None if encoded else _validators(headers, start)
            try:
                async for chunk, compressed in _plain(chunks, fresh=start == 0):
                    file.write(chunk)
                    self.watching.received(len(chunk))
                    if kept is not None and not compressed and time.monotonic() - synced > SYNC_EVERY:
                        self._sync(part, file, kept)
                        synced = time.monotonic()
            finally:
                if kept is not None and not compressed:
                    self._sync(part, file, kept)
                else:
                    file.flush()
                    os.fsync(file.fileno())

    def _sync(self, part: Part, file: BinaryIO, kept: Resumable) -> None:
        """From here on the rest can be asked for."""
        file.flush()
        os.fsync(file.fileno())
        so_far = msgspec.structs.replace(kept, synced=file.tell())
        self.folder.write(f"{part.name}{RESUMABLE}", msgspec.json.encode(so_far))

    def _resumable(self, part: Part) -> Resumable | None:
        """What of the file is here already and of use."""
        try:
            beside = (self.folder.path / f"{part.name}{RESUMABLE}").read_bytes()
            have = msgspec.json.decode(beside, type=Resumable)
            size = (self.folder.path / f"{part.name}{PARTIAL}").stat().st_size
        except (OSError, msgspec.DecodeError):
            return None
        return have if 0 < have.synced <= size else None


class _LaterError(Exception):
    """The file cannot be had now: `said` is the server's Retry-After, `refusal` what it is if it stays so."""

    def __init__(self, said: float | None, refusal: FhirServerError) -> None:
        super().__init__(str(refusal))
        self.said, self.refusal = said, refusal


def _refused(status: int, headers: Mapping[str, str], part: Part, with_token: bool) -> Exception:
    """What an answer without the file means."""
    error = refusal(status, b"", part.name)
    if status in _EXPIRED:
        return ExpiredError(error)
    if status in (408, 429) or status >= 500 or (status == 401 and with_token):
        return _LaterError(retry_after(headers.get("retry-after"), datetime.now(UTC)), error)
    if status == 401:
        error.hint = (
            "it lies at a host that wants credentials, and ours are for base_url only: ask the vendor"
        )
    return error


def _start(headers: Mapping[str, str], have: Resumable | None) -> int:
    """Where the bytes of a 206 begin. Raises _CutOffError where they are not the rest of ours."""
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    same_length = found and (have is None or have.length is None or found[2] in ("*", str(have.length)))
    if have is None or not found or int(found[1]) != have.synced or not same_length:
        raise _CutOffError("the server sent another range than the one asked for")
    return have.synced


def _validators(headers: Mapping[str, str], start: int) -> Resumable | None:
    """What tells later whether the server still has the same file; None where nothing could, or where it
    takes no ranges."""
    etag = headers.get("etag", "").strip()
    length = headers.get("content-length", "").strip()
    total = int(length) + start if length.isdigit() else None
    strong = etag if etag.startswith('"') else None
    if headers.get("accept-ranges", "").strip() == "none" or (strong is None and total is None):
        return None
    return Resumable(0, strong, total)


async def _plain(chunks: AsyncIterator[bytes], *, fresh: bool) -> AsyncIterator[tuple[bytes, bool]]:
    """The chunks, each with whether they were compressed: some servers keep their files as .gz and say
    nothing of it. Raises _CutOffError for a compressed file that does not end."""
    unzip = None
    async for chunk in chunks:
        if fresh and chunk:
            fresh = False
            unzip = zlib.decompressobj(31) if chunk.startswith(b"\x1f\x8b") else None
        while unzip is not None and chunk:
            unzip = zlib.decompressobj(31) if unzip.eof else unzip
            try:
                yield unzip.decompress(chunk), True
            except zlib.error:
                raise _CutOffError("it is compressed, and broken") from None
            chunk = unzip.unused_data
        if chunk:
            yield chunk, False
    if unzip is not None and not unzip.eof:
        raise _CutOffError("it is compressed, and cut off")
