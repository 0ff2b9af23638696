"""What a message's URNs stand for, by names that last: the same message sent again has new ones (mapping,
section 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from fhir_bridge.case.identity import stable_name
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View

_URN = re.compile(rb'"(urn:[^"\s]+)"', re.IGNORECASE)


Named = Mapping[str, Resource[View]]
"""Resources by the URNs, in small letters, that their messages call them."""


def named_by_urns(resources: Iterable[Resource[View]]) -> dict[str, Resource[View]]:
    """Those that their messages call by a URN; of several under one the last."""
    return {url.lower(): one for one in resources if (url := one.full_url) and url[:4].lower() == "urn:"}


def with_lasting_texts(
    resources: Iterable[Resource[View]], elsewhere: Named | None = None
) -> Iterator[Resource[View]]:
    """The resources; where one is known by its contents and these hold URNs of others, with the contents in
    which the others' names stand for them. A URN that leads nowhere here, nor to what is `elsewhere`, such as
    an identifier's system, stays.
    """
    everyone = list(resources)
    named = {**(elsewhere or {}), **named_by_urns(everyone)}
    for resource in everyone:
        if named and not resource.view.id and (b'"urn:' in resource.raw or b'"URN:' in resource.raw):
            yield msgspec.structs.replace(resource, lasting=_named_by(resource.raw, named))
        else:
            yield resource


def _named_by(raw: bytes, named: dict[str, Resource[View]]) -> bytes:
    def name(found: re.Match[bytes]) -> bytes:
        other = named.get(found[1].decode(errors="replace").lower())
        return found[0] if other is None else b'"%s"' % _name(other).encode()

    return _URN.sub(name, raw)


def _name(resource: Resource[View]) -> str:
    """Its stable name; where that hangs on its contents, without the URNs in them, which may lead back."""
    return stable_name(msgspec.structs.replace(resource, lasting=_URN.sub(b'"urn:"', resource.raw)))
