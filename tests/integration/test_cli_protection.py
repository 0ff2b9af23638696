"""`block`, `patients`, `retention`, `audit`: what a privacy officer and an operator do, through the CLI."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

BECAUSE = ("--because", "asked for it")
VENDOR_ID = "7c1e0000-0000-4000-8000-000000000001"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture
def site(bridge: Any, endpoint: Any) -> Any:
    """The sandbox, and settings that name it."""
    running = endpoint()
    bridge.settings(running.url)
    return running


def states(bridge: Any) -> dict[str, int]:
    """What `status --json` counts."""
    return dict(bridge("status", "--json").json["states"])


def age(bridge: Any, days: int) -> None:
    """Let everything in the ledger have happened so many days earlier."""
    shift = days * 86_400_000_000
    with sqlite3.connect(bridge.folder / "fhir-bridge.db") as database:
        for table, column in (
            ("intents", "changed_at"),
            ("patients", "changed_at"),
            ("inbox", "received_at"),
        ):
            database.execute(f"update {table} set {column} = {column} - {shift}")
    database.close()


# -- block --


@pytest.mark.parametrize(
    "whom",
    [
        ["+12125550101"],
        ["(212) 555-0101", "--region", "US"],
        ["default/Patient/p1"],
        ["default/Patient/duplicate"],
    ],
)
def test_who_is_blocked_is_skipped_by_submit(bridge: Any, hospital: Any, site: Any, whom: list[str]) -> None:
    """By number or patient, under whichever record of the person; a dry run says so too, and taking them from
    the list lets them be called."""
    assert bridge("block", "add", *whom, *BECAUSE).code == 0
    file = hospital.proposed(link=[{"type": "seealso", "other": {"reference": "Patient/duplicate"}}])
    assert bridge("submit", file, "--dry-run", "--json").json == {"would_send": []}
    ran = bridge("submit", file, "--json")
    assert ran.json == {"accepted": 1, "states": {"skipped": 1}, "reasons": {"do-not-call": 1}}
    if whom == ["default/Patient/duplicate"]:
        assert "the same person" in bridge("block", "list").out
        told = {each["value"]: each["via"] for each in bridge("block", "list", "--json").json}
        assert told["default|Patient/p1"] == "default|Patient/duplicate"
        assert bridge("block", "remove", "default/Patient/p1", *BECAUSE).code == 2
    assert bridge("block", "remove", *whom, *BECAUSE).code == 0
    assert bridge("submit", file, "--json").json["states"] == {"sent": 1}
    assert site.stats["tasks"] == 1


def test_a_number_on_the_list_is_shown_to_nobody(bridge: Any, site: Any) -> None:
    """Not in the list, the audit, the file, nor in an error; it can be read from standard input."""
    ran = bridge("block", "add", "-", *BECAUSE, stdin=b"+12125550147\n")
    listed = bridge("block", "list")
    told = bridge("block", "list", "--json").json
    wrong = bridge("block", "add", "555-0147", *BECAUSE)
    assert (ran.code, wrong.code, told[0]["kind"]) == (0, 2, "number")
    assert "asked for it" in listed.out
    said = ran.out + ran.err + listed.out + json.dumps(told) + wrong.out + wrong.err
    assert "0147" not in said
    assert "--region" in wrong.err
    files = bridge.folder.glob("fhir-bridge.db*")
    assert not any(b"5550147" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "whom", ["p1", "Patient/p1", "elsewhere/Patient/p1", "default/", "12", "+1212555", "+15550147"]
)
def test_what_is_neither_number_nor_patient_is_usage(bridge: Any, site: Any, whom: str) -> None:
    """A slip must not look as if somebody were safe."""
    assert bridge("block", "add", whom, *BECAUSE).code == 2
    assert bridge("block", "list", "--json").json == []
    assert bridge("block", "remove", "+12125550101", *BECAUSE).code == 1


def test_a_list_is_imported_and_its_bad_lines_are_named(bridge: Any, hospital: Any, site: Any) -> None:
    """By line, without what stands there; the good ones hold, and again changes nothing."""
    (bridge.folder / "list.csv").write_bytes(
        "\ufeffnumber,patient\n(212) 555-0101,\n,default/Patient/p2\n\nnonsense-0147,\n"
        ",elsewhere/Patient/p3\n,\n+442079460000,default/Patient/p4\n".encode()
    )
    dry = bridge("block", "import", "list.csv", "--region", "US", "--dry-run", *BECAUSE)
    assert (dry.code, bridge("block", "list", "--json").json) == (1, [])
    for _ in range(2):
        ran = bridge("block", "import", "list.csv", "--region", "US", *BECAUSE)
        assert ran.code == 1
        assert ran.out == "4 entries of list.csv added; 0 waiting intents skipped\n"
        assert [line.split(": ")[0] for line in ran.err.splitlines()[:2]] == ["list.csv:5", "list.csv:6"]
        assert "0147" not in ran.err
        assert len(bridge("block", "list", "--json").json) == 4
    for number in (1, 2):
        assert bridge("submit", hospital.proposed(number), "--json").json["states"] == {"skipped": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"number;patient\r\n+12125550101;\r\n;default/Patient/p2;;\r\n;;\r\n",
        b"number\tpatient\t\n+12125550101\n\tdefault/Patient/p2\t\n",
    ],
)
def test_a_list_is_read_as_a_spreadsheet_writes_it(bridge: Any, site: Any, content: bytes) -> None:
    """Semicolons or tabs, and empty cells at the end of some lines."""
    (bridge.folder / "list.csv").write_bytes(content)
    ran = bridge("block", "import", "list.csv", *BECAUSE)
    assert (ran.code, ran.out) == (0, "2 entries of list.csv added; 0 waiting intents skipped\n")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"phone\n+12125550101\n", "list.csv:1"),
        (b"", "list.csv:1"),
        (b"number,number\n1,2\n", "list.csv:1"),
        (b"number\n+12125550101,more\n", "list.csv:2"),
        (b'number\n"+1212"5550101\n', "list.csv:2"),
        (b"number\n\xff\n", "UTF-8"),
    ],
)
def test_a_file_that_is_not_understood_is_not_half_taken(
    bridge: Any, site: Any, content: bytes, told: str
) -> None:
    """Exit code 4, with file and line."""
    (bridge.folder / "list.csv").write_bytes(content)
    ran = bridge("block", "import", "list.csv", *BECAUSE)
    assert ran.code == 4
    assert told in ran.err
    assert "5550101" not in ran.err
    assert bridge("block", "list").out == "nobody is blocked\n"


# -- patients --


def test_the_crosswalk_goes_out_and_comes_in_again(bridge: Any, hospital: Any, site: Any) -> None:
    """Another ledger of the same endpoint creates nobody a second time."""
    bridge("submit", hospital.proposed())
    assert bridge("patients", "export", "known.csv", *BECAUSE).code == 0
    path = bridge.folder / "known.csv"
    assert path.stat().st_mode & 0o077 == 0
    header, row = path.read_text().splitlines()
    assert header == "source,identity,patient_id"
    assert row.startswith("default,Patient/p1,")
    assert bridge("patients", "export", "-", *BECAUSE).out == path.read_text()
    for old in bridge.folder.glob("fhir-bridge.db*"):
        old.unlink()
    dry = bridge("patients", "import", "known.csv", "--dry-run", *BECAUSE)
    assert dry.out == "1 patient would be new, 0 known already\n"
    assert bridge("patients", "import", "known.csv", *BECAUSE).out == "1 patient new, 0 known already\n"
    bridge("submit", hospital.proposed())
    assert (site.stats["patients"], site.stats["tasks"]) == (1, 2)


def test_conflicts_of_an_import_are_named_by_line(bridge: Any, site: Any) -> None:
    """And nobody who is known changes."""
    other = VENDOR_ID.replace("1", "2")
    first = f"source,identity,patient_id\ndefault,Patient/p1,{VENDOR_ID}\n"
    (bridge.folder / "a.csv").write_text(first)
    (bridge.folder / "b.csv").write_text(
        f"identity,source,patient_id\nPatient/p1,default,{other}\nPatient/p2,nowhere,{other}\n"
        f"Patient/p3,default,17\n,default,{other}\nPatient/p4,default,{other}\n"
    )
    assert bridge("patients", "import", "a.csv", *BECAUSE).code == 0
    ran = bridge("patients", "import", "b.csv", *BECAUSE)
    assert (ran.code, ran.out) == (1, "1 patient new, 0 known already\n")
    assert [line.split(":")[1] for line in ran.err.splitlines()] == ["2", "3", "4", "5"]
    exported = bridge("patients", "export", "-", *BECAUSE).out.splitlines()
    assert f"default,Patient/p1,{VENDOR_ID}" in exported
    assert len(exported) == 3


def test_a_file_that_cannot_be_written_is_said_so(bridge: Any, site: Any) -> None:
    """And leaves nothing behind."""
    ran = bridge("patients", "export", "nowhere/known.csv", *BECAUSE)
    assert ran.code == 2
    assert "nowhere/known.csv" in ran.err


# -- retention --


def test_retention_clears_what_is_old_and_a_worker_does_it_too(bridge: Any, hospital: Any, site: Any) -> None:
    """The name is in no file of the ledger any more; what happened is still known."""
    file = hospital.write("r.json", hospital.patient(3, telecom=[]), hospital.appointment(3))
    bridge("submit", file)
    assert bridge("retention", "run").out.startswith("older than 30d: 0 intents")
    age(bridge, 31)
    bridge("worker", "--drain")
    assert states(bridge) == {"rejected": 1}
    assert bridge("retention", "run").out == "older than 30d: 0 intents, 0 patients, 0 messages cleared\n"
    assert not any(b"Juniper" in path.read_bytes() for path in bridge.folder.glob("fhir-bridge.db*"))


def test_what_nobody_settled_is_cleared_at_last_with_an_alarm(
    bridge: Any, hospital: Any, endpoint: Any
) -> None:
    """Exit code 1 and a place on the work list."""
    running = endpoint("drop-after POST /v1/task")
    bridge.settings(running.url, '[retention]\npayloads = "10d"\n')
    bridge("submit", hospital.proposed())
    age(bridge, 39)
    assert bridge("retention", "run").code == 0
    age(bridge, 2)
    assert bridge("retention", "run").code == 1
    assert [item["reason"] for item in bridge("worklist", "--json").json] == ["payloads-cleared"]
    assert states(bridge) == {"in_doubt": 1}


# -- keys and permissions --


def test_an_encrypted_ledger_needs_its_key(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """`show` has all with it; without it the setting is named, exit code 6."""
    running = endpoint()
    bridge.settings(running.url, '[ledger]\nencryption_key = { env = "LEDGER_KEY" }\n')
    bridge.patch.setenv("LEDGER_KEY", KEY)
    assert bridge("submit", hospital.proposed()).code == 0
    assert "Juniper" in bridge("show", "Appointment/a1").out
    assert not any(b"Juniper" in path.read_bytes() for path in bridge.folder.glob("fhir-bridge.db*"))
    bridge.patch.delenv("LEDGER_KEY")
    assert bridge("status").code == 0
    ran = bridge("show", "Appointment/a1")
    assert ran.code == 6
    assert "ledger.encryption_key" in ran.err
    ran = bridge("submit", hospital.proposed(2))
    assert ran.code == 3
    assert "LEDGER_KEY" in ran.err


@pytest.mark.parametrize("key", ["short", "AAAA", KEY[:-4] + "===="])
def test_a_key_that_is_none_is_refused_without_being_shown(bridge: Any, site: Any, key: str) -> None:
    """Exit code 3, and how to make one."""
    bridge.settings(site.url, f'[ledger]\nencryption_key = "{key}"\n')
    ran = bridge("status")
    assert ran.code == 3
    assert "openssl rand -base64 32" in ran.err
    assert key not in ran.err


def test_only_old_keys_are_no_keys(bridge: Any, site: Any) -> None:
    """What would be written would lie in the clear."""
    bridge.settings(site.url, f'[ledger]\nold_encryption_keys = ["{KEY}"]\n')
    assert bridge("status").code == 3


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_ledger_that_others_may_open_is_refused(bridge: Any, site: Any, mode: int) -> None:
    """With the command that mends it."""
    assert bridge("status").code == 0
    ledger = bridge.folder / "fhir-bridge.db"
    assert ledger.stat().st_mode & 0o777 == 0o600
    ledger.chmod(mode)
    ran = bridge("status")
    assert ran.code == 6
    assert f"chmod 600 {ledger}" in ran.err
    ledger.chmod(0o600)
    assert bridge("status").code == 0


# -- audit --


def test_the_audit_is_verified_and_a_logged_head_compared(bridge: Any, site: Any) -> None:
    """What was rewritten, and what was cut off at the end, is found."""
    for number in range(3):
        bridge("block", "add", f"+1212555010{number}", *BECAUSE)
    ran = bridge("audit", "verify")
    head = ran.out.split()[-1]
    assert (ran.code, head.split(":")[0]) == (0, "3")
    assert bridge("audit", "verify", "--head", head).code == 0
    with sqlite3.connect(bridge.folder / "fhir-bridge.db") as database:
        database.execute("delete from audit where number = 3")
    database.close()
    assert bridge("audit", "verify").code == 0, "a chain that ends earlier is a chain"
    assert bridge("audit", "verify", "--head", head).code == 1
    with sqlite3.connect(bridge.folder / "fhir-bridge.db") as database:
        database.execute("update audit set reason = 'another' where number = 1")
    database.close()
    ran = bridge("audit", "verify", "--json")
    assert (ran.code, ran.json["broken_at"]) == (1, 1)
    assert bridge("audit", "verify", "--head", "3").code == 2


def test_disclosures_are_exported_as_audit_events(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Each request that named a patient: when, to whom, about whom, what became of it; and who looked."""
    running = endpoint("status-before POST /v1/task code=400 nth=2")
    bridge.settings(running.url, "max_in_flight = 1\n")
    for number in (1, 2):
        bridge("submit", hospital.proposed(number))
    bridge("show", "Appointment/a1")
    assert bridge("audit", "export", "all.ndjson", *BECAUSE).code == 0
    lines = (bridge.folder / "all.ndjson").read_text().splitlines()
    events = [AuditEvent.model_validate_json(line) for line in lines]
    told = [event for event in events if event.type.code == "110106"]
    assert [(event.entity[1].name, event.outcome) for event in told] == [
        ("create_patient", "0"),
        ("create_task", "0"),
        ("create_patient", "0"),
        ("create_task", "4"),
    ]
    assert [event.entity[0].what.reference for event in told] == ["Patient/p1"] * 2 + ["Patient/p2"] * 2
    assert {event.agent[1].who.display for event in told} == {running.url}
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=1) < event.recorded <= now for event in told)
    assert [event.subtype[0].code for event in events if event not in told] == ["show", "audit-export"]
    assert "Juniper" not in "".join(lines)


def test_the_accounting_of_one_patient_names_nobody_else(bridge: Any, hospital: Any, site: Any) -> None:
    """Of a period, on standard output."""
    for number in (1, 2):
        bridge("submit", hospital.proposed(number))
    export = ("audit", "export", "-", "--patient", "default/Patient/p2", *BECAUSE)
    events = bridge(*export).lines
    assert [event["entity"][0]["what"]["reference"] for event in events] == ["Patient/p2"] * 2
    assert bridge(*export, "--since", "2999-01-01T00:00:00Z").lines == []
    for slip in ("p2", "Patient/p2", "default/Patient/nobody"):
        ran = bridge("audit", "export", "-", "--patient", slip, *BECAUSE)
        assert (ran.code, ran.out) == (2, ""), "nothing was told of nobody: no account of it"
