"""What a row of the table or a gate answers: the reason, and the elements that decided (mapping, sections 3
and 4)."""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_bridge.case.case import Case
from fhir_bridge.case.once import once
from fhir_bridge.fhir.views import is_appointment
from fhir_bridge.mapping.losses import lost_at
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.windows import Window, named_windows


class Verdict(msgspec.Struct, frozen=True):
    """An end to the matter: nobody is called. `wanted` says that somebody wanted this call, so a person must
    look.

    `detail` is made of codes only, never of what the record says in words.
    """

    reason: str
    elements: tuple[Element, ...]
    detail: str | None = None
    wanted: bool = False
    map_row: str | None = None
    layer: str | None = None


class Look(msgspec.Struct, frozen=True, dict=True):
    """What every row and gate looks at: a case, at an instant (aware), under the rules of its source."""

    case: Case
    profile: Profile
    now: datetime
    recorder: Recorder
    status: str = ""

    @once
    def windows(self) -> list[Window]:
        """Every time the trigger names that can be read."""
        return named_windows(self.case, self.profile.source.zone)

    @once
    def loss(self) -> tuple[datetime, str] | None:
        """When the trigger, an Appointment, was lost, and by what we know it (`losses.lost_at`)."""
        view = self.case.trigger.view
        return lost_at(self.case, view, self.profile) if is_appointment(view) else None
