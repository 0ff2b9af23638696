"""From the bytes of one resource to its view: straight where the view takes them, mended where it does
not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import msgspec
from stringzilla import count

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.datatypes import Extension
from fhir_bridge.fhir.mending import mended
from fhir_bridge.fhir.misspelt import meant
from fhir_bridge.fhir.repeated import has_escaped_name, repeats
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.strict import checker, strict
from fhir_bridge.fhir.unreadable import unreadable
from fhir_bridge.fhir.views import (
    VIEWS,
    Appointment,
    Consent,
    Coverage,
    Encounter,
    Other,
    Patient,
    ProcedureRequest,
    ReferralRequest,
    RelatedPerson,
    ServiceRequest,
    View,
)

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


_passed = [msgspec.defstruct(name, (), bases=(_Passed,), tag=name, frozen=True) for name in _NOISE.split()]

_DECIDING: tuple[type[View], ...] = (
    *(Appointment, Consent, Patient, ProcedureRequest, ReferralRequest, RelatedPerson, ServiceRequest),
)
"""What says whether anybody may be called: no name in these is passed over unless it is FHIR's."""

_STRICT: dict[type[View], type[View]] = {view: strict(view) for view in _DECIDING}
_READ_AS = [_STRICT.get(view, view) for view in VIEWS.values()]
_decode: Callable[[bytes], Any] = msgspec.json.Decoder(Union[(*_READ_AS, *_passed)]).decode


def resource_type(raw: bytes) -> str | None:
    """The resourceType of an object, in FHIR's case where the bridge knows the type; None without one.

    Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` for what is no JSON object.
    """
    head = raw[:_FRONT].split(b'"', 4)
    in_front = len(head) == 5 and head[1] == b"resourceType" and head[3].isalpha()
    if in_front and head[0].strip() == b"{" and head[2].strip() == b":":
        name: str | None = head[3].decode()
    else:
        name = _peek(raw).resource_type or _misspelt_type(raw)
    if not name or not name.isalpha():
        return None
    return name if name in VIEWS else _TYPES.get(name.lower(), name)


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
    view = plain_view(raw)
    if view is None or isinstance(view, str):
        return _read_slowly(raw, origin, full_url, container)
    return Resource(view, raw, origin, full_url, container)


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
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    is_suspect = _SUSPECT.get(type(view))
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
            raise InputError(f"{origin}: not FHIR: an object without a resourceType", code="not-fhir")
        if name not in VIEWS:
            try:
                return Resource(_decode_other(raw), raw, origin, full_url, container)
            except msgspec.ValidationError:
                pass
        view, notes = mended(raw, VIEWS.get(name, Other), name)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        is_whole = origin.line is None and origin.entry is None
        raise unreadable(error, str(origin), raw if is_whole else None) from None
    return Resource(view, raw, origin, full_url, container, notes)


_SETTLED = frozenset(
    {"booked", "arrived", "checked-in", "fulfilled", "entered-in-error", "completed", "revoked"}
)
"""A trigger with one of these never calls, however its other elements are spelt."""

_USUAL = frozenset({"finished", "completed", "active", "booked", "fulfilled"})
"""What most statuses are needs no look at its letters."""

Suspect = Callable[[Any, bytes], bool]


def _trusted(_view: Any, _raw: bytes) -> bool:
    return False


def _with_status(view: Any, raw: bytes) -> bool:
    """Whether a status is not in FHIR's form."""
    status: str | None = view.status
    if status is None or status in _USUAL:
        return False
    return not status.islower() or " " in status


def _stands_twice(raw: bytes, names: tuple[bytes, ...]) -> bool:
    """Whether an element that decides about a call may stand there more than once: the last would count."""
    for name in names:
        if count(raw, name) > 1:
            return True
    return has_escaped_name(raw)


def _has_labels(view: Any) -> bool:
    meta = view.meta
    return meta is not None and bool(meta.security or meta.tag)


def _has_bare_label(view: Any) -> bool:
    """Whether a label has no code where a Coding's would stand."""
    return _has_labels(view) and any(label.code is None for label in (*view.meta.security, *view.meta.tag))


_ONCE = (
    b'"meta"',
    b'"security"',
    b'"subject"',
    b'"participant"',
    b'"intent"',
    b'"doNotPerform"',
    b'"basedOn"',
)
"""What a trigger has once; a status each participant and the narrative have too."""

_TIES = (b'"participant"', b'"basedOn"', b'"replaces"')
"""What ties an Appointment to a patient and to others."""

_ONCE_IN_PATIENT = (b'"deceased', b'"active"', b'"meta"', b'"security"')


def _has_second_status(view: Any, raw: bytes) -> bool:
    more: int = count(raw, b'"status"') - 1 - len(getattr(view, "participant", ()))
    return more > 0 and more > (b'"div"' in raw)


def _has_second_use(view: Any, raw: bytes) -> bool:
    """Whether a number may say twice what it is used for: `old` may be the first."""
    others = len(view.name) + len(view.address) + len(view.identifiers) + 3 * len(view.contact)
    more: int = count(raw, b'"use"') - len(view.telecom) - others
    return more > 0


def _has_bare_extension(extensions: tuple[Extension, ...]) -> bool:
    """Whether one has no address, or no value that is read: under another name one may stand there."""
    for one in extensions:
        if not one.url or (
            _has_bare_extension(one.extension)
            if one.extension
            else one.value_code is None and one == Extension(one.url)
        ):
            return True
    return False


def _has_odd_name(view: View, raw: bytes) -> bool:
    """Whether a name within what it is made of is none of FHIR's."""
    try:
        _CHECKERS[type(view)](raw)
    except msgspec.ValidationError:
        return True
    return False


def _appointment(view: Any, raw: bytes) -> bool:
    """One that is settled calls nobody, but may be why another does not."""
    if view.status in _SETTLED:
        return _stands_twice(raw, _TIES) and repeats(raw)
    return _open_trigger(view, raw)


def _order(view: Any, raw: bytes) -> bool:
    return view.status not in _SETTLED and _open_trigger(view, raw)


def _open_trigger(view: Any, raw: bytes) -> bool:
    if _with_status(view, raw) or _has_bare_label(view) or _has_odd_name(view, raw):
        return True
    says_more = _has_labels(view) or _says_why(view)
    return (says_more or _has_second_status(view, raw) or _stands_twice(raw, _ONCE)) and repeats(raw)


def _says_why(view: Any) -> bool:
    """Whether it says why it was lost: the patient may have died."""
    return isinstance(view, Appointment) and bool(view.cancelation_reason or view.cancellation_reason)


def _related(view: Any, raw: bytes) -> bool:
    """There are few, and each may be whom to call."""
    return _has_odd_name(view, raw) or repeats(raw)


def _consent(view: Any, raw: bytes) -> bool:
    """There are few, and each may deny."""
    return _with_status(view, raw) or _has_bare_label(view) or _has_odd_name(view, raw) or repeats(raw)


def _patient(view: Any, raw: bytes) -> bool:
    """There are more of them than of open triggers, so only what keeps people out is looked for."""
    of_numbers: tuple[Extension, ...] = ()
    for point in view.telecom:
        of_numbers += point.extension
    for contact in view.contact:
        for point in contact.telecom:
            of_numbers += point.extension
    if _has_bare_label(view):
        return True
    if (of_numbers or view.extension) and _has_bare_extension(of_numbers + view.extension):
        return _has_odd_name(view, raw) or repeats(raw)
    is_marked = view.link or of_numbers or _has_labels(view)
    return (is_marked or _stands_twice(raw, _ONCE_IN_PATIENT) or _has_second_use(view, raw)) and repeats(raw)


_CHECKERS = {kind: checker(view) for view, kind in _STRICT.items()}

_SUSPECT: dict[type[View], Suspect] = dict.fromkeys(_READ_AS, _trusted) | {
    _STRICT[Appointment]: _appointment,
    _STRICT[Consent]: _consent,
    Coverage: _with_status,
    Encounter: _with_status,
    _STRICT[Patient]: _patient,
    _STRICT[ProcedureRequest]: _order,
    _STRICT[ReferralRequest]: _order,
    _STRICT[RelatedPerson]: _related,
    _STRICT[ServiceRequest]: _order,
}
"""What in a view shows that its resource has to be mended, though it was not refused."""
