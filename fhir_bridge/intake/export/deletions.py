"""What is deleted, with a moment: a server says which resources are gone since last time, and not when.

Undated, a deletion is a question to a person wherever the resource itself is read beside it
(`fhir.documents`). It happened before the export's own moment, so what was written later was written again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fhir_bridge.intake.export.folder import ExportFolder


def date_deletions(folder: ExportFolder, names: list[str], moment: str) -> None:
    """Give each DELETE of these files, Bundles line by line, `response.lastModified` where it has none.

    Lines that are no Bundle stay as they are. Raises OSError, UsageError.
    """
    for name in names:
        before = (folder.path / name).read_bytes()
        after = b"".join(_dated(line, moment) for line in before.splitlines(keepends=True))
        if after != before:
            folder.write(name, after)


def _dated(line: bytes, moment: str) -> bytes:
    try:
        bundle = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    entries = bundle.get("entry") if isinstance(bundle, dict) else None
    undated = [entry for entry in entries if _is_undated(entry)] if isinstance(entries, list) else []
    for entry in undated:
        entry["response"] = {"status": "204", **(entry.get("response") or {}), "lastModified": moment}
    return msgspec.json.encode(bundle) + b"\n" if undated else line


def _is_undated(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("request"), dict):
        return False
    response = entry.get("response")
    known = isinstance(response, dict) and response.get("lastModified")
    return str(entry["request"].get("method", "")).upper() == "DELETE" and not known
