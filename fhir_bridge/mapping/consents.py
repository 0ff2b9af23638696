"""What a Consent says as a whole, and whether it is in force, from STU3 to R5 (mapping, section 4).

Each version has its own place for the rule at the root: STU3 a policy by its URI, R4 a policy by its code or
`provision.type`, R5 `decision`. What stands below the root are exceptions to it, which deny a record to
somebody and not the call.
"""

from __future__ import annotations

from datetime import datetime, tzinfo

from fhir_bridge.fhir.datatypes import CodeableConcept, Period
from fhir_bridge.fhir.views import Consent
from fhir_bridge.mapping.periods import current
from fhir_bridge.mapping.said import code

OPT_OUT_CODES = frozenset({"OPTOUT", "OPTOUTE"})
"""http://terminology.hl7.org/CodeSystem/v3-ActCode: opt out, and opt out with exceptions."""

OPT_OUT_URI = "/opt-out"
"""How STU3's policies end that deny: http://hl7.org/fhir/ConsentPolicy/opt-out"""


_NOT_IN_FORCE = frozenset(
    {"draft", "proposed", "rejected", "inactive", "entered-in-error", "not-done", "unknown"}
)
"""FHIR's other statuses, STU3 to R5 (http://hl7.org/fhir/consent-state-codes)."""


def in_force(view: Consent, now: datetime, zone: tzinfo) -> bool:
    """Whether the Consent is active and `now` (aware) lies in its period; `zone` is the source's."""
    return code(view.status) == "active" and all(current(each, now, zone) for each in _periods(view))


def may_be_in_force(view: Consent, now: datetime, zone: tzinfo) -> bool:
    """Whether nothing says that it is not: a status that is missing, or none of FHIR's, may mean active."""
    return code(view.status) not in _NOT_IN_FORCE and all(current(one, now, zone) for one in _periods(view))


def denial(view: Consent) -> str | None:
    """The FHIRPath of the rule by which the Consent denies as a whole; None where it does not."""
    if code(view.decision) == "deny":
        return "decision"
    provision = view.provision
    # Only R4's root provision has a type, so one in a list is that root, out of form.
    roots = provision if isinstance(provision, tuple) else (provision,)
    if any(code(root.type) == "deny" for root in roots if root is not None):
        return "provision.type"
    return "policyRule" if _opts_out(view.policy_rule) else None


def _opts_out(rule: CodeableConcept | str | None) -> bool:
    if isinstance(rule, CodeableConcept):
        return any((coding.code or "").strip().upper() in OPT_OUT_CODES for coding in rule.coding)
    return rule is not None and rule.strip().rstrip("/").casefold().endswith(OPT_OUT_URI)


def _periods(view: Consent) -> tuple[Period | None, ...]:
    """STU3's and R5's own period, R4's of the root provision; in R5 a provision's is an exception's."""
    provision = view.provision
    return view.period, None if isinstance(provision, tuple) or provision is None else provision.period
