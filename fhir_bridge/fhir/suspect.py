"""What in a view shows that its resource has to be mended, though the view took it (mapping, section 16):
what a view drops, or the last of two, must not hide why nobody is to be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from stringzilla import count

from fhir_bridge.fhir.datatypes import Extension
from fhir_bridge.fhir.repeated import has_escaped_name, repeats
from fhir_bridge.fhir.strict import checker, strict
from fhir_bridge.fhir.views import (
    VIEWS,
    Appointment,
    Consent,
    Coverage,
    Encounter,
    Patient,
    ProcedureRequest,
    ReferralRequest,
    RelatedPerson,
    ServiceRequest,
    View,
)

_DECIDING: tuple[type[View], ...] = (
    *(Appointment, Consent, Patient, ProcedureRequest, ReferralRequest, RelatedPerson, ServiceRequest),
)
"""What says whether anybody may be called: no name in these is passed over unless it is FHIR's."""

_STRICT: dict[type[View], type[View]] = {view: strict(view) for view in _DECIDING}
READ_AS = [_STRICT.get(view, view) for view in VIEWS.values()]
"""What each view is decoded as."""

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
        return (count(raw, b'"participant"') > 1 or count(raw, b'"basedOn"') > 1) and repeats(raw)
    return _open_trigger(view, raw)


def _order(view: Any, raw: bytes) -> bool:
    return view.status not in _SETTLED and _open_trigger(view, raw)


def _open_trigger(view: Any, raw: bytes) -> bool:
    if _with_status(view, raw) or _has_bare_label(view) or _has_odd_name(view, raw):
        return True
    if _repeats_why(view, raw):
        return True
    says_more = _has_labels(view) or _has_second_status(view, raw) or _stands_twice(raw, _ONCE)
    return says_more and repeats(raw)


class _Why(msgspec.Struct, rename="camel"):
    cancelation_reason: msgspec.Raw = msgspec.Raw()
    cancellation_reason: msgspec.Raw = msgspec.Raw()


_why = msgspec.json.Decoder(_Why).decode


def _repeats_why(view: Any, raw: bytes) -> bool:
    """Whether it says twice why it was lost: one may be that the patient died."""
    if not isinstance(view, Appointment) or not (view.cancelation_reason or view.cancellation_reason):
        return False
    if count(raw, b'"cancelationReason"') + count(raw, b'"cancellationReason"') > 1:
        return repeats(raw)
    why = _why(raw)
    return repeats(bytes(why.cancelation_reason) or bytes(why.cancellation_reason))


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

SUSPECT: dict[type[View], Suspect] = dict.fromkeys(READ_AS, _trusted) | {
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
