"""From the bytes of one resource to its view: straight where the view takes them, mended where it does
not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import msgspec

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.lost import lost_in
from fhir_bridge.fhir.mending import mended
from fhir_bridge.fhir.misspelt import meant
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.resource_types import meant_type
from fhir_bridge.fhir.suspect import READ_AS, SUSPECT
from fhir_bridge.fhir.unreadable import unreadable
from fhir_bridge.fhir.views import VIEWS, Other, View

_TYPES = {name.lower(): name for name in (*VIEWS, "Bundle", "Parameters")}
_FRONT = 64
"""Bytes that hold `{"resourceType":"…"` where a resource begins with it: split, they give the type in a third
of the time that a pattern takes."""

_NOISE = """
    Account AllergyIntolerance AuditEvent Binary CarePlan CareTeam ChargeItem Claim ClaimResponse
    Communication Composition Device DeviceRequest DocumentReference EpisodeOfCare
    ExplanationOfBenefit FamilyMemberHistory Flag Goal Group ImagingStudy Immunization List Media
    Medication MedicationAdministration MedicationDispense MedicationRequest MedicationStatement
    NutritionOrder Observation Procedure Provenance QuestionnaireResponse RiskAssessment
    SupplyDelivery Task
"""
NOISE = _NOISE.split()
"""Types that no view reads and exports are full of: the decoder names them in its one pass. Any other costs a
second one."""


class _Peek(msgspec.Struct, rename="camel"):
    resource_type: str | None = None


_RESOURCE_TYPE = frozenset({"resourceType"})
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_peek = msgspec.json.Decoder(_Peek).decode
_decode_other = msgspec.json.Decoder(Other).decode


class _Passed(msgspec.Struct, frozen=True, gc=False, tag_field="resourceType"):
    """A resource of which only the type is told."""


_passed = [msgspec.defstruct(name, (), bases=(_Passed,), tag=name, frozen=True) for name in NOISE]

_UNDECODED = (msgspec.MsgspecError, UnicodeError, RecursionError)
_decode: Callable[[bytes], Any] = msgspec.json.Decoder(Union[(*READ_AS, *_passed)]).decode


def resource_type(raw: bytes) -> str | None:
    """The resourceType of an object, in FHIR's case where the bridge knows the type, a misspelt one as it is
    spelt; None without one.

    Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` for what is no JSON object.
    """
    head = raw[:_FRONT].split(b'"', 4)
    in_front = len(head) == 5 and head[1] == b"resourceType" and head[3].isalpha()
    if in_front and head[0].strip() == b"{" and head[2].strip() == b":":
        name: str | None = head[3].decode()
    else:
        name = _peek(raw).resource_type or _misspelt_type(raw)
    if not name or not (name.isalpha() or meant_type(name)):
        return None
    return name if name in VIEWS else _TYPES.get(name.lower(), name)


def demand_spelt(name: str, raw: bytes, origin: Origin, full_url: str | None = None) -> None:
    """Raise InputError where a type that no view reads was probably meant for one that a view does: what it
    holds may speak against a call."""
    meant_for = meant_type(name)
    if meant_for is not None:
        raise InputError(
            f"{origin}: resourceType {name} is no type of FHIR's: {meant_for} was probably meant",
            code="type-misspelt",
            hint="have the sender correct it; nobody is called whom it may be about",
            lost=lost_in(raw, origin, full_url),
        )


def _misspelt_type(raw: bytes) -> str | None:
    """What stands under a name that was meant for `resourceType`."""
    for name, value in _members(raw).items():
        if meant(name, _RESOURCE_TYPE):
            return msgspec.json.decode(value, type=str)
    return None


def read(
    raw: bytes, origin: Origin, full_url: str | None = None, container: Resource[View] | None = None
) -> Resource[View]:
    """Read one resource (mapping, section 16).

    Raises InputError, naming the origin, for what is not a JSON object with a `resourceType`.
    """
    # As `plain_view` has it, without the call: every resource comes by here.
    try:
        view = _decode(raw)
        is_suspect = SUSPECT.get(type(view))
        if is_suspect is not None and not is_suspect(view, raw):
            return Resource(view, raw, origin, full_url, container)
    except _UNDECODED:
        pass
    return _read_slowly(raw, origin, full_url, container)


def read_plain(
    raw: bytes, origin: Origin, full_url: str | None = None, container: Resource[View] | None = None
) -> Resource[View] | None:
    """Read a resource of a type the bridge knows that has nothing to be mended, as most are; None for
    anything else."""
    view = plain_view(raw)
    if view is None or isinstance(view, str):
        return None
    return Resource(view, raw, origin, full_url, container)


def plain_view(raw: bytes) -> View | str | None:
    """The view of a resource that has nothing to be mended, or the name of a type that none reads; None where
    only a closer look can tell.

    What it tells anything of is whole JSON.
    """
    try:
        view = _decode(raw)
    except _UNDECODED:
        return None
    is_suspect = SUSPECT.get(type(view))
    if is_suspect is None:
        return type(view).__name__
    return None if is_suspect(view, raw) else view


def _read_slowly(
    raw: bytes, origin: Origin, full_url: str | None, container: Resource[View] | None
) -> Resource[View]:
    """What is not as it should be: another type, a name or code in another case, an element out of form."""
    try:
        name = resource_type(raw)
        if name is None:
            lost = lost_in(raw, origin, full_url)
            words = "not FHIR: an object without a resourceType"
            raise InputError(f"{origin}: {words}", code="not-fhir", lost=lost)
        if name not in VIEWS:
            try:
                return Resource(_decode_other(raw), raw, origin, full_url, container)
            except msgspec.ValidationError:
                pass
        view, notes = mended(raw, VIEWS.get(name, Other), name)
    except _UNDECODED as error:
        is_whole = origin.line is None and origin.entry is None
        lost = lost_in(raw, origin, full_url)
        raise unreadable(error, str(origin), raw if is_whole else None, lost) from None
    return Resource(view, raw, origin, full_url, container, notes)
