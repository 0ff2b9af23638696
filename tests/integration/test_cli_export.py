"""`fhir-bridge export` against an EHR that checks every assertion and token."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fhir_bridge.intake.export.folder import ExportFolder
from tests.conftest import Bridge, Hospital
from tests.doubles.bulk_data import in_progress
from tests.doubles.ehr import Ehr
from tests.doubles.faults import Fault


@pytest.fixture
def ehr(hospital: Hospital) -> Ehr:
    """An EHR with 25 people and the appointments they want."""
    ehr = Ehr()
    for number in range(25):
        ehr.bulk.server.records.put(hospital.patient(number), hospital.appointment(number))
    return ehr


def ndjson(folder: Path) -> dict[str, bytes]:
    """The files of an export by name."""
    return {file.name: file.read_bytes() for file in folder.rglob("*.ndjson")}


def test_an_export_becomes_calls(bridge: Bridge, ehr: Ehr) -> None:
    """What was fetched is what `map` reads, with its manifest beside it."""
    ehr.bulk.waiting = [in_progress()]
    with ehr.running(bridge.folder):
        ran = bridge("export", "ehr", "--to", "out", "--type", "Patient,Appointment")
    assert ran.code == 0, ran.err
    assert "25  Appointment" in ran.out
    assert "complete: out/manifest.json" in ran.err
    assert ehr.smart.refused == []
    mapped = bridge("map", "out", "--format", "decisions")
    assert mapped.code == 0, mapped.err
    assert [decision["decision"] for decision in mapped.lines] == ["call"] * 25


def test_what_the_bridge_reads_is_asked_for(bridge: Bridge, ehr: Ehr) -> None:
    """Without --type: those types, as far as the server says it has them."""
    with ehr.running(bridge.folder, export='group = "g1"'):
        ran = bridge("export", "ehr", "--to", "out", "--dry-run")
        assert ran.code == 0, ran.err
        assert ehr.bulk.server.lines() == ["GET metadata"]
    line, *headers = ran.out.splitlines()
    assert "/fhir/Group/g1/$export?_type=Appointment,Condition,Consent,Coverage,Encounter," in line
    assert "ReferralRequest" not in line
    assert "Prefer: respond-async" in headers
    assert not (bridge.folder / "out").exists()


def test_a_token_that_ends_in_between_is_renewed(bridge: Bridge, hospital: Hospital) -> None:
    """Whether between files or while the server is at work, and only as often as is needed."""
    ehr = Ehr(token_requests=5)
    for number in range(25):
        ehr.bulk.server.records.put(hospital.patient(number))
    ehr.bulk.lines_per_file = 2
    ehr.bulk.waiting = [in_progress()] * 6
    with ehr.running(bridge.folder):
        ran = bridge("export", "ehr", "--to", "out", "--type", "Patient")
    assert ran.code == 0, ran.err
    assert "25  Patient" in ran.out
    assert len(ehr.smart.granted) > 3
    assert ehr.smart.refused == []


def test_a_finished_export_is_not_overwritten(bridge: Bridge, ehr: Ehr) -> None:
    """Nor is a folder that holds something else."""
    (bridge.folder / "mine").mkdir()
    (bridge.folder / "mine" / "letter.txt").write_text("dear")
    with ehr.running(bridge.folder):
        assert bridge("export", "ehr", "--to", "out").code == 0
        before = ndjson(bridge.folder / "out")
        again, mine = bridge("export", "ehr", "--to", "out"), bridge("export", "ehr", "--to", "mine")
    assert (again.code, mine.code) == (2, 2)
    assert "holds a finished export" in again.err
    assert "is not empty" in mine.err
    assert ndjson(bridge.folder / "out") == before


def test_only_what_changed_since_the_last_time(bridge: Bridge, ehr: Ehr) -> None:
    """The last export is looked for in the folders beside; what was deleted since is kept apart."""
    records = ehr.bulk.server.records
    same = ("--type", "Patient", "--type", "Appointment")
    with ehr.running(bridge.folder):
        none = bridge("export", "ehr", "--to", "exports/1", "--since-last", *same)
        assert none.code == 2
        assert "made without --since-last" in none.err
        assert bridge("export", "ehr", "--to", "exports/1", *same).code == 0
        records.change("Appointment/a3", status="booked")
        records.remove("Appointment/a4")
        other = bridge("export", "ehr", "--to", "exports/2", "--since-last", "--type", "Appointment")
        assert other.code == 2
        ran = bridge("export", "ehr", "--to", "exports/2", "--since-last", "--json", *same)
    assert ran.code == 0, ran.err
    assert ran.json["resources"] == {"Appointment": 1}
    deleted = json.loads((bridge.folder / "exports/2/deleted/Bundle.001.ndjson").read_text())
    dated = {"status": "204", "lastModified": ehr.bulk.jobs[2].time}
    assert deleted["entry"] == [{"request": {"method": "DELETE", "url": "Appointment/a4"}, "response": dated}]
    # Both exports read together: what was deleted is gone, and no question to a person.
    mapped = bridge("map", "exports", "--format", "decisions")
    triggers = [decision["trigger"] for decision in mapped.lines]
    assert "Appointment/a4" not in triggers
    assert len(set(triggers)) == 24
    assert "a4" not in mapped.err


def test_what_was_begun_is_gone_on_with_or_ended(bridge: Bridge, ehr: Ehr) -> None:
    """Another request does not take its folder over; --resume goes on, --cancel ends it at the server."""
    ehr.bulk.short = {"Patient-0": 6}
    with ehr.running(bridge.folder):
        first = bridge("export", "ehr", "--to", "out", "--type", "Patient", "--json")
        assert first.code == 1
        assert first.json["failed"] == {"Patient.001.ndjson": "export-truncated"}
        assert not first.json["complete"]
        other = bridge("export", "ehr", "--to", "out", "--type", "Appointment")
        assert other.code == 2
        assert "--resume" in other.err
        assert bridge("export", "ehr", "--to", "out", "--resume").code == 1
        assert bridge("export", "ehr", "--to", "out", "--resume").code == 0
        assert len(ehr.bulk.jobs) == 1
        ehr.bulk.short = {"Patient-0": 3}
        assert bridge("export", "ehr", "--to", "other", "--type", "Patient").code == 1
        (bridge.folder / "other" / "note.txt").write_text("mine")
        assert bridge("export", "ehr", "--to", "other", "--cancel").code == 0
    assert all(job.deleted for job in ehr.bulk.jobs.values())
    assert [file.name for file in (bridge.folder / "other").iterdir()] == ["note.txt"]


def test_a_server_that_goes_down_is_gone_on_with(bridge: Bridge, ehr: Ehr) -> None:
    """What is here stays, and it is said so; once it is up again the rest is fetched."""
    down = Fault("GET files/1/(Appointment|Patient-1)", 503, times=None)
    ehr.bulk.server.faults = [down]
    with ehr.running(bridge.folder, export="at_once = 1"):
        text = (bridge.folder / "bridge.toml").read_text()
        (bridge.folder / "bridge.toml").write_text(text.replace('patience = "3s"', 'patience = "50ms"'))
        ran = bridge("export", "ehr", "--to", "out", "--type", "Patient,Appointment")
        assert ran.code == 5
        assert "the same command goes on" in ran.err
        assert list(ndjson(bridge.folder / "out")) == ["Patient.001.ndjson"]
        ehr.bulk.server.faults = []
        assert bridge("export", "ehr", "--to", "out", "--type", "Patient,Appointment").code == 0
    assert len(ehr.bulk.jobs) == 1


def test_the_job_can_be_left(bridge: Bridge, ehr: Ehr) -> None:
    """For who wants to fetch it once more; it is said."""
    with ehr.running(bridge.folder):
        ran = bridge("export", "ehr", "--to", "out", "--keep-job")
    assert ran.code == 0
    assert "still at the server" in ran.err
    assert not ehr.bulk.jobs[1].deleted


def test_a_server_that_refuses_is_an_error_of_its_own(bridge: Bridge, ehr: Ehr) -> None:
    """Exit code 5, with what to do; a source without a server is a matter of the settings."""
    ehr.bulk.lacks = frozenset({"Appointment"})
    with ehr.running(bridge.folder):
        ran = bridge("export", "ehr", "--to", "out", "--type", "Appointment")
    assert ran.code == 5
    assert "--crawl" in ran.err
    (bridge.folder / "bridge.toml").write_text("[sources.ehr]\n")
    assert bridge("export", "ehr", "--to", "out").code == 3


@pytest.mark.parametrize(
    "words",
    [
        ("--group", "g", "--system"),
        ("--since", "2026-01-01T00:00:00Z", "--since-last"),
        ("--type", "appointment"),
        ("--type-filter", "status=active"),
        ("--type", "Patient", "--type-filter", "Appointment?status=booked"),
        ("--group", "../x"),
        ("--resume",),
        ("--resume", "--cancel"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error(bridge: Bridge, ehr: Ehr, words: tuple[str, ...]) -> None:
    """Before anything is begun."""
    with ehr.running(bridge.folder):
        assert bridge("export", "ehr", "--to", "out", *words).code == 2
    assert ehr.bulk.jobs == {}


def test_two_do_not_export_into_one_folder(bridge: Bridge, ehr: Ehr) -> None:
    """As where a job is started before the last one is done; the first one is not disturbed."""
    ehr.bulk.short = {"Patient-0": 3}
    words = ("export", "ehr", "--to", "out", "--type", "Patient")
    with ehr.running(bridge.folder):
        assert bridge(*words).code == 1
        before = ndjson(bridge.folder / "out")
        with ExportFolder(bridge.folder / "out").alone():
            second, cancel = bridge(*words), bridge(*words[:4], "--cancel")
        assert ndjson(bridge.folder / "out") == before
        assert bridge(*words).code == 0
    assert (second.code, cancel.code) == (2, 2)
    assert "is under way" in second.err


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Within, this process writes no file beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_and_gone_on_from(bridge: Bridge, ehr: Ehr) -> None:
    """No fault of the program, and nothing of what is here is lost."""
    ehr.bulk.lines_per_file = 100
    words = ("export", "ehr", "--to", "out", "--type", "Patient")
    with ehr.running(bridge.folder):
        with small_disk(4000):
            full = bridge(*words)
        ran = bridge(*words)
    assert full.code == 2, full.err
    assert "Patient.001.ndjson.tmp cannot be written: File too large" in full.err
    assert "the same command goes on" in full.err
    assert ran.code == 0, ran.err
    assert len(ehr.bulk.jobs) == 1


def test_a_vendor_whose_export_is_always_of_everything_is_not_asked_since_when(
    bridge: Bridge, ehr: Ehr
) -> None:
    """Epic's: it would export all, and nobody would know."""
    with ehr.running(bridge.folder, more='vendor = "epic"'):
        ran = bridge("export", "ehr", "--to", "out", "--since", "2026-01-01T00:00:00Z")
    assert ran.code == 2
    assert "no _since" in ran.err
