"""What a state or reason of the ledger means for a person, in plain words, and what to do next."""

from __future__ import annotations

NEXT_STEP = {
    "rejected": "mend the data and send it again, or `cancel`",
    "refused": "read the endpoint's answer (`show`), mend the data; `retry` or `cancel`",
    "in_doubt": "ask the vendor whether it was received; `resolve --sent TASK_ID` or `--resend`",
    "parked": "`retry` or `cancel`",
}
"""What a person does about each state of the work list (delivery, "Operating it")."""

WAITING = {
    "retry": "the endpoint did not take it (unreachable, busy or failing); a worker tries again by itself",
    "key-refused": "the endpoint refuses our key: correct api.key; a worker asks again each minute",
    "breaker-open": "the endpoint failed too often in a row; a worker asks again shortly",
    "endpoint-busy": "the endpoint asked us to wait; a worker goes on by itself",
    "calling-hours": "nobody may be called there at this hour; a worker sends it when the hours begin",
    "recently-called": "this number was called a short while ago (dispatch.min_gap)",
    "not-in-pilot": "the number is none of dispatch.pilot",
    "source-unknown": "its source is not in bridge.toml: add it, or name the right settings with --config",
    "paused": "somebody paused it",
    "patient-in-doubt": "resolve the patient first: `worklist` lists them",
    "patient-refused": "the endpoint refused the patient: `worklist` lists them",
}
"""Why something ready is not sent yet, or is parked."""

ENDPOINT_TROUBLE = frozenset({"retry", "key-refused", "breaker-open", "endpoint-busy"})
"""Reasons that say the endpoint is unavailable or refuses our key (exit code 5)."""


def needs_a_person(states: dict[str, int]) -> bool:
    """Whether the work list has an intent in one of these states."""
    return any(states.get(state) for state in NEXT_STEP)
