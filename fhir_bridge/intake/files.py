"""The third door: files named on the command line, read together; one bad file never stops the others."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fhir_bridge.errors import InputError, printable
from fhir_bridge.fhir import documents
from fhir_bridge.fhir.documents import Document
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import TRIGGER_TYPES, View

STDIN = "-"

UNFINISHED = "export-state.json"
"""It lies where an export was begun and is not whole yet."""

PACKED = (".gz", ".zip")
"""What is looked for besides where files may be packed."""

RESUMABLE = ".tmp.json"
"""How the name of a file ends that says of another one what it takes to fetch the rest of it only."""

BESIDE = frozenset({"manifest.json", UNFINISHED, "migrate-errors.ndjson"})
"""Files that an export, or `migrate` in its folder, leaves beside the data: no FHIR."""

ENDINGS = (".json", ".ndjson", ".jsonl")
"""What is looked for in a folder; a file that is named is read whatever its name is."""


@dataclass(slots=True)
class Inputs:
    """What was read: the FILEs' resources, what --context adds, and what could not be read.

    `unreadable` names the FILEs of which nothing could be read; `problems` has every error, theirs included;
    `without_trigger` names the FILEs that hold no trigger (mapping, section 3, row 1); `others` counts the
    resources of types that no view reads; `deleted` are those a history says are gone, and when.
    `packed` counts the files in folders by endings that `migrate` would unpack and that are not read here.
    `whole_histories` are the patients (`Case.patient_identity`) of whom all visits are known to be here,
    `whole_chains` the triggers (labels) of which all of the chain is; `gaps` what could not be fetched;
    `unanswered` the triggers (labels) of which the source did not tell what may speak against a call, with
    what was asked.
    """

    resources: list[Resource[View]] = field(default_factory=list)
    context: list[Resource[View]] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    without_trigger: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    packed: Counter[str] = field(default_factory=Counter)
    deleted: dict[str, str | None] = field(default_factory=dict)
    whole_histories: frozenset[str] = frozenset()
    whole_chains: frozenset[str] = frozenset()
    gaps: tuple[str, ...] = ()
    unanswered: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: int = 0

    @property
    def nothing_readable(self) -> bool:
        """Whether no FILE of the call could be read at all (exit code 4)."""
        return len(self.unreadable) == self.files


def read_inputs(
    files: Sequence[str], context: Sequence[Path] = (), *, seen: Callable[[str], None] = lambda name: None
) -> Inputs:
    """Reads FILEs (`-` is standard input; a folder stands for the files in it) and folders of context.

    `seen` is called with each file's name once it was read. Never raises for what it finds: what cannot be
    read, a folder without any file too, is in `problems`.
    """
    inputs = Inputs()
    for name in files:
        for file in _expanded(name, inputs):
            inputs.files += 1
            _read_file(file, inputs)
            seen(file)
    for path in context:
        for file in _expanded(str(path), inputs):
            _read_context(Path(file), inputs)
            seen(file)
    inputs.problems += documents.undated([*inputs.resources, *inputs.context], inputs.deleted)
    inputs.resources = documents.without_deleted(inputs.resources, inputs.deleted)
    inputs.context = documents.without_deleted(inputs.context, inputs.deleted)
    return inputs


def unfinished_exports(names: Iterable[str]) -> list[Path]:
    """The folders, among FILEs or below them, of exports of which something is missing."""
    found: dict[Path, None] = {}
    for path in (Path(name) for name in names if name != STDIN):
        states = path.rglob(UNFINISHED) if path.is_dir() else (path.parent / UNFINISHED,)
        found |= {state.parent: None for state in states if state.is_file()}
    return list(found)


@dataclass(slots=True)
class Listing:
    """What lies below a folder: the files with one of the endings, by name; how many have another ending;
    and what could not be looked into."""

    files: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    problems: list[InputError] = field(default_factory=list)


def listing(folder: Path, endings: Sequence[str]) -> Listing:
    """Everything below a folder. A link to a file is that file. A link to a folder is not followed, for it
    may lead back or anywhere, but is a problem, as are folders that may not be read and no file at all."""
    found = Listing()

    def closed(error: OSError) -> None:
        problem = InputError(f"{error.filename}: {error.strerror}", code="no-file", hint="let us read it")
        found.problems.append(problem)

    for place, folders, names in os.walk(folder, onerror=closed):
        for link in filter(Path.is_symlink, (Path(place, name) for name in folders)):
            hint = "name it as a PATH of its own if it belongs to the export"
            found.problems.append(
                InputError(f"{link}: a link to a folder; not followed", code="link", hint=hint)
            )
        for file in (Path(place, name) for name in names if not _is_beside(name)):
            suffix = file.suffix.lower()
            if suffix in endings and (file.is_file() or file.is_symlink()):
                found.files.append(file)
            elif suffix in endings:
                found.problems.append(pipe(str(file)))
            else:
                found.others[printable(suffix or file.name)] += 1
    found.files.sort()
    if not (found.files or found.problems):
        told = ", ".join(endings)
        found.problems.append(InputError(f"{folder}: no file in it ends in {told}", code="empty-folder"))
    return found


def _is_beside(name: str) -> bool:
    return name in BESIDE or name.endswith(RESUMABLE)


def pipe(name: str) -> InputError:
    """What is said of a pipe or device: a migration looks at its files more than once, and a pipe may be
    silent for ever."""
    hint = "write what comes out of it into a file"
    return InputError(f"{name}: neither a file nor a folder", code="no-file", hint=hint)


def _expanded(name: str, inputs: Inputs) -> list[str]:
    """The file's own name, or those of the files in a folder; an empty one is a problem."""
    if name == STDIN or not Path(name).is_dir():
        return [name]
    found = listing(Path(name), ENDINGS)
    inputs.problems += found.problems
    inputs.packed += Counter({ending: found.others[ending] for ending in PACKED})
    return [str(file) for file in found.files]


def _read_file(name: str, inputs: Inputs) -> None:
    try:
        document = _document(name)
    except InputError as error:
        inputs.problems.append(error)
        inputs.unreadable.append(name)
        return
    inputs.resources += document.resources
    inputs.problems += document.problems
    inputs.others += document.others
    inputs.deleted |= document.deleted
    if not any(resource.view.resource_type in TRIGGER_TYPES for resource in document.resources):
        inputs.without_trigger.append(name)


def _read_context(file: Path, inputs: Inputs) -> None:
    try:
        document = documents.read_file(file)
    except InputError as error:
        inputs.problems.append(error)
        return
    inputs.context += document.resources
    inputs.deleted |= document.deleted
    inputs.problems += document.problems


def _document(name: str) -> Document:
    if name == STDIN:
        return documents.read(sys.stdin.buffer.read(), STDIN)
    return documents.read_file(Path(name))
