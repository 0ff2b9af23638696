"""From the bytes of one resource to its view: straight where the view takes them, mended where it does
not."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from fhir_bridge.errors import InputError
from fhir_bridge.fhir.mending import mended
from fhir_bridge.fhir.resource import Origin, Resource
from fhir_bridge.fhir.views import VIEWS, View

_HEAD = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"([A-Za-z]+)"')


class _Peek(msgspec.Struct, rename="camel"):
    resource_type: str | None = None


_peek = msgspec.json.Decoder(_Peek).decode
_decode: dict[str, Callable[[bytes], View]] = {
    name: msgspec.json.Decoder(view).decode for name, view in VIEWS.items()
}
_decode_other = msgspec.json.Decoder(View).decode
_TYPES = {name.lower(): name for name in VIEWS}

# Elements whose absence must not be believed before other spellings were looked for (mapping, section 16):
# what a name in any case has in common. Cheap substring searches, for most resources rightly lack one.
_STATUS = (("status", (b"tatus", b"TATUS")),)
_ORDER = (*_STATUS, ("intent", (b'ntent"', b'NTENT"')), ("do_not_perform", (b"erform", b"ERFORM")))
_LOOKED_FOR: dict[str, tuple[tuple[str, tuple[bytes, bytes]], ...]] = {
    "Patient": (("deceased_boolean", (b"eceased", b"ECEASED")), ("active", (b'ctive"', b'CTIVE"'))),
    "ServiceRequest": _ORDER,
    "ReferralRequest": _ORDER,
    "ProcedureRequest": _ORDER,
    "Appointment": _STATUS,
    "Encounter": _STATUS,
    "Consent": _STATUS,
    "Coverage": _STATUS,
}


def resource_type(raw: bytes) -> str | None:
    """The resourceType of an object, in FHIR's case where the bridge knows the type; None where there is
    none.

    Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` for what is no JSON object.
    """
    head = _HEAD.match(raw)
    name = head[1].decode() if head else _peek(raw).resource_type
    if not name or not name.isalpha():
        return None
    return name if name in _decode else _TYPES.get(name.lower(), name)


def read(
    raw: bytes, origin: Origin, full_url: str | None = None, container: Resource[View] | None = None
) -> Resource[View]:
    """Read one resource (mapping, section 16).

    Raises InputError, naming the origin, for what is not a JSON object with a `resourceType`.
    """
    try:
        name = resource_type(raw)
        if name is None:
            raise InputError(f"{origin}: not FHIR: an object without a resourceType", code="not-fhir")
        view, notes = _view(name, raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise unreadable(error, str(origin)) from None
    return Resource(view, raw, origin, full_url, container, notes)


def _view(name: str, raw: bytes) -> tuple[View, tuple[str, ...]]:
    """The view of that type, and notes on what had to be mended."""
    decode = _decode.get(name, _decode_other)
    try:
        view = decode(raw)
    except msgspec.ValidationError:
        return mended(raw, VIEWS.get(name, View), name)
    if view.resource_type != name or _is_suspect(view, raw):
        return mended(raw, type(view), name)
    return view, ()


def _is_suspect(view: View, raw: bytes) -> bool:
    """Whether a status is not in FHIR's case, or a decisive element may stand there under another
    spelling."""
    status = getattr(view, "status", None)
    if status is not None and (not status.islower() or status != status.strip()):
        return True
    for element, spellings in _LOOKED_FOR.get(view.resource_type, ()):
        if getattr(view, element) is None and (spellings[0] in raw or spellings[1] in raw):
            return True
    return False


def unreadable(error: Exception, place: str) -> InputError:
    """The InputError for what the JSON reader raised. Its text never holds the input."""
    if isinstance(error, RecursionError):
        return InputError(f"{place}: nested too deeply to be FHIR", code="too-deep")
    if isinstance(error, UnicodeError):
        return InputError(f"{place}: not UTF-8", code="encoding", hint="save the file as UTF-8")
    if isinstance(error, msgspec.ValidationError):
        return InputError(f"{place}: not FHIR: no JSON object with a resourceType", code="not-fhir")
    return InputError(f"{place}: not JSON: {_reason(error)}", code="not-json")


def _reason(error: Exception) -> str:
    """What the JSON reader says, as far as it is known to hold no input."""
    return "it ends too early" if "truncated" in str(error) else "malformed here"
