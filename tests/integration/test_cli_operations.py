"""`status`, `worklist`, `show`, `retry`, `resolve`, `cancel`: what an operator sees and does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_bridge.ledger.sources.messages import Received
from fhir_bridge.ledger.store import open_ledger

VENDOR_ID = "7c1e0000-0000-4000-8000-000000000001"
BECAUSE = ("--because", "the vendor says so")


@pytest.mark.parametrize("command", ["retry", "cancel", "resolve"])
def test_a_decision_about_nothing_is_taught(bridge: Any, command: str) -> None:
    """Its help, before anything is asked."""
    ran = bridge(command)
    assert ran.code == 2
    assert "--because" in ran.out + ran.err
    assert "Why (" not in ran.out


def test_a_misspelt_command_is_named_as_it_is_spelt(bridge: Any) -> None:
    """Though no command is imported before it is called."""
    ran = bridge("worklst")
    assert ran.code == 2
    assert "'worklist'" in ran.err


@pytest.fixture
def refused(bridge: Any, hospital: Any, endpoint: Any) -> Any:
    """One intent sent, one refused for what the endpoint says, one rejected for its data."""
    running = endpoint("status-before POST /v1/task code=400 nth=1")
    bridge.settings(running.url, "max_in_flight = 1\n")
    rejected = hospital.write("r.json", hospital.patient(3, telecom=[]), hospital.appointment(3))
    for file in (hospital.proposed(1), hospital.proposed(2), rejected):
        bridge("submit", file)
    return running


@pytest.fixture
def in_doubt(bridge: Any, hospital: Any, endpoint: Any) -> Any:
    """An intent whose answer was lost, though the endpoint has the task."""
    running = endpoint("drop-after POST /v1/task nth=1")
    bridge.settings(running.url)
    bridge("submit", hospital.proposed())
    return running


@pytest.fixture
def patient_in_doubt(bridge: Any, hospital: Any, endpoint: Any) -> Any:
    """A patient whose creation was answered by nobody, and the intent that waits for them."""
    running = endpoint("drop-before POST /v1/patient nth=1")
    bridge.settings(running.url)
    bridge("submit", hospital.proposed())
    return running


HUGE = "9" * 30


def states(bridge: Any) -> dict[str, int]:
    """What `status --json` counts."""
    return dict(bridge("status", "--json").json["states"])


# -- looking --


def test_status_has_the_keys_that_tools_rely_on(bridge: Any, refused: Any) -> None:
    """Counts by state and reason; exit code 1 where something waits for a person."""
    ran = bridge("status", "--json")
    assert ran.code == 1
    assert {"states", "reasons", "oldest_due", "inbox", "patients", "alarms"} <= set(ran.json)
    assert ran.json["states"] == {"sent": 1, "refused": 1, "rejected": 1}
    assert ran.json["reasons"] == {"http-400": 1, "phone-missing": 1}
    assert ran.json["oldest_due"] is None


def test_status_of_an_empty_ledger_is_all_well(bridge: Any, endpoint: Any) -> None:
    """No intents, nothing due."""
    bridge.settings(endpoint().url)
    ran = bridge("status")
    assert (ran.code, ran.out.split()) == (0, ["0", "intents"])
    assert bridge("worklist").out == "nothing waits for a person\n"
    assert bridge("worklist", "--json").json == []


def test_status_says_what_to_do_within_80_columns(bridge: Any, refused: Any) -> None:
    """Each state that waits for a person, each reason, in plain words."""
    ran = bridge("status")
    said = " ".join(ran.out.split())
    assert "mend the data" in said
    assert "the endpoint finds the request wrong" in said
    assert max(map(len, ran.out.splitlines())) <= 80


def test_versions_that_are_left_aside_and_that_disagree_are_shown(
    bridge: Any, hospital: Any, endpoint: Any
) -> None:
    """An old export after the newest version; and one whose number and time contradict each other, which
    calls nobody until somebody says so."""
    running = endpoint()
    bridge.settings(running.url)

    def told(number: str, day: int, **elements: Any) -> dict[str, int]:
        meta = {"versionId": number, "lastUpdated": f"2026-11-{day:02}T10:00:00Z"}
        file = hospital.write("v.json", hospital.patient(), hospital.appointment(meta=meta, **elements))
        return dict(bridge("submit", file, "--json").json["states"])

    booked = {"status": "booked", "start": "2026-12-20T10:00:00-05:00", "end": "2026-12-20T10:30:00-05:00"}
    assert told("5", 20, **booked) == {"skipped": 1}
    assert told("4", 19) == {"skipped": 1}
    assert bridge("status", "--json").json["outdated"] == {"default": 1}
    assert "versions left aside" in bridge("status").out
    assert "versions left aside" in bridge("show", "Appointment/a1").out
    assert told("1", 21) == {"parked": 1}
    assert "by versionId is the older one by lastUpdated" in " ".join(bridge("worklist").out.split())
    assert bridge("retry", "--reason", "versions-disagree", *BECAUSE).code == 0
    assert states(bridge) == {"ready": 1}


def test_the_work_list_keeps_keys_whole(bridge: Any, hospital: Any, refused: Any) -> None:
    """However long a key is, it stands on one line, so that it can be copied."""
    name = "x" * 64
    long = {"participant": [{"actor": {"reference": f"Patient/{name}"}, "status": "accepted"}]}
    people = hospital.patient(4, id=name, telecom=[]), hospital.appointment(4, id=name, **long)
    bridge("submit", hospital.write("long.json", *people))
    ran = bridge("worklist")
    assert ran.code == 0
    assert f"  Appointment/{name}  intent default|Patient/{name}|Appointment/{name}\n" in ran.out
    assert "refused  http-400  since 20" in ran.out
    assert "look at Patient.telecom" in ran.out
    assert "→ There is no phone number. Add one to the patient or guardian." in ran.out
    assert "→ the endpoint finds the request wrong" in ran.out


def test_the_work_list_is_filtered_and_limited(bridge: Any, refused: Any) -> None:
    """By state, reason and source, and where it shows a part it says so; a state that is none is usage."""
    for filters, number in (
        (["--state", "refused"], 1),
        (["--reason", "phone-missing"], 1),
        (["--source", "elsewhere"], 0),
        (["--limit", "1"], 1),
        ([], 2),
    ):
        ran = bridge("worklist", "--json", *filters)
        assert len(ran.json) == number, filters
        assert ("there is more" in ran.err) == ("--limit" in filters)
    assert bridge("worklist", "--source", "elsewhere").out == "nothing that fits waits for a person\n"
    ran = bridge("worklist", "--state", "lost")
    assert ran.code == 2
    assert "in_doubt" in ran.err


def test_show_has_decision_patient_attempts_and_both_sides(bridge: Any, refused: Any) -> None:
    """By trigger, key, or a beginning of the key; for people without JSON's brackets."""
    whole = bridge("show", "Appointment/a1", "--json").json
    assert whole["state"] == "refused"
    assert whole["answer"] == "scripted fault"
    assert [(each["call"], each["status"]) for each in whole["attempts"]] == [
        ("create_patient", 201),
        ("create_task", 400),
    ]
    assert bridge("show", whole["key"], "--json").json == whole
    assert bridge("show", "default|Patient/p1", "--json").json == whole
    ran = bridge("show", "Appointment/a1")
    assert ran.code == 0
    assert "zones            America/New_York\n" in ran.out
    assert "scripted fault" in ran.out
    assert "city: New York" in ran.out
    assert not set("[{") & set(ran.out.replace("[0]", ""))


def test_show_of_what_is_not_there_is_usage(bridge: Any, refused: Any) -> None:
    """None and several: exit code 2, saying how to go on."""
    none = bridge("show", "Appointment/zzz")
    assert (none.code, none.out) == (2, "")
    assert "no intent Appointment/zzz" in none.err
    several = bridge("show", "default|")
    assert several.code == 2
    assert "means several intents" in several.err


# -- settling --


def test_retry_sends_what_was_refused_once_more(bridge: Any, hospital: Any, refused: Any) -> None:
    """One by its trigger, with the reason kept; a worker sends it."""
    ran = bridge("retry", "Appointment/a1", *BECAUSE)
    assert (ran.code, ran.out) == (0, "1 intent decided anew\n")
    assert states(bridge) == {"sent": 1, "ready": 1, "rejected": 1}
    assert bridge("worker", "--drain").code == 1
    assert states(bridge) == {"sent": 2, "rejected": 1}
    assert refused.stats["tasks"] == 2


def test_retry_by_filter(bridge: Any, refused: Any) -> None:
    """All that fit; none is exit code 1 and says that nothing changed."""
    assert bridge("retry", "--state", "refused", *BECAUSE).out == "1 intent decided anew\n"
    ran = bridge("retry", "--state", "parked", *BECAUSE)
    assert (ran.code, ran.out) == (1, "0 intents decided anew\n")
    assert "nothing changed" in ran.err


@pytest.mark.parametrize("command", ["retry", "cancel", "resolve"])
def test_an_act_needs_to_be_told_on_what(bridge: Any, refused: Any, command: str) -> None:
    """An intent or a filter, and not both; nothing happens without."""
    more = {"cancel": ["--yes"], "resolve": ["--resend"], "retry": []}[command]
    for arguments in ([], ["Appointment/a1", "--state", "refused"]):
        ran = bridge(command, *arguments, *more, *BECAUSE)
        assert (ran.code, ran.out) == (2, "")
        assert "INTENT" in ran.err
    assert states(bridge) == {"sent": 1, "refused": 1, "rejected": 1}


def test_an_act_asks_why_where_it_was_not_told(bridge: Any, refused: Any) -> None:
    """The reason is kept in the audit; where nobody answers it is missing, and nothing is done."""
    ran = bridge("retry", "Appointment/a1", stdin=b"number corrected\n")
    assert ran.code == 0
    assert "Why" in ran.out
    unanswered = bridge("cancel", "Appointment/a1", "--yes")
    assert (unanswered.code, "'--because'" in unanswered.err) == (2, True)
    assert states(bridge) == {"sent": 1, "ready": 1, "rejected": 1}


def test_what_is_cancelled_stays_so_until_a_retry(bridge: Any, hospital: Any, refused: Any) -> None:
    """Neither by a retrying worker nor by the same file again; `retry` takes it back."""
    ran = bridge("cancel", "--state", "refused", "--yes", *BECAUSE)
    assert (ran.code, ran.out) == (0, "1 intent cancelled\n")
    bridge("submit", hospital.proposed(1))
    assert states(bridge) == {"sent": 1, "cancelled": 1, "rejected": 1}
    assert bridge("cancel", "Appointment/a2", "--yes", *BECAUSE).code == 1, "what was sent cannot be"
    assert bridge("retry", "Appointment/a1", *BECAUSE).code == 0
    bridge("worker", "--drain")
    assert refused.stats["tasks"] == 2


def test_cancel_asks_before_it_does(bridge: Any, refused: Any) -> None:
    """No is no; in a script, where nobody answers, it says how it is said there."""
    ran = bridge("cancel", "Appointment/a1", *BECAUSE, stdin=b"n\n")
    assert ran.code == 130
    unanswered = bridge("cancel", "Appointment/a1", *BECAUSE)
    assert (unanswered.code, "--yes" in unanswered.err) == (2, True)
    assert states(bridge)["refused"] == 1


def test_status_names_a_source_that_is_paused(bridge: Any, refused: Any) -> None:
    """Also while nothing of it waits: nobody should look for a reason later."""
    assert bridge("pause", "--source", "default", *BECAUSE).code == 0
    assert "source default is held back: somebody paused it" in bridge("status").out
    bridge("resume", "--source", "default", *BECAUSE)
    assert "held back" not in bridge("status").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["worklist", "--limit", HUGE],
        ["retry", "--message", HUGE, *BECAUSE],
        ["resolve", "--message", HUGE, *BECAUSE],
        ["replay", "--id", HUGE],
        ["ledger", "check", "--attempt", HUGE],
        ["worker", "--drain", "--concurrency", HUGE],
        ["submit", "a.json", "--wait", f"{HUGE}d"],
        ["map", "a.json", "--now", "0001-01-01T00:00:00+05:00"],
        ["ledger", "restored", "--as-of", "2999-01-01T00:00:00Z", "--yes", *BECAUSE],
    ],
)
def test_a_number_that_nothing_can_hold_is_usage(bridge: Any, refused: Any, arguments: list[str]) -> None:
    """And no fault of ours."""
    ran = bridge(*arguments)
    assert (ran.code, "Invalid value" in ran.err) == (2, True), ran.err


def test_what_is_in_doubt_is_resolved_as_sent(bridge: Any, in_doubt: Any) -> None:
    """With the endpoint's id; nothing is sent again."""
    assert states(bridge) == {"in_doubt": 1}
    assert bridge("worker", "--drain").code == 1
    ran = bridge("resolve", "Appointment/a1", "--sent", VENDOR_ID, *BECAUSE)
    assert (ran.code, ran.out) == (0, "1 intent resolved as sent\n")
    assert bridge("show", "Appointment/a1", "--json").json["task_id"] == VENDOR_ID
    assert in_doubt.stats["tasks"] == 1


def test_what_is_in_doubt_is_sent_again_only_by_resolve(bridge: Any, hospital: Any, in_doubt: Any) -> None:
    """Neither `retry` nor the same file does it; `resolve --resend` does."""
    assert bridge("retry", "Appointment/a1", *BECAUSE).code == 1
    bridge("submit", hospital.proposed())
    bridge("worker", "--drain")
    assert (states(bridge), in_doubt.stats["tasks"]) == ({"in_doubt": 1}, 1)
    everything = ("resolve", "--state", "in_doubt", "--resend", *BECAUSE)
    asked = bridge(*everything, stdin=b"n\n")
    assert (asked.code, states(bridge)) == (130, {"in_doubt": 1}), "who is not sure changes nothing"
    assert bridge(*everything, "--yes").code == 0
    bridge("worker", "--drain")
    assert (states(bridge), in_doubt.stats["tasks"]) == ({"sent": 1}, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["Appointment/a1"],
        ["Appointment/a1", "--sent", VENDOR_ID, "--resend"],
        ["Appointment/a1", "--sent", "7c1e"],
        ["--state", "in_doubt", "--sent", VENDOR_ID],
        ["--patient", "Patient", "--resend"],
        ["--patient", "default/Patient/p1"],
        ["--patient", "default/Patient/p1", "--created", VENDOR_ID, "--resend"],
        ["--patient", "default/Patient/p1", "--created", "7c1e"],
        ["--patient", "default/Patient/nobody", "--resend"],
    ],
)
def test_resolving_says_exactly_what_became_of_it(bridge: Any, in_doubt: Any, arguments: list[str]) -> None:
    """Anything less, or more, is usage, and changes nothing."""
    ran = bridge("resolve", *arguments, *BECAUSE)
    assert (ran.code, ran.out) == (2, "")
    assert states(bridge) == {"in_doubt": 1}


@pytest.mark.parametrize("found", [["--created", VENDOR_ID], ["--resend"]])
def test_a_patient_in_doubt_is_resolved_as_the_work_list_says(
    bridge: Any, patient_in_doubt: Any, found: list[str]
) -> None:
    """What waited for them is sent then, to the id the vendor gave or to a patient created anew."""
    listed = bridge("worklist").out
    assert "patient default/Patient/p1\n" in listed
    assert "resolve --patient" in listed
    assert states(bridge) == {"parked": 1}
    ran = bridge("resolve", "--patient", "default/Patient/p1", *found, *BECAUSE)
    assert (ran.code, ran.out) == (0, "1 intent of this patient to be sent\n")
    assert bridge("worker", "--drain").code == 0
    [task] = patient_in_doubt.tasks
    assert (task["patient_id"] == VENDOR_ID) == (found[0] == "--created")


def test_patients_are_resolved_by_filter(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """A wrong address that answers 404 refuses one after the other: once it is right, all go at once. How
    many is said first, no is no, and another source's are left alone.
    """
    running = endpoint("status-before POST /v1/patient code=404 nth=1-3")
    bridge.settings(running.url)
    bridge("submit", *(hospital.proposed(number) for number in range(1, 4)))
    assert bridge("status", "--json").json["reasons"] == {"patient-refused": 3}
    which = ("resolve", "--patients", "--reason", "patient-refused", "--resend", *BECAUSE)
    asked = bridge(*which, stdin=b"n\n")
    assert (asked.code, "3 patients, 3 intents waiting" in asked.out) == (130, True)
    assert bridge(*which, "--source", "another", "--yes").code == 1
    assert states(bridge) == {"parked": 3}
    ran = bridge(*which, "--yes")
    assert (ran.code, ran.out) == (0, "3 patients to be created, 3 intents of theirs to be sent\n")
    assert bridge("worker", "--drain").code == 0
    assert (states(bridge), running.stats["tasks"]) == ({"sent": 3}, 3)


@pytest.mark.parametrize(
    "wrong", [[], ["--state", "parked"], ["--reason", "x", "--created", VENDOR_ID], ["Appointment/a1"]]
)
def test_patients_by_filter_need_a_filter(bridge: Any, in_doubt: Any, wrong: list[str]) -> None:
    """Anything less, or more, is usage."""
    assert bridge("resolve", "--patients", "--resend", "--yes", *wrong, *BECAUSE).code == 2


def test_an_alarm_stays_until_somebody_says_that_the_vendor_was_told(
    bridge: Any, hospital: Any, endpoint: Any
) -> None:
    """Who is blocked after the call was handed over is found by the alarm's code, and taken off the list."""
    bridge.settings(endpoint().url)
    bridge("submit", hospital.proposed())
    bridge("block", "add", "default/Patient/p1", *BECAUSE)
    assert bridge("status").code == 1
    assert "then `acknowledge`" in bridge("worklist", "--reason", "revoked-after-send").out
    assert bridge("acknowledge", *BECAUSE).code == 2
    ran = bridge("acknowledge", "Appointment/a1", *BECAUSE)
    assert (ran.code, ran.out) == (0, "1 alarm taken off the work list\n")
    assert (bridge("acknowledge", "Appointment/a1", *BECAUSE).code, bridge("status").code) == (1, 0)
    assert states(bridge) == {"sent": 1}


def test_the_audit_knows_who_did_what_and_why(bridge: Any, refused: Any) -> None:
    """Every act leaves a row; the ledger's file shows it."""
    import sqlite3

    bridge("retry", "Appointment/a1", "--because", "number corrected at the endpoint")
    with sqlite3.connect(bridge.folder / "fhir-bridge.db") as database:
        rows = database.execute("select * from audit").fetchall()
    database.close()
    assert any("number corrected at the endpoint" in map(str, row) for row in rows)


async def unreadable(bridge: Any) -> None:
    """Whom an intent is about may have died, or not: their record came in pieces."""
    at = datetime.now(UTC)
    broken = b'{"resourceType": "Patient", "id": "p1", "deceasedBoolean": "\xe9"}'
    body = b'{"resourceType": "Bundle", "type": "history", "entry": [{"resource": %b}]}'
    clear = body % b'{"resourceType": "Consent", "id": "\xe9"}'
    async with await open_ledger(bridge.folder / "fhir-bridge.db", api_url=None, project_id=None) as ledger:
        await ledger.receive([Received("default", body % broken, at), Received("default", clear, at)])


def test_a_message_nobody_can_read_is_shown_and_settled(bridge: Any, hospital: Any, endpoint: Any) -> None:
    """Whose calls wait for it, or that nobody's do; settled, they go on."""
    running = endpoint()
    bridge.settings(running.url)
    bridge("pause", *BECAUSE)
    bridge("submit", hospital.proposed(1), "--wait", "0s")
    asyncio.run(unreadable(bridge))
    bridge("worker", "--drain")
    bridge("resume", *BECAUSE)
    bridge("worker", "--drain")
    assert running.stats["tasks"] == 0
    told = bridge("worklist").out
    assert "may speak against calling Patient/p1, who wait for it" in told
    assert "does not show whose: nobody waits for it" in told
    first = next(
        item["key"] for item in bridge("worklist", "--json").json if item.get("holds") == ["Patient/p1"]
    )
    assert bridge("resolve", "--message", first, "--resend", *BECAUSE).code == 2
    assert bridge("resolve", "--message", first, *BECAUSE).code == 0
    assert bridge("resolve", "--message", first, *BECAUSE).code == 1
    bridge("worker", "--drain")
    assert running.stats["tasks"] == 1
    assert bridge("audit", "verify").code == 0
