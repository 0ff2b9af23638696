"""What a site's FHIRPath is evaluated over: the trigger's raw JSON, and names for what belongs to it
(mapping, section 17)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from fhir_bridge.case.case import Case, Party
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Patient, View
from fhir_bridge.mapping.expressions import Expression, ExpressionError
from fhir_bridge.mapping.people import Callee, NoCallee
from fhir_bridge.mapping.practitioner import is_practitioner
from fhir_bridge.mapping.recorder import Element
from fhir_bridge.mapping.verdict import Look


class Scope(msgspec.Struct, frozen=True):
    """A case as expressions see it. Everything is read anew from the bytes for each of them, so that none can
    change the input or what another sees."""

    case: Case
    patient: Resource[Patient]
    callee: Callee | NoCallee
    now: datetime

    @classmethod
    def of(cls, look: Look, patient: Resource[Patient], callee: Callee | NoCallee) -> Scope:
        """That of a case whose patient is known, at an instant as the source's clock shows it."""
        return cls(look.case, patient, callee, look.now.astimezone(look.profile.source.zone))

    def evaluate(self, expression: Expression) -> list[Any]:
        """What the expression gives over this case. Raises ExpressionError."""
        try:
            trigger = msgspec.json.decode(self.case.trigger.raw)
            variables = {name: self._values(name) for name in expression.names}
        except (msgspec.MsgspecError, UnicodeError, RecursionError, LookupError) as error:
            raise ExpressionError(type(error).__name__) from None
        return expression(trigger, variables, self.now)

    def elements(self, expression: Expression) -> tuple[Element, ...]:
        """What the expression may have looked at, for the lineage: the trigger, and what its names hold."""
        held = [resource for name in sorted(expression.names) for resource, _ in self._held(name)]
        return tuple((resource, "") for resource in dict.fromkeys((self.case.trigger, *held)))

    def _values(self, name: str) -> list[Any]:
        return [_at(msgspec.json.decode(resource.raw), path) for resource, path in self._held(name)]

    def _held(self, name: str) -> list[tuple[Resource[View], str]]:
        """The resources a name holds, each once, with the path of the part of it that is meant."""
        case, callee = self.case, self.callee
        if name == "guardian":
            if isinstance(callee, Callee) and not callee.is_patient and callee.holder:
                return [(callee.holder, callee.path.removesuffix("."))]
            return []
        found: Iterable[Resource[View] | None]
        if name == "patient":
            found = (self.patient,)
        elif name == "order":
            found = (case.order.resource if case.order else None,)
        elif name == "encounters":
            found = case.encounters
        else:
            parties = (case.requester,) if name == "requester" else _performers(case)
            found = (resource for party in parties if party for resource in _resources(party))
        return [(resource, "") for resource in dict.fromkeys(found) if resource is not None]


def _performers(case: Case) -> tuple[Party, ...]:
    taking_part = (participant.party for participant in case.participants)
    return case.performers or tuple(party for party in taking_part if party and is_practitioner(party))


def _resources(party: Party) -> tuple[Resource[View] | None, ...]:
    return (party.link.resource, party.role, party.practitioner, party.organization)


def _at(data: Any, path: str) -> Any:
    """The element at `contact[0]`; the whole for an empty path."""
    if not path:
        return data
    name, _, index = path.removesuffix("]").partition("[")
    found = data[name]
    return found[int(index)] if isinstance(found, list) else found
