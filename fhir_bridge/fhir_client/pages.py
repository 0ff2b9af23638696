"""One page of a search: how many entries it has, and where the next one is (https://hl7.org/fhir/R4/http.html#paging)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class _Link(msgspec.Struct):
    relation: str | None = None
    url: str | None = None


class _Search(msgspec.Struct):
    mode: str | None = None


class _Entry(msgspec.Struct):
    search: _Search | None = None


class _Page(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    link: list[_Link] = []
    entry: list[_Entry] = []


_decode = msgspec.json.Decoder(_Page).decode


@dataclass(frozen=True, slots=True)
class Page:
    """`matches` counts what was searched for, without what came with it; `next` is the link as it stands."""

    matches: int
    next: str | None


def page_of(body: bytes) -> Page | None:
    """What a Bundle says of itself as a page; None where the body is no Bundle."""
    try:
        page = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if page.resource_type != "Bundle":
        return None
    beside = ("include", "outcome")
    matches = sum(not (entry.search and entry.search.mode in beside) for entry in page.entry)
    return Page(matches, next((link.url for link in page.link if link.relation == "next" and link.url), None))


class _Issue(msgspec.Struct):
    severity: str | None = None


class _Outcome(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    issue: list[_Issue] = []


class _Told(msgspec.Struct):
    resource: _Outcome | None = None


class _Outcomes(msgspec.Struct):
    entry: list[_Told] = []


_outcomes = msgspec.json.Decoder(_Outcomes).decode


def says_error(body: bytes) -> bool:
    """Whether an OperationOutcome among the matches speaks of an error, or cannot be read. Warnings come with
    every page of some servers (https://hl7.org/fhir/R4/search.html#errors)."""
    if b'"OperationOutcome"' not in body:
        return False
    try:
        told = [each.resource for each in _outcomes(body).entry if each.resource is not None]
    except msgspec.ValidationError:
        return True
    outcomes = (each for each in told if each.resource_type == "OperationOutcome")
    return any(issue.severity in ("error", "fatal") for each in outcomes for issue in each.issue)
