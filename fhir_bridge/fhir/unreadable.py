"""What the JSON reader raises, said as an InputError that names the place and never shows the input."""

from __future__ import annotations

import re

import msgspec

from fhir_bridge.errors import InputError

_BYTE = re.compile(r"\(byte (\d+)\)")


def unreadable(error: Exception, place: str, data: bytes | None = None) -> InputError:
    """The InputError for a `msgspec.MsgspecError`, `UnicodeError` or `RecursionError`.

    With `data`, the text that was read, line and column (both from 1) follow the place where they are known.
    """
    if isinstance(error, RecursionError):
        return InputError(f"{place}: nested too deeply to be FHIR", code="too-deep")
    if isinstance(error, msgspec.ValidationError):
        return InputError(f"{place}: not FHIR: no JSON object with a resourceType", code="not-fhir")
    place += _position(error, data) if data is not None else ""
    if isinstance(error, UnicodeError):
        return InputError(f"{place}: not UTF-8", code="encoding", hint="save the file as UTF-8")
    words = "it ends too early" if "truncated" in str(error) else "malformed here"
    return InputError(f"{place}: not JSON: {words}", code="not-json")


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
