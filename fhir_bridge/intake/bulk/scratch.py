"""The folder of scratch files: ours alone, gone when all is done, taken up again where a run was killed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fhir_bridge.errors import UsageError

LOCK = "lock"
FORGOTTEN = 24 * 60 * 60
"""Seconds after which what a killed run left is removed."""


def fingerprint(parts: Iterable[object]) -> str:
    """What stands for an export as it lies there now: another one has another folder."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


@contextmanager
def folder(within: Path | None, name: str) -> Iterator[Path]:
    """A folder that only this user can read, and only this process uses; it holds patient data.

    `within`: where; else a folder of this user's in the system's place for such. At the end it is removed;
    what a killed process left is used by the next one for the same export, or removed after a day. Raises
    UsageError where another migration of the same export runs, or somebody else's folder stands in its place.
    """
    place = within or Path(tempfile.gettempdir()) / f"fhir-bridge-{os.getuid()}"
    path = place / f"migrate-{name}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made: {error.strerror}", hint="name another folder with --work"
        ) from None
    for each in (path,) if within else (place, path):
        if each.stat().st_uid != os.getuid():
            raise UsageError(f"{each} belongs to somebody else", hint="name another folder with --work")
        each.chmod(0o700)
    _remove_forgotten(place)
    with _locked(path) as is_ours:
        if not is_ours:
            raise UsageError(
                "another migration of these files runs on this machine",
                code="migration-running",
                hint="wait until it ends, or stop it; what it has kept is not done twice",
            )
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether nobody else uses the folder; then nobody does meanwhile."""
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = True
    except OSError:
        is_ours = False
    try:
        yield is_ours
    finally:
        os.close(lock)


def _remove_forgotten(place: Path) -> None:
    """What killed runs left and nobody took up for a day."""
    for path in place.glob("migrate-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > FORGOTTEN:
                with _locked(path) as is_ours:
                    if is_ours:
                        shutil.rmtree(path, ignore_errors=True)
