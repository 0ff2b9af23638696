"""Exports on top of one another: what a later one says of calls that wait already."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from fhir_bridge.intake.bulk import scratch
from tests.conftest import Bridge, Hospital

EARLIER = (datetime.now(UTC) - timedelta(days=1)).isoformat()
LATER = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def lines(*resources: dict[str, Any]) -> bytes:
    """NDJSON."""
    return b"".join(orjson.dumps(resource) + b"\n" for resource in resources)


def deleted(*urls: str) -> dict[str, Any]:
    """A Bundle of what is gone, as an export has it in its folder `deleted`."""
    entries = [
        {"request": {"method": "DELETE", "url": url}, "response": {"lastModified": LATER}} for url in urls
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


async def ends_while_paused(_watch: object) -> bool:
    """In the place of a look at what is paused: a migration would wait until it is resumed."""
    return False


@pytest.fixture
def waiting(bridge: Bridge, hospital: Hospital, endpoint: Any) -> Any:
    """A full export whose calls wait in the ledger: gives a migration of files, which tells the states."""
    bridge.settings(endpoint().url)
    bridge.patch.setattr("fhir_bridge.cli.migrate_send.ALL", timedelta(0))
    bridge.patch.setattr("fhir_bridge.cli.migrate_send._Watch.is_paused", ends_while_paused)
    assert bridge("pause", "--because", "we load first").code == 0

    def migrate(folder: str, **files: bytes) -> dict[str, int]:
        for name, data in files.items():
            path = bridge.folder / folder / f"{name}.ndjson"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        ran = bridge("migrate", folder, "--send", "--yes", "--json", "--work", "scratch", "--processes", "1")
        assert ran.code in (0, 1), ran.err
        states: dict[str, int] = ran.json["states"]
        return states

    meta = {"versionId": "2", "lastUpdated": EARLIER}
    people = [hospital.patient(number, meta=meta) for number in (1, 2)]
    wanted = [hospital.appointment(number, meta=meta) for number in (1, 2)]
    assert migrate("full", Patient=lines(*people), Appointment=lines(*wanted)) == {"ready": 2}
    return migrate


def test_the_same_export_again_under_other_names_changes_nothing(bridge: Bridge, waiting: Any) -> None:
    """Another folder, other files, other order, all in one: names of files say nothing."""
    shutil.copytree(bridge.folder / "full", bridge.folder / "again")
    (bridge.folder / "again" / "Patient.ndjson").rename(bridge.folder / "again" / "z.ndjson")
    assert waiting("again") == {"ready": 2}
    files = (bridge.folder / "full" / name for name in ("Appointment.ndjson", "Patient.ndjson"))
    whole = b"".join(file.read_bytes() for file in files)
    assert waiting("one", all=whole) == {"ready": 2}


@pytest.mark.parametrize(
    "since",
    [
        {"deceasedDateTime": "2026-01-01"},
        {"active": False},
        {"link": [{"other": {"reference": "Patient/p9"}, "type": "replaced-by"}], "active": False},
    ],
    ids=["dead", "inactive", "merged into one who is dead"],
)
def test_a_person_who_must_not_be_called_any_more_is_not(
    waiting: Any, hospital: Hospital, since: dict[str, Any]
) -> None:
    """The later export has the patient alone, not the appointment: the call that waits is taken back."""
    survivor = hospital.patient(9, deceasedBoolean=True)
    assert waiting("later", p=lines(hospital.patient(1, **since), survivor)) == {"ready": 1, "skipped": 1}


def test_a_person_who_was_merged_is_called_once(waiting: Any, hospital: Hospital) -> None:
    """Both records' appointments are one person's: nobody is called at a record that is no more."""
    link = [{"other": {"reference": "Patient/p9"}, "type": "replaced-by"}]
    merged = hospital.patient(1, link=link, active=False)
    meta = {"versionId": "2", "lastUpdated": EARLIER}
    wanted = hospital.appointment(1, meta=meta)
    found = waiting("later", p=lines(merged, hospital.patient(9), wanted))
    assert found["ready"] == 2


@pytest.mark.parametrize("gone", ["Appointment/a1", "Patient/p1"])
def test_nobody_is_called_of_whom_or_of_which_nothing_is_there_any_more(waiting: Any, gone: str) -> None:
    """The appointment was deleted, or the patient's whole record was."""
    assert waiting("later", deleted=lines(deleted(gone))) == {"ready": 1, "skipped": 1}


def test_newer_versions_count_and_older_do_not(waiting: Any, hospital: Hospital) -> None:
    """Whatever came first, and also where both stand in files of the same export."""
    newer = {"versionId": "3", "lastUpdated": LATER}
    older = {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"}
    states = waiting(
        "later",
        a=lines(hospital.patient(1), hospital.appointment(1, status="booked", meta=newer)),
        b=lines(hospital.appointment(1, meta=older), hospital.patient(1)),
        c=lines(hospital.patient(2), hospital.appointment(2, status="entered-in-error", meta=older)),
    )
    assert states == {"ready": 1, "skipped": 1}
    assert waiting("full") == states, "the full export again, now the older one"


def test_a_number_that_changed_reaches_a_call_that_waits(
    bridge: Bridge, waiting: Any, hospital: Hospital
) -> None:
    """Where both exports are named, though the appointment is the same as before."""
    number = [{"system": "phone", "value": "(212) 555-0177"}]
    later = hospital.patient(1, telecom=number, meta={"versionId": "3", "lastUpdated": LATER})
    assert waiting("full", later=lines(later)) == {"ready": 2}
    shown = [bridge("show", f"default|Patient/p{each}|Appointment/a{each}", "--json").json for each in (1, 2)]
    assert [each["request"]["phone_number"] for each in shown] == ["+12125550177", "+12125550102"]


def test_two_contents_under_one_id_take_the_call_back(waiting: Any, hospital: Hospital) -> None:
    """No version says which is right: a person looks, nobody is called meanwhile."""
    meta = {"versionId": "3", "lastUpdated": LATER}
    states = waiting(
        "later",
        a=lines(hospital.patient(1), hospital.appointment(1, meta=meta)),
        b=lines(hospital.appointment(1, meta=meta, description="Another")),
    )
    assert states == {"ready": 1, "rejected": 1}


def test_two_at_once_over_one_ledger_call_nobody_twice(
    bridge: Bridge, hospital: Hospital, endpoint: Any
) -> None:
    """As where two people start the same: on two machines both go on; on one the second is told."""
    running = endpoint()
    bridge.settings(running.url)
    numbers = range(1, 41)
    people = [hospital.patient(number) for number in numbers]
    data = lines(*people, *(hospital.appointment(number) for number in numbers))
    (bridge.folder / "in.ndjson").write_bytes(data)
    send = ("migrate", "in.ndjson", "--send", "--yes", "--processes", "1", "--work")
    both = [bridge.process(*send, work) for work in ("here", "there")]
    for process in both:
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    assert running.stats["tasks"] == 40
    assert set(running.stats["tasks_by_patient"].values()) == {1}
    with scratch.folder(bridge.folder / "here", "x"), bridge.patch.context() as patch:
        patch.setattr(scratch, "fingerprint", lambda _: "x")
        ran = bridge(*send, "here")
    assert (ran.code, "another migration of these files runs" in ran.err) == (2, True)


def test_whose_calls_are_not_renewed_is_said_where_their_appointment_is_only_in_the_context(
    bridge: Bridge, hospital: Hospital, waiting: Any
) -> None:
    """A later export has a new number and no appointment. Both exports named renew the call."""
    meta = {"versionId": "3", "lastUpdated": LATER}
    patient = {**hospital.patient(1, meta=meta), "telecom": [{"system": "phone", "value": "212-555-0177"}]}
    (bridge.folder / "second").mkdir()
    (bridge.folder / "second" / "Patient.ndjson").write_bytes(lines(patient, hospital.patient(7)))

    def told(*arguments: str) -> Any:
        return bridge("migrate", *arguments, "--work", "scratch", "--processes", "1")

    with_context = told("second", "--context", "full")
    assert "1 trigger of these patients only in --context" in " ".join(with_context.out.split())
    assert told("second", "--context", "full", "--json").json["only_in_context"] == 1
    assert told("second", "full", "--json").json["only_in_context"] == 0
    again = ("Appointment.ndjson", "Patient.ndjson")
    booked = (bridge.folder / "full" / again[0]).read_bytes()
    (bridge.folder / "second" / again[0]).write_bytes(booked)
    assert told("second", "--context", "full", "--json").json["only_in_context"] == 0
