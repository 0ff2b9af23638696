"""The folder an export is written to: whole files only, a state while it runs, a manifest when it is done."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fhir_bridge.errors import UsageError
from fhir_bridge.intake.export.state import VERSION, State
from fhir_bridge.intake.files import RESUMABLE, UNFINISHED

STATE = UNFINISHED
MANIFEST = "manifest.json"
PARTIAL = ".tmp"

PATIENTS = "export-patients.txt"
"""The patients that a crawl searches for, an id a line: the same ones after a crash."""

CRAWLED = ".crawled-"
"""In the name of a file that a crawl wrote; an empty one says that nothing was found."""

OWN_FOLDERS = ("deleted", "error")


class Resumable(msgspec.Struct):
    """Up to where a partial file is safe on disk, and the validator and length its server gave it."""

    synced: int
    etag: str | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """`path` need not exist. Everything in it is for its owner only, as it names patients."""

    path: Path

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within, no other process of this machine exports into the folder; it is made. Raises UsageError."""
        self.make()
        with told(self.path):
            lock = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another export into {self.path} is under way",
                    code="export-running",
                    hint="wait for it, or give another folder with --to",
                ) from None
            except OSError:
                pass  # some network file systems have no locks
            yield
        finally:
            os.close(lock)

    def make(self) -> None:
        """The folder and those in it. Raises UsageError where it cannot be."""
        with told(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in OWN_FOLDERS:
                (self.path / name).mkdir(mode=0o700, exist_ok=True)

    @property
    def is_finished(self) -> bool:
        """Whether a whole export is here."""
        return (self.path / MANIFEST).exists()

    @property
    def has_strangers(self) -> bool:
        """Whether something is here though no export was begun."""
        return self.path.is_dir() and any(self.path.iterdir())

    def state(self) -> State | None:
        """How far the export that was begun here has come. Raises UsageError for a state we cannot read."""
        try:
            data = (self.path / STATE).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self.path / STATE} cannot be read: {error.strerror}") from None
        try:
            state = msgspec.json.decode(data, type=State)
        except (msgspec.DecodeError, UnicodeDecodeError):
            state = None
        if state is None or state.version != VERSION:
            raise UsageError(
                f"{self.path / STATE} is not one this version of fhir-bridge can go on from",
                code="export-state",
                hint="remove the folder and begin anew, or go on with the version that began it",
            )
        return state

    def save(self, state: State) -> None:
        """Keep how far it has come, at once and whole."""
        self.write(STATE, msgspec.json.format(msgspec.json.encode(state), indent=1))

    def write(self, name: str, data: bytes) -> None:
        """A file of ours, whole or not at all. Raises UsageError where it cannot be written."""
        path, beside = self.path / name, self.path / f"{name}{PARTIAL}"
        with told(path):
            descriptor = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            sync_folder(path.parent)

    def write_json(self, name: str, value: Any) -> None:
        """The same for what is to be read by people, too."""
        self.write(name, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")

    def has(self, name: str) -> bool:
        """Whether a file is here whole."""
        return (self.path / name).exists()

    def drop(self, name: str) -> None:
        """Remove a file, and what was begun of it."""
        for suffix in ("", PARTIAL, RESUMABLE):
            (self.path / f"{name}{suffix}").unlink(missing_ok=True)

    def drop_data(self) -> None:
        """Remove all that was fetched: another job's files are another moment's."""
        for folder in (self.path, *(self.path / name for name in OWN_FOLDERS)):
            for file in folder.glob("*.ndjson*"):
                file.unlink()

    def crawled(self, folder: str = "") -> list[str]:
        """The files that a crawl wrote, but for empty ones."""
        found = sorted((self.path / folder).glob(f"*{CRAWLED}*.ndjson"))
        return [str(file.relative_to(self.path)) for file in found if file.stat().st_size]

    def tidy(self) -> None:
        """Remove the state and what else only a running export needs."""
        for folder in (self.path, *(self.path / name for name in OWN_FOLDERS)):
            for file in list(folder.iterdir()) if folder.is_dir() else ():
                if PARTIAL in file.name or (CRAWLED in file.name and not file.stat().st_size):
                    file.unlink()
        for name in (STATE, PATIENTS):
            (self.path / name).unlink(missing_ok=True)
        for name in OWN_FOLDERS:
            with contextlib.suppress(OSError):
                (self.path / name).rmdir()  # only where it is empty
        sync_folder(self.path)

    def remove(self) -> None:
        """Remove all of the export, and the folder unless somebody put something else there."""
        self.drop_data()
        self.tidy()
        with contextlib.suppress(OSError):
            self.path.rmdir()


def sync_folder(path: Path) -> None:
    """Make a rename survive a power cut. Some file systems have no such thing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """What the disk refuses, as our error."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            code="export-folder",
            hint="what is here stays: the same command goes on where it stopped",
        ) from None
