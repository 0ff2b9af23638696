"""Which of several readings of one resource is its current version (mapping, section 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from fhir_bridge.fhir import dates
from fhir_bridge.fhir.references import base_of
from fhir_bridge.fhir.resource import Resource
from fhir_bridge.fhir.strict import says_the_same
from fhir_bridge.fhir.views import Appointment, Consent, Patient, ServiceRequest, View

_DECIDING = (Patient, Consent, Appointment, ServiceRequest)
"""What may say that nobody is to be called. Of all else the higher versionId counts."""

CONTRADICTS = timedelta(hours=1)
"""So far apart, times that say the opposite of the versionIds are no clock's fault: a server numbers anew, or
an old copy was given a new time (as in the ledger: `ledger.precedence`)."""


def newest(versions: Sequence[Resource[View]]) -> tuple[Resource[View], ...]:
    """The current version; identical contents are one. Several where nothing says which of them is newer,
    in the order given: never "last one wins"."""
    if len(versions) < 2:
        return tuple(versions)
    kept: list[Resource[View]] = []
    for version in versions:
        if any(_same(version, other) or _is_newer(other, version) for other in kept):
            continue
        kept = [other for other in kept if not _is_newer(version, other)]
        kept.append(version)
    return tuple(kept)


def superseded(resources: Iterable[Resource[View]]) -> Counter[str]:
    """How many of these are left aside for a newer version of the same resource, by type. The same contents
    again are no version."""
    versions: dict[str, list[Resource[View]]] = {}
    for one in resources:
        if one.view.id:
            versions.setdefault(f"{one.view.resource_type}/{one.view.id}", []).append(one)
    counts: Counter[str] = Counter()
    for several in versions.values():
        if len(several) > 1:
            kept = newest(several)
            older = {one.raw for one in several if not any(_same(one, each) for each in kept)}
            counts[several[0].view.resource_type] += len(older)
    return +counts


def disagree(versions: Sequence[Resource[View]]) -> bool:
    """Whether two of them say by versionId and by lastUpdated the opposite of each other."""
    return any(
        _contradict(one, other)
        for number, one in enumerate(versions)
        for other in versions[number + 1 :]
        if not _are_strangers(one, other)
    )


def last_updated(resource: Resource[View]) -> datetime | None:
    """meta.lastUpdated as aware UTC; one without a zone is taken as UTC."""
    moment = dates.parse(resource.view.meta.last_updated) if resource.view.meta else None
    return None if moment is None else moment.instant(UTC)


def _same(one: Resource[View], other: Resource[View]) -> bool:
    """Whether two readings differ in nothing that the bridge reads."""
    return (one.raw == other.raw or says_the_same(one.view, other.view)) and not _are_strangers(one, other)


def _is_newer(one: Resource[View], other: Resource[View]) -> bool:
    """Whether one is known to be newer: by numeric versionId where the times do not contradict it, else by
    lastUpdated."""
    if _are_strangers(one, other):
        return False
    here, there = _number(one), _number(other)
    if here is not None and there is not None and here != there:
        return here > there and not _contradict(one, other)
    mine, theirs = last_updated(one), last_updated(other)
    return mine is not None and theirs is not None and mine > theirs


def _contradict(one: Resource[View], other: Resource[View]) -> bool:
    """Whether versionId and lastUpdated of two versions say the opposite of each other."""
    here, there = _number(one), _number(other)
    if here is None or there is None or here == there or not isinstance(one.view, _DECIDING):
        return False
    mine, theirs = last_updated(one), last_updated(other)
    if mine is None or theirs is None:
        return False
    return (theirs - mine if here > there else mine - theirs) > CONTRADICTS


def _number(resource: Resource[View]) -> int | None:
    version = resource.version or ""
    return int(version) if version.isascii() and version.isdigit() else None


def _are_strangers(one: Resource[View], other: Resource[View]) -> bool:
    """Whether the fullUrls show two servers: then the same Type/id names two resources, neither of them
    newer."""
    here, there = (base_of(each.full_url, each.view.resource_type, each.view.id) for each in (one, other))
    return here is not None and there is not None and here != there
