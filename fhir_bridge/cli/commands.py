"""The commands of `fhir-bridge`: where each is and what it does, as somebody meets them."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: `module:attribute` below `fhir_bridge.cli`, imported when it is called, and one line."""

    target: str
    summary: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Look, and send nothing": {
        "map": Entry("map:map_command", "Print the requests that FHIR files become. Sends nothing."),
        "explain": Entry(
            "explain:explain", "Say why each decision was made, and where each value came from."
        ),
        "validate": Entry("validate:validate", "Check FHIR files against the standard."),
    },
    "Fetch": {
        "export": Entry("export:export", "Fetch what a FHIR server exports, into a folder of NDJSON files."),
    },
    "Send": {
        "submit": Entry("submit:submit", "Map FHIR files and send what is due now."),
        "serve": Entry("serve:serve", "Take Subscription webhooks, keep them, and send what they call for."),
        "migrate": Entry("migrate:migrate", "Preview a whole export; with --send, keep and send it."),
        "worker": Entry("worker:worker", "Send what is due from the ledger, until stopped."),
        "replay": Entry(
            "replay:replay", "Map recorded messages again, and show what would be decided otherwise."
        ),
        "pause": Entry("pause:pause", "Send nothing any more, or nothing of one source, until `resume`."),
        "resume": Entry("pause:resume", "Let what was paused go on."),
    },
    "See what became of it": {
        "status": Entry("look:status", "Count what the ledger holds, and say what waits and why."),
        "worklist": Entry("look:worklist", "List what waits for a person, longest waiting first."),
        "show": Entry("show:show", "Show all that is known of one intent: decision, patient, attempts."),
    },
    "Hear from an EHR": {
        "subscribe": Entry(
            "subscribe:subscribe",
            "Have a source's FHIR server tell us of changes, and look after it.",
        ),
        "sources": Entry(
            "sources:sources", "Show what each source told, what it did not, and what to do about it."
        ),
    },
    "Decide as a person": {
        "retry": Entry("settle:retry", "Have refused, parked or cancelled intents sent after all."),
        "resolve": Entry("settle:resolve", "Say what became of a request whose answer was lost."),
        "cancel": Entry("settle:cancel", "Make sure that nobody is called for an intent, from now on."),
        "acknowledge": Entry(
            "settle:acknowledge", "Take an alarm off the work list, once the vendor was told."
        ),
        "block": Entry("block:block", "Keep the list of numbers and patients that nobody calls."),
    },
    "Keep": {
        "check": Entry("check:check", "Try a source's FHIR server and the endpoint, step by step."),
        "patients": Entry("patients:patients", "Take over or hand on who is who at the task API."),
        "retention": Entry("retention:retention", "Clear patient data that is no longer needed."),
        "audit": Entry("audit:audit", "Prove what was done, and account for what was disclosed."),
        "ledger": Entry("ledger:ledger", "Make the ledger's tables, upgrade them, check that all is there."),
    },
    "Adapt to a site": {
        "mappings": Entry("mappings:mappings", "Look at, try and write a site's own rules and words."),
        "config": Entry("config:config", "Look at the settings in force."),
    },
    "Try": {
        "demo": Entry("demo:demo", "Watch a made-up hospital's appointments become tasks."),
        "sandbox": Entry("sandbox:sandbox", "Run the task API emulated on this machine."),
    },
}
"""Title of a section of --help → its commands by name (intake, section 3)."""

COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
"""All commands by name."""
