"""What the voice agent is told besides, in short sentences (mapping, section 13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from fhir_bridge.case.case import Case, Trigger
from fhir_bridge.case.once import once
from fhir_bridge.fhir.datatypes import Annotation, CodeableReference
from fhir_bridge.fhir.dates import parse
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import Instruction, View, is_appointment, is_order
from fhir_bridge.mapping.concepts import mapped_words, reference_words
from fhir_bridge.mapping.language import interpreter_needed, language_spoken
from fhir_bridge.mapping.people import Callee
from fhir_bridge.mapping.places import place_name
from fhir_bridge.mapping.profile import Profile
from fhir_bridge.mapping.reasons_for import Reason, Reasons
from fhir_bridge.mapping.recorder import Element, Recorder
from fhir_bridge.mapping.referring import Unusable
from fhir_bridge.mapping.rescheduling import lost_appointment
from fhir_bridge.mapping.templates import render
from fhir_bridge.mapping.texts import as_sentence, cut, plain, said_once
from fhir_bridge.mapping.virtual import is_virtual
from fhir_bridge.mapping.when import listed

FIELD = "task_data.additional_context"


class Sentence(msgspec.Struct, frozen=True):
    """One sentence, the rule that made it, and the elements it was made from."""

    text: str
    rule: str
    elements: tuple[Element, ...]


class Speaking(msgspec.Struct, frozen=True, dict=True):
    """What the sentences are made from."""

    case: Case
    profile: Profile
    callee: Callee
    unusable: Unusable
    recorder: Recorder

    @once
    def sources(self) -> list[Trigger]:
        """Where most sentences come from."""
        return _sources(self.case)


def additional_context(speaking: Speaking) -> str | None:
    """The sentences in the layers' order, each said once, cut at a sentence; None where there is nothing to
    say."""
    rules = speaking.profile.context
    made = [sentence for name in rules.said for sentence in PARTS[name](speaking)]
    kept = frozenset(said_once([sentence.text for sentence in made]))
    texts: dict[str, None] = {}
    for sentence in made:
        if sentence.text in kept and sentence.text not in texts:
            texts[sentence.text] = None
            speaking.recorder.take(FIELD, sentence.rule, *sentence.elements)
    return cut(" ".join(texts), rules.limit) or None


def look_through_context(case: Case, profile: Profile, recorder: Recorder) -> None:
    """Notes what the sentences note, and asks the maps of codes what they ask, but for what is the same for
    all triggers of the patient (`look_through_patient`)."""
    said = profile.context.said
    if "reason" in said:
        _reasons(case, profile, recorder)
    if "priority" in said:
        _spoken_priority(_sources(case), profile)


def _sources(case: Case) -> list[Trigger]:
    """The trigger, then its order."""
    order = case.order.resource if case.order else None
    return [case.trigger] if order is None or order is case.trigger else [case.trigger, order]


def _ask_for(speaking: Speaking) -> Iterator[Sentence]:
    """A guardian by name and relationship; the extension behind a number."""
    callee, rules = speaking.callee, speaking.profile.context
    holder = callee.holder or speaking.case.patient or speaking.case.trigger
    if not callee.is_patient and callee.name:
        values = {"name": callee.name, "relationship": _in_running_text(callee.relationship)}
        yield Sentence(render(rules.ask_for, values), "context-ask-for", ((holder, f"{callee.path}name"),))
    if callee.phone.extension:
        text = render(rules.ask_for_extension, {"extension": callee.phone.extension})
        element = (holder, f"{callee.path}telecom[{callee.phone.index}]")
        yield Sentence(text, "context-extension", (element,))


def _in_running_text(words: str | None) -> str | None:
    """ "Father" as a sentence has it; what is not written like a word stays as it is."""
    return words.lower() if words and words.istitle() else words


def _language(speaking: Speaking) -> Iterator[Sentence]:
    patient = speaking.case.patient
    if patient is not None and (found := language_spoken(patient, speaking.profile)):
        language, path = found
        text = render(speaking.profile.context.language, {"language": language})
        yield Sentence(text, "context-language", ((patient, path),))


def _interpreter(speaking: Speaking) -> Iterator[Sentence]:
    patient = speaking.case.patient
    if patient is None or (path := interpreter_needed(patient, speaking.profile)) is None:
        return
    found = language_spoken(patient, speaking.profile)
    text = render(speaking.profile.context.interpreter, {"language": found[0] if found else None})
    yield Sentence(text, "context-interpreter", ((patient, path),))


def _reason(speaking: Speaking) -> Iterator[Sentence]:
    """The trigger's reasons, else its order's, else those of the appointment that was lost."""
    if found := _reasons(speaking.case, speaking.profile, speaking.recorder):
        words = list(dict.fromkeys(words.text for words, _ in found))
        text = render(speaking.profile.context.reason, {"reason": listed(words)})
        yield Sentence(text, "context-reason", tuple((where, each.path) for each, where in found))


def _reasons(case: Case, profile: Profile, recorder: Recorder) -> list[Reason]:
    reasons = Reasons(case, profile, recorder)
    for resource in _sources(case):
        if resource is case.trigger and _tells_the_loss(case, profile):
            continue
        if found := list(reasons.all(resource)):
            return found
    return []


def _tells_the_loss(case: Case, profile: Profile) -> bool:
    """Whether `reason` is where this source writes why an appointment was lost."""
    return "reason" in profile.losses.reason_elements and lost_appointment(case, profile) is case.trigger


def _priority(speaking: Speaking) -> Iterator[Sentence]:
    """Urgent, asap and stat; routine says nothing, and neither does R4's integer on an Appointment."""
    if found := _spoken_priority(speaking.sources, speaking.profile):
        word, resource = found
        text = render(speaking.profile.context.priority, {"priority": word})
        yield Sentence(text, "context-priority", ((resource, "priority"),))


def _spoken_priority(sources: list[Trigger], profile: Profile) -> tuple[str, Trigger] | None:
    for resource in sources:
        priority = resource.view.priority
        word = None
        if isinstance(priority, str):
            word = profile.context.priorities.get(priority.casefold())
        elif priority is not None and not isinstance(priority, int):
            mapped = mapped_words(priority, "priority", profile, "priority")
            word = mapped.text if mapped else None
        if word:
            return word, resource
    return None


def _description(speaking: Speaking) -> Iterator[Sentence]:
    for resource in speaking.sources:
        if text := plain(resource.view.description):
            yield Sentence(as_sentence(text), "context-description", ((resource, "description"),))


def _comment(speaking: Speaking) -> Iterator[Sentence]:
    for resource in speaking.sources:
        view = resource.view
        if is_appointment(view) and (text := plain(view.comment)):
            yield Sentence(as_sentence(text), "context-comment", ((resource, "comment"),))
        yield from _notes(resource, view.note)


def _notes(resource: Resource[View], notes: tuple[Annotation, ...]) -> Iterator[Sentence]:
    for index, note in enumerate(notes):
        if text := plain(note.text):
            yield Sentence(as_sentence(text), "context-note", ((resource, f"note[{index}].text"),))


def _instruction(speaking: Speaking) -> Iterator[Sentence]:
    for resource in speaking.sources:
        for path, text in _instructions(resource, speaking.profile):
            yield Sentence(as_sentence(text), "context-instruction", ((resource, path),))


def _instructions(resource: Resource[View], profile: Profile) -> Iterator[tuple[str, str]]:
    """R4's text; R5's Markdown on an order and CodeableReferences on an Appointment."""
    view = resource.view
    assert is_appointment(view) or is_order(view)
    instruction = view.patient_instruction
    if isinstance(instruction, str):
        if text := plain(instruction):
            yield "patientInstruction", text
        return
    parts: tuple[Instruction | CodeableReference, ...] = instruction or ()
    for index, each in enumerate(parts):
        path = f"patientInstruction[{index}]"
        if isinstance(each, Instruction):
            if text := plain(each.instruction_markdown):
                yield f"{path}.instructionMarkdown", text
        elif words := reference_words(each, path, profile):
            yield words.path, words.text


def _place(speaking: Speaking) -> Iterator[Sentence]:
    """That the visit is virtual, else where it is."""
    case, rules = speaking.case, speaking.profile.context
    if (element := is_virtual(case, speaking.profile)) is not None:
        yield Sentence(render(rules.virtual, {}), "context-virtual", (element,))
        return
    links = (participant.location for participant in case.participants)
    found = next((part for link in links if link and (part := place_name(link))), None)
    if found is None and case.locations and (text := plain(case.locations[0].view.name)):
        found = text, (case.locations[0], "name")
    if found is not None:
        yield Sentence(render(rules.place, {"place": found[0]}), "context-place", (found[1],))


def _duration(speaking: Speaking) -> Iterator[Sentence]:
    """From start to end, which win over minutesDuration; days are a window and no duration."""
    view, zone = speaking.case.trigger.view, speaking.profile.source.zone
    if not is_appointment(view):
        return
    start, end = parse(view.start), parse(view.end)
    minutes, path = view.minutes_duration or 0, "minutesDuration"
    if start and end and start.has_time and end.has_time:
        seconds = (end.instant(zone) - start.instant(zone)).total_seconds() + 1
        if 60 <= seconds <= 60 * speaking.profile.context.longest_visit_minutes:
            minutes, path = int(seconds // 60), "end"
    if 0 < minutes <= speaking.profile.context.longest_visit_minutes:
        text = render(speaking.profile.context.duration, {"minutes": str(minutes)})
        yield Sentence(text, "context-duration", ((speaking.case.trigger, path),))


def _unusable(speaking: Speaking) -> Iterator[Sentence]:
    """What is known of who refers, but not in a form its field takes."""
    rules, unusable = speaking.profile.context, speaking.unusable
    if unusable.address:
        text, element = unusable.address
        yield Sentence(render(rules.address, {"address": text}), "context-address", (element,))
    if unusable.phone:
        text, element = unusable.phone
        yield Sentence(render(rules.phone, {"phone": text}), "context-phone", (element,))


PARTS: dict[str, Callable[[Speaking], Iterator[Sentence]]] = {
    "ask_for": _ask_for,
    "language": _language,
    "interpreter": _interpreter,
    "reason": _reason,
    "priority": _priority,
    "description": _description,
    "comment": _comment,
    "instruction": _instruction,
    "place": _place,
    "duration": _duration,
    "unusable": _unusable,
}
"""What may be said, by its name in the section `context`."""
