"""The folder of scratch files: ours alone, gone when all is done, taken up again where a run was killed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fhir_bridge.errors import UsageError

LOCK = "lock"


def fingerprint(parts: Iterable[object]) -> str:
    """What stands for an export as it lies there now: another one has another folder."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


@contextmanager
def folder(within: Path | None, name: str) -> Iterator[Path]:
    """A folder that only this user can read, and only this process uses; it holds patient data.

    `within`: where; else a folder of this user's in the system's place for such. Raises UsageError where
    another migration of the same export runs, or somebody else's folder stands in its place. At the end it
    is removed; what a killed process left is used by the next one.
    """
    place = within or Path(tempfile.gettempdir()) / f"fhir-bridge-{os.getuid()}"
    path = place / f"migrate-{name}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in (path,) if within else (place, path):
        if each.stat().st_uid != os.getuid():
            raise UsageError(f"{each} belongs to somebody else", hint="name another folder with --work")
        each.chmod(0o700)
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError("another migration of these files runs on this machine") from None
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
