"""ConceptMaps a site already has, checked and made the bridge's own: a row of words or classes for each code
(mapping, section 17).

STU3, R4 and R5 are read alike. A site's map often leads to a standard code system instead of to words: such a
row gets the word our own maps have for that code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fhir_bridge import shipped
from fhir_bridge.errors import MappingsError
from fhir_bridge.fhir.datatypes import Coding
from fhir_bridge.fhir.validation import Issue, validate
from fhir_bridge.mapping.terminology import Terminology
from fhir_bridge.profiles.maps import Target
from fhir_bridge.profiles.unmapped import MET
from fhir_bridge.spelling import did_you_mean

WORDS = "https://fhir-bridge.dev/CodeSystem/words"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Imported:
    """A map under the name the bridge knows, its rows by system, and what was left out: (element, why)."""

    name: str
    groups: dict[str, list[Json]]
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def resource(self) -> Json:
        """As an R4 ConceptMap."""
        title = "".join(part.title() for part in self.name.split("-"))
        return {
            "resourceType": "ConceptMap",
            "id": self.name,
            "name": title,
            "status": "active",
            "group": [
                {**({"source": system} if system else {}), "element": rows}
                for system, rows in self.groups.items()
            ],
        }

    def text(self) -> str:
        """The same as a file, one line for a code, so that a changed word is a changed line."""
        resource = self.resource()
        head = json.dumps({key: value for key, value in resource.items() if key != "group"}, indent=1)
        groups = ",\n".join(_group_text(group) for group in resource["group"])
        return f'{head[:-2]},\n "group": [\n{groups}\n ]\n}}\n'


def imported(file: Path, map_name: str | None, terms: Terminology) -> list[Imported]:
    """The ConceptMaps of a file, or of the Bundle in it.

    `map_name` says which map it is; else each ConceptMap's id, or the end of its url, must be a map's name.
    Raises MappingsError, naming file and element, for what is no ConceptMap or cannot be read as one without
    saying a wrong word; rows that would say nothing are left out and listed.
    """
    resources = list(_concept_maps(file))
    if map_name is not None and len(resources) > 1:
        raise MappingsError(
            f"{file}: {len(resources)} ConceptMaps, and --map names one: give them ids instead"
        )
    maps = [_one(file, path, resource, map_name, terms) for path, resource in resources]
    names = [each.name for each in maps]
    if twice := {name for name in names if names.count(name) > 1}:
        raise MappingsError(f"{file}: several ConceptMaps for {min(twice)}; put their groups into one")
    return maps


def map_names() -> list[str]:
    """The maps the bridge asks."""
    folder = shipped.mappings() / "concept-maps"
    return sorted(each.name.removesuffix(".json") for each in folder.iterdir() if each.name.endswith(".json"))


def classes_of(name: str) -> frozenset[str]:
    """The classes a map puts codes into; empty for one that gives words."""
    data = json.loads((shipped.mappings() / "concept-maps" / f"{name}.json").read_text(encoding="utf-8"))
    if any(group.get("target") == WORDS for group in data["group"]):
        return frozenset()
    targets = (target for group in data["group"] for each in group["element"] for target in each["target"])
    return frozenset(target["code"] for target in targets if "code" in target)


def _concept_maps(file: Path) -> Iterator[tuple[str, Json]]:
    """Each ConceptMap and its FHIRPath in the file."""
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise MappingsError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise MappingsError(f"{file}{line}: not JSON") from error
    kind = data.get("resourceType") if isinstance(data, dict) else None
    if kind == "ConceptMap":
        yield "ConceptMap", data
        return
    if kind != "Bundle" or not isinstance(data.get("entry"), list):
        raise MappingsError(f"{file}: neither a ConceptMap nor a Bundle of them")
    found = False
    for index, entry in enumerate(data["entry"]):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == "ConceptMap":
            found = True
            yield f"Bundle.entry[{index}].resource", resource
    if not found:
        raise MappingsError(f"{file}: no ConceptMap in this Bundle")


def _one(file: Path, path: str, resource: Json, name: str | None, terms: Terminology) -> Imported:
    if issues := _issues(resource):
        where = issues[0].element.replace("ConceptMap", path, 1)
        raise MappingsError(f"{file}: {where}: not valid {issues[0].version}: {issues[0].type}")
    result = Imported(name or _name(file, path, resource), {})
    reading = _Reading(file, result, classes_of(_known(file, result.name)), terms)
    for index, group in enumerate(resource.get("group", ())):
        reading.group(f"{path}.group[{index}]", group)
    if not any(result.groups.values()):
        first = result.left_out[0] if result.left_out else (f"{path}.group", "there is none")
        raise MappingsError(f"{file}: {first[0]}: no row is left; {first[1]}")
    return result


def _issues(resource: Json) -> list[Issue]:
    """What is not valid in the version its elements show; STU3 may leave out what R4 asks for."""
    raw = msgspec.json.encode(resource)
    found = validate(raw)
    is_older = found and found[0].version == "R4" and not validate(raw, version="STU3")
    return [] if is_older else found


def _name(file: Path, path: str, resource: Json) -> str:
    known = map_names()
    for written in (resource.get("id"), str(resource.get("url", "")).rpartition("/")[2]):
        if written in known:
            return str(written)
    raise MappingsError(
        f"{file}: {path}.id: which map is it? its id is none of ours",
        hint=f"say it by --map; there are {', '.join(known)}",
    )


def _known(file: Path, name: str) -> str:
    known = map_names()
    if name not in known:
        raise MappingsError(
            f"there is no map {name}{did_you_mean(name, known)}; there are {', '.join(known)}"
        )
    return name


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads groups into a result; `classes` are empty where words are wanted."""

    file: Path
    result: Imported
    classes: frozenset[str]
    terms: Terminology

    def group(self, path: str, group: Json) -> None:
        """Raises MappingsError for what would say a wrong word."""
        if group.get("unmapped"):
            self._refuse(f"{path}.unmapped", "a code without a row must not get a word")
        system = str(group.get("source") or "").partition("|")[0]
        target_system = str(group.get("target") or "").partition("|")[0]
        rows = self.result.groups.setdefault(system, [])
        known = {row["code"]: row for row in rows}
        for index, element in enumerate(group.get("element", ())):
            here = f"{path}.element[{index}]"
            row = self._row(here, element, target_system)
            if row is None:
                continue
            before = known.setdefault(row["code"], row)
            if before is row:
                rows.append(row)
            elif before != row:
                self._refuse(f"{here}.code", f"{row['code']} stands twice and means two things")

    def _row(self, path: str, element: Json, target_system: str) -> Json | None:
        code = element.get("code")
        if not code:
            self._refuse(f"{path}.code", "a code is wanted; value sets are not read")
        targets = element.get("target", ())
        for index, target in enumerate(targets):
            for name in ("dependsOn", "product"):
                if target.get(name):
                    self._refuse(f"{path}.target[{index}].{name}", "a meaning with conditions is not read")
        meant = [target for target in targets if msgspec.convert(_plain(target), Target).maps]
        if targets and not meant and str(targets[0].get("comment", "")).startswith(MET):
            self.result.left_out.append((path, f"{code}: not filled in yet"))
            return None
        if element.get("noMap") or not meant:
            return {"code": code, "target": [{"equivalence": "unmatched"}]}
        found = self._meaning(meant[0], target_system)
        if found is None:
            self.result.left_out.append((path, f"{code}: {self._why_nothing()}"))
            return None
        return {"code": code, "target": [{**found, "equivalence": "equivalent"}]}

    def _meaning(self, target: Json, system: str) -> Json | None:
        """The class, or the word: ours for the standard code it leads to, else its own display."""
        code, display = target.get("code"), target.get("display")
        coding = Coding(system, code)
        if self.classes:
            if code in self.classes:
                return {"code": code}
            kind = self.terms.kind(self.result.name, coding) if code else None
            return {"code": kind.text} if kind else None
        word = self.terms.word(self.result.name, coding) if code else None
        text = word.text if word else display
        if not text or not str(text).strip():
            return None
        return {**({"code": code} if code else {}), "display": str(text).strip()}

    def _why_nothing(self) -> str:
        if self.classes:
            return f"its target is none of {', '.join(sorted(self.classes))}, and no code our maps know"
        return "its target has no display, and no code our maps know"

    def _refuse(self, path: str, why: str) -> None:
        raise MappingsError(f"{self.file}: {path}: {why}")


def _plain(target: Json) -> Json:
    return {key: value for key, value in target.items() if isinstance(value, str)}


def _group_text(group: Json) -> str:
    source = f'   "source": {json.dumps(group["source"])},\n' if "source" in group else ""
    rows = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in group["element"])
    return f'  {{\n{source}   "element": [\n{rows}\n   ]\n  }}'
