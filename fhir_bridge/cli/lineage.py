"""Lineage on a screen: each field, its value, the rule that made it and the elements it was made from."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

DECISION = "decision"
"""The lineage entry that says which row or gate decided."""

Json = dict[str, Any]


def value_at(request: Json | None, patient: Json | None, field: str) -> Any:
    """The value of a lineage's field: `patient.…` is in the patient, all others in the request; else None."""
    value: Any = patient if field.split(".")[0] == "patient" else request
    for name, index in re.findall(r"([A-Za-z_]+)|\[(\d+)\]", field.removeprefix("patient.")):
        if isinstance(value, dict) and name:
            value = value.get(name)
        elif isinstance(value, list) and index and int(index) < len(value):
            value = value[int(index)]
        else:
            return None
    return value


def print_field(entry: Json, console: Console) -> None:
    """The field and its `value`, and below them where it came from."""
    value = entry["value"]
    console.print(Text.assemble("  ", (entry["field"], "cyan"), f"  {told(value)}"), soft_wrap=True)
    console.print(Text(f"      {decided_by(entry)}, from {taken_from(entry)}", "dim"), soft_wrap=True)


def print_note(note: Json, console: Console) -> None:
    """What is odd about the data, where, and what was done about it."""
    place = taken_from({"sources": [note]})
    console.print(Text(f"  note {note['code']}: {place}", "dim"), soft_wrap=True)
    if note.get("meaning"):
        console.print(Text(f"      {note['meaning']}", "dim"), soft_wrap=True)


def told(value: Any) -> str:
    """A value for people: texts as they are, lists with commas, `name: value` of an object, yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        known = {name: each for name, each in value.items() if each not in (None, [], "")}
        return "; ".join(f"{name}: {told(each)}" for name, each in known.items())
    if isinstance(value, list):
        return ", ".join(told(each) for each in value)
    return "-" if value is None else str(value)


def decided_by(entry: Json) -> str:
    """The rule, and the map's row and the layer that had a say."""
    said = [entry.get("map_row"), entry.get("layer") and f"layer {entry['layer']}"]
    return " · ".join([entry["rule"], *filter(None, said)])


def taken_from(entry: Json) -> str:
    """The elements, each with its resource and version."""
    places = [": ".join(filter(None, (source["resource"], source["path"]))) for source in entry["sources"]]
    return ", ".join(places) or "settings"
