"""What the JSON reader raises, said as an InputError that names the place and never shows the input."""

from __future__ import annotations

import re

import msgspec

from fhir_bridge.errors import InputError, Lost

_BYTE = re.compile(r"\(byte (\d+)\)")


def unreadable(
    error: Exception, place: str, data: bytes | None = None, lost: tuple[Lost, ...] = ()
) -> InputError:
    """The InputError for a `msgspec.MsgspecError`, `UnicodeError` or `RecursionError`.

    With `data`, the text that was read, line and column (both from 1) follow the place where they are known.
    `lost`: what of it may have spoken against a call.
    """
    if isinstance(error, RecursionError):
        return InputError(f"{place}: nested too deeply to be FHIR", code="too-deep", lost=lost)
    if isinstance(error, msgspec.ValidationError):
        words = "no JSON object with a resourceType"
        return InputError(f"{place}: not FHIR: {words}", code="not-fhir", lost=lost)
    place += _position(error, data) if data is not None else ""
    if isinstance(error, UnicodeError):
        return InputError(f"{place}: not UTF-8", code="encoding", hint="save the file as UTF-8", lost=lost)
    words = "it ends too early" if "truncated" in str(error) else "malformed here"
    return InputError(f"{place}: not JSON: {words}", code="not-json", lost=lost)


def _position(error: Exception, data: bytes) -> str:
    """`:line:column` of where the reader stopped; nothing where it does not tell."""
    byte = _BYTE.search(str(error))
    if isinstance(error, UnicodeError):
        at = _not_utf8(data)
    elif byte is not None:
        at = int(byte[1])
    elif "truncated" in str(error):
        at = len(data)
    else:
        return ""
    line, column = data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)
    return f":{line}:{column}"


def _not_utf8(data: bytes) -> int:
    """Where the first byte stands that is not UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(data)
