"""Reference texts taken apart (https://hl7.org/fhir/R4/references.html#literal); mapping, section 15."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from fhir_bridge.fhir.resource_types import type_told

_LITERAL = re.compile(
    r"(?:(?P<base>https?://.+)/|/)?(?P<type>[A-Za-z]+)/(?P<id>[^/?#|]+|\$?\{.*\}|<.*>)"
    r"(?:/_history/(?P<version>[^/|]+))?(?:\|.*)?"
)
_ODD = re.compile(
    r"(?:(?P<base>https?://.+)/|/)?(?P<type>[^:/?#|]*[^\W\d_][^:/?#|]*)/(?P<id>[^/?#|]+)"
    r"(?:/_history/(?P<version>[^/|]+))?"
)
"""The same with a type in whatever letters, and blanks about it."""

_SEARCH = re.compile(r"(?:https?://.+/)?(?P<type>[A-Za-z]+)\?identifier=(?P<system>[^|&]*)\|(?P<value>[^&]+)")


@dataclass(frozen=True, slots=True)
class Target:
    """What a reference text points at. Only what the text says is set:

    a `fragment` (empty for the container itself) · a `url` to match against fullUrls (absolute URLs and URNs)
    · `type` and `id`, with `base` for absolute and `version` for versioned ones · an `id` alone · `system`
    and `value` of a conditional reference (`Type?identifier=system|value`).

    `doubtful`: the type that it says is none of FHIR's. Then `type` is the one that was probably meant, None
    where it is like none.
    """

    fragment: str | None = None
    url: str | None = None
    base: str | None = None
    type: str | None = None
    id: str | None = None
    version: str | None = None
    system: str | None = None
    value: str | None = None
    doubtful: bool = False

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
        kind, doubtful = type_told(search["type"])
        system, value = unquote(search["system"]), unquote(search["value"])
        return Target(type=kind, system=system, value=value, doubtful=doubtful)
    mended = _mended(text)
    literal = _LITERAL.fullmatch(text) or _LITERAL.fullmatch(mended) or _ODD.fullmatch(mended)
    if literal is not None:
        return _literal(literal)
    return Target(id=text) if re.fullmatch(r"[A-Za-z0-9\-._]{1,64}", text) else None


def _mended(text: str) -> str:
    """The text without what goes wrong where paths are put together: slashes the wrong way, twice or at the
    end, `./` in front, a query or fragment behind, characters by their numbers, in full width or unseen."""
    if not text.isascii():
        letters = unicodedata.normalize("NFKC", text)
        text = "".join(each for each in letters if unicodedata.category(each) != "Cf")
    scheme, colon, path = text.rpartition("://")
    path = re.split(r"[?#]", unquote(path).replace("\\", "/"))[0]
    path = re.sub(r"/{2,}", "/", path).removeprefix("./").rstrip("/ ")
    return f"{scheme}{colon}{path}"


def _literal(match: re.Match[str]) -> Target:
    """`Type/id`, relative or absolute, with or without a version. The url leaves the version out, as
    fullUrls do."""
    base, id_, (kind, doubtful) = match["base"], match["id"].strip(), type_told(match["type"])
    url = f"{base}/{match['type']}/{id_}" if base else None
    return Target(url=url, base=base, type=kind, id=id_, version=match["version"], doubtful=doubtful)


def type_named(name: str | None) -> str | None:
    """The resource type a name or URL (`http://hl7.org/fhir/StructureDefinition/Patient`) speaks of, spelt as
    FHIR does; None where it is like none of FHIR's."""
    return _told(name)[0]


def is_doubtful(text: str | None, type_: str | None) -> bool:
    """Whether the type that a reference says, in its text or else beside it, is none of FHIR's: whom or what
    it means is not certain."""
    target = parse(text)
    if target is not None and (target.type or target.doubtful):
        return target.doubtful
    return _told(type_)[1]


def _told(name: str | None) -> tuple[str | None, bool]:
    last = (name or "").rsplit("/", 1)[-1].strip()
    return type_told(last) if last else (None, False)


def base_of(full_url: str | None, resource_type: str, id_: str | None) -> str | None:
    """The server base of an absolute fullUrl that ends in the resource's own Type/id; else None."""
    tail = f"/{resource_type}/{id_}"
    if full_url is None or id_ is None or not full_url.startswith("http") or not full_url.endswith(tail):
        return None
    return full_url[: -len(tail)]
