"""The two drafts of a call, task and patient, as one set of fields, each named and filled by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from fhir_bridge.task_api.patients import PatientDraft
from fhir_bridge.task_api.tasks import TaskDraft

Value = str | bool | None
M = TypeVar("M", bound=BaseModel)
PATIENT = "patient."
"""What the names of the patient's fields begin with; all others are the task's."""


@cache
def draft_fields() -> tuple[str, ...]:
    """Every field that holds one value, in the contract's order: `task`, `task_data.referral.npi`,
    `patient.address.city`. Lists (visits, insurances) have none."""
    return (*_leaves(TaskDraft), *(PATIENT + name for name in _leaves(PatientDraft)))


def with_values(
    task: TaskDraft, patient: PatientDraft, values: Mapping[str, Value]
) -> tuple[TaskDraft, PatientDraft, frozenset[str]]:
    """The drafts with these fields filled (None: left out), and the fields the contract refuses, left as they
    were."""
    of_task = {field: value for field, value in values.items() if not field.startswith(PATIENT)}
    of_patient = {
        field.removeprefix(PATIENT): value for field, value in values.items() if field not in of_task
    }
    filled_task, refused = _filled(task, of_task)
    filled_patient, more = _filled(patient, of_patient)
    return filled_task, filled_patient, refused | {PATIENT + field for field in more}


def _filled(model: M, values: Mapping[str, Value]) -> tuple[M, frozenset[str]]:
    """All values at once, for the parts of an address stand or fall together; what is refused is left out."""
    kept = dict(values)
    while kept:
        data = model.model_dump()
        for field, value in kept.items():
            _put(data, field.split("."), value)
        try:
            return type(model).model_validate(data), frozenset(values.keys() - kept.keys())
        except ValidationError as error:
            places = [".".join(map(str, each["loc"])) for each in error.errors(include_input=False)]
            kept = _without(kept, places)
    return model, frozenset(values)


def _without(values: dict[str, Value], places: list[str]) -> dict[str, Value]:
    """Without the fields at these places; where none is, without those beside one: a part that is missing
    makes the others useless."""
    parents = {place.rpartition(".")[0] for place in places}
    for refused in (
        [field for field in values if field in places],
        [field for field in values if field.rpartition(".")[0] in parents],
    ):
        if refused:
            return {field: value for field, value in values.items() if field not in refused}
    return {}


def _put(data: dict[str, Any], path: list[str], value: Value) -> None:
    for name in path[:-1]:
        if data.get(name) is None:
            if value is None:
                return
            data[name] = {}
        data = data[name]
    data[path[-1]] = value


def _leaves(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        below = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if below is not None:
            yield from _leaves(below, f"{before}{name}.")
        elif not any(get_origin(kind) is tuple for kind in kinds):
            yield before + name
