"""`export --crawl` over real sockets: what a server does not export is searched for, politely."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.intake.export import crawl_plan
from tests.conftest import Bridge, Hospital
from tests.doubles.ehr import Ehr
from tests.doubles.faults import Fault
from tests.forks import PROGRAM

PEOPLE = 12


@pytest.fixture
def ehr(hospital: Hospital) -> Ehr:
    """An EHR: people with an appointment and an order each, a practitioner with a role, an organization."""
    ehr = Ehr()
    records = ehr.bulk.server.records
    records.put({"resourceType": "Organization", "id": "o1"}, {"resourceType": "Practitioner", "id": "d1"})
    employed = {
        "practitioner": {"reference": "Practitioner/d1"},
        "organization": {"reference": "Organization/o1"},
    }
    records.put({"resourceType": "PractitionerRole", "id": "r1", **employed})
    for number in range(PEOPLE):
        whose = {"reference": f"Patient/p{number}"}
        requester = {"reference": f"{'https://elsewhere.example/' if number else ''}Practitioner/d1"}
        order = {"id": f"s{number}", "status": "active", "intent": "order", "subject": whose}
        records.put(hospital.patient(number), hospital.appointment(number))
        records.put({"resourceType": "ServiceRequest", **order, "requester": requester})
    return ehr


def here(folder: Path) -> dict[str, list[str]]:
    """The ids in an export's files, by type, in order."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.ndjson")):
        for line in file.read_text().splitlines():
            resource = json.loads(line)
            found.setdefault(resource["resourceType"], []).append(resource["id"])
    return found


def everybody(letter: str) -> list[str]:
    """Ids as the fixture gives them."""
    return [f"{letter}{number}" for number in range(PEOPLE)]


def test_what_a_vendor_does_not_export_is_searched_for(bridge: Bridge, ehr: Ehr) -> None:
    """Oracle Health: an export without appointments and orders, then a search for each of its patients."""
    ehr.bulk.lacks = frozenset({"Appointment", "ServiceRequest"})
    layer = bridge.folder / "site.yaml"
    layer.write_text(
        'exports: {by_patient: {Appointment: "patient={patient}&date=ge{since_day}&date=lt{until_day}"}}'
    )
    for number in range(PEOPLE):
        ehr.bulk.server.records.change(f"Appointment/a{number}", start="2026-11-20T10:00:00Z")
    more = 'vendor = "oracle-health"\nmappings = "site.yaml"'
    with ehr.running(bridge.folder, more=more):
        ran = bridge("export", "ehr", "--to", "out", "--crawl", "--json")
    assert ran.code == 0, ran.err
    found = here(bridge.folder / "out")
    assert sorted(found["Appointment"]) == sorted(everybody("a"))
    assert sorted(found["ServiceRequest"]) == sorted(everybody("s"))
    assert sorted(found["Patient"]) == sorted(everybody("p"))
    assert ran.json["crawled"] == {"Appointment": PEOPLE, "ServiceRequest": PEOPLE}
    asked = ehr.bulk.server.lines("GET Appointment?")
    assert len(asked) == PEOPLE
    assert re.fullmatch(
        r"GET Appointment\?patient=p0&date=ge20\d\d-\d\d-\d\d&date=lt20\d\d-\d\d-\d\d", asked[0]
    )
    manifest = json.loads((bridge.folder / "out/manifest.json").read_text())
    assert manifest["extension"]["crawled"] == {"Appointment": PEOPLE, "ServiceRequest": PEOPLE}


def test_a_server_without_an_export_is_searched_for_everything(bridge: Bridge, ehr: Ehr) -> None:
    """All patients first, then theirs, then whoever is referred to; nobody else's references are followed."""
    ehr.bulk.methods = ()
    with ehr.running(bridge.folder):
        ran = bridge("export", "ehr", "--to", "out", "--crawl")
        assert ran.code == 0, ran.err
    assert "no $export" in ran.err
    found = here(bridge.folder / "out")
    assert sorted(found["Appointment"]) == sorted(everybody("a"))
    assert sorted(found["Patient"]) == sorted(everybody("p"))
    assert (found["Practitioner"], found["PractitionerRole"], found["Organization"]) == (
        ["d1"],
        ["r1"],
        ["o1"],
    )
    assert not list((bridge.folder / "out").glob("export-*"))
    decided = bridge("map", "out", "--format", "decisions")
    assert decided.code in (0, 1)
    assert len(decided.lines) == 2 * PEOPLE


_NOT_BEGUN = {
    # Medplum's router takes $export for a type and searches for it.
    "a search": (200, b'{"resourceType": "Bundle", "type": "searchset"}'),
    # So HAPI answers an operation it does not know.
    "a bad request": (400, b'{"resourceType": "OperationOutcome", "issue": [{"code": "processing"}]}'),
}


@pytest.mark.parametrize("answer", _NOT_BEGUN.values(), ids=_NOT_BEGUN.keys())
def test_an_export_that_was_not_begun_is_no_export(
    bridge: Bridge, ehr: Ehr, answer: tuple[int, bytes]
) -> None:
    """Whatever a server answers that has none: told so, and searched for everything where that is wanted."""
    server = ehr.bulk.server
    server.faults.append(Fault(r"\$export", *answer, times=None))
    server.operations = ("validate",)
    with ehr.running(bridge.folder):
        told = bridge("export", "ehr", "--to", "told", "--type", "Patient,Appointment")
        ran = bridge("export", "ehr", "--to", "out", "--type", "Patient,Appointment", "--crawl")
    assert told.code == 5
    assert "--crawl" in told.err
    assert ran.code == 0, ran.err
    assert sorted(here(bridge.folder / "out")["Appointment"]) == sorted(everybody("a"))


def test_a_request_that_an_export_refuses_is_not_crawled_instead(bridge: Bridge, ehr: Ehr) -> None:
    """Where the server says that it exports, its 400 is about what was asked for."""
    ehr.bulk.server.faults.append(Fault(r"\$export", 400, times=None))
    with ehr.running(bridge.folder):
        ran = bridge("export", "ehr", "--to", "out", "--crawl")
    assert ran.code == 5
    assert "--type" in ran.err


def test_a_group_is_searched_for_its_members(bridge: Bridge, ehr: Ehr) -> None:
    """And nobody else, where the server knows the Group but exports nothing of it."""
    ehr.bulk.methods = ()
    ehr.bulk.server.types = [*ehr.bulk.server.types, "Group"]
    members = [
        {"entity": {"reference": "Patient/p3"}},
        {"entity": {"reference": "Patient/p4"}, "inactive": True},
    ]
    ehr.bulk.server.records.put({"resourceType": "Group", "id": "g1", "member": members})
    with ehr.running(bridge.folder):
        ran = bridge("export", "ehr", "--to", "out", "--crawl", "--group", "g1")
        assert ran.code == 0, ran.err
        found = here(bridge.folder / "out")
        assert (found["Patient"], found["Appointment"], found["ServiceRequest"]) == (["p3"], ["a3"], ["s3"])
        unknown = bridge("export", "ehr", "--to", "none", "--crawl", "--group", "g2")
    assert unknown.code == 5


def test_a_list_says_whom_to_search_for(bridge: Bridge, ehr: Ehr) -> None:
    """Ids as people keep them; a line that is none is named."""
    ehr.bulk.methods = ()
    (bridge.folder / "list.txt").write_text('p5\n\nPatient/p6\n{"resourceType": "Patient", "id": "p7"}\n')
    (bridge.folder / "bad.txt").write_text("p5\nJuniper Sample\n")
    words = ("export", "ehr", "--crawl", "--type", "Patient,Appointment")
    with ehr.running(bridge.folder):
        assert bridge(*words, "--to", "out", "--patients", "list.txt").code == 0
        bad = bridge(*words, "--to", "no", "--patients", "bad.txt")
        assert bridge(*words[:2], "--to", "no", "--patients", "list.txt").code == 2
    assert here(bridge.folder / "out") == {"Appointment": ["a5", "a6", "a7"], "Patient": ["p5", "p6", "p7"]}
    assert bad.code == 2
    assert "bad.txt:2" in bad.err
    assert "Juniper" not in bad.err


def test_a_server_that_lists_no_patients_is_searched_by_date(bridge: Bridge, ehr: Ehr) -> None:
    """Week by week, once for what has no date; then those patients are read, and searched for the rest."""
    ehr.bulk.methods = ()
    ehr.bulk.server.faults = [Fault(r"GET Patient\?", 400, times=None)]
    ehr.bulk.server.records.change("Appointment/a1", status="cancelled", start="2026-11-20T10:00:00Z")
    layer = 'exports: {by_date: {Appointment: ["date=ge{since_day}&date=lt{until_day}", "status=proposed"]}}'
    (bridge.folder / "site.yaml").write_text(layer)
    with ehr.running(bridge.folder, more='mappings = "site.yaml"'):
        ran = bridge(
            "export", "ehr", "--to", "out", "--crawl", "--type", "Patient,Appointment,ServiceRequest"
        )
    assert ran.code == 0, ran.err
    assert "searched by date" in ran.err
    found = here(bridge.folder / "out")
    assert sorted(found["Appointment"]) == sorted(everybody("a"))
    assert sorted(found["Patient"]) == sorted(everybody("p"))
    assert sorted(found["ServiceRequest"]) == sorted(everybody("s"))
    weeks = [line for line in ehr.bulk.server.lines("GET Appointment?") if "date=" in line]
    assert len(weeks) == 115  # 800 days


def test_one_refusal_is_written_down_and_the_others_are_made(bridge: Bridge, ehr: Ehr) -> None:
    """In the folder with what was asked; on the terminal only by code."""
    ehr.bulk.methods = ()
    ehr.bulk.server.faults = [Fault(r"GET Appointment\?patient=p3$", 403, times=None)]
    with ehr.running(bridge.folder):
        ran = bridge("export", "ehr", "--to", "out", "--crawl", "--type", "Patient,Appointment")
    assert ran.code == 1
    assert "error forbidden, 1 time;" in ran.err
    assert "p3" not in ran.err
    assert len(here(bridge.folder / "out")["Appointment"]) == PEOPLE - 1
    error = json.loads((bridge.folder / "out/error/Appointment.crawled-00001.ndjson").read_text())
    assert "patient=p3" in error["issue"][0]["diagnostics"]


def test_a_busy_server_is_waited_for_and_nothing_is_written_twice(bridge: Bridge, ehr: Ehr) -> None:
    """In the middle of a search's pages, too: what came of them before is asked for anew."""
    ehr.bulk.methods = ()
    ehr.bulk.server.page_size = 5
    busy = {"status": 503, "headers": {"retry-after": "0"}, "times": 6}
    ehr.bulk.server.faults = [Fault(r"_offset=10", **busy), Fault(r"Appointment\?patient=p3$", **busy)]
    (bridge.folder / "site.yaml").write_text('exports: {patients: "_count=5"}')
    with ehr.running(bridge.folder, more='mappings = "site.yaml"'):
        ran = bridge("export", "ehr", "--to", "out", "--crawl", "--type", "Patient,Appointment")
    assert ran.code == 0, ran.err
    assert here(bridge.folder / "out") == {"Appointment": everybody("a"), "Patient": everybody("p")}


def test_a_type_that_cannot_be_searched_is_given_up_and_named(bridge: Bridge, ehr: Ehr) -> None:
    """After a few refusals, not after one for each patient; without it the export is not complete."""
    ehr.bulk.methods = ()
    ehr.bulk.server.rejects = {"ServiceRequest.patient"}
    with ehr.running(bridge.folder):
        ran = bridge(
            "export", "ehr", "--to", "out", "--crawl", "--type", "Patient,Appointment,ServiceRequest"
        )
        assert len(ehr.bulk.server.lines("GET ServiceRequest?")) == 5
        assert (ran.code, "not fetched: search of ServiceRequest" in ran.err) == (1, True)
        assert not (bridge.folder / "out/manifest.json").exists()
        ehr.bulk.server.rejects = set()
        again = bridge("export", "ehr", "--to", "out", "--crawl", "--resume")
    assert again.code == 0, again.err
    assert len(ehr.bulk.server.lines("GET Appointment?")) == PEOPLE
    assert sorted(here(bridge.folder / "out")["ServiceRequest"]) == sorted(everybody("s"))


def test_only_what_changed_is_searched_for(bridge: Bridge, ehr: Ehr) -> None:
    """Of all patients: who did not change may have a new appointment."""
    ehr.bulk.methods = ()
    same = ("--crawl", "--type", "Patient,Appointment")
    with ehr.running(bridge.folder):
        assert bridge("export", "ehr", "--to", "exports/1", *same).code == 0
        ehr.bulk.server.records.change("Appointment/a3", status="booked")
        ran = bridge("export", "ehr", "--to", "exports/2", "--since-last", *same)
    assert ran.code == 0, ran.err
    assert here(bridge.folder / "exports/2")["Appointment"] == ["a3"]


def test_a_dry_run_shows_the_searches(bridge: Bridge, ehr: Ehr) -> None:
    """Beside the request that would begin the export."""
    with ehr.running(bridge.folder, more='vendor = "oracle-health"'):
        ran = bridge("export", "ehr", "--to", "out", "--crawl", "--dry-run", "--type", "Patient,Appointment")
    assert ran.code == 0
    assert "$export?_type=Patient\n" in ran.out
    assert "/Appointment?patient={id}&-date-or-req-period=ge2" in ran.out


def until(condition: Callable[[], Any]) -> None:
    """Look every few milliseconds whether it is so by now."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


IN_TENS = "import fhir_bridge.intake.export.crawl_plan as plan; plan.A_GROUP = 10; "


def test_a_crawl_that_was_killed_goes_on_to_the_same_bytes(
    bridge: Bridge, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups that are done are not asked for again; the one that was under way is."""
    monkeypatch.setattr(crawl_plan, "A_GROUP", 10)
    ehr = Ehr()
    ehr.bulk.methods = ()
    for number in range(25):
        ehr.bulk.server.records.put(hospital.patient(number), hospital.appointment(number))
    words = ("export", "ehr", "--crawl", "--type", "Patient,Appointment", "--to")
    with ehr.running(bridge.folder, export="at_once = 1"):
        assert bridge(*words, "undisturbed").code == 0
        ehr.bulk.server.requests.clear()
        ehr.bulk.server.faults = [Fault("GET Appointment", seconds=0.05, times=None)]
        process = bridge.process(*words, "out", program=IN_TENS + PROGRAM)
        until(lambda: len(ehr.bulk.server.lines("GET Appointment")) > 14)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        ehr.bulk.server.faults = []
        assert (bridge.folder / "out/Appointment.crawled-00001.ndjson").exists()
        assert not (bridge.folder / "out/Appointment.crawled-00002.ndjson").exists()
        ran = bridge(*words, "out")
    assert ran.code == 0, ran.err
    first, second = (
        {file.name: file.read_bytes() for file in (bridge.folder / name).glob("*.ndjson")}
        for name in ("undisturbed", "out")
    )
    assert first == second
    asked = ehr.bulk.server.lines("GET Appointment")
    assert len(set(asked)) == 25
    assert 25 < len(asked) <= 35
    assert len(ehr.bulk.server.lines("GET Patient")) == 1
