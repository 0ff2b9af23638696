"""What a message brought, as `map` has it of a file: resources, and what is deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fhir_bridge.errors import InputError
from fhir_bridge.fhir import documents, reading, references
from fhir_bridge.fhir.envelopes import Part
from fhir_bridge.fhir.resource import Origin
from fhir_bridge.fhir.views import VIEWS
from fhir_bridge.intake.files import Inputs
from fhir_bridge.intake.notifications import Notification


def inputs_of(notification: Notification, name: str, received_at: datetime) -> Inputs:
    """Its resources; `name` stands for the message in errors, which are in `problems`.

    What is deleted is so since the message came (`received_at`, aware UTC) where nothing says when: a version
    from before that, told again, must not bring it back.
    """
    inputs = Inputs(files=1)
    for part in notification.parts:
        _read_part(part, name, inputs)
    for deletion in notification.deletions:
        inputs.deleted[deletion.label] = deletion.at or received_at.isoformat()
    inputs.resources = documents.without_deleted(inputs.resources, inputs.deleted)
    return inputs


def add_document(inputs: Inputs, body: bytes, name: str) -> None:
    """What was read from the source besides; `name` says what it is, without a patient's id."""
    try:
        document = documents.read(body, name)
    except InputError as error:
        inputs.problems.append(error)
        return
    inputs.resources += document.resources
    inputs.problems += document.problems


def _read_part(part: Part, name: str, inputs: Inputs) -> None:
    origin = Origin(name, None, part.number)
    try:
        if part.resource_type is not None and part.resource_type not in VIEWS:
            reading.demand_spelt(part.resource_type, part.raw, origin, part.full_url)
            inputs.others[part.resource_type] += 1
            return
        inputs.resources.append(reading.read(part.raw, origin, part.full_url))
    except InputError as error:
        inputs.problems.append(error)


def to_fetch(notification: Notification, inputs: Inputs) -> list[str]:
    """What the message names and did not bring, of types that the bridge reads."""
    here = {resource.label for resource in inputs.resources} | set(inputs.deleted)
    return [reference for reference in notification.named if _is_wanted(reference, here)]


def _is_wanted(reference: str, here: Iterable[str]) -> bool:
    target = references.parse(reference)
    if target is None or target.label is None:
        return True  # whoever fetches it says what is wrong with it
    return target.type in VIEWS and target.label not in here
