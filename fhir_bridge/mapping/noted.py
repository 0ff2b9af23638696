"""What each note means and what the bridge did about it, in words for whoever looks after the data (mapping,
section 1)."""

from __future__ import annotations

from fhir_bridge.mapping.conformance import PREFIX

NOTES = {
    "address-incomplete": "The address lacks a part, and was left out as the source's policy has it.",
    "birth-date-partial": "The birth date lacks its month or day, and was left out.",
    "blank-dropped": "A text of nothing but blanks counts as absent.",
    "code-case": "A code or an element's name is in another case than FHIR's; it was read all the same.",
    "coverage-type-unknown": "The type of the insurance is not known; it counts as medical.",
    "date-mended": "A date is not in FHIR's form; it was read as what it can only mean.",
    "date-unreadable": "A date cannot be read, and was left out.",
    "deceased-unreadable": "Something is said about a death that cannot be read; it counts as one.",
    "concept-for-coding": "A CodeableConcept stands where a Coding belongs; its codings were read.",
    "element-twice": "An element stands twice with different content; lists were joined, and of the rest "
    "what calls nobody counts.",
    "element-dropped": "An element has a form nothing can be made of, and was left out.",
    "list-for-object": "A list stands where one thing belongs; of one item, that item was read.",
    "name-misspelt": "An element's name is misspelt; it was read as the one it was meant for.",
    "name-split": "First and last name were taken from the name's text, for its parts are missing.",
    "npi-invalid": "The NPI fails its check digit, and was left out.",
    "null-dropped": "A null stands where something belongs; it counts as absent.",
    "number-for-string": "A number stands where a text belongs; it was read as one.",
    "number-for-truth": "0 or 1 stands where true or false belongs; it was read so.",
    "object-for-list": "One thing stands where a list belongs; it was read as a list of one.",
    "other-language": "The trigger is in another language; its words were passed on as they are.",
    "override-failed": "A site's rule failed or gave what its field does not take; the field stayed.",
    "patient-id-invalid": "The identifier that should be the task API's id is none, and was left out.",
    "patient-merge-followed": "The record was merged into another, and that one was read.",
    "patients-several": "It names several patients; the one that counts as its subject was taken.",
    "period-reversed": "The period ends before it begins, and was left out.",
    "phone-not-assigned": "The number is possible but in no range that is known to be assigned.",
    "phone-region-of-source": "The number is none of the person's country; it was read as of the source's.",
    "reason-restricted": "A reason is restricted, and was left unsaid.",
    "reference-ambiguous": "Several resources at hand answer to the reference; none was taken.",
    "reference-misspelt": "The reference's type is none of FHIR's; it was taken for the one it is most like, "
    "which may keep somebody from being called, but calls nobody.",
    "reference-other-type": "The reference leads to a type that does not belong there; it was not used.",
    "reference-other-version": "The reference names a version that is not at hand; another one was taken.",
    "reference-unresolved": "What the reference names is not at hand; its display counts where there is one.",
    "reference-untyped": "The reference is a bare id; the one resource at hand that has it was taken.",
    "site-gate-failed": "A site's own gate could not be asked about this record.",
    "string-for-number": "A text stands where a number, or true or false, belongs; it was read as one.",
    "text-for-object": "A bare text stands where an object belongs; it was read as that object's text.",
    "time-without-zone": "A time has no zone; it was taken for local time of the source.",
    "visit-restricted": "A visit is restricted, and was left unsaid.",
}
"""Note code → its meaning. `validation:…` codes are the checker's own."""


def meaning_of(code: str) -> str | None:
    """What a note's code means; None for one that is not ours."""
    if code.startswith(PREFIX):
        return "The element does not conform to the version of FHIR that the resource is written in."
    return NOTES.get(code)
