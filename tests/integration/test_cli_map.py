"""`fhir-bridge map`: what it prints, from what, and with which exit code; it sends and keeps nothing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from tests.forks import PROGRAM

KEYS = [
    *("trigger", "decision", "reason", "expression", "intent"),
    *("request", "patient", "notes", "lineage", "valid_until"),
]


def test_requests_are_one_array_or_a_line_each(bridge: Any, hospital: Any) -> None:
    """`json` and `ndjson` hold the same requests, in the files' order."""
    files = [hospital.proposed(number) for number in (2, 1)]
    whole, lines = bridge("map", *files), bridge("map", *files, "--format", "ndjson")
    assert whole.code == lines.code == 0
    assert whole.json == lines.lines
    assert [request["phone_number"] for request in whole.json] == ["+12125550102", "+12125550101"]
    assert whole.err == "triggers: 2 (call 2)\n"


def test_decisions_have_a_line_for_every_trigger(bridge: Any, hospital: Any) -> None:
    """With every key of mapping, section 18, whatever was decided."""
    booked = hospital.appointment(2, status="booked", participant=[])
    silent = hospital.write("silent.json", hospital.patient(3, telecom=[]), hospital.appointment(3))
    ran = bridge(
        "map", hospital.proposed(1), hospital.write("b.json", booked), silent, "--format", "decisions"
    )
    assert [(each["trigger"], each["decision"], each["reason"]) for each in ran.lines] == [
        ("Appointment/a1", "call", None),
        ("Appointment/a2", "skip", "already-booked"),
        ("Appointment/a3", "reject", "phone-missing"),
    ]
    assert all(set(KEYS) - set(each) <= {"valid_until"} for each in ran.lines)
    assert ran.code == 1, "a rejected trigger needs a person"


def test_the_files_of_one_call_are_read_together(bridge: Any, hospital: Any) -> None:
    """A patient may stand in another file, before or after, in NDJSON or in a folder."""
    hospital.write("a/appointment.json", hospital.appointment())
    lines = [json.dumps(resource) for resource in (hospital.patient(2), hospital.patient(1))]
    (hospital.folder / "a" / "patients.ndjson").write_text("\n".join(lines))
    assert [request["phone_number"] for request in bridge("map", "a").json] == ["+12125550101"]
    assert len(bridge("map", "a/appointment.json", "a/patients.ndjson").json) == 1


def test_standard_input_is_a_file(bridge: Any, hospital: Any) -> None:
    """`-`, beside others."""
    appointment = json.dumps(hospital.appointment()).encode()
    patient = hospital.write("patient.json", hospital.patient())
    assert len(bridge("map", "-", patient, stdin=appointment).json) == 1


def test_context_informs_and_is_not_mapped_itself(bridge: Any, hospital: Any) -> None:
    """--context gives the patient; its own appointments are no triggers of this call."""
    hospital.write("context/patient.json", hospital.patient())
    hospital.write("context/other.json", hospital.patient(2), hospital.appointment(2))
    file = hospital.write("appointment.json", hospital.appointment())
    alone = bridge("map", file, "--format", "decisions")
    assert alone.lines[0]["reason"] == "patient-unresolved"
    ran = bridge("map", file, "--context", "context", "--format", "decisions")
    assert [(each["trigger"], each["decision"]) for each in ran.lines] == [("Appointment/a1", "call")]


def test_now_and_set_make_a_run_reproducible(bridge: Any, hospital: Any) -> None:
    """--now moves the clock, --set one rule of this run."""
    file = hospital.proposed()
    late = bridge("map", file, "--now", "2099-01-01T00:00:00Z", "--format", "decisions")
    assert late.lines[0]["reason"] == "window-passed"
    address = {"line": ["12 Sample St"], "city": "New York", "state": "NY", "postalCode": "10001"}
    abroad = ("map", hospital.proposed(address=[address]), "--format", "decisions")
    assert bridge(*abroad).lines[0]["request"]["phone_number"] == "+12125550101"
    british = bridge(*abroad, "--set", "jurisdiction=GB").lines[0]["request"]
    assert british["phone_number"] == "+442125550101"


def test_a_source_brings_its_own_rules_and_name(bridge: Any, hospital: Any) -> None:
    """--source picks one of several; the key of the intent says which; --set beats it."""
    bridge.settings(
        "http://localhost:9", '[sources.north]\njurisdiction="US"\n[sources.south]\njurisdiction="GB"\n'
    )
    file = hospital.proposed()
    north = bridge("map", file, "--source", "north", "--format", "decisions").lines[0]
    assert north["intent"].startswith("north|")
    assert north["request"]["project_id"] == "123e4567-e89b-12d3-a456-426614174000"
    ran = bridge("map", file, "--source", "east")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no source 'east'" in ran.err
    assert "north, south" in ran.err


def test_no_settings_no_secrets_and_no_network_are_needed(bridge: Any, hospital: Any) -> None:
    """Not even the secrets that bridge.toml names: nothing is sent."""
    (hospital.folder / "bridge.toml").write_text('[api]\nkey = { env = "NO_SUCH_VARIABLE" }\n')
    ran = bridge("map", hospital.proposed())
    assert ran.code == 0
    assert ran.json[0]["project_id"] is None
    assert ran.json[0]["patient_id"] is None
    assert not list(hospital.folder.glob("*.db"))


def test_input_without_triggers_prints_nothing_and_counts(bridge: Any, hospital: Any) -> None:
    """On standard error, with the file's name; long lists are cut."""
    files = [hospital.write(f"p{number}.json", hospital.patient(number)) for number in range(1, 6)]
    ran = bridge("map", *files, "--format", "ndjson")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines() == [
        "triggers: 0",
        "no-trigger: 5 without Appointment or order: p1.json, p2.json, p3.json and 2 more",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "FILE..."),
        (["x.json", "--now", "yesterday"], "2026-11-23T10:00:00-05:00"),
        (["x.json", "--now", "2026-11-23T10:00:00"], "has no zone"),
        (["x.json", "--set", "timezone"], "is not KEY=VALUE"),
        (["x.json", "--context", "nowhere"], "nowhere"),
        (["x.json", "--format", "xml"], "'json', 'ndjson', 'decisions'"),
        (["x.json", "--nwo", "x"], "--now"),
    ],
)
def test_a_wrong_command_line_is_usage(bridge: Any, arguments: list[str], words: str) -> None:
    """Exit code 2, saying what would be right; nothing was read."""
    ran = bridge("map", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_a_wrong_rule_of_set_is_configuration(bridge: Any, hospital: Any) -> None:
    """Exit code 3, naming the key, with a guess at what was meant."""
    ran = bridge("map", hospital.proposed(), "--set", "timezon=UTC")
    assert (ran.code, ran.out) == (3, "")
    assert "timezon" in ran.err
    assert "did you mean timezone" in ran.err
    ran = bridge("map", hospital.proposed(), "--set", "timezone=Mars/Base")
    assert ran.code == 3
    assert "timezone" in ran.err


def started(bridge: Any, *arguments: str, program: str = PROGRAM, **options: Any) -> subprocess.Popen[str]:
    """A Python of its own, where what it loads and how it ends matter."""
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=bridge.folder, text=True, **told)


def test_a_reader_that_goes_away_is_no_failure(bridge: Any, hospital: Any) -> None:
    """`map … | head -1` ends with 0 and without a complaint."""
    files = [hospital.proposed(number) for number in range(1, 60)]
    process = started(bridge, "map", *files, "--format", "decisions")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(30), "Traceback" in errors, "BrokenPipe" in errors) == (0, False, False)
    process.stderr.close()


def test_it_starts_without_what_only_sending_needs(bridge: Any, hospital: Any) -> None:
    """No SQLAlchemy, httpx, structlog, fhir.resources, rich or asyncio (performance)."""
    said = "print(*sorted(sys.modules), file=sys.stderr)"
    program = f"import sys; from fhir_bridge.cli.main import run; run(); {said}"
    for command in ("map", "explain"):
        process = started(bridge, command, hospital.proposed(), program=program)
        _, errors = process.communicate(timeout=60)
        loaded = set(errors.splitlines()[-1].split())
        assert "fhir_bridge.mapping.decide" in loaded
        slow = {"sqlalchemy", "httpx", "structlog", "fhir.resources", "alembic", "uvicorn", "starlette"}
        assert not loaded & slow, command


def test_a_bar_shows_progress_on_a_terminal_only(bridge: Any, hospital: Any) -> None:
    """Where standard error is a file there is not one control character in it."""
    files = [hospital.proposed(number) for number in range(1, 60)]
    assert not set("\r\x1b") & set(bridge("map", *files).err)
    terminal, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm"}
        process = started(bridge, "map", *files, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
        process.wait(60)
        assert b"reading" in os.read(terminal, 100_000)
    finally:
        os.close(theirs)
        os.close(terminal)


def test_older_versions_are_told_of(bridge: Any, hospital: Any) -> None:
    """Of whatever type; the same contents twice are one version."""
    person, trigger = hospital.patient(), hospital.appointment()
    older = [{**person, "meta": {"versionId": version}, "active": False} for version in "112"]
    newest = [{**one, "meta": {"versionId": "3"}} for one in (person, trigger)]
    hospital.write("history.json", *older, *newest, {**trigger, "meta": {"versionId": "1"}})
    told = "older versions left aside: 3 (Appointment 1, Patient 2)"
    ran = bridge("map", "history.json", "--format", "decisions")
    assert [each["decision"] for each in ran.lines] == ["call"]
    assert told in ran.err
    migrated = bridge("migrate", "history.json", "--work", "scratch", "--processes", "1")
    assert told in migrated.out
    alone = hospital.write("alone.json", *newest, newest[0])
    assert "older versions" not in bridge("map", alone).err
