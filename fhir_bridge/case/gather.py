"""From what is at hand to the cases in it (mapping, sections 1 and 18)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import cast

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.case import Case, Trigger
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import TRIGGER_TYPES, View


def triggers(at_hand: AtHand, resources: Iterable[Resource[View]]) -> list[Trigger]:
    """The triggers among some of the resources at hand (those of the files to map, not of their context), in
    their order and each once.

    Each is given as its current version, even where that came with the context. Of several contents that no
    version orders the first stands for all; its case names the places. Contained resources are no triggers.
    """
    found: dict[int, Trigger] = {}
    for resource in resources:
        if resource.view.resource_type in TRIGGER_TYPES and resource.container is None:
            current = cast("Trigger", at_hand.index.same(resource)[0])
            found.setdefault(id(current), current)
    return list(found.values())


def gather(
    at_hand: AtHand,
    trigger: Trigger,
    *,
    source: str,
    reported_at: datetime | None = None,
    first_cancelled_at: datetime | None = None,
    history_complete: bool = False,
    chain_complete: bool = False,
    unanswered: tuple[str, ...] = (),
) -> Case:
    """The case of a trigger: see `Case` for what the arguments mean. Nothing is resolved before it is
    asked for."""
    return Case(
        source=source,
        trigger=trigger,
        at_hand=at_hand,
        reported_at=reported_at,
        first_cancelled_at=first_cancelled_at,
        history_complete=history_complete,
        chain_complete=chain_complete,
        unanswered=unanswered,
    )
