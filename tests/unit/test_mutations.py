"""The stories of fixtures/ with their FHIR spoilt: nothing raises, and no gate opens unless what closed it is
gone.

Two kinds of change. A *sloppy* one says the same in a form FHIR does not have: a truth value as a text, a
list for an object, a name or code in another case, an element nobody knows. It may fall on anything, the
evidence of a gate too, and the gate must still see it. A *lossy* one takes something away or puts nonsense in
its place; it may fall on anything but the evidence: the element the decision's lineage names with all above
and below it, the whole of a Consent, and what says who is who (ids, types, references, identifiers).

`FHIR_BRIDGE_MUTATIONS=20` tries twenty times as many.
"""

from __future__ import annotations

import copy
import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_bridge.app.rules import VALIDATION
from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.errors import InputError
from fhir_bridge.fhir.documents import read
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision, Reject, Skip
from fhir_bridge.mapping.gates import Blocked
from fhir_bridge.mapping.printed import decision_data
from fhir_bridge.mapping.profile import Profile, SourceFacts
from fhir_bridge.mapping.reasons import reason_of
from fhir_bridge.mapping_run import resolution_rules
from fhir_bridge.profiles.load import load_profile

FIXTURES = Path(__file__).parents[2] / "fixtures"
TIMES = int(os.environ.get("FHIR_BRIDGE_MUTATIONS", "1"))

GATES = frozenset(
    {
        "patient-deceased", "patient-inactive", "patient-test", "restricted-record", "do-not-call",
        "consent-denied",
    }
)  # fmt: skip
"""Reasons that must outlive whatever a sender does to the form of its data."""

WHO_IS_WHO = frozenset(
    {"id", "resourceType", "reference", "fullUrl", "identifier", "link", "type", "display"}
)
"""Elements that say what something is and what it belongs to: without them it is other data."""

Json = Any
Place = tuple[Json, str | int]
"""A container, and the name or index of something in it."""


@dataclass(frozen=True)
class Story:
    """One folder of fixtures/: its resources by file, what it is mapped with, and what must come of it."""

    name: str
    told: dict[str, Any]
    inputs: list[Json]
    context: list[Json]
    reasons: dict[str, str | None]

    @property
    def now(self) -> datetime:
        """The story's clock."""
        return datetime.fromisoformat(self.told["now"])

    @property
    def blocked(self) -> Blocked:
        """The site's do-not-call list."""
        return Blocked(numbers=frozenset(self.told.get("do_not_call", ())))


def contents(folder: Path) -> list[Json]:
    """Every JSON value in a folder's files; a line that is broken on purpose is left out."""
    found: list[Json] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        text = path.read_text(encoding="utf-8")
        for part in text.splitlines() if path.suffix == ".ndjson" else [text]:
            try:
                found.append(json.loads(part))
            except json.JSONDecodeError:
                continue
    return found


@cache
def stories() -> list[Story]:
    """All stories that have anything to change."""
    found = []
    for path in sorted(FIXTURES.glob("*/story.toml")):
        folder = path.parent
        expected = json.loads((folder / "expected" / "decisions.json").read_text(encoding="utf-8"))
        reasons = {each["trigger"]: each["reason"] for each in expected}
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        inputs, context = contents(folder / "input"), contents(folder / "context")
        found.append(Story(folder.name, told, inputs, context, reasons))
    return [story for story in found if story.inputs]


@cache
def gated() -> list[Story]:
    """Those of them in which a gate keeps somebody out, each checked to do so before anything is changed."""
    found = []
    for story in stories():
        decided = {each.subject.trigger: each for each in decisions(story, story.inputs, story.context)}
        if any(getattr(each, "reason", None) in GATES for each in decided.values()):
            found.append(story)
    return found


@cache
def profile_by(told: tuple[tuple[str, str], ...], site: Path | None) -> Profile:
    """The profile of a story's settings, and of the site's own layer where it has one."""
    rules = {key: value for key, value in told if key != VALIDATION}
    facts = SourceFacts(
        jurisdiction=rules.pop("jurisdiction"),
        vendor=rules.pop("vendor", None),
        zone=ZoneInfo(rules.pop("timezone")),
    )
    return load_profile(facts, site, rules)


def decisions(story: Story, inputs: list[Json], context: list[Json]) -> list[Decision]:
    """What is decided about the triggers of some JSON under a story's settings; nothing where none is
    FHIR."""
    site = FIXTURES / story.name / story.told["mappings"] if "mappings" in story.told else None
    profile = profile_by(tuple(story.told["set"].items()), site)
    own, besides = (
        [resource for each in values for resource in resources(each, name)]
        for values, name in ((inputs, "input.json"), (context, "context.json"))
    )
    at_hand = AtHand([*own, *besides], resolution_rules(profile))
    return [
        decide(gather(at_hand, trigger, source="default"), profile, story.now, story.blocked)
        for trigger in triggers(at_hand, own)
    ]


def resources(value: Json, name: str) -> list[Any]:
    """The resources in one JSON value."""
    try:
        return list(read(json.dumps(value).encode(), name).resources)
    except InputError:
        return []


# -- places --


def places(value: Json) -> Iterator[Place]:
    """Everything inside the resources of a document: not the Bundle around them."""
    for resource in inside(value):
        yield from below(resource)


def inside(value: Json) -> Iterator[Json]:
    """The resources of a document, those in Bundles one by one."""
    if isinstance(value, dict) and value.get("resourceType") == "Bundle":
        for entry in value.get("entry", ()):
            yield from inside(entry.get("resource"))
    elif isinstance(value, dict):
        yield value


def below(value: Json) -> Iterator[Place]:
    """Every place in a value, at whatever depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield value, name
        yield from below(inner)


# -- sloppy: the same in another form --


def lower(container: Json, name: str | int) -> None:
    """The element's name, or the code it holds, in small letters."""
    in_case(container, name, str.lower)


def capital(container: Json, name: str | int) -> None:
    """The same with a capital in front, as some languages name their fields."""
    in_case(container, name, lambda text: text[:1].upper() + text[1:])


CODES = frozenset({"status", "code", "use", "decision"})


def in_case(container: Json, name: str | int, case: Any) -> None:
    """A code is written in another case, else the name of its element."""
    if name in CODES and isinstance(container[name], str):
        container[name] = case(container[name])
    elif isinstance(name, str) and name != "resourceType" and case(name) not in container:
        container[case(name)] = container.pop(name)


def as_text(container: Json, name: str | int) -> None:
    """A truth value or number as a text."""
    if isinstance(container[name], bool | int | float):
        container[name] = json.dumps(container[name])


def as_number(container: Json, name: str | int) -> None:
    """A truth value as databases keep them."""
    if isinstance(container[name], bool):
        container[name] = int(container[name])


def in_list(container: Json, name: str | int) -> None:
    """One value as a list of it."""
    if not isinstance(container[name], list) and name != "resourceType":
        container[name] = [container[name]]


def out_of_list(container: Json, name: str | int) -> None:
    """A list of one as the one."""
    if isinstance(container[name], list) and len(container[name]) == 1:
        container[name] = container[name][0]


def twice(container: Json, name: str | int) -> None:
    """Everything in a list a second time."""
    if isinstance(container[name], list):
        container[name] = container[name] + copy.deepcopy(container[name])


def nulls(container: Json, name: str | int) -> None:
    """Nulls around what is in a list or object."""
    if isinstance(container[name], list):
        container[name] = [None, *container[name], None]
    elif isinstance(container[name], dict):
        container[name] = {"zzNothing": None, **container[name], "language": None}


def unknown(container: Json, name: str | int) -> None:
    """An element that no version of FHIR has, in front of all others."""
    if isinstance(container[name], dict):
        container[name] = {"zzUnknown": {"resourceType": "Patient", "x": [1, {}]}, **container[name]}


def reordered(container: Json, name: str | int) -> None:
    """An object's elements in the other order."""
    if isinstance(container[name], dict):
        container[name] = dict(reversed(container[name].items()))


def blanks(container: Json, name: str | int) -> None:
    """Blanks around a text."""
    if isinstance(container[name], str) and name not in WHO_IS_WHO:
        container[name] = f" {container[name]} "


SLOPPY = (
    lower, capital, as_text, as_number, in_list, out_of_list, twice, nulls, unknown, reordered, blanks,
)  # fmt: skip

# -- wrapped: the same data in another envelope --


def contained(document: Json) -> Json:
    """The Patient inside of whatever refers to it."""
    found = {f"{one.get('resourceType')}/{one.get('id')}": one for one in inside(document)}
    for resource in found.values():
        for label, patient in found.items():
            text = json.dumps(resource)
            if label.startswith("Patient/") and f'"{label}"' in text and resource is not patient:
                fragment = f"#{patient.get('id')}"
                inner = json.loads(text.replace(f'"{label}"', f'"{fragment}"'))
                resource.clear()
                resource.update(inner | {"contained": [*inner.get("contained", []), patient]})
    return document


WRAPPED = (
    lambda document: document,
    lambda document: [document],
    lambda document: {"resource": document},
    lambda document: {"hook": "order-sign", "context": {"draftOrders": document}},
    lambda document: {"resourceType": "Bundle", "entry": [{"resource": document}]},
    lambda document: {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": document}]},
    contained,
)

# -- lossy: something is gone --

GONE: Any = object()
NONSENSE: tuple[Any, ...] = (
    GONE, None, "", "zz", 7, -1.5, True, False, [], {}, [None], [[]], {"zz": 1}, "9" * 30, "XXXX",
    "0000-00-00",
)  # fmt: skip


def swept(value: Json) -> Json:
    """The value without what was marked as gone."""
    if isinstance(value, dict):
        return {name: swept(inner) for name, inner in value.items() if inner is not GONE}
    if isinstance(value, list):
        return [swept(inner) for inner in value if inner is not GONE]
    return value


def evidence(story: Story) -> set[tuple[str, str]]:
    """The resource and the first element of each path by which the story's gates decided."""
    found = set()
    for decision in decisions(story, story.inputs, story.context):
        if getattr(decision, "reason", None) in GATES:
            for entry in decision.lineage:
                for source in entry.sources if entry.field == "decision" else ():
                    element = source.path.split(".")[1] if "." in source.path else ""
                    found.add((source.resource.partition("/_history")[0], element.partition("[")[0]))
    return found


def unprotected(story: Story, documents: list[Json]) -> list[Place]:
    """The places that are no part of a gate's evidence."""
    known = evidence(story)
    free: list[Place] = []
    for resource in (each for document in documents for each in inside(document)):
        if resource["resourceType"] == "Consent":
            continue
        label = f"{resource['resourceType']}/{resource.get('id')}"
        held = {element.partition("(")[0].lower() for holder, element in known if holder == label}
        for name in resource:
            if name.lower() not in held and name not in WHO_IS_WHO:
                free.append((resource, name))
                free += [place for place in below(resource[name]) if place[1] not in WHO_IS_WHO]
    return free


# -- the tests --

SETTINGS = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

SOMEWHERE = st.integers(0, 1_000_000)
FORMS = st.lists(st.tuples(SOMEWHERE, st.sampled_from(SLOPPY)), max_size=4)
LOSSES = st.lists(st.tuples(SOMEWHERE, st.sampled_from(NONSENSE)), min_size=1, max_size=4)
ENVELOPES = st.sampled_from(WRAPPED)


def spoilt(documents: list[Json], forms: list[tuple[int, Any]]) -> None:
    """Changes the form of things here and there."""
    for number, form in forms:
        where = [place for document in documents for place in places(document)]
        if where:
            form(*where[number % len(where)])


def without(free: list[Place], losses: list[tuple[int, Any]]) -> None:
    """Puts nonsense, or the mark of what is gone, in some places."""
    for number, nonsense in losses:
        if free:
            container, name = free[number % len(free)]
            container[name] = copy.copy(nonsense) if nonsense is not GONE else GONE


def decided(story: Story, documents: list[Json], envelope: Any) -> list[Decision]:
    """The decisions about spoilt documents, inputs first, each checked to be whole."""
    inputs = [envelope(document) for document in documents[: len(story.inputs)]]
    found = decisions(story, inputs, documents[len(story.inputs) :])
    for decision in found:
        assert isinstance(decision, Call | Skip | Reject)
        assert isinstance(decision, Call) or reason_of(decision.reason) is not None
        json.dumps(decision_data(decision))
    return found


def check_gates(story: Story, found: list[Decision]) -> None:
    """Nobody is called whom a gate of the story kept out, and no number of the site's list."""
    kept_out = {trigger for trigger, reason in story.reasons.items() if reason in GATES - {"do-not-call"}}
    for decision in found:
        if isinstance(decision, Call):
            assert decision.subject.trigger not in kept_out
            assert decision.task.phone_number not in story.blocked.numbers


def test_every_gate_has_a_story_to_spoil() -> None:
    """Or the tests below would prove less than they say."""
    reasons = {reason for story in gated() for reason in story.reasons.values()}
    assert reasons >= GATES


@settings(SETTINGS, max_examples=250 * TIMES)
@given(number=SOMEWHERE, forms=FORMS, losses=LOSSES, envelope=ENVELOPES)
def test_spoilt_data_is_decided_and_never_raises(number: int, forms: Any, losses: Any, envelope: Any) -> None:
    """Whatever a sender does to any story, each trigger that is left gets a decision (section 1)."""
    story = stories()[number % len(stories())]
    documents = copy.deepcopy([*story.inputs, *story.context])
    without([place for document in documents for place in places(document)], losses)
    documents = swept(documents)
    spoilt(documents, forms)
    decided(story, documents, envelope)


@settings(SETTINGS, max_examples=350 * TIMES)
@given(number=SOMEWHERE, forms=FORMS, envelope=ENVELOPES)
def test_a_gate_stays_shut_in_whatever_form_it_is_told(number: int, forms: Any, envelope: Any) -> None:
    """A typing error in the evidence is no reason to phone (section 16)."""
    story = gated()[number % len(gated())]
    documents = copy.deepcopy([*story.inputs, *story.context])
    spoilt(documents, forms)
    check_gates(story, decided(story, documents, envelope))


@settings(SETTINGS, max_examples=350 * TIMES)
@given(number=SOMEWHERE, losses=LOSSES, envelope=ENVELOPES)
def test_a_gate_stays_shut_whatever_else_is_lost(number: int, losses: Any, envelope: Any) -> None:
    """Only the evidence itself can open it again."""
    story = gated()[number % len(gated())]
    documents = copy.deepcopy([*story.inputs, *story.context])
    without(unprotected(story, documents), losses)
    check_gates(story, decided(story, swept(documents), envelope))
