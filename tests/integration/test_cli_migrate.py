"""`fhir-bridge migrate`: what is previewed, written, said of bad data, kept and sent."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.generator import NOW, Export
from fhir_bridge.cli.migrate import STOPPED

AT = NOW.isoformat()
FIXTURES = Path(__file__).parents[2] / "fixtures"


def lines(*resources: dict[str, Any]) -> bytes:
    """NDJSON."""
    return b"".join(orjson.dumps(resource) + b"\n" for resource in resources)


@pytest.fixture
def export(bridge: Any) -> str:
    """A generated export of forty patients in the test's folder."""
    Export(40).write(bridge.folder / "export")
    return "export"


@pytest.fixture
def people(bridge: Any, hospital: Any) -> str:
    """Eight people whom somebody wants to see, two of them booked, one of them dead."""
    folder = bridge.folder / "people"
    folder.mkdir()
    persons = [hospital.patient(number) for number in range(1, 9)]
    persons[7]["deceasedBoolean"] = True
    wanted = [hospital.appointment(number) for number in range(1, 9)]
    for one in wanted[5:7]:
        one["status"] = "booked"
    (folder / "b.ndjson").write_bytes(lines(*wanted))
    (folder / "a.ndjson").write_bytes(lines(*persons))
    return "people"


async def ends_while_paused(_watch: object) -> bool:
    """In the place of a look at what is paused: a migration would wait until it is resumed."""
    return False


def migrate(bridge: Any, *arguments: str) -> Any:
    """The command in this process alone, its scratch files in the test's folder."""
    scratch = str(bridge.folder / "scratch")
    return bridge("migrate", *arguments, "--work", scratch, "--processes", "1")


def test_a_preview_says_what_would_happen_and_keeps_nothing(bridge: Any, export: str) -> None:
    """Counts by decision, calls by day and clinic, samples, texts, codes that no map knows."""
    ran = migrate(bridge, export, "--now", AT, "--json", "--pace", "2/h", "--sample", "2")
    told = ran.json
    assert ran.code == 0
    assert told["triggers"] == 40 * 5
    assert sum(told["decisions"].values()) == 40 * 5
    assert told["calls"] == sum(told["by_day"].values()) == sum(told["by_clinic"].values()) > 20
    most = list(told["by_clinic"].items())
    assert most == sorted(most, key=lambda each: (-each[1], each[0])), "the same order every time"
    assert len(told["samples"]) == 2
    assert all(sample["request"] for sample in told["samples"])
    assert all(sample["lineage"] for sample in told["samples"])
    assert told["texts"]
    assert told["unmapped"][0]["count"] >= told["unmapped"][-1]["count"] > 0
    assert max(told["by_day"].values()) <= 2 * 13
    assert set(told["by_hour"]) <= {f"{hour:02d}" for hour in range(24)}
    assert not (bridge.folder / "fhir-bridge.db").exists()
    assert list((bridge.folder / "scratch").iterdir()) == []


def test_what_could_not_be_read_stands_in_the_preview(bridge: Any, people: str) -> None:
    """By code, with a place; and before anybody is called, of how much nobody knows whom it was about."""
    (bridge.folder / people / "bad.ndjson").write_bytes(b'{"resourceType":"Basic"}\n' + b"{\n" * 4)
    packed = gzip.compress(os.urandom(999))
    (bridge.folder / people / "cut.ndjson.gz").write_bytes(packed[:500])
    told = migrate(bridge, people, "--json").json
    assert told["errors"] == 5
    codes = told["errors_by_code"]
    assert {code: found["count"] for code, found in codes.items()} == {"not-json": 4, "compressed": 1}
    assert codes["not-json"]["for_instance"] == [f"people/bad.ndjson:{line}" for line in (2, 3, 4)]
    assert told["errors_about_nobody_knows_whom"] == 1
    said = migrate(bridge, people)
    shown = " ".join(said.out.split())
    assert "not-json 4 not JSON: it ends too early. At people/bad.ndjson:2" in shown
    last = said.err.splitlines()
    [mend] = [line for line in last if line.startswith("  mend first")]
    assert "1 of what could not be read" in mend
    assert last.index(mend) + 1 == next(n for n, line in enumerate(last) if line.startswith("  --send"))


def test_where_nothing_can_be_read_it_says_why(bridge: Any) -> None:
    """On the terminal too, not only in a file."""
    ran = migrate(bridge, "nowhere", "no.ndjson")
    assert ran.code == 4
    assert "unreadable: nowhere: No such file or directory" in ran.err
    assert "unreadable: no.ndjson: No such file or directory" in ran.err


def test_a_call_that_several_decisions_are_about_is_one_call(
    bridge: Any, hospital: Any, endpoint: Any
) -> None:
    """Two orders of one service: the preview has as many calls as are made, and says so."""
    bridge.settings(endpoint().url, 'min_gap = "0s"\n')
    code = {"coding": [{"system": "http://snomed.info/sct", "code": "183519002"}], "text": "Cardiology"}
    order = {
        "resourceType": "ServiceRequest", "id": "s1", "status": "active", "intent": "order",
        "category": [{"text": "Patient referral"}], "code": code, "subject": {"reference": "Patient/p1"},
        "requester": {"display": "Dr. Fir"}, "authoredOn": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    people = (hospital.patient(1), order, {**order, "id": "s2"}, hospital.patient(2), hospital.appointment(2))
    (bridge.folder / "in.ndjson").write_bytes(lines(*people))
    told = migrate(bridge, "in.ndjson", "--json").json
    assert (told["decisions"], told["calls"], told["same_call"]) == ({"call": 3}, 2, 1)
    assert sum(told["by_day"].values()) == sum(told["by_clinic"].values()) == 2
    said = migrate(bridge, "in.ndjson")
    assert "1 more is about a call that is counted already" in " ".join(said.out.split())
    assert "--send   keeps all this and makes 2 calls" in said.err
    sent = migrate(bridge, "in.ndjson", "--send", "--yes", "--json").json
    assert sent["calls"] == sent["states"]["sent"] == 2


def test_for_people_it_fits_a_terminal(bridge: Any, export: str) -> None:
    """Within 80 columns, in words."""
    ran = migrate(bridge, export, "--now", AT, "--sample", "0")
    assert ran.out.startswith("200 appointments and orders among 644 resources in 9 files\n")
    assert ran.out.index("  call ") < ran.out.index("  skip ")
    assert "--send   keeps all this and makes" in ran.err
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    assert "by clinic" in ran.out


def test_what_it_writes_is_what_map_prints(bridge: Any, export: str) -> None:
    """Byte for byte, in the same order, by two processes."""
    arguments = ("--now", AT, "--out", "out.ndjson", "--processes", "2", "--work", "scratch")
    process = bridge.process("migrate", export, *arguments)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert (bridge.folder / "out.ndjson").read_text() == bridge(
        "map", export, "--now", AT, "--format", "decisions"
    ).out


def test_requests_alone_can_be_written(bridge: Any, export: str) -> None:
    """--format ndjson, as map has it."""
    migrate(bridge, export, "--now", AT, "--out", "out.ndjson", "--format", "ndjson")
    assert (bridge.folder / "out.ndjson").read_text() == bridge(
        "map", export, "--now", AT, "--format", "ndjson"
    ).out


@pytest.mark.parametrize(("only", "key"), [("skip", "decision"), ("already-booked", "reason")])
def test_only_some_decisions_can_be_looked_at(bridge: Any, export: str, only: str, key: str) -> None:
    """Of a kind, or for a reason; the counts stay those of all."""
    ran = migrate(bridge, export, "--now", AT, "--only", only, "--out", "out.ndjson", "--json")
    written = [json.loads(line) for line in (bridge.folder / "out.ndjson").read_text().splitlines()]
    assert {one[key] for one in written} == {only}
    assert {one[key] for one in ran.json["samples"]} == {only}
    assert ran.json["triggers"] == 200


def test_the_shares_of_several_machines_are_the_whole(bridge: Any, export: str) -> None:
    """Each decision is made by one of them, also where all run at once on the same disk."""
    options = (export, "--now", AT, "--work", "scratch", "--processes", "1")
    running = [
        bridge.process("migrate", *options, "--part", f"{number}/3", "--out", f"{number}.ndjson")
        for number in (1, 2, 3)
    ]
    for process in running:
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    shares = []
    for number in (1, 2, 3):
        shares += (bridge.folder / f"{number}.ndjson").read_text().splitlines()
    whole = bridge("map", export, "--now", AT, "--format", "decisions").out.splitlines()
    assert sorted(shares) == sorted(whole)


def test_bad_lines_are_listed_and_stop_nothing(bridge: Any, hospital: Any) -> None:
    """File, line, byte and reason of each; the rest is decided on."""
    good = lines(hospital.patient(1), hospital.appointment(1))
    (bridge.folder / "in.ndjson").write_bytes(
        good[: good.index(b"\n") + 1] + b'{"resourceType":"Patient","id":"p2"\n[1]\nnot json\n'
        b'{"resourceType":"Observation","id":"o"\n' + good[good.index(b"\n") + 1 :] + b"\xff\xfe\n"
    )
    (bridge.folder / "cut.ndjson.gz").write_bytes(gzip.compress(good)[:-12])
    (bridge.folder / "empty.json").write_bytes(b"")
    ran = migrate(bridge, "in.ndjson", "cut.ndjson.gz", "empty.json", "no.json", "--json")
    assert ran.code == 1
    assert ran.json["decisions"] == {"call": 1}
    errors = [json.loads(line) for line in (bridge.folder / "migrate-errors.ndjson").read_text().splitlines()]
    first = len(good[: good.index(b"\n") + 1])
    found = {(error["file"], error["line"], error["code"]) for error in errors}
    assert found == {
        *(("in.ndjson", line, "not-json") for line in (2, 4, 5)),
        ("in.ndjson", 3, "not-fhir"),
        ("in.ndjson", 7, "not-json"),
        ("cut.ndjson.gz", 2, "compressed"),
        ("empty.json", None, "empty"),
        ("no.json", None, "no-file"),
    }
    [second] = [error for error in errors if (error["file"], error["line"]) == ("in.ndjson", 2)]
    assert second["offset"] == first
    assert "migrate-errors.ndjson" in ran.err
    assert "Juniper" not in (bridge.folder / "migrate-errors.ndjson").read_text()


def test_errors_of_an_earlier_run_do_not_stay(bridge: Any, people: str) -> None:
    """A file of errors is this run's, or is not there."""
    (bridge.folder / "migrate-errors.ndjson").write_text("{}\n")
    assert migrate(bridge, people).code == 0
    assert not (bridge.folder / "migrate-errors.ndjson").exists()


def test_what_an_earlier_run_in_the_folder_left_is_not_read(bridge: Any, people: str) -> None:
    """Its list of errors would be read as data, and grow with each run."""
    (bridge.folder / "bad.ndjson").write_text("{bad\n")
    for _ in range(2):
        assert migrate(bridge, ".").code == 1
        assert len((bridge.folder / "migrate-errors.ndjson").read_text().splitlines()) == 1


@pytest.mark.parametrize("option", ["--errors", "--out"])
def test_what_is_read_is_not_written_over(bridge: Any, people: str, option: str) -> None:
    """An export is nobody's to replace: it is refused before anything is read."""
    named = bridge.folder / "people" / "a.ndjson"
    before = named.read_bytes()
    ran = migrate(bridge, people, option, "people/a.ndjson")
    assert ran.code == 2
    assert "among the files that are read" in ran.err
    assert named.read_bytes() == before


def test_a_pipe_that_is_named_for_errors_stays_one(bridge: Any, people: str) -> None:
    """As /dev/null must: an earlier run's file is removed, and nothing else."""
    os.mkfifo(bridge.folder / "pipe")
    assert migrate(bridge, people, "--errors", "pipe").code == 0
    assert (bridge.folder / "pipe").is_fifo()


def test_too_many_errors_end_it_where_somebody_says_so(bridge: Any, people: str) -> None:
    """--max-errors; they are listed all the same."""
    (bridge.folder / "people" / "c.ndjson").write_bytes(lines({"resourceType": "Slot"}) + b"{\n" * 9)
    ran = migrate(bridge, people, "--max-errors", "3")
    assert ran.code == 4
    assert "more than 3 errors" in ran.err
    assert (bridge.folder / "migrate-errors.ndjson").exists()


def test_nothing_readable_is_exit_code_4(bridge: Any) -> None:
    """As for every command that reads."""
    (bridge.folder / "x.ndjson").write_bytes(b"nothing\n")
    assert migrate(bridge, "x.ndjson").code == 4
    assert migrate(bridge, "no.ndjson").code == 4


def test_two_contents_under_one_id_are_rejected_with_their_places(bridge: Any, hospital: Any) -> None:
    """Never "last one wins", wherever they stand."""
    (bridge.folder / "in.ndjson").write_bytes(lines(hospital.patient(1), hospital.appointment(1)))
    (bridge.folder / "on.ndjson").write_bytes(
        lines(hospital.appointment(1, description="Another"), hospital.appointment(1))
    )
    ran = migrate(bridge, "in.ndjson", "on.ndjson", "--json")
    assert ran.json["decisions"] == {"reject duplicate-id": 1}
    assert ran.code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--part", "3/2"], "no share"),
        (["--pace", "fast"], "no rate"),
        (["--only", "sometimes"], "no reason"),
        (["--send", "--now", AT], "--now is only for a preview"),
        (["--send", "--out", "x"], "for a preview"),
        (["--only", "call", "--out", "x", "--format", "arrivals"], "leave --only out"),
    ],
)
def test_what_cannot_be_meant_is_said(bridge: Any, people: str, arguments: list[str], said: str) -> None:
    """Exit code 2, before anything is read."""
    ran = migrate(bridge, people, *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_send_keeps_what_matters_and_sends_once(bridge: Any, people: str, endpoint: Any) -> None:
    """Skips are counts, not rows, but for those that an earlier version would have been called without; the
    same export again, on top, sends nothing."""
    running = endpoint()
    bridge.settings(running.url)
    for _ in range(2):
        ran = migrate(bridge, people, "--send", "--yes", "--json")
        assert ran.code == 0, ran.err
        assert ran.json["states"] == {"sent": 5, "skipped": 2}
        assert ran.json["accepted"] == 8
        assert running.stats["tasks"] == 5


def test_skips_that_alone_stop_an_earlier_version_are_kept(bridge: Any, hospital: Any) -> None:
    """Booked for a day to come, with an order or without, or withdrawn: the proposal may still come, with an
    older export or late. What is over, or would not have been called before, is a count."""
    order = {
        "resourceType": "ServiceRequest", "id": "o", "status": "active", "intent": "order",
        "authoredOn": hospital.appointment()["created"], "subject": {"reference": "Patient/p2"},
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}],
    }  # fmt: skip
    booked = {"status": "booked", "start": "2099-01-01T09:00:00Z", "end": "2099-01-01T10:00:00Z"}
    over = {"status": "fulfilled", "start": "2019-01-01T09:00:00Z", "end": "2019-01-01T10:00:00Z"}
    wanted = [
        hospital.appointment(1, **booked),
        hospital.appointment(2, **booked, basedOn=[{"reference": "ServiceRequest/o"}]),
        hospital.appointment(3, status="entered-in-error"),
        hospital.appointment(4, **over, requestedPeriod=[], created="2018-12-01"),
        hospital.appointment(5, status="booked", requestedPeriod=[], created="2018-12-01"),
    ]
    people = [hospital.patient(number) for number in range(1, 6)]
    (bridge.folder / "in.ndjson").write_bytes(lines(*people, order, *wanted))
    migrate(bridge, "in.ndjson", "--out", "x", "--format", "arrivals")
    told = [json.loads(line) for line in (bridge.folder / "x").read_text().splitlines()]
    skipped = {one["decision"]["subject"]["trigger"]: one for one in told if one["kind"] == "skip"}
    lasting = {trigger for trigger, one in skipped.items() if one.get("is_lasting")}
    assert lasting == {"Appointment/a1", "Appointment/a2", "Appointment/a3"}
    assert skipped.keys() - lasting == {"ServiceRequest/o", "Appointment/a4", "Appointment/a5"}


def test_on_top_of_it_newer_versions_and_deletions_change_what_they_should(
    bridge: Any, hospital: Any, endpoint: Any
) -> None:
    """An incremental export, with its Bundle of what was deleted."""
    running = endpoint()
    bridge.settings(running.url)
    with bridge.patch.context() as patch:
        patch.setattr("fhir_bridge.cli.migrate_send.ALL", timedelta(0))
        patch.setattr("fhir_bridge.cli.migrate_send._Watch.is_paused", ends_while_paused)
        assert bridge("pause", "--because", "we load first").code == 0
        people = [hospital.patient(number) for number in (1, 2, 3)]
        wanted = [hospital.appointment(number, meta={"versionId": "1"}) for number in (1, 2, 3)]
        (bridge.folder / "full.ndjson").write_bytes(lines(*people, *wanted))
        assert migrate(bridge, "full.ndjson", "--send", "--yes", "--json").json["states"] == {"ready": 3}
        now = datetime.now(UTC).isoformat()
        entry = {
            "request": {"method": "DELETE", "url": "Appointment/a2"},
            "response": {"lastModified": now},
        }
        (bridge.folder / "new.ndjson").write_bytes(
            lines(people[0], hospital.appointment(1, status="booked", meta={"versionId": "2"}))
        )
        (bridge.folder / "deleted.ndjson").write_bytes(
            lines({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
        )
        ran = migrate(bridge, "new.ndjson", "deleted.ndjson", "--send", "--yes", "--json")
        assert ran.json["states"] == {"ready": 1, "skipped": 2}
        assert ran.json["reasons"]["already-booked"] == ran.json["reasons"]["entered-in-error"] == 1
    assert running.stats["tasks"] == 0


def test_decisions_made_elsewhere_are_loaded(bridge: Any, people: str, endpoint: Any) -> None:
    """`migrate --format arrivals` on one machine, `ledger load` on another, twice without harm; then a
    worker."""
    running = endpoint()
    bridge.settings(running.url)
    for number in (1, 2):
        migrate(bridge, people, "--part", f"{number}/2", "--out", f"{number}.nd", "--format", "arrivals")
    ran = bridge("ledger", "load", "1.nd", "2.nd", "--json")
    assert ran.code == 0, ran.err
    assert ran.json == {"accepted": 8}
    assert bridge("ledger", "load", "2.nd", "1.nd").out == "accepted 8 decisions\n"
    assert bridge("status", "--json").json["states"] == {"ready": 5, "skipped": 2}
    assert bridge("worker", "--drain").code == 0
    assert running.stats["tasks"] == 5


def test_a_line_that_is_no_record_is_named(bridge: Any, people: str, endpoint: Any) -> None:
    """Where there are more or fewer lines than were written nothing is taken in, else what stood before."""
    bridge.settings(endpoint().url)
    migrate(bridge, people, "--out", "x.nd", "--format", "arrivals")
    file = bridge.folder / "x.nd"
    whole = file.read_bytes()
    file.write_bytes(whole + b"{}\n")
    ran = bridge("ledger", "load", "x.nd")
    assert ran.code == 4
    assert "x.nd:26: not a decision record" in ran.err and "nothing was taken in" in ran.err
    *lines, end, _ = whole.split(b"\n")
    file.write_bytes(b"\n".join(lines)[:-20])
    ran = bridge("ledger", "load", "x.nd")
    assert "x.nd:24: not a decision record\n  → it ends within a line" in ran.err
    assert bridge("status", "--json").json["states"] == {}
    file.write_bytes(b"\n".join([*lines[:-1], b"{}", end, b""]))
    ran = bridge("ledger", "load", "x.nd")
    assert "x.nd:24: not a decision record" in ran.err and "what stood before is in the ledger" in ran.err


def test_records_of_which_lines_are_missing_are_refused_before_any_is_taken_in(
    bridge: Any, people: str, endpoint: Any
) -> None:
    """A file that was cut off where a line ends looks like a whole one. Files may be joined, split and sorted
    as long as one command is given all of it."""
    bridge.settings(endpoint().url)
    for number in (1, 2):
        migrate(bridge, people, "--part", f"{number}/2", "--out", f"{number}.nd", "--format", "arrivals")
    one, two = ((bridge.folder / f"{number}.nd").read_bytes().splitlines(True) for number in (1, 2))
    cut = bridge.folder / "cut.nd"
    for lines in (one[:-1], one[:3], one[1:], one[:2] + one[3:], []):
        cut.write_bytes(b"".join(lines))
        for files in (("cut.nd",), ("cut.nd", "2.nd")):
            ran = bridge("ledger", "load", *files)
            assert ran.code == 4
            assert "not whole" in ran.err and "nothing was taken in" in ran.err
    assert bridge("status", "--json").json["states"] == {}
    joined = sorted([*one, *two])
    for number, part in enumerate((joined[:9], joined[9:])):
        (bridge.folder / f"part-{number}").write_bytes(b"".join(part))
    assert bridge("ledger", "load", "part-0").code == 4
    assert bridge("ledger", "load", "part-0", "part-1").out == "accepted 8 decisions\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_stops_at_once(bridge: Any, number: signal.Signals) -> None:
    """Exit code 130; no process and no scratch file stays."""
    Export(250).write(bridge.folder / "export")
    scratch = bridge.folder / "scratch"
    process = bridge.process("migrate", "export", "--work", str(scratch), "--processes", "2", "--now", AT)
    _until(lambda: list(scratch.glob("*/read-*")))
    process.send_signal(number)
    begun = time.monotonic()
    _, errors = process.communicate()
    assert time.monotonic() - begun < 10, "it went on"
    assert process.returncode == 130
    said = STOPPED
    assert errors.splitlines()[-3:] == [said, "", "interrupted"]
    assert list(scratch.iterdir()) == []


def _until(there: Any) -> None:
    for _ in range(600):
        if there():
            return
        time.sleep(0.02)
    raise TimeoutError


def children_of(parent: int) -> list[int]:
    """The processes that this one started, whichever of its threads did."""
    everyone = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in everyone if _parent_of(pid) == parent]


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_killed_process_is_said_and_its_parent_ends(bridge: Any) -> None:
    """As where the machine has too little memory: no endless wait."""
    Export(250).write(bridge.folder / "export")
    scratch = bridge.folder / "scratch"
    process = bridge.process("migrate", "export", "--work", str(scratch), "--processes", "2", "--now", AT)
    _until(lambda: list(scratch.glob("*/read-*")))
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "a process of the migration was killed" in errors


def test_unknown_codes_are_counted_alike_however_the_work_is_shared(bridge: Any) -> None:
    """What two machines count of their shares is what one counts of all: nothing is remembered in between."""

    def unmapped(*options: str) -> Counter[tuple[str, str, str]]:
        told = migrate(bridge, str(FIXTURES), "--now", AT, "--json", *options).json["unmapped"]
        return Counter({(each["map"], each["system"], each["code"]): each["count"] for each in told})

    whole = unmapped()
    assert unmapped("--part", "1/2") + unmapped("--part", "2/2") == whole
    assert whole
