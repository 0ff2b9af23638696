"""The bodies of both POSTs out of drafts as they are kept: byte for byte what was decided, with the ids that
are settled later put in before it.
"""

from __future__ import annotations

from fhir_bridge.task_api.wire import RESOURCE_ID


def patient_body(draft: bytes, project_id: str) -> bytes:
    """A CreatePatientRequest's JSON out of a PatientDraft's (`to_json`). Raises ValueError where the id is no
    UUID.
    """
    return b'{"project_id":"%b",%b' % (_checked(project_id), _fields(draft))


def task_body(draft: bytes, project_id: str, patient_id: str) -> bytes:
    """A ScheduleAppointmentRequest's JSON out of a TaskDraft's (`to_json`). Raises ValueError where an id is
    no UUID.
    """
    ids = (_checked(project_id), _checked(patient_id))
    begins = b'{"task_type":"SCHEDULE_APPOINTMENT","project_id":"%b","patient_id":"%b",' % ids
    return begins + _fields(draft)


def _checked(value: str) -> bytes:
    if not RESOURCE_ID.fullmatch(value):
        raise ValueError("an id is not a UUID")
    return value.encode()


def _fields(draft: bytes) -> bytes:
    """All of an object but the brace it begins with; a draft has fields that it must have."""
    if not draft.startswith(b'{"'):
        raise ValueError("what is kept is not a draft")
    return draft[1:]
