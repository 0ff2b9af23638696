"""Names that stay the same from message to message and show nothing of what they stand for."""

from __future__ import annotations

import re
from hashlib import sha256

from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.views import View


def digest(*parts: str) -> str:
    """Sixteen hexadecimal digits that stand for the parts."""
    return sha256("|".join(parts).encode()).hexdigest()[:16]


_UNFILLED = re.compile(r"[${}<>]|^\s*$")


def names_something(id_: str | None) -> bool:
    """Whether an id is one: a template that nobody filled (`${id}`, `<id>`) is the same for everybody."""
    # Nearly every id is letters, digits and hyphens: that is seen faster than a pattern is searched.
    return id_ is not None and (id_.replace("-", "").isalnum() or _UNFILLED.search(id_) is None)


def stable_name(resource: Resource[View]) -> str:
    """`Type/id`, within a container `Type/id#fragment`; for a resource without an id its fullUrl on a server,
    else its first identifier, else its contents.

    A URN or a place in a file names a resource only within one message: the next one may use it for another.
    """
    view = resource.view
    if resource.container is not None:
        return f"{stable_name(resource.container)}#{view.id or digest(_text(resource))}"
    if names_something(view.id):
        return f"{view.resource_type}/{view.id}"
    if resource.full_url is not None and resource.full_url.startswith("http"):
        return resource.full_url
    named = next((one for one in view.identifiers if one.system and one.value), None)
    if named is not None:
        return f"{view.resource_type}/identifier:{digest(named.system or '', named.value or '')}"
    return f"{view.resource_type}~{digest(_text(resource))}"


def _text(resource: Resource[View]) -> str:
    return (resource.lasting or resource.raw).decode(errors="replace")
