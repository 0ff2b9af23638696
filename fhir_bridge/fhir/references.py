"""Reference texts taken apart (https://hl7.org/fhir/R4/references.html#literal); mapping, section 15."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from fhir_bridge.fhir.views import VIEWS

_TYPES = {name.lower(): name for name in VIEWS}

_LITERAL = re.compile(
    r"(?:(?P<base>https?://.+)/|/)?(?P<type>[A-Za-z]+)/(?P<id>[^/?#|]+|\$?\{.*\}|<.*>)"
    r"(?:/_history/(?P<version>[^/|]+))?(?:\|.*)?"
)
_SEARCH = re.compile(r"(?:https?://.+/)?(?P<type>[A-Za-z]+)\?identifier=(?P<system>[^|&]*)\|(?P<value>[^&]+)")


@dataclass(frozen=True, slots=True)
class Target:
    """What a reference text points at. Only what the text says is set:

    a `fragment` (empty for the container itself) · a `url` to match against fullUrls (absolute URLs and URNs)
    · `type` and `id`, with `base` for absolute and `version` for versioned ones · an `id` alone · `system`
    and `value` of a conditional reference (`Type?identifier=system|value`).
    """

    fragment: str | None = None
    url: str | None = None
    base: str | None = None
    type: str | None = None
    id: str | None = None
    version: str | None = None
    system: str | None = None
    value: str | None = None

    @property
    def label(self) -> str | None:
        """`Type/id`, or None where the text does not hold both."""
        return f"{self.type}/{self.id}" if self.type and self.id else None


@lru_cache(maxsize=8_192)
def parse(text: str | None) -> Target | None:
    """Take a reference text apart; None where it is blank or has no shape of a reference."""
    text = (text or "").strip()
    if not text:
        return None
    if text[0] == "#":
        return Target(fragment=text[1:])
    if text[:4].lower() == "urn:":
        return Target(url=text)
    search = _SEARCH.fullmatch(text)
    if search is not None:
        return Target(
            type=type_named(search["type"]), system=unquote(search["system"]), value=unquote(search["value"])
        )
    literal = _LITERAL.fullmatch(text) or _LITERAL.fullmatch(_mended(text))
    if literal is not None:
        return _literal(literal)
    return Target(id=text) if re.fullmatch(r"[A-Za-z0-9\-._]{1,64}", text) else None


def _mended(text: str) -> str:
    """The text without what goes wrong where paths are put together: slashes the wrong way, twice or at the
    end, `./` in front, a query or fragment behind, characters by their numbers."""
    scheme, colon, path = text.rpartition("://")
    path = re.split(r"[?#]", unquote(path).replace("\\", "/"))[0]
    path = re.sub(r"/{2,}", "/", path).removeprefix("./").rstrip("/ ")
    return f"{scheme}{colon}{path}"


def _literal(match: re.Match[str]) -> Target:
    """`Type/id`, relative or absolute, with or without a version. The url leaves the version out, as
    fullUrls do."""
    base, kind, id_ = match["base"], type_named(match["type"]), match["id"]
    url = f"{base}/{match['type']}/{id_}" if base else None
    return Target(url=url, base=base, type=kind, id=id_, version=match["version"])


def type_named(name: str | None) -> str | None:
    """The resource type a name or URL (`http://hl7.org/fhir/StructureDefinition/Patient`) speaks of, in
    FHIR's case where the bridge knows the type."""
    if not name:
        return None
    last = name.rsplit("/", 1)[-1].strip()
    return _TYPES.get(last.lower(), last)


def base_of(full_url: str | None, resource_type: str, id_: str | None) -> str | None:
    """The server base of an absolute fullUrl that ends in the resource's own Type/id; else None."""
    tail = f"/{resource_type}/{id_}"
    if full_url is None or id_ is None or not full_url.startswith("http") or not full_url.endswith(tail):
        return None
    return full_url[: -len(tail)]
