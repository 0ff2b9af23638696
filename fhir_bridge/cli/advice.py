"""What a state or reason of the ledger means for a person, in plain words, and what to do next."""

from __future__ import annotations

from collections.abc import Collection

from fhir_bridge.ledger.records import Status
from fhir_bridge.mapping.reasons import reason_of

NEXT_STEP = {
    "rejected": "mend the data and send it again, or `cancel`",
    "refused": "read the endpoint's answer (`show`), mend the data; then `retry`, or `cancel`",
    "in_doubt": "ask the vendor whether it was received; then `resolve INTENT --sent TASK_ID` or `--resend`",
    "parked": "see the reason; then `retry`, or `cancel`",
}
"""What a person does about each state of the work list (delivery, "Operating it")."""

PATIENT_STEP = {
    "new": "not yet created at the endpoint",
    "creating": "being created at the endpoint",
    "in_doubt": "ask the vendor whether the patient was created; then "
    "`resolve --patient SOURCE/IDENTITY --created ID` or `--resend`",
    "refused": "read the endpoint's answer (`show` an intent of theirs), mend the data; then "
    "`resolve --patient SOURCE/IDENTITY --resend`",
}
"""The same for a patient's creation, on which the patient's intents wait."""

WAITS = {
    "hold": "it waits whether its source calls it off (the source's hold); a worker sends it then",
    "patient-being-created": "another intent is creating its patient; a worker sends it then",
    "retry": "the endpoint did not take it (unreachable, busy or failing): check that api.url is right; "
    "a worker tries again by itself",
    "key-refused": "the endpoint refuses our key: correct api.key; a worker asks again each minute",
    "breaker-open": "the endpoint failed too often in a row; a worker asks again shortly",
    "endpoint-busy": "the endpoint asked us to wait; a worker goes on by itself",
    "calling-hours": "nobody may be called there at this hour; a worker sends it when the hours begin",
    "recently-called": "this number was called a short while ago (dispatch.min_gap); a worker sends it later",
    "pacing": "as many go in an hour as dispatch.pace allows; a worker sends it when its turn comes",
    "source-unreachable": "its source did not answer when read again before the call; a worker asks on",
    "not-read-again": "a fault of fhir-bridge kept it from being read again before the call: "
    "report what the log says",
    "mapped-again": "its source said something new before the call; a worker goes on by that",
    "inbox-behind": "messages of its source are not processed yet, and may call it off: does a worker "
    "or `serve` run?",
    "source-older": "its source showed an older version before the call, which calls nobody: a copy that "
    "lags behind, or a server that numbers anew; a worker asks on",
    "not-in-pilot": "the number is none of dispatch.pilot",
    "source-unknown": "its source is not in bridge.toml: add it, or name the right settings with --config",
    "paused": "somebody paused it",
}
"""Why something that is ready is not sent yet, in plain words."""

REASON = WAITS | {
    "versions-disagree": "its versionId and lastUpdated say opposite things, and it would call: look "
    "at the source, then `retry` if it is right, or `cancel`",
    "payloads-cleared": "it was old and nobody settled it: what it said was cleared (retention.payloads)",
    "restored": "it waited in a backup that was restored, and may have been called since: ask the vendor; "
    "then `resolve INTENT --sent TASK_ID`, or `--resend` where there is no task",
    "no-longer-valid": "the last day on which the call made sense is over: call yourself, or `cancel`",
    "retries-used-up": "the endpoint took it at none of its attempts (dispatch.retry.deadline): `retry` "
    "once it is well",
    "request-invalid": "an id in it is no UUID, or what is kept of it is no request, and it was not sent: "
    "a fault of fhir-bridge; the log says which",
    "person-stopped": "a record says that nobody may call this person: `retry` once that is taken back",
    "patient-changed": "the record names somebody else than the patient at the endpoint: `cancel` what was "
    "meant for the former, then resolve the patient",
    "overslept": "the worker stood still before it was sent, and did not send it",
    "lease-ran-out": "the worker ended or stood still while it was being sent: it may have been processed",
    "patient-in-doubt": "resolve the patient first: `worklist` lists them",
    "patient-refused": "the endpoint refused the patient: `worklist` lists them",
    "http-400": "the endpoint finds the request wrong; `show` has its answer",
    "http-404": "the endpoint knows no such address: is api.url right, without /v1?",
    "http-422": "the endpoint finds the request wrong; `show` has its answer",
    "unreadable-answer": "the endpoint's answer cannot be read: it may have been processed",
    "revoked-after-send": "it was called off after it was sent: tell the vendor, then `acknowledge`",
    "also-sent": "the endpoint has it as one more task, whose id `show` has (alarm_reason): somebody may be "
    "called twice, or although it was given up; tell the vendor, then `acknowledge`",
    "patient-changed-after-send": "it was sent, and its record names another patient now: tell the vendor, "
    "then `acknowledge`",
}
"""Why something is not sent, or what the endpoint said, in plain words."""

MESSAGE_REASON = {
    "nothing-to-read-from": "it names what changed and does not bring it: set base_url and client of its "
    "source, or have its Subscription bring full resources",
    "source-unreachable": "its source's FHIR server does not answer: see to the server, or to `client`",
    "not-found": "its source's FHIR server does not know what it names: is base_url the server that sends?",
    "foreign-reference": "it names something on another server: list that in client.other_bases if it is "
    "yours",
    "no-such-source": "its source is not in bridge.toml: add it",
    "given-up": "the process ended each time it was processed: please report it",
    "fault": "a fault of fhir-bridge: the log says where; please report it",
    "payloads-cleared": "it waited longer than messages are kept: have it sent again",
    "notification-type": "its SubscriptionStatus has a type that FHIR does not know: ask the sender",
    "notification-element": "an element of its SubscriptionStatus cannot be read: ask the sender",
}
"""Why a message failed, in plain words; any other code says what in it cannot be read."""

MESSAGE_STEP = "`retry --message ID` once that is mended"

BROKEN_STEP = "it cannot be read: mend it there and run the file again, which lets go of the calls it holds"
"""What a person does about a record of a file."""


def holding(holds: Collection[str], *, is_of_file: bool = False) -> str | None:
    """Whose calls a failed message keeps back (`?`: it does not show whose), and how they go on."""
    named = [one for one in holds if one != "?"]
    again = "mend it" if is_of_file else "have it sent again"
    if named:
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        return (
            f"→ it may speak against calling {', '.join(named[:_SHOWN])}{more}, who wait for it: "
            f"{again}, or look at the chart, then `resolve --message ID`"
        )
    if holds:
        where = "in the file" if is_of_file else "at its sender"
        return (
            "→ it may speak against a call and does not show whose: nobody waits for it. Find out "
            f"{where} whom it is about, and `block` or `cancel` where nobody is to be called; "
            "then `resolve --message ID`"
        )
    return None


_SHOWN = 5
"""Of whom a message names, so many are told."""

_REASONS_LIKE = (
    ("http-5", "the endpoint failed while it had the request: it may have been processed"),
    ("http-3", "the endpoint answered with a redirect, which is never followed: is api.url right?"),
    ("http-4", "the endpoint refused the request; `show` has its answer"),
    ("answer-", "the endpoint had the request and no answer came: it may have been processed"),
    ("request-", "the connection broke while the request left: it may have been processed"),
)

ENDPOINT_TROUBLE = frozenset({"retry", "key-refused", "breaker-open", "endpoint-busy"})
"""Reasons that say the endpoint is unavailable or refuses our key (exit code 5)."""


def meaning(reason: str) -> str | None:
    """What a reason of the ledger says, in plain words; None for one that says it by itself."""
    if known := reason_of(reason):
        return known.meaning
    return REASON.get(reason) or next((said for code, said in _REASONS_LIKE if reason.startswith(code)), None)


def remedy(reason: str) -> str:
    """What would change a decision with this reason, after a blank; empty for what is none of ours."""
    known = reason_of(reason)
    return f" {known.remedy}" if known else ""


def exit_code(status: Status) -> int:
    """5 the endpoint holds something back, 1 something needs a person, else 0 (intake, section 3)."""
    held_back = status.destination["held_back_because"]
    if status.states.get("ready") and ENDPOINT_TROUBLE & {held_back, *status.reasons}:
        return 5
    needs_a_person = (
        status.alarms or status.inbox.get("failed") or any(status.states.get(state) for state in NEXT_STEP)
    )
    return 1 if needs_a_person else 0


def meaning_of_message(reason: str) -> str:
    """Why a message failed, in plain words."""
    return MESSAGE_REASON.get(
        reason, "something in it cannot be read; the rest was processed: ask the sender"
    )
