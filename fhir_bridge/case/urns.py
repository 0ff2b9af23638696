"""What a message's URNs stand for, by names that last: the same message sent again has new ones (mapping,
section 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fhir_bridge.case.identity import stable_name
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View

_URN = re.compile(rb'"(urn:[^"\s]+)"', re.IGNORECASE)


Message = tuple[str, int | None]
Named = Mapping[tuple[str, Message | None], Sequence[Resource[View]]]
"""Resources by the URN, in small letters, that their message calls them, with that message and without."""


def named_by_urns(resources: Iterable[Resource[View]]) -> Named:
    """Those that their messages call by a URN."""
    named: dict[tuple[str, Message | None], list[Resource[View]]] = {}
    for one in resources:
        if (url := one.full_url) and url[:4].lower() == "urn:":
            for key in ((url.lower(), _message(one)), (url.lower(), None)):
                named.setdefault(key, []).append(one)
    return named


def _message(resource: Resource[View]) -> Message:
    return resource.origin.file, resource.origin.line


def with_lasting_texts(
    resources: Iterable[Resource[View]], elsewhere: Named | None = None
) -> Iterable[Resource[View]]:
    """The resources; where one is known by its contents and these hold URNs of others, with the contents in
    which the others' names stand for them. A URN that leads nowhere here, nor to what is `elsewhere`, such as
    an identifier's system, stays; one that stands for several things too.
    """
    everyone = list(resources)
    places = [named for named in (named_by_urns(everyone), elsewhere) if named]
    return (_lasting(one, places) for one in everyone) if places else everyone


def _lasting(resource: Resource[View], places: Sequence[Named]) -> Resource[View]:
    if not resource.view.id and (b'"urn:' in resource.raw or b'"URN:' in resource.raw):
        return msgspec.structs.replace(resource, lasting=_named_by(resource, places))
    return resource


def _named_by(resource: Resource[View], places: Sequence[Named]) -> bytes:
    def name(found: re.Match[bytes]) -> bytes:
        urn = found[1].decode(errors="replace").lower()
        for message in (_message(resource), None):  # a URN counts within its own message
            names = {_name(one) for named in places for one in named.get((urn, message), ())}
            if names:
                return b'"%s"' % names.pop().encode() if len(names) == 1 else found[0]
        return found[0]

    return _URN.sub(name, resource.raw)


def _name(resource: Resource[View]) -> str:
    """Its stable name; where that hangs on its contents, without the URNs in them, which may lead back."""
    return stable_name(msgspec.structs.replace(resource, lasting=_URN.sub(b'"urn:"', resource.raw)))
