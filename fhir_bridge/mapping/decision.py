"""What mapping answers for a trigger, and where every value came from (mapping, sections 1 and 18)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from fhir_bridge.task_api.models import PatientDraft, TaskDraft


class Source(msgspec.Struct, frozen=True, gc=False):
    """One element a value was taken from: `Type/id/_history/version` and the FHIRPath in it."""

    resource: str
    path: str


class Lineage(msgspec.Struct, frozen=True, gc=False):
    """Where one field came from: its elements, the rule, the map row or override used and its layer."""

    field: str
    sources: tuple[Source, ...]
    rule: str
    map_row: str | None = None
    layer: str | None = None


class Note(msgspec.Struct, frozen=True, gc=False):
    """Something a person should know about the data: a stable code and its element. Never a value.

    `path` is a key of the layers where a rule of the site's own fails over the data.
    """

    code: str
    resource: str
    path: str = ""


class Subject(msgspec.Struct, frozen=True):
    """What a decision is about.

    `intent` is the key of mapping, section 2 (None where no patient is known, so that no call can be meant);
    `members` are the labels of every member of the chain. `version_id` and `last_updated` are the trigger's.
    `loss` is the part of the key that names the lost appointment and its lost start, None unless the intent
    is to make a loss good: the ledger lets a chain take the intent of a known member, but never a loss that
    of its chain. `name` is the trigger's for keys: without an id it is printed as a URN or a place in a file,
    and the next message may mean another by it. None: `trigger` lasts. `missed`: the patient did not come, so
    the lost appointment was booked for sure.
    """

    trigger: str
    intent: str | None
    members: tuple[str, ...] = ()
    patient: str | None = None
    version_id: str | None = None
    last_updated: datetime | None = None
    loss: str | None = None
    name: str | None = None
    missed: bool = False


class About(msgspec.Struct, frozen=True):
    """What every answer begins with."""

    subject: Subject


class Decision(About, frozen=True, kw_only=True):
    """The base of the three answers, and which of them it is."""

    kind: ClassVar[Literal["call", "skip", "reject"]]

    notes: tuple[Note, ...] = ()
    lineage: tuple[Lineage, ...] = ()


class Call(Decision, frozen=True):
    """Somebody is to be called.

    `patient_id` is the task API's id where the site's own identifier carries it, else the patient is created
    first from `patient`. `valid_until` is aware UTC: after it the call makes no sense any more.
    `zones` are the IANA zones the called person may be in by their address (empty: ask the number).
    """

    kind = "call"
    task: TaskDraft
    patient: PatientDraft
    valid_until: datetime
    patient_id: str | None = None
    zones: tuple[str, ...] = ()
    reason: None = None

    @property
    def phone_number(self) -> str:
        """The number that is called (E.164)."""
        return self.task.phone_number


class Due(Decision, frozen=True):
    """A call as who only counts calls sees it: nothing of it is worded.

    `phone_number` (E.164) is the one that would be called; the others are as in `Call`.
    """

    kind = "call"
    phone_number: str
    valid_until: datetime
    zones: tuple[str, ...] = ()
    reason: None = None


class Skip(Decision, frozen=True):
    """Rightly no call. `reason`: a code of mapping, sections 3 and 4; `detail`: codes seen."""

    kind = "skip"
    reason: str
    detail: str | None = None


DELETED = "deleted"
"""The detail of the Skip `entered-in-error` of a trigger that is gone."""


class Reject(Decision, frozen=True):
    """Wanted, but the data won't do: a person must look at `expression` (FHIRPath)."""

    kind = "reject"
    reason: str
    expression: str
    detail: str | None = None
