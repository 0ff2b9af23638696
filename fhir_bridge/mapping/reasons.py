"""Every reason a decision can give: what it means, what would change it, and the section that decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason code, in words for the person who must answer for it. `where` is in the page on mapping."""

    code: str
    kind: Literal["skip", "reject"]
    where: str
    meaning: str
    remedy: str


_ROWS = (
    Reason("status-missing", "reject", "section 3, row 2", "The trigger has no status.",
           "Have the sender fill in `status`."),
    Reason("status-unknown", "reject", "section 3, row 2", "The status is none of FHIR's.",
           "Correct it, or map it in the vendor's or site's status map."),
    Reason("entered-in-error", "skip", "section 3, row 3", "The record was entered in error.",
           "Nothing: it never was meant."),
    Reason("do-not-perform", "skip", "section 3, row 4", "The order says that this must not be done.",
           "Nothing: it is a prohibition."),
    Reason("not-active", "skip", "section 3, row 5", "The order is not active.",
           "It calls once its status is `active`."),
    Reason("not-an-order", "skip", "section 3, row 6", "The intent is a plan or proposal, not an order.",
           "Add the intent to `order_intents` if the site schedules by it."),
    Reason("not-schedulable", "skip", "section 3, row 7", "Such an order is not scheduled with the patient.",
           "Nothing, unless its category or code is wrong."),
    Reason("not-schedulable-unknown", "skip", "section 3, row 8",
           "Nothing says that this order is scheduled with the patient.",
           "Rule on its category or code in the site's mappings."),
    Reason("awaiting-triage", "skip", "section 3, row 9", "The request waits for a clinician.",
           "It calls once it was triaged."),
    Reason("order-withdrawn", "skip", "section 3, row 10", "The appointment's order is over or withdrawn.",
           "Nothing: no order, no call."),
    Reason("already-booked", "skip", "section 3, rows 11 and 12", "There is a booked or kept appointment.",
           "Nothing: it is scheduled."),
    Reason("no-patient", "skip", "section 3, row 13", "No patient takes part: a slot offer.",
           "Nothing: there is nobody to call."),
    Reason("window-passed", "skip", "section 3, row 14", "Every time it names is past.",
           "It calls if a newer version names a time to come."),
    Reason("patient-moved", "skip", "section 3, row 15", "It was lost: the patient moved away.",
           "Nothing, unless the reason is wrong."),
    Reason("treated-elsewhere", "skip", "section 3, row 15", "It was lost: the patient is treated elsewhere.",
           "Nothing, unless the reason is wrong."),
    Reason("booked-in-error", "skip", "section 3, row 16", "It was booked by mistake.",
           "Nothing: there is nothing to replace."),
    Reason("already-rebooked", "skip", "section 3, row 17", "Another appointment took its place.",
           "Nothing: it is scheduled."),
    Reason("reschedule-window-passed", "skip", "section 3, row 18", "It was lost too long ago.",
           "Raise `reschedule_within` if the site wants older ones."),
    Reason("trigger-too-old", "skip", "section 3, row 19", "The trigger is too old.",
           "Raise `max_age` if the site wants older ones."),
)  # fmt: skip

_GATES = (
    Reason("duplicate-id", "reject", "section 2", "Contents that no version orders share this id.",
           "Remove all but one, or give them versions."),
    Reason("versions-disagree", "reject", "section 2",
           "The newer version by versionId is the older one by lastUpdated, by more than an hour.",
           "Look at the source, and bring only the version that holds."),
    Reason("patient-unresolved", "reject", "section 4",
           "The patient is named but not at hand, or by a type that is none of FHIR's (`Pateint/p1`).",
           "Bring the Patient in the same call, by --context, or by base_url; correct the reference's type."),
    Reason("patient-merged", "reject", "section 4", "The record was merged into one that is not at hand.",
           "Bring the surviving Patient."),
    Reason("patient-contradicted", "reject", "section 4",
           "Its reference and its identifier name two patients.",
           "Correct one of the two, or link the records if they are one person's."),
    Reason("patient-deceased", "skip", "section 4; section 3, row 15", "The patient has died.",
           "Nothing, unless the record is wrong."),
    Reason("patient-inactive", "skip", "section 4", "The patient's record is not active, or was deleted.",
           "Bring the record that is in use."),
    Reason("patient-test", "skip", "section 4", "It is a test patient.",
           "Nothing: test patients are never called."),
    Reason("restricted-record", "skip", "section 4", "The record is restricted or very restricted.",
           "Nothing: a person must handle it."),
    Reason("do-not-call", "skip", "section 4",
           "The number or patient is on the do-not-call list, or the record says no.",
           "Take it off the list, or mend the record, if that is right."),
    Reason("consent-denied", "skip", "section 4", "An active Consent denies.",
           "It calls once the Consent permits."),
    Reason("consent-missing", "skip", "section 4", "The site calls only with consent, and none is seen.",
           "Record the consent, or set consent to what the site's rule is."),
    Reason("site-gate-failed", "reject", "section 17", "A gate of the site's own could not be asked.",
           "Correct the expression named in `seen`: it must give true, false or nothing."),
    Reason("minor-without-guardian", "reject", "section 4", "A minor, and no guardian has a number.",
           "Add a guardian with a number: RelatedPerson or Patient.contact."),
    Reason("phone-missing", "reject", "section 4", "There is no phone number.",
           "Add one to the patient or guardian."),
    Reason("phone-invalid", "reject", "section 4", "No phone number is possible.",
           "Correct it; a number without country is read in the source's jurisdiction."),
    Reason("name-incomplete", "reject", "section 4", "The patient has not both a first and a last name.",
           "Complete the name."),
    Reason("address-incomplete", "reject", "section 4", "The patient's address lacks a part.",
           "Complete it, or set incomplete_address = omit to send none."),
    Reason("source-incomplete", "reject", "section 4",
           "The source's server did not tell what may speak against the call: `seen` says what was asked.",
           "Have it grant the scope or mend what it gives, or name it in `searches.do_without` of the site."),
    Reason("record-unreadable", "reject", "section 16",
           "What cannot be read may speak against the call: `seen` says where it stands.",
           "Have the sender mend what stands there, then bring it again; `worklist` says where it is."),
    Reason("not-conformant", "reject", "section 16", "The trigger is not valid FHIR; its source is strict.",
           "Have the sender correct it, or set validation = warn."),
)  # fmt: skip

SITE = "site:"

REASONS = {reason.code: reason for reason in (*_ROWS, *_GATES)}
"""Reason code → what it means; those of a site's own gates, `site:NAME`, are told by `reason_of`."""


def reason_of(code: str, kind: Literal["skip", "reject"] = "skip") -> Reason | None:
    """What a reason means, a site's own too; `kind` is what the decision was. None for no reason of ours."""
    if not code.startswith(SITE):
        return REASONS.get(code)
    name = code.removeprefix(SITE)
    return Reason(code, kind, f"section 17, gates.{kind}.{name}", f"The site's own gate {name} holds.",
                  "Nothing, unless the record or the site's rule is wrong.")  # fmt: skip
