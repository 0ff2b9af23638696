"""Where an export begins: in an empty folder, where an earlier run of it stopped, or after the last one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fhir_bridge.errors import UsageError
from fhir_bridge.intake.export.folder import MANIFEST, STATE, ExportFolder
from fhir_bridge.intake.export.request import ExportRequest, instant
from fhir_bridge.intake.export.state import State


class _Told(msgspec.Struct, rename="camel"):
    source: str | None = None
    request: ExportRequest | None = None


class _Manifest(msgspec.Struct, rename="camel"):
    transaction_time: str | None = None
    extension: _Told = msgspec.field(default_factory=_Told)


def unfinished(folder: ExportFolder) -> State | None:
    """The export to go on with; one that was refused at once is none.

    Raises UsageError where the folder holds a finished one, or something else.
    """
    state = folder.state()
    if state is not None:
        return state if state.holds_something else None
    if folder.is_finished:
        raise UsageError(
            f"{folder.path} holds a finished export, which is not overwritten",
            code="export-finished",
            hint="give another folder with --to; for what changed since, add --since-last",
        )
    if folder.has_strangers:
        raise UsageError(
            f"{folder.path} is not empty, and no export was begun in it",
            code="export-folder",
            hint="give an empty or a new folder with --to",
        )
    return None


def going_on(state: State, source: str, request: ExportRequest, *, since_last: bool) -> State:
    """The same state where the same is asked for. Raises UsageError for another request."""
    same = state.request.same_but_since(request) if since_last else state.request == request
    if state.source != source or not same:
        raise UsageError(
            f"in {STATE} stands another export that is not finished",
            code="export-other",
            hint="go on with it by --resume, end it by --cancel, or give another folder with --to",
        )
    return state


def fresh(source: str, request: ExportRequest) -> State:
    """An export of which nothing was done yet."""
    return State(source=source, request=request, begun=instant(datetime.now(UTC)))


def last_time(folder: ExportFolder, source: str, request: ExportRequest) -> str:
    """The newest moment that a finished export of the same, in a folder beside this one, is as of.

    Raises UsageError where there is none: to fetch everything by mistake may take a server days.
    """
    times = [
        told.transaction_time
        for path in sorted(folder.path.absolute().parent.glob(f"*/{MANIFEST}"))
        if (told := _read(path)) is not None
        and told.transaction_time
        and told.extension.source == source
        and told.extension.request is not None
        and told.extension.request.same_but_since(request)
    ]
    if not times:
        raise UsageError(
            f"beside {folder.path} there is no finished export of the same from {source}",
            code="export-no-last",
            hint="the first one is made without --since-last; each in a folder of its own, all in one folder",
        )
    return max(times, key=_moment)


def _read(path: Path) -> _Manifest | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _moment(text: str) -> tuple[bool, float, str]:
    """Sorts instants by what they mean, and what is none before all others."""
    try:
        return (True, datetime.fromisoformat(text).timestamp(), text)
    except ValueError:
        return (False, 0.0, text)
