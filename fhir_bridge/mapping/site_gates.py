"""The gates a site adds in FHIRPath (mapping, section 17)."""

from __future__ import annotations

from fhir_bridge.mapping.expressions import ExpressionError, SiteGate
from fhir_bridge.mapping.reasons import SITE
from fhir_bridge.mapping.scope import Scope
from fhir_bridge.mapping.verdict import Look, Verdict

FAILED = "site-gate-failed"


def site_verdict(look: Look, scope: Scope) -> Verdict | None:
    """The verdict of the first of the site's gates that holds; those that skip are asked before those that
    reject.

    One that fails, or gives anything but a boolean, is noted and keeps the call from being made: nobody is
    called whom a rule that cannot be read may have meant. A gate that does skip comes before that.
    """
    failed: Verdict | None = None
    for gate in look.profile.site.gates:
        if gate.wanted and failed:
            break
        try:
            holds = _holds(gate, scope)
        except ExpressionError:
            look.recorder.note_key(FAILED, look.case.trigger, gate.key)
            failed = failed or _verdict(gate, scope, FAILED, detail=gate.name)
            continue
        if holds:
            return _verdict(gate, scope, SITE + gate.name)
    return failed


def _holds(gate: SiteGate, scope: Scope) -> bool:
    """An empty collection is false, as FHIRPath has it (https://hl7.org/fhirpath/#singleton-evaluation-of-collections);
    a value that is no boolean is a mistake in the rule, not a yes."""
    found = scope.evaluate(gate.expression)
    if found in ([], [False], [True]) and all(isinstance(each, bool) for each in found):
        return found == [True]
    raise ExpressionError("not a boolean")


def _verdict(gate: SiteGate, scope: Scope, reason: str, detail: str | None = None) -> Verdict:
    trigger, *held = scope.elements(gate.expression)
    return Verdict(
        reason,
        (*held, trigger),  # a person looks first at what the rule names: mostly the patient
        detail,
        wanted=gate.wanted or reason == FAILED,
        map_row=gate.expression.text,
        layer=gate.layer,
    )
