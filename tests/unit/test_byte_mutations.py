"""The stories of fixtures/ with their bytes spoilt: nothing raises, and no gate opens unless what closed it
is gone.

Two kinds of change. A *spelling* leaves every value as it is and writes a name in another way that a person
would still read: in another case, with blanks or signs, with accents or look-alikes, by the numbers of its
letters, or a second time with a value that says the contrary; and of five letters and more, with one letter
wrong, too many, missing or exchanged. It may fall on any name, and the gate must still see it. Only what says
who is who, and the entries and resources of an envelope, do not stand twice: such a part is unreadable, and
told as that. An *accident* falls on any bytes: inserted, deleted, exchanged, cut off. It may open a gate only
where it changed a name or value of the gate's evidence (see test_mutations), or what says who is who.

`FHIR_BRIDGE_MUTATIONS=20` tries twenty times as many.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_bridge.case.at_hand import AtHand
from fhir_bridge.case.gather import gather, triggers
from fhir_bridge.errors import InputError
from fhir_bridge.fhir.documents import read
from fhir_bridge.mapping.decide import decide
from fhir_bridge.mapping.decision import Call, Decision
from fhir_bridge.mapping_run import resolution_rules
from tests.unit import test_mutations as mutations
from tests.unit.test_mutations import FIXTURES, SETTINGS, SOMEWHERE, TIMES, WHO_IS_WHO, Story

NAME = re.compile(rb'(?<!\\)"((?:[^"\\]|\\.)*)"\s*:')
LONG = 5
"""Letters of a name in which one may be wrong."""


def documents(story: Story) -> list[bytes]:
    """The inputs and context of a story, as bytes."""
    return [json.dumps(each).encode() for each in (*story.inputs, *story.context)]


def decided(story: Story, spoilt: list[bytes]) -> list[Decision]:
    """What is decided about some bytes under a story's settings; nothing where none is FHIR."""
    site = FIXTURES / story.name / story.told["mappings"] if "mappings" in story.told else None
    profile = mutations.profile_by(tuple(story.told["set"].items()), site)
    found = []
    for number, each in enumerate(spoilt):
        try:
            found.append(list(read(each, f"{number}.json").resources))
        except InputError:
            found.append([])
    own = [one for some in found[: len(story.inputs)] for one in some]
    at_hand = AtHand([one for some in found for one in some], resolution_rules(profile))
    return [
        decide(gather(at_hand, trigger, source="default"), profile, story.now, story.blocked)
        for trigger in triggers(at_hand, own)
    ]


# -- spellings --


def split(name: str) -> str:
    """deceasedBoolean → deceased_boolean"""
    return re.sub("([A-Z])", lambda each: f"_{each[1].lower()}", name)


SAME = (
    str.upper,
    str.lower,
    lambda name: name[:1].upper() + name[1:],
    split,
    lambda name: split(name).replace("_", "-"),
    lambda name: f" {name}",
    lambda name: f"{name}\\t",
    lambda name: f"{name[:2]}\u200b{name[2:]}",
    lambda name: "".join(chr(ord(each) + 0xFEE0) for each in name),
    lambda name: name[:1].replace("a", "\u0430").replace("s", "\u0455") + name[1:],
    lambda name: name.replace("a", "\u00e4").replace("o", "\u00f6"),
    lambda name: "".join(f"\\u{ord(each):04x}" for each in name),
)
"""One name in other letters."""

SLIPS = (
    lambda name, at: name[:at] + name[at + 1 :],
    lambda name, at: name[:at] + "x" + name[at:],
    lambda name, at: name[:at] + "x" + name[at + 1 :],
    lambda name, at: name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :],
)
"""One name with a slip at a letter."""

ONCE = WHO_IS_WHO | {"entry", "resource"}

CONTRARY = ("null", "false", "true", '""', "[]", "{}", '"x"', "0", '["x"]', '[{"x": 1}]')
"""Values that would open a gate if the last of two counted."""


def respelt(text: bytes, number: int, way: Any) -> bytes:
    """The text with one of its names spelt in another way."""
    names = list(NAME.finditer(text))
    found = names[number % len(names)]
    name = found[1].decode()
    if not name.isascii() or not name.isalnum():
        return text
    kind, argument = way
    if kind == "same":
        new = argument(name)
    elif kind == "slip" and len(name) >= LONG:
        new = argument[0](name, argument[1] % len(name))
    elif kind == "twice" and name not in ONCE:
        return text[: found.start()] + f'"{name}": {argument}, '.encode() + text[found.start() :]
    elif kind == "again" and name not in ONCE:
        return with_second(text, found, name, argument)
    else:
        return text
    return text[: found.start(1)] + new.encode() + text[found.end(1) :]


def with_second(text: bytes, found: re.Match[bytes], name: str, value: str) -> bytes:
    """The text with a name a second time behind the first one's value."""
    rest = text[found.end() :].decode()
    _, end = json.JSONDecoder().raw_decode(rest.lstrip())
    end += len(rest) - len(rest.lstrip())
    return b"%b%b, %b%b" % (
        text[: found.end()], rest[:end].encode(), f'"{name}": {value}'.encode(), rest[end:].encode()
    )  # fmt: skip


WAYS = st.one_of(
    st.tuples(st.just("same"), st.sampled_from(SAME)),
    st.tuples(st.just("slip"), st.tuples(st.sampled_from(SLIPS), SOMEWHERE)),
    st.tuples(st.just("twice"), st.sampled_from(CONTRARY)),
    st.tuples(st.just("again"), st.sampled_from(CONTRARY)),
)


@settings(SETTINGS, max_examples=150 * TIMES)
@given(number=SOMEWHERE, document=SOMEWHERE, name=SOMEWHERE, way=WAYS)
def test_a_gate_stays_shut_however_a_name_is_spelt(number: int, document: int, name: int, way: Any) -> None:
    """One name at a time, anywhere in the story."""
    story = mutations.gated()[number % len(mutations.gated())]
    spoilt = documents(story)
    at = document % len(spoilt)
    spoilt[at] = respelt(spoilt[at], name, way)
    mutations.check_gates(story, decided(story, spoilt))


# -- accidents --

BYTES = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from(
        [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"\xff", b"null", b"\xef\xbb\xbf"]
    ),
)
ACCIDENTS = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "swap", "cut", "case"]), SOMEWHERE, SOMEWHERE, BYTES),
    min_size=1,
    max_size=3,
)


def befallen(text: bytes, accidents: list[tuple[str, int, int, bytes]]) -> bytes:
    """The text after some accidents."""
    for kind, first, second, new in accidents:
        if not text:
            return text
        here, there = sorted((first % len(text), second % len(text)))
        near = min(there, here + 8)
        match kind:
            case "insert":
                text = text[:here] + new + text[here:]
            case "delete":
                text = text[:here] + text[near + 1 :]
            case "swap":
                text = b"".join((text[:here], text[here:near][::-1], text[near:]))
            case "cut":
                text = text[:there]
            case _:
                text = text[:here] + text[here:near].swapcase() + text[near:]
    return text


def facts(text: bytes, story: Story) -> Counter[str] | None:
    """What a document says of the gates' evidence and of who is who, path by path; None for no JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    known = mutations.evidence(story)
    told: Counter[str] = Counter()
    for resource in mutations.inside(value):
        if not isinstance(resource, dict):
            continue
        label = f"{resource.get('resourceType')}/{resource.get('id')}"
        held = {element.partition("(")[0].lower() for holder, element in known if holder == label}
        for path, leaf in leaves(resource, ()):
            is_all = resource.get("resourceType") == "Consent" or path[0].lower() in held
            if is_all or WHO_IS_WHO & set(path):
                told[f"{label} {path} {leaf!r}"] += 1
    return told


def leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every plain value with the way to it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, str(number)))
    else:
        yield path, value


@settings(SETTINGS, max_examples=150 * TIMES)
@given(number=SOMEWHERE, document=SOMEWHERE, accidents=ACCIDENTS)
def test_an_accident_opens_a_gate_only_where_it_takes_its_evidence(
    number: int, document: int, accidents: Any
) -> None:
    """And never raises anything else than an error that names the place."""
    story = mutations.gated()[number % len(mutations.gated())]
    spoilt = documents(story)
    at = document % len(spoilt)
    before = facts(spoilt[at], story)
    spoilt[at] = befallen(spoilt[at], accidents)
    found = decided(story, spoilt)
    if facts(spoilt[at], story) == before:
        mutations.check_gates(story, found)
    assert all(decision.subject.trigger for decision in found if isinstance(decision, Call))
