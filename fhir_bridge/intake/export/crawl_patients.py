"""Whose resources a crawl searches for: those who were listed, exported, are in the Group, or are found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from fhir_bridge.errors import UsageError
from fhir_bridge.fhir_client.server import FhirServer
from fhir_bridge.intake.export.bundle_lines import label
from fhir_bridge.intake.export.folder import PATIENTS, ExportFolder

NOT_LISTED = ["*"]
"""Kept in place of patients where the server does not say who they are."""

_ID = re.compile(r"[A-Za-z0-9\-._]{1,256}")


def kept(folder: ExportFolder) -> list[str] | None:
    """Those a crawl into this folder began with; None where it has not begun."""
    if not folder.has(PATIENTS):
        return None
    return (folder.path / PATIENTS).read_text(encoding="ascii").split()


def keep(folder: ExportFolder, patients: Iterable[str]) -> list[str]:
    """Have it begin with these, each once. Raises UsageError where that cannot be written."""
    found = list(dict.fromkeys(patients))
    folder.write(PATIENTS, "".join(f"{one}\n" for one in found).encode())
    return found


def listed(file: Path) -> list[str]:
    """A list somebody made: ids, one a line, also as `Patient/id`, or Patients as NDJSON.

    Raises UsageError that names the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(f"{file} cannot be read: {reason}") from None
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        text = (label(text.encode()) or "?") if text.startswith("{") else text
        id_ = text.removeprefix("Patient/")
        if id_ and not _ID.fullmatch(id_):
            raise UsageError(f"{file}:{number}: this is no id of a Patient, and no Patient")
        found += [id_] if id_ else []
    return found


def in_files(files: Iterable[Path]) -> list[str]:
    """The ids of the Patients in NDJSON; lines that cannot be read are for who reads the export."""
    found = []
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                kind, _, id_ = (label(line) or "").partition("/")
                if kind == "Patient" and _ID.fullmatch(id_):
                    found.append(id_)
    return found


class _Reference(msgspec.Struct):
    reference: str | None = None


class _Member(msgspec.Struct):
    entity: _Reference = msgspec.field(default_factory=_Reference)
    inactive: bool = False


class _Group(msgspec.Struct):
    member: list[_Member] = []


async def in_group(server: FhirServer, group: str) -> list[str]:
    """The Patients who are active members of a Group. Raises FhirServerError; UsageError where none are
    listed in it, as with a Group that is a rule and no list."""
    body = await server.read("Group", group)
    try:
        members = msgspec.json.decode(body, type=_Group).member
    except msgspec.ValidationError:
        members = []
    references = [member.entity.reference or "" for member in members if not member.inactive]
    ids = [one.rpartition("/")[2] for one in references if "Patient/" in one]
    found = [one for one in ids if _ID.fullmatch(one)]
    if not found:
        raise UsageError(
            f"Group/{group} lists no patients to search for", hint="give a list of their ids with --patients"
        )
    return found
