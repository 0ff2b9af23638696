"""Decision records into the ledger: batch by batch, each in one transaction, again without harm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fhir_bridge.errors import InputError, UsageError
from fhir_bridge.intake.bulk.progress import Progress
from fhir_bridge.ledger.port import Intakes
from fhir_bridge.ledger.records import Arrival, Broken, Heard
from fhir_bridge.ledger.sources.messages import Unread
from fhir_bridge.migration import codec

BATCH = 1000
"""Records that go into one transaction, at least: none ends between two decisions about one person."""

MOST = 20_000
"""Where a file is not ordered by person a batch ends here."""

_CUT = "it ends within a line: copy it again whole"
_OTHER = "a FILE is what `migrate --out FILE --format arrivals` wrote"
_TAKEN_IN, _NOTHING = "what stood before is in the ledger", "nothing was taken in"


@dataclass(slots=True)
class Loading:
    """Takes records into a ledger. `accepted` counts the decisions of all files so far."""

    ledger: Intakes
    progress: Progress
    accepted: int = 0

    async def files(
        self, paths: Sequence[Path], broken: Sequence[Broken] = (), last: Sequence[Arrival | Heard] = ()
    ) -> None:
        """What could not be read, before a worker may call whom it speaks of; every record of these files;
        then the last.

        Raises InputError, naming file and line, at what is no record: what stood before it is taken in.
        """
        # Without a version nothing tells whether a record is newer than what beside it cannot be read: all
        # of it is said at one moment.
        read_at = datetime.now(UTC)
        for start in range(0, len(broken), BATCH):
            missed = Unread(broken=broken[start : start + BATCH], read_at=read_at)
            await self.ledger.accept((), now=datetime.now(UTC), missed=missed)
        self.progress.begin("loading", sum(path.stat().st_size for path in paths), is_bytes=True)
        for path in paths:
            for size, batch in batches(path):
                await self._take(batch, read_at)
                self.progress.advance(size)
                self.progress.tick()
        await self._take(last, read_at)

    async def _take(self, batch: Sequence[Arrival | Heard], read_at: datetime) -> None:
        arrivals = [record for record in batch if isinstance(record, Arrival)]
        heard = [record for record in batch if isinstance(record, Heard)]
        if batch:
            missed, now = Unread(read_at=read_at), datetime.now(UTC)
            await self.ledger.accept(arrivals, now=now, heard=heard, keep_skips=False, missed=missed)
            self.accepted += len(arrivals)


def record_files(path: Path) -> list[Path]:
    """A file of records; or the part files of a folder that Spark's tasks left, in their order.

    Raises InputError for what is not there, an empty file, and a folder whose job did not come to its end.
    """
    if path.is_file():
        if not path.stat().st_size:
            raise InputError(f"{path}: not whole: empty", code="not-whole", hint=f"copy it again; {_NOTHING}")
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file", code="no-file")
    if not (path / "_SUCCESS").exists():
        raise InputError(
            f"{path}: not whole: it has no file _SUCCESS",
            code="not-whole",
            hint="run the migration again into another folder; nothing of this one was taken in",
        )
    return sorted(path.glob("part-*"))


def check_whole(paths: Sequence[Path]) -> list[Broken]:
    """Raise InputError where these files together have not as many records as were written to them, naming
    the first line that is none if there is one. Nothing of them need be taken in to know it.

    Gives what they say could not be read: it is to be taken in first, wherever it stands.
    """
    told, found, broken = 0, 0, list[Broken]()
    for path in paths:
        for number, line in enumerate(_lines(path), 1):
            count = codec.count_of_end(line)
            told += count or 0
            found += count is None and not line.isspace()
            if codec.is_broken(line) and isinstance(record := _decoded(line, path, number, _NOTHING), Broken):
                broken.append(record)
    if told == found:
        return broken
    for path in paths:
        for _ in _records(path, _NOTHING):
            pass
    raise InputError(
        f"{', '.join(map(str, paths))}: not whole: {found} records, where {told} are told of",
        code="not-whole",
        hint=f"copy the files again, and name all parts in one command; {_NOTHING}",
    )


def batches(path: Path) -> Iterator[tuple[int, list[Arrival | Heard]]]:
    """The records of a file in batches, with the bytes of each.

    Raises InputError, naming file and line, for what is no record.
    """
    batch: list[Arrival | Heard] = []
    size, person = 0, None
    for length, record in _records(path, _TAKEN_IN):
        new = _person(record)
        if len(batch) >= MOST or (len(batch) >= BATCH and (new is None or new != person)):
            yield size, batch
            batch, size = [], 0
        batch.append(record)
        size += length
        person = new
    if batch:
        yield size, batch


def _person(record: Arrival | Heard) -> str | None:
    return record.decision.subject.patient if isinstance(record, Arrival) else None


def _records(path: Path, so_far: str) -> Iterable[tuple[int, Arrival | Heard]]:
    for number, line in enumerate(_lines(path), 1):
        if line.isspace() or codec.count_of_end(line) is not None:
            continue
        record = _decoded(line, path, number, so_far)
        if not isinstance(record, Broken):  # those were taken in before
            yield len(line), record


def _decoded(line: bytes, path: Path, number: int, so_far: str) -> codec.Record:
    try:
        return codec.decode(line)
    except InputError as error:
        hint = error.hint or (_OTHER if line.endswith(b"\n") else _CUT)
        raise InputError(f"{path}:{number}: {error}", code=error.code, hint=f"{hint}; {so_far}") from None


def _lines(path: Path) -> Iterator[bytes]:
    if path.suffix == ".parquet":
        yield from _parquet_lines(path)
        return
    with path.open("rb") as file:
        yield from file


def _parquet_lines(path: Path) -> Iterator[bytes]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UsageError(
            f"{path}: Parquet needs pyarrow", code="no-pyarrow", hint="pip install 'fhir-bridge[cluster]'"
        ) from None
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["line"]):
            for line in batch.column(0):
                yield line.as_py().encode()
