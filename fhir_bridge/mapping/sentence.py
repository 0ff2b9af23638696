"""The task's one sentence (mapping, section 7)."""

from __future__ import annotations

from fhir_bridge.case.case import Case
from fhir_bridge.mapping.practitioner import Seen
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.rules import Sentence
from fhir_bridge.mapping.service import follow_up, service_of
from fhir_bridge.mapping.templates import render

FIELD = "task"


def sentence(
    case: Case, profile: Profile, recorder: Recorder, seen: Seen | None, *, rescheduling: bool
) -> str:
    """Schedule or Reschedule, what, and with whom; never empty, without the patient's name, dates or
    codes."""
    rules = profile.sentence
    what, rule, elements, row = _what(case, profile)
    values = {
        "verb": rules.reschedule if rescheduling else rules.schedule,
        "what": what,
        "practitioner": seen.called.text if seen else None,
    }
    if seen:
        elements = (*elements, seen.called.element)
    recorder.take(FIELD, rule, *elements, map_row=row, layer=profile.layer_of("sentence.task"))
    return render(rules.task, values)


def _what(case: Case, profile: Profile) -> tuple[str, str, tuple[Element, ...], str | None]:
    """What to schedule with its article; the rule, elements and map row that say so."""
    rules = profile.sentence
    if (found := follow_up(case, profile)) is not None:
        element, row = found
        return render(rules.follow_up, _values(None, rules)), "sentence-follow-up", (element,), row
    service = service_of(case, profile)
    if service is None:
        what = render(rules.appointment, _values(None, rules))
        return what, "sentence-appointment", ((case.trigger, ""),), None
    words, element = service
    ends = words.text.split()[-1].casefold()
    template = rules.visit if ends in rules.visit_nouns else rules.service
    return render(template, _values(words.text, rules)), "sentence-service", (element,), words.map_row


def _values(service: str | None, rules: Sentence) -> dict[str, str | None]:
    return {"service": service, "article": article(service, rules) if service else None}


def article(words: str, rules: Sentence) -> str:
    """`a` or `an`, by how the words begin when they are said: "an MRI", "a urology", "an hour"."""
    first = words.split()[0].partition("-")[0]
    lower = words.casefold()
    if first[:1] in "UAEFHILMNORSX8" and (len(first) == 1 or (first.isupper() and len(first) <= 4)):
        return "a" if first[0] == "U" else "an"
    if lower.startswith(rules.sounds_like_an):
        return "an"
    if lower.startswith(rules.sounds_like_a):
        return "a"
    return "an" if lower[0] in "aeiou8" else "a"
