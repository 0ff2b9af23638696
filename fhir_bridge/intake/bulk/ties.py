"""Who belongs together: the group of each resource, and what ties it to others.

Two resources that a decision may look at together must meet in one partition. Nearly all are told by the
patient they name, whose key is their group; what else they name ties their group to others. Two names with
one key tie strangers, which costs a little memory and changes no decision.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stringzilla import count, find

from fhir_bridge.fhir import references
from fhir_bridge.fhir.datatypes import Identifier
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.resource_types import RESOURCE_TYPES
from fhir_bridge.fhir.views import View
from fhir_bridge.intake.bulk.glance import DIRECTORY, Kind, SeenOfOurs
from fhir_bridge.intake.bulk.named import Named
from fhir_bridge.intake.bulk.names import (
    KINDS,
    PATIENT,
    SLOT,
    TRIGGER,
    Message,
    System,
    has_id,
    key_of,
    own_name,
)
from fhir_bridge.intake.bulk.spill import Stream, Writer

_SHARED = tuple(
    b'"reference":"%b/' % name
    for name in b"Practitioner Organization Location PractitionerRole HealthcareService Schedule".split()
)
"""How a reference to what every partition has at hand begins, the most frequent first."""

_NAMED, _OF_PATIENT = b'"reference"', b'"reference":"Patient/'
_TEXTS = re.compile(
    rb'"reference"\s*:\s*"(?!(?:%b)/[A-Za-z0-9\-.]+")([^"]*)"' % "|".join(sorted(DIRECTORY)).encode()
).findall
"""What references say, but those to what every partition has at hand."""

_ID = re.compile(rb"[A-Za-z0-9\-._]+").fullmatch
_LITERAL = re.compile(
    rb"(?:https?://[A-Za-z0-9\-._:/]+/)?([A-Z][A-Za-z]+/[A-Za-z0-9\-._]+)(?:/_history/[A-Za-z0-9\-.]+)?"
).fullmatch
"""A reference of a usual form: on whichever server, whichever version, it names the same."""

_TYPES = frozenset(name.encode() for name in RESOURCE_TYPES)
"""Any other is misspelt, or in another case: its view tells whom it means."""

_NUMBER, _NUMBERS = b'"identifier"', b'"identifier":['
_LOGICAL = re.compile(rb'"identifier"\s*:\s*\{')
"""An identifier that is no list: a reference's, for the resources that have views have lists of them."""

_URN = re.compile(rb'"urn:[^"\s]+"', re.IGNORECASE)
_BARE_TYPES = frozenset({b"Patient", b"Appointment", b"ServiceRequest", b"Encounter"})
_BARE = tuple(b'"%b/' % name for name in sorted(_BARE_TYPES))
"""How a text begins that stands where a Reference should."""


def _is_broken(raw: bytes) -> bool:
    """Whether a line that is JSON is not UTF-8: nobody may look at it again."""
    try:
        return not (raw.isascii() or raw.decode())
    except UnicodeError:
        return True


def _has_odd_names(raw: bytes) -> bool:
    return bool(find(raw, b'"Reference"') >= 0 or find(raw, b'"REFERENCE"') >= 0)


def _patient_alone(raw: bytes) -> bytes | None:
    """The patient, where nobody is named but that one and, maybe, what every partition has at hand: so it is
    in most resources. Counting takes half of the time that it takes to look at each reference."""
    others = count(raw, _NAMED)
    for shared in _SHARED:
        if others <= 1:
            break
        others -= count(raw, shared)
    at = find(raw, _OF_PATIENT) if others == 1 else -1
    if at < 0:
        return None
    at += len(_OF_PATIENT)
    id_ = raw[at : raw.find(b'"', at)]
    return b"Patient/" + id_ if id_.isalnum() or _ID(id_) else None


def _texts(raw: bytes) -> Sequence[bytes]:
    """What its references say. The first is found by vector instructions, for a pattern takes ten times as
    long to pass over the narrative, which stands in front."""
    at = find(raw, _NAMED)
    return _TEXTS(raw, at) if at >= 0 else ()


def _named(texts: Sequence[bytes], group: int) -> tuple[int, Sequence[tuple[int, bytes]], int, int] | None:
    """Of what a resource names: its group, the others, how many texts begin with `Patient/`, how many with a
    type that bare texts are looked for; None where that cannot be told."""
    named: list[tuple[int, bytes]] = []
    patients = told = 0
    for text in texts:
        kind, _, id_ = text.partition(b"/")
        what = KINDS.get(kind)
        if what is not None and (id_.isalnum() or _ID(id_)):
            told += kind in _BARE_TYPES
            patients += what == PATIENT
        elif text[:1] == b"#":
            continue
        elif (literal := _LITERAL(text)) is not None:
            text = literal[1]
            kind = text.partition(b"/")[0]
            what = KINDS.get(kind)
            if what is None and kind not in _TYPES:
                return None
        else:
            return None
        if what == PATIENT and not group:
            group = key_of(text)
        elif what is not None:
            named.append((what, text))
    return (group, named, patients, told) if group else None


class Ties:
    """Finds the group of each resource and writes down what ties it to others.

    `system` gives an identifier's system under the one name that counts.
    """

    def __init__(self, writer: Writer, system: System) -> None:
        self._writer = writer
        self._system = system
        self._names = writer.pairs[Stream.NAMES]
        self._count = len(self._names)

    def plain(self, raw: bytes, seen: SeenOfOurs, kind: Kind) -> int | None:
        """The group of a resource that stands by itself, told by its bytes alone and what was seen of them.

        None where they do not tell: then its view must be read. Long, for it is run for every resource.
        """
        id_ = seen.plain_id
        if id_ is None or seen.contained or (_is_broken(raw) if kind.is_event else _has_odd_names(raw)):
            return None
        own = key_of(kind.prefix + id_)
        patients = told = 1
        named: Sequence[tuple[int, bytes]] = ()
        if not kind.is_patient and (text := _patient_alone(raw)) is not None:
            group = key_of(text)
        else:
            found = _named(_texts(raw), own if kind.is_patient else 0)
            if found is None:
                return None
            group, named, patients, told = found
        if kind.is_trigger:
            if sum([count(raw, bare) for bare in _BARE]) > told:
                return None
        elif not kind.is_event and count(raw, b'"Patient/') > patients:
            return None
        if find(raw, _NUMBER) >= 0 and not self._carried(raw, seen, kind, group):
            return None
        self._names[own % self._count].extend((own, group))
        for what, text in named:
            self._tie(what, key_of(text), group)
        return group

    def _carried(self, raw: bytes, seen: SeenOfOurs, kind: Kind, group: int) -> bool:
        """Writes down the identifiers of a resource; False where only its view can tell."""
        if count(raw, _NUMBERS) != count(raw, _NUMBER) and _LOGICAL.search(raw) is not None:
            return False
        for one in seen.identifier:
            if one.system and one.value:
                key = self._identifier(one)
                self._writer.pair(Stream.CARRIED, key, group)
                if kind.is_trigger:
                    # Whether a number is one order's alone decides whether it names its chain.
                    self._writer.pair(Stream.ASKED, key, group)
        return True

    def _identifier(self, one: Identifier) -> int:
        return key_of(f"identifier|{self._system(one.system) or ''}|{one.value}".encode())

    def _tie(self, what: int, key: int, group: int) -> None:
        if what == PATIENT:
            if key != group:
                self._writer.pair(Stream.UNIONS, group, key)
        elif what == SLOT:
            self._writer.pair(Stream.SLOT_WANTS, key, group)
        else:
            # Appointments that name one order meet even where nobody has it: they are one chain.
            self._writer.pair(Stream.NAMES if what == TRIGGER else Stream.WANTS, key, group)

    def of(self, resource: Resource[View], message: Message) -> int:
        """The group of any resource, by its view; `message` is its own Bundle."""
        found = Named(self._identifier, message)
        found.read(resource)
        name = own_name(resource)
        own = key_of(name.encode())
        is_patient = resource.view.resource_type == "Patient"
        group = own if is_patient else found.group() or own
        self._writer.pair(Stream.NAMES, own, group)
        self._write(found, group)
        self._also_called(resource, name, group)
        return group

    def _write(self, found: Named, group: int) -> None:
        for what, name in found.named:
            self._tie(what, key_of(name), group)
        for key in found.carried:
            self._writer.pair(Stream.CARRIED, key, group)
        for key in found.asked:
            self._writer.pair(Stream.ASKED, key, group)
        for key in found.bare:
            self._writer.pair(Stream.BARE, key, group)
        for key in found.copies:
            self._writer.pair(Stream.WANTS, key, group)

    def _also_called(self, resource: Resource[View], name: str, group: int) -> None:
        """The other names of a resource: what its fullUrl says, and without an id its contents."""
        url = resource.full_url
        if url is not None and url[:4].lower() == "urn:":
            self._writer.pair(Stream.CARRIED, key_of(url.lower().encode()), group)
        elif url is not None:
            target = references.parse(url)
            if target is not None and target.label not in (None, name):
                key = key_of(str(target.label).encode())
                self._writer.pair(Stream.NAMES, key, group)
                self._writer.pair(Stream.UNIONS, group, key)
        if not has_id(resource.view):
            self._writer.pair(Stream.NAMES, key_of(b"~" + _URN.sub(b"", resource.raw)), group)
